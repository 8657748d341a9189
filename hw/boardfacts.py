"""What the operating system says of itself, for the self-test: watchdog, swap, core dumps, where the sound adapters
sit.

Plain files of /proc and /sys; a file that is not there is an answer, not an error.
"""

import resource
from dataclasses import dataclass
from pathlib import Path

SYS = Path("/sys")
PROC = Path("/proc")


@dataclass(frozen=True)
class UsbSeat:
    """Where one sound adapter is plugged in (sysfs ``speed``; the hub's ``bDeviceProtocol``)."""

    codec: str
    hub: str
    speed_mbit_s: int
    hub_translators: int


def watchdog_timeout_s(sys: Path = SYS) -> int | None:
    """Of the hardware watchdog that systemd feeds; None where there is none or nobody feeds it."""
    folder = sys / "class/watchdog/watchdog0"
    if _text(folder / "state") != "active":
        return None
    timeout = _text(folder / "timeout")
    return int(timeout) if timeout.isdigit() else None


def swap_bytes(proc: Path = PROC) -> int:
    rows = _text(proc / "swaps").splitlines()[1:]
    return sum(int(row.split()[2]) * 1024 for row in rows)


def core_limit_bytes() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 62


def usb_seats(sys: Path = SYS) -> list[UsbSeat]:
    """Every USB sound card with the high-speed hub above it."""
    seats = []
    for card in sorted((sys / "class/sound").glob("card[0-9]*")):
        device = (card / "device").resolve()
        if "usb" not in str(device):
            continue
        adapter = next((folder for folder in (device, *device.parents) if (folder / "speed").is_file()), None)
        if adapter is None:
            continue
        hub = adapter.parent
        rooted = (hub / "bDeviceClass").is_file() and _text(hub / "devpath") != "0"
        translators = 2 if _text(hub / "bDeviceProtocol") == "02" else 1
        speed = _text(adapter / "speed").split(".")[0]
        seats.append(
            UsbSeat(_text(card / "id"), str(hub) if rooted else "", int(speed) if speed.isdigit() else 0, translators)
        )
    return seats


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
