"""The emulated machine: QEMU with the product's own root file system, real kernel devices, and hands to pull its plugs.

Pure emulation on the machine's own time (``-icount``). Power cut: SIGKILL of QEMU, disks with
``cache=none`` so that only what the guest flushed is there. All waiting is on the guest's own answers.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SLOWER_MAX = 15
"""How much slower than its own time the machine may run on a busy host before the test gives up."""
BOOT_S_MAX = 40 * SLOWER_MAX
"""25 s of its own time."""
MEMORY_MIB = 1024
SPEED_SHIFT = 1
"""The machine executes 2**-shift instructions per nanosecond of its own time (500 million a second), and its clock
waits for them: a busy host makes the test longer, never the machine's sound card late. Idle time is skipped."""
PROCESSOR = "max,la57=off,svm=off,avx=off,avx2=off,fma=off,f16c=off"
"""QEMU 7.2 computes wrong with AVX (the recorder's ear then misses a caller's number that it hears everywhere else),
and twice as slowly as without."""
CHEAPER = "mitigations=off quiet loglevel=4 nokaslr no_timer_check audit=0 random.trust_cpu=on"
"""What costs emulation and is no part of what is tested."""


class MachineError(Exception):
    """The machine did not do what it was told; the end of its console is in the text."""


@dataclass
class Files:
    """What a machine is made of: ``root`` (squashfs), ``kernel``, ``initrd`` are shared and never written."""

    kernel: Path
    initrd: Path
    root: Path
    data: Path
    boot: Path
    """The FAT partition with tacet.toml."""


@dataclass
class Machine:
    files: Files
    folder: Path
    clock: str = "utc"
    """QEMU's ``-rtc base=``: a date sets the emulated CMOS clock."""
    append: str = ""
    process: subprocess.Popen[bytes] | None = None
    _hand: socket.socket | None = None
    _pending: bytes = b""
    _serial: int = 0
    _spent_s: float = 0.0

    # --------------------------------------------------------------------------------------------------- power

    def power_on(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("hand", "qmp"):
            self._path(name).unlink(missing_ok=True)
        with open(self._path("qemu.log"), "ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._wait(lambda: self._path("hand").exists(), 20, "QEMU did not start")
        self._hand = socket.socket(socket.AF_UNIX)
        self._hand.connect(str(self._path("hand")))
        self._pending = b""
        self._answer(0, BOOT_S_MAX)
        self.monitor("stop")

    def power_cut(self) -> None:
        """The plug is pulled: nothing is flushed, nobody is told."""
        assert self.process is not None
        self._spent_s = self.processor_s()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self._hand is not None:
            self._hand.close()

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def processor_s(self) -> float:
        """Processor time that all emulation cost so far."""
        return self._spent_s + (_processor_s(self.process.pid) if self.process and self.running() else 0.0)

    def _command(self) -> list[str]:
        disks = [f"file={self.files.root},if=virtio,format=raw,readonly=on"]
        disks.append(f"file={self.files.data},if=virtio,format=raw,cache=none,aio=threads")
        disks.append(f"file={self.files.boot},if=virtio,format=raw,readonly=on")
        command = [
            "qemu-system-x86_64",
            "-machine",
            "q35",
            "-cpu",
            PROCESSOR,
            "-smp",
            "1",
            "-m",
            str(MEMORY_MIB),
        ]
        command += ["-accel", "tcg,thread=single,tb-size=512", "-icount", f"shift={SPEED_SHIFT},sleep=off"]
        command += ["-nodefaults", "-display", "none", "-no-user-config"]
        command += ["-kernel", str(self.files.kernel), "-initrd", str(self.files.initrd)]
        command += ["-append", f"root=/dev/vda ro {CHEAPER} console=ttyS0 panic=10 {self.append}"]
        for disk in disks:
            command += ["-drive", disk]
        hand = f"socket,id=hand,path={self._path('hand')},server=on,wait=off"
        command += ["-chardev", hand, "-device", "virtio-serial"]
        command += ["-device", "virtserialport,chardev=hand,name=tacet.hand"]
        command += ["-qmp", f"unix:{self._path('qmp')},server=on,wait=off", "-serial", f"file:{self._path('console')}"]
        command += ["-device", "qemu-xhci,id=usb", "-device", "i6300esb", "-action", "watchdog=reset"]
        command += ["-rtc", f"base={self.clock},clock=vm", "-device", "virtio-rng-pci"]
        return command

    # --------------------------------------------------------------------------------------------------- the hand

    def run(self, command: str, timeout_s: float = 60, *, check: bool = True, go_on: bool = False) -> str:
        """Runs a shell command as root inside; its output. Raises MachineError when it fails. ``go_on``: its time does
        not stop at the answer."""
        answer = self._ask({"run": command}, timeout_s, go_on=go_on)
        if check and answer["code"] != 0:
            raise MachineError(f"`{command}` ended with {answer['code']}: {answer['output']}")
        return str(answer["output"])

    def ledger(self, rows: int = 0, seconds: float = 0) -> list[str]:
        """The outcomes in the ledger, once there are at least ``rows``; MachineError if not within ``seconds`` of the
        machine's own time."""
        answer = self._ask({"rows": rows}, seconds)
        found: list[str] = json.loads(answer["output"])
        if len(found) < rows:
            raise MachineError(f"the ledger has {len(found)} rows, not {rows}, after {seconds} s.")
        return found

    def wait_for(self, command: str, seconds: float, what: str) -> str:
        """Until ``command`` succeeds inside, at most ``seconds`` of the machine's own time."""
        loop = f"end=$((SECONDS + {round(seconds)})); until {{ {command} ; }} 2>&1; do "
        try:
            return self.run(f"{loop} [ $SECONDS -ge $end ] && exit 1; sleep 0.7; done", seconds + 60)
        except MachineError as error:
            raise MachineError(f"{what}: not within {seconds} s. {str(error)[-1500:]}\n{self.console()}") from error

    def _ask(self, request: dict[str, object], timeout_s: float, *, go_on: bool = False) -> dict[str, Any]:
        """Between two questions its own time stands still: what people outside do costs it none, and the processor is
        theirs."""
        assert self._hand is not None
        self.monitor("cont")
        self._serial += 1
        words = {"id": self._serial, "timeout_s": timeout_s, **request}
        self._hand.sendall(json.dumps(words).encode() + b"\n")
        answer = self._answer(self._serial, (timeout_s + 30) * SLOWER_MAX)
        if not go_on:
            self.monitor("stop")
        return answer

    def _answer(self, serial: int, seconds: float) -> dict[str, Any]:
        assert self._hand is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while b"\n" in self._pending:
                line, _, self._pending = self._pending.partition(b"\n")
                answer: dict[str, Any] = json.loads(line)
                if answer["id"] == serial or serial == 0:
                    return answer
            if not self.running():
                raise MachineError(f"QEMU ended.\n{self.console()}\n{self._path('qemu.log').read_text()[-500:]}")
            self._hand.settimeout(1)
            try:
                self._pending += self._hand.recv(65536)
            except TimeoutError:
                continue
        raise MachineError(f"no answer from inside within {seconds} s.\n{self.console()}")

    def own_s(self) -> float:
        """Its own time since it was powered on; 0 while it is off."""
        return float(self.run("cat /proc/uptime").split()[0]) if self.running() else 0.0

    def journal(self) -> str:
        """What the recorder and the kernel said last, for somebody who looks for a fault."""
        if not self.running():
            return f"the machine is off\n{self.console()}"
        recorder = "journalctl -b --no-pager -n 40 -u tacet-recorder -u 'tacet-stick@*'"
        alarms = "grep ' 1$' /run/tacet-metrics/tacet.prom"
        try:
            return self.run(f"{recorder}; journalctl -b --no-pager -k -n 15; {alarms}", 60, check=False)
        except (MachineError, OSError) as error:
            return str(error)

    def console(self) -> str:
        path = self._path("console")
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    # ------------------------------------------------------------------------------------------------------ plugs

    def monitor(self, command: str, **arguments: object) -> Any:
        """One QMP command (QEMU's machine protocol)."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(str(self._path("qmp")))
            stream = link.makefile("rwb")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request).encode() + b"\n")
                stream.flush()
                answer: dict[str, Any] = {}
                while "return" not in answer and "error" not in answer:
                    answer = json.loads(stream.readline())
                if "error" in answer:
                    raise MachineError(f"{command}: {answer['error']}")
            return answer["return"]

    def plug_stick(self, image: Path, name: str = "stick") -> None:
        blocks = {"driver": "file", "filename": str(image)}
        self.monitor("blockdev-add", **{"driver": "raw", "node-name": name, "file": blocks})
        self.monitor("device_add", driver="usb-storage", id=name, drive=name, bus="usb.0", removable=True)

    def pull_stick(self, name: str = "stick") -> None:
        self.monitor("cont")
        self.monitor("device_del", id=name)

        def gone() -> bool:
            try:
                self.monitor("blockdev-del", **{"node-name": name})
            except MachineError:
                return False
            return True

        self._wait(gone, 20 * SLOWER_MAX, "the stick was not let go")
        self.monitor("stop")

    def plug_keyboard(self) -> None:
        self.monitor("device_add", driver="usb-kbd", id="keyboard", bus="usb.0")

    # ------------------------------------------------------------------------------------------------------ pins

    def pin(self, bcm: int, closed: bool) -> None:
        """A contact to ground is closed or opened (active low against a pull-up)."""
        pull = "pull-down" if closed else "pull-up"
        self.run(f"echo {pull} > /sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio{bcm}/pull")

    def lamp(self, bcm: int) -> bool:
        return self.run(f"cat /sys/devices/platform/gpio-sim.0/gpiochip*/sim_gpio{bcm}/value").strip() == "1"

    # ----------------------------------------------------------------------------------------------------- within

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if ready():
                return
            time.sleep(0.1)
        raise MachineError(f"{what} within {seconds} s.\n{self.console()}")


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fresh_data(path: Path, size_mib: int = 512) -> Path:
    """An empty data partition, as the image has it."""
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-L", "tacet-data", str(path)], check=True)
    return path


def fresh_fat(path: Path, content: Path | None, label: str = "STICK", size_mib: int = 64) -> Path:
    """A FAT file system with the files of ``content``: a stick, or the boot partition."""
    path.unlink(missing_ok=True)
    with open(path, "wb") as file:
        file.truncate(size_mib << 20)
    subprocess.run(["mkfs.vfat", "-n", label, str(path)], check=True, capture_output=True)
    if content is not None:
        names = [str(entry) for entry in sorted(content.iterdir())]
        subprocess.run(["mcopy", "-s", "-i", str(path), *names, "::"], check=True)
    return path


def read_stick(image: Path, into: Path) -> Path:
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    subprocess.run(
        ["mcopy", "-s", "-n", "-i", str(image), "::*", str(into)],
        check=True,
        env={**os.environ, "MTOOLS_SKIP_CHECK": "1"},
    )
    return into
