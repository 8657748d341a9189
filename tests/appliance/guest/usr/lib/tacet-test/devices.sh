#!/bin/bash
# Real kernel devices in place of the Pi's: a sound card that is a loop, a GPIO chip, an I2C bus with a clock and its SRAM.
set -eu
here=/usr/lib/tacet-test
modprobe snd-aloop id=line1 index=0 pcm_substreams=1
modprobe configfs
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
insmod $here/irq_sim.ko
insmod $here/gpio-sim.ko
bank=/sys/kernel/config/gpio-sim/tacet
mkdir -p $bank/bank0
echo 28 > $bank/bank0/num_lines
echo tacet > $bank/bank0/label
echo 1 > $bank/live
modprobe i2c-stub chip_addr=0x6f
insmod $here/rtc-ds1307.ko
for adapter in /sys/bus/i2c/devices/i2c-*; do
  if grep -q 'SMBus stub' "$adapter/name"; then
    echo mcp7941x 0x6f > "$adapter/new_device"
  fi
done
chip=$(basename "$(ls -d /sys/devices/platform/gpio-sim.0/gpiochip*)")
echo "RPI_LGPIO_CHIP=${chip#gpiochip}" > /run/tacet-test-environment
echo "RPI_LGPIO_REVISION=c03114" >> /run/tacet-test-environment
