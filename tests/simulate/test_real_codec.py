"""The real appliance but for its pins and clock chip: real PyAudio in real time, threaded writer, real card."""

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from firmware.appliance import Appliance
from firmware.config import parse_machine
from firmware.policy.events import Signal
from firmware.ports import RtcReading
from firmware.units import US_PER_S
from firmware.wiring import Real
from hw.sim.pins import SimPins
from hw.usbstick import UsbStick
from tests.contract.pulse_server import MISSING, PulseServer
from tests.simulate.kit import Kit

SITE = "[gate]\nlook_back_s = 2\n[notice]\ndelay_ms = 0\n[[line]]\nname = 'line1'\n"
CONSENT = "Jo Bloggs, controller"


class SystemTime:
    """Stands for a clock chip: this machine's own time of day."""

    def read(self) -> RtcReading:
        return RtcReading(time.time_ns() // 1_000_000, synchronised=True)


def steps(appliance: Appliance, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        appliance.step()
        time.sleep(0.02)


@pytest.mark.proof
@pytest.mark.skipif(bool(MISSING), reason=f"PulseAudio is not installed: {', '.join(MISSING)}")
def test_what_was_played_into_a_real_codec_is_heard_at_the_desk_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = real_kit(tmp_path)
    pulse = PulseServer(short_folder(tmp_path), 8000, earpiece=True)
    for name, value in pulse.environment.items():
        monkeypatch.setenv(name, value)
    pulse.start()
    try:
        played = record(kit, pulse)
    finally:
        pulse.kill()
    today = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time.time() + 120))
    kit.take_in(kit.root / "stick", now=today)
    [call] = kit.calls(capsys, now=today)
    heard = kit.wav(call["id"], now=today)
    places = np.flatnonzero(heard == played[0])
    start = next(int(place) for place in places if np.array_equal(heard[place : place + 64], played[:64]))
    assert np.array_equal(heard[start : start + len(played)], played)


def real_kit(tmp_path: Path) -> Kit:
    kit = Kit(tmp_path / "kit", SITE)
    soundfile.write(kit.root / "notice.wav", np.full(8000, 100, np.int16), 8000)
    (kit.root / "real").mkdir()
    words = ("--site", str(kit.root / "site.toml"), "--notice", str(kit.root / "notice.wav"), "--consent", CONSENT)
    kit.desk("provision", "--stick", str(kit.root / "real"), *words)
    return kit


def short_folder(tmp_path: Path) -> Path:
    """A socket's path has at most 107 characters."""
    return Path(tempfile.mkdtemp(prefix="pulse"))


def record(kit: Kit, pulse: PulseServer) -> np.ndarray:
    machine = parse_machine(
        f'[appliance]\nstate = "{kit.root / "card"}"\nring_mib = 64\nhold_mib = 16\nsticks = "{kit.root / "real"}"\n'
        '[panel]\nenabled = false\n[[codec]]\ndevice = "line1"\nrate_hz = 8000\nlines = ["line1"]\n'
    )
    real = Real(machine)
    pins = SimPins(real.clock, bounce_edges_max=0)
    real._pins = pins
    real.parts = replace(real.parts, rtc=SystemTime())
    assert real.provision_from_stick()
    appliance = Appliance(real.parts, real.devices, simulation=False, threaded=True)
    now = real.clock.mono_us()
    for offset, active in ((0.2, True), (0.6, False)):
        pins.level(0, Signal.RING, active, now + round(offset * US_PER_S))
    pins.level(0, Signal.LOOP, True, now + US_PER_S)
    sound = np.random.default_rng(7).integers(1, 20_000, 4 * 8000, dtype=np.int16)
    soundfile.write(kit.root / "sound.wav", np.concatenate([np.zeros(400, np.int16), sound]), 8000)
    steps(appliance, 4.0)
    player = threading.Thread(target=pulse.play, args=(kit.root / "sound.wav",))
    player.start()
    steps(appliance, 7.0)
    player.join()
    pins.level(0, Signal.LOOP, False)
    steps(appliance, 4.0)
    stick = kit.new_stick("export", "--device", real_device(kit), *window())
    appliance.stick_in(UsbStick(str(stick)))
    steps(appliance, 20.0, until=lambda: not appliance.stick_at_work)
    appliance.close()
    real.close()
    return sound


def real_device(kit: Kit) -> str:
    found = [path.name for path in (kit.home / "devices").iterdir() if not path.name.startswith("SIM")]
    assert len(found) == 1
    return found[0]


def window() -> tuple[str, ...]:
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
    end = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    times = ("--from", f"{day}T00:00Z", "--to", f"{end}T00:00Z", "--not-before", f"{day}T00:00Z")
    return (*times, "--purpose", "quality", "--basis", "legitimate-interests")
