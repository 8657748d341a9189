"""The unit files are what systemd thinks they are, and as closed as they claim."""

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = Path("etc/systemd/system")
EXPOSURE_MAX = {"tacet-recorder.service": 1.0, "tacet-clock.service": 2.5, "tacet-stick@.service": 2.5}


def verify(root: Path, units: list[str]) -> str:
    """systemd calls an unknown directive a warning and exits with 0: every line on stderr counts."""
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", *(str(root / UNITS / unit) for unit in units)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def test_systemd_has_nothing_to_say_against_any_unit(bootable: Path) -> None:
    units = [
        "tacet-recorder.service",
        "tacet-clock.service",
        "tacet-stick@sda1.service",
        "var-lib-tacet.mount",
        "nftables.service",
    ]
    if not (bootable / UNITS / "nftables.service").exists():
        units.remove("nftables.service")
    assert verify(bootable, units) == ""


def test_a_misspelt_directive_would_be_seen(bootable: Path, tmp_path: Path) -> None:
    text = (bootable / UNITS / "tacet-recorder.service").read_text()
    wrong = bootable / UNITS / "wrong.service"
    wrong.write_text(text.replace("MemoryDenyWriteExecute=", "MemoryDenyWriteExec="))
    try:
        assert "MemoryDenyWriteExec" in verify(bootable, ["wrong.service"])
    finally:
        wrong.unlink()


@pytest.mark.parametrize("unit", sorted(EXPOSURE_MAX))
def test_no_unit_is_more_exposed_than_promised(installed: Path, unit: str) -> None:
    assert exposure(installed / UNITS / unit) <= EXPOSURE_MAX[unit]


def test_a_recorder_with_voip_lines_is_not_more_exposed_than_promised(installed: Path, tmp_path: Path) -> None:
    """The drop-in's [Service] lines after the unit's own, as systemd reads them."""
    drop_in = REPOSITORY / "boot/voip/etc/systemd/system/tacet-recorder.service.d/voip.conf"
    unit, install_section, rest = (installed / UNITS / "tacet-recorder.service").read_text().partition("[Install]")
    merged = tmp_path / "tacet-recorder.service"
    merged.write_text(unit + drop_in.read_text().partition("[Service]")[2] + install_section + rest)
    assert 1.0 < exposure(merged) <= 2.5


def test_every_service_of_ours_has_a_limit(installed: Path) -> None:
    ours = {path.name for path in (installed / UNITS).glob("*.service") if not path.is_symlink()}
    assert ours == set(EXPOSURE_MAX)


@pytest.mark.parametrize("unit", sorted(EXPOSURE_MAX))
def test_each_open_item_has_its_reason_beside_it(installed: Path, unit: str) -> None:
    path = installed / UNITS / unit
    report = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    open_items = {re.split(r"[=/]", line.split()[1])[0] for line in report.splitlines() if line.startswith("✗")}
    reasons = {line for line in path.read_text().splitlines() if line.startswith("#")}
    missing = {item for item in open_items if not any(f"{item}=" in line for line in reasons)}
    assert not missing


def directives(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def test_a_crash_of_the_recorder_leaves_no_audio_behind(installed: Path) -> None:
    recorder = directives(installed / UNITS / "tacet-recorder.service")
    assert recorder["LimitCORE"] == ["0"]
    assert recorder["MemorySwapMax"] == ["0"]
    assert recorder["LimitMEMLOCK"] == ["infinity"]
    sysctl = (installed / "etc/sysctl.d/60-tacet.conf").read_text()
    assert "kernel.core_pattern = |/bin/false\n" in sysctl
    assert (installed / UNITS / "swap.target").readlink() == Path("/dev/null")


def test_a_hung_recorder_and_a_hung_machine_are_both_bitten(installed: Path) -> None:
    recorder = directives(installed / UNITS / "tacet-recorder.service")
    assert recorder["Type"] == ["notify"]
    assert recorder["WatchdogSec"] == ["10s"]
    assert recorder["Restart"] == ["always"]
    machine = directives(installed / "etc/systemd/system.conf.d/tacet.conf")
    assert int(machine["RuntimeWatchdogSec"][0].removesuffix("s")) <= 15  # the limit of the Pi's watchdog chip


def test_the_journal_never_reaches_the_card(installed: Path) -> None:
    assert directives(installed / "etc/systemd/journald.conf.d/tacet.conf")["Storage"] == ["volatile"]


def test_the_stick_process_sees_no_recording_and_no_device(installed: Path) -> None:
    stick = directives(installed / UNITS / "tacet-stick@.service")
    assert stick["User"] == ["tacet-stick"]
    assert "-/var/lib/tacet" in stick["InaccessiblePaths"][0].split()
    mount = next(line for line in stick["ExecStartPre"] if "/bin/mount" in line).split()
    assert mount[mount.index("-t") + 1] == "vfat,exfat"
    assert {"nosuid", "nodev", "noexec", "nosymfollow"} <= set(mount[mount.index("-o") + 1].split(","))


def test_the_recorder_starts_only_with_its_data_partition(installed: Path) -> None:
    assert "/var/lib/tacet" in directives(installed / UNITS / "tacet-recorder.service")["RequiresMountsFor"]
    options = directives(installed / UNITS / "var-lib-tacet.mount")["Options"][0].split(",")
    assert {"nosuid", "nodev", "noexec"} <= set(options)
