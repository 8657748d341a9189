"""The product, installed by its own install target, as services on a machine with real kernel devices.

One machine, one story: the tests run in the order of this file, each goes on where the one before ended. Run it whole
(`make test-appliance`). Times inside are the machine's own; it waits for a busy host.
"""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw.resample import Resampler
from tests.appliance.desk import DEVICE, Desk
from tests.appliance.guest_call import NUMBER, sound
from tests.appliance.machine import Machine
from tests.appliance.rawdisk import digits_as_stored, finds_bytes, finds_sound

pytestmark = pytest.mark.appliance

PAYMENT, OPT_OUT, FAULT_LAMP, OPT_OUT_LAMP, PAYMENT_LAMP, STICK_LAMP = 5, 6, 9, 22, 27, 11
CALL = "python3 /usr/lib/tacet-test/call.py"
RATE_HZ = 8000


def wait_active(machine: Machine, seconds: float = 180) -> None:
    machine.wait_for("systemctl is-active -q tacet-recorder", seconds, "the recorder is ready")


def call(
    machine: Machine, seed: int, seconds: float, *presses: tuple[float, int, str], caller_id: bool = False
) -> None:
    words = " ".join(f"{at} {pin} {how}" for at, pin, how in presses)
    machine.run(f"{CALL} {'--caller-id' if caller_id else ''} {seed} {seconds} {words}", seconds * 3 + 60)


def closed(machine: Machine, rows: int, seconds: float = 60) -> list[str]:
    """Until the call's row is written: after the look-back. All outcomes."""
    return machine.ledger(rows, seconds)


def export(machine: Machine, desk: Desk, name: str) -> list[dict[str, Any]]:
    """An order goes in on a stick, the answer comes out, the desk opens it."""
    image = desk.order_stick(name)
    machine.plug_stick(image)
    machine.wait_for(f"ls /run/tacet-stick/mount/TACET/{DEVICE}/*/REPLY.txt", 180, "the order is answered")
    machine.run("sleep 2; sync")
    machine.pull_stick()
    machine.wait_for("! test -e /run/tacet-stick/mounted", 60, "the stick is let go")
    desk.take_in(image)
    return desk.calls()


def played(seed: int, seconds: float) -> list[np.ndarray]:
    """What the recorder must have heard at 8 kHz, for each of the six ways its samples can fall."""
    samples = np.frombuffer(sound(seed, seconds + 4), np.int16)
    references = []
    for phase in range(6):
        resampler = Resampler(48_000, 1)
        pieces = [resampler.push(samples[phase:].reshape(1, -1)), resampler.flush()]
        references.append(np.concatenate(pieces, axis=1)[0])
    return references


def best_match(kept: np.ndarray, references: list[np.ndarray]) -> tuple[int, int]:
    """Largest difference of any sample, at the best position of the best reference; and that position."""
    best = (65536, 0)
    for reference in references:
        size = 1 << (len(reference) + len(kept)).bit_length()
        spectrum = np.fft.rfft(reference, size) * np.conj(np.fft.rfft(kept, size))
        position = int(np.argmax(np.fft.irfft(spectrum, size)[: len(reference)]))
        piece = reference[position : position + len(kept)]
        if len(piece) == len(kept):
            best = min(best, (int(np.abs(piece.astype(int) - kept).max()), position))
    return best


def kept_part(samples: np.ndarray) -> np.ndarray:
    [loud] = np.nonzero(samples)
    return samples[loud[0] : loud[-1] + 1]


# ------------------------------------------------------------------------------------------------------ the story


def test_a_blank_recorder_refuses_and_says_so(machine: Machine) -> None:
    machine.wait_for("journalctl -u tacet-recorder --no-pager | grep -q 'has no keys yet'", 180, "it says so")
    assert machine.lamp(FAULT_LAMP)


def test_every_unit_is_up_and_nothing_listens(machine: Machine) -> None:
    assert machine.run("systemctl --failed --no-legend --plain").strip() == ""
    assert machine.run("grep -hv local_address /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ' || true").strip() == "0"
    assert "policy drop" in machine.run("nft list ruleset")
    assert machine.run("cat /proc/swaps | wc -l").strip() == "1"
    assert machine.run("touch /etc/x 2>&1 || true").strip().endswith("Read-only file system")
    assert machine.run("cat /proc/sys/kernel/core_pattern").strip() == "|/bin/false"


def test_a_keyboard_that_is_plugged_in_types_nothing(machine: Machine) -> None:
    before = machine.run("ls /dev/input 2>/dev/null | wc -l")
    machine.plug_keyboard()
    machine.wait_for("grep -ls 03 /sys/bus/usb/devices/*:1.0/bInterfaceClass | grep -q .", 60, "the keyboard is seen")
    machine.run("udevadm settle; sleep 1")
    assert machine.run("ls /dev/input 2>/dev/null | wc -l") == before
    assert "usbhid" not in machine.run("lsmod")


def test_the_erasable_memory_is_the_recorders_alone_and_writable_from_its_sandbox(machine: Machine) -> None:
    """A real kernel driver (ds1307 as MCP7941x) behind the sysfs file that hw/nvmem.py writes."""
    path = "/sys/bus/nvmem/devices/ds1307_nvram0/nvmem"
    assert machine.run(f"stat -L -c '%U %a %s' {path}").strip() == "tacet 600 64"
    inside = "nsenter -t $(systemctl show -p MainPID --value tacet-recorder) -m -S $(id -u tacet) -G $(id -g tacet)"
    program = (
        "from hw.nvmem import NvmemMemory; m = NvmemMemory('ds1307_nvram0', 'mcp794xx'); "
        "m.write_slot(0, bytes(range(32))); m.write_slot(1, bytes(32)); "
        "assert m.read() == bytes(range(32)) + bytes(32); m.zero_slot(0); assert not any(m.read()); print('proven')"
    )
    assert machine.run(f'{inside} /opt/tacet/venv/bin/python -P -c "{program}"', 120).strip() == "proven"
    refused = machine.run(f"{inside} sh -c 'echo 1 > /sys/bus/usb/drivers_probe' 2>&1 || true")
    assert "denied" in refused or "Read-only" in refused


def test_provisioned_from_the_stick_it_becomes_ready(machine: Machine, desk: Desk) -> None:
    machine.plug_stick(desk.provisioning_stick())
    wait_active(machine, 300)
    machine.wait_for(f"test -s /run/tacet-stick/mount/TACET/{DEVICE}/ENROL.txt", 60, "the fingerprint is on the stick")
    machine.run("sync")
    machine.pull_stick()
    desk.take_in(desk.folder / "provisioning.img")
    TWIN.append(desk.twin())
    machine.wait_for(f"test $(cat {PIN.format(FAULT_LAMP)}) = 0", 60, "FAULT is not steady: the ready lamp")


PIN = "/sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio{}/value"


def test_a_call_is_recorded_exported_and_equal_to_what_was_played(machine: Machine, desk: Desk) -> None:
    before = len(machine.ledger())
    call(machine, 1, 10)
    closed(machine, before + 1)
    recorded = export(machine, desk, "first")[-1]
    assert recorded["outcome"] == "recorded"
    assert recorded["direction"] == "inbound"
    samples = desk.sound(recorded)
    assert abs(len(samples) / RATE_HZ - 10) < 1.0
    kept = kept_part(samples)
    assert len(kept) > 6 * RATE_HZ
    difference, _ = best_match(kept, played(1, 10))
    assert difference <= 1
    WHOLE[recorded["id"]] = kept


def test_what_is_said_in_a_payment_is_not_kept(machine: Machine, desk: Desk) -> None:
    before = len(machine.ledger())
    call(
        machine,
        2,
        16,
        (7.0, PAYMENT, "close"),
        (7.2, PAYMENT, "open"),
        (10.0, PAYMENT, "close"),
        (12.0, PAYMENT, "open"),
        caller_id=True,
    )
    closed(machine, before + 1)
    recorded = export(machine, desk, "second")[-1]
    assert recorded["number"] == NUMBER, recorded["number_absence"]
    gaps = [gap for gap in recorded["gaps"] if gap["reason"] == "payment"]
    assert gaps
    assert min(gap["start_s"] for gap in gaps) <= 5.2
    assert max(gap["end_s"] for gap in gaps) >= 11.0
    samples = desk.sound(recorded)
    for gap in gaps:
        assert not np.any(samples[round(gap["start_s"] * RATE_HZ) : round(gap["end_s"] * RATE_HZ)])
    difference, position = best_match(samples[round(2.5 * RATE_HZ) : round(4.5 * RATE_HZ)], played(2, 16))
    assert difference <= 1
    WHOLE[recorded["id"]] = kept_part(samples)
    MUTED.append((2, position + round(3.0 * RATE_HZ), position + round(8.0 * RATE_HZ)))


WHOLE: dict[str, np.ndarray] = {}
"""What the desk opened once must open again to the same samples, whatever happened since: by call id."""
TWIN: list[Desk] = []
"""Opens from the last stick alone: what an earlier one brought is not in this home."""
MUTED: list[tuple[int, int, int]] = []
"""Seed, first and last sample (8 kHz, nominal) of stretches that nothing may hold."""


def test_a_caller_who_objects_is_forgotten(machine: Machine, desk: Desk) -> None:
    before, kept_before = len(machine.ledger()), len(recorded_calls(desk))
    call(machine, 3, 10, (6.0, OPT_OUT, "close"), (8.0, OPT_OUT, "open"))
    closed(machine, before + 1)
    assert machine.ledger()[-1] == "opted_out"
    export(machine, desk, "third")
    assert len(recorded_calls(desk)) == kept_before


def recorded_calls(desk: Desk) -> list[dict[str, Any]]:
    return [entry for entry in desk.calls() if entry["outcome"] == "recorded"]


def test_an_adapter_that_is_pulled_and_pushed_back_is_a_gap(machine: Machine, desk: Desk) -> None:
    before = len(machine.ledger())
    machine.run(
        f"{CALL} 4 24 >/run/call.log 2>&1 & sleep 9; echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/unbind", 60
    )
    machine.wait_for(f"test $(cat {PIN.format(FAULT_LAMP)}) = 1", 30, "FAULT lights")
    machine.run("echo snd_aloop.0 > /sys/bus/platform/drivers/snd_aloop/bind")
    machine.wait_for("grep -q RUNNING /proc/asound/line1/pcm0c/sub0/status", 60, "it captures again")
    closed(machine, before + 1, 120)
    recorded = export(machine, desk, "fourth")[-1]
    assert {gap["reason"] for gap in recorded["gaps"]} & {"fault", "lost_samples"}


def test_a_stick_pulled_in_mid_export_costs_a_new_order_and_nothing_else(machine: Machine, desk: Desk) -> None:
    image = desk.order_stick("torn")
    machine.plug_stick(image)
    machine.wait_for(f"ls /run/tacet-stick/mount/TACET/{DEVICE}/*/data/*", 120, "the export has begun")
    machine.pull_stick()
    machine.wait_for("! test -e /run/tacet-stick/mounted", 60, "the stick is let go")
    assert machine.run("systemctl is-active tacet-recorder").strip() == "active"
    before = {entry["id"] for entry in recorded_calls(desk)}
    export(machine, desk, "again")
    assert {entry["id"] for entry in recorded_calls(desk)} == before


def test_three_power_cuts_and_a_wrong_clock_leave_every_closed_call_whole(machine: Machine, desk: Desk) -> None:
    """In the middle of a call, each at a random moment; the clock is right after the first, has fallen back after the
    second and is far ahead after the third."""
    moments = random.Random(7)
    for seed, clock in ((5, "utc"), (6, "2025-06-01T12:00:00"), (7, "2028-06-01T12:00:00")):
        rows = len(machine.ledger())
        cut_s = moments.uniform(2, 12)
        machine.run(f"nohup {CALL} {seed} 20 >/dev/null 2>&1 & sleep {cut_s + 2.5:.2f}", 60, go_on=True)
        machine.power_cut()
        machine.clock = clock
        machine.power_on()
        wait_active(machine)
        assert len(machine.ledger()) >= rows
        suspected = "grep -q 'CLOCK_[A-Z]*\".* 1$' /run/tacet-metrics/tacet.prom"
        if clock == "utc":
            machine.wait_for("test -e /run/tacet-metrics/tacet.prom", 120, "metrics are written")
            assert machine.run(f"{suspected} || echo trusted").strip() == "trusted"
        else:
            machine.wait_for(suspected, 120, "the clock is suspected")


def test_with_the_clock_back_everything_that_was_closed_can_be_exported(machine: Machine) -> None:
    machine.power_cut()
    machine.clock = "utc"
    machine.power_on()
    wait_active(machine)
    [twin] = TWIN
    export(machine, twin, "after-cuts")
    assert WHOLE
    for call_id, kept in WHOLE.items():
        [found] = [entry for entry in twin.calls() if entry["id"] == call_id]
        assert np.array_equal(kept_part(twin.sound(found)), kept)


def test_a_frozen_recorder_is_bitten_and_comes_back(machine: Machine) -> None:
    machine.run("kill -STOP $(systemctl show -p MainPID --value tacet-recorder)")
    machine.wait_for(
        "journalctl -b -u tacet-recorder --no-pager | grep -q \"result 'watchdog'\"", 60, "the watchdog bites"
    )
    wait_active(machine)


def test_a_full_disk_neither_stops_recording_nor_loses_a_call(machine: Machine, desk: Desk) -> None:
    machine.run("dd if=/dev/zero of=/var/lib/tacet/filler bs=1M 2>/dev/null || true", 120)
    assert machine.run("df --output=avail /var/lib/tacet | tail -1").strip() == "0"
    before = len(machine.ledger())
    call(machine, 8, 10)
    closed(machine, before + 1)
    assert machine.ledger()[-1] == "recorded"
    machine.run("rm /var/lib/tacet/filler; sync")


def test_the_raw_disk_holds_no_muted_sound_and_no_number(machine: Machine) -> None:
    """As it was heard at 8 kHz, wherever its samples may fall, and as it was played."""
    machine.run("systemctl stop tacet-recorder; sync", 60)
    machine.power_cut()
    disk = Path(machine.files.data)
    assert finds_bytes(disk, digits_as_stored(NUMBER)) == []
    assert MUTED
    for seed, first, last in MUTED:
        assert finds_sound(disk, [reference[first:last] for reference in played(seed, 16)]) == []
        raw = sound(seed, 20)
        assert finds_bytes(disk, [raw[at : at + 96] for at in range(first * 12, last * 12 - 96, 4800)]) == []
