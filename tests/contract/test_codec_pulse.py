"""The real codec beyond its contract: 48 kHz, refusals, nothing on standard error, nothing left behind.

PyAudio, PortAudio and ALSA are the real ones; the sound card is a private PulseAudio daemon.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hw.capture
from firmware.ports import Block, CodecState, Samples
from hw.clock import MachineClock
from hw.codec import CodecMissing, CodecRefused, PortAudioCodec
from hw.resample import Resampler
from tests.contract.codec_worlds import PATIENCE_S, STEP_S, where, write_wav
from tests.contract.pulse_server import MISSING, PulseServer

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"PulseAudio is not installed (missing: {', '.join(MISSING)})")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PulseServer]:
    made = PulseServer(tmp_path_factory.mktemp("pulse"), 48_000, 2)
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def environment(server: PulseServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def until_live(codec: PortAudioCodec) -> None:
    end = time.monotonic() + PATIENCE_S
    while codec.state() is not CodecState.LIVE:
        assert time.monotonic() < end, "the codec did not come"
        time.sleep(STEP_S)


def test_both_lines_of_a_48_khz_codec_reach_the_resampler_bit_for_bit(
    server: PulseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw: list[Samples] = []

    class Watched(Resampler):
        def push(self, samples: Samples) -> Samples:
            raw.append(samples.copy())
            return super().push(samples)

    monkeypatch.setattr(hw.capture, "Resampler", Watched)
    said = np.random.default_rng(6).integers(-8000, 8000, (24_000, 2)).astype(np.int16)
    write_wav(server.directory / "say.wav", np.concatenate([np.zeros((2400, 2), np.int16), said]), 48_000)
    at = None
    for _attempt in range(3):  # a busy machine's daemon loses samples itself; we would lose them each time
        raw.clear()
        blocks = captured_while_playing(server)
        captured = np.concatenate(raw, axis=1)
        at = where(said[:, 0], captured[0])
        if at is not None:
            break
    assert at is not None
    assert np.array_equal(captured[1, at : at + len(said)], said[:, 1])
    assert blocks
    assert all(block.samples.shape == (2, 800) for block in blocks)


def captured_while_playing(server: PulseServer) -> list[Block]:
    codec = PortAudioCodec(MachineClock(), "line1", 48_000, 2, output=False)
    speaker = threading.Thread(target=server.play, args=[server.directory / "say.wav"])
    speaker.start()
    blocks = []
    end = time.monotonic() + 1.5
    while time.monotonic() < end or speaker.is_alive():
        time.sleep(STEP_S)
        blocks += codec.drain(8)
    codec.close()
    return blocks


def test_a_device_that_is_not_there_is_one_clear_sentence() -> None:
    with pytest.raises(CodecMissing) as caught:
        PortAudioCodec(MachineClock(), "line7", 48_000, 2)
    text = str(caught.value)
    assert "'line7' was not found" in text
    assert "line1" in text
    assert "Nothing is recorded" in text
    assert "\n" not in text


def test_more_lines_than_the_device_has_channels_is_one_clear_sentence() -> None:
    with pytest.raises(CodecRefused) as caught:
        PortAudioCodec(MachineClock(), "line1", 48_000, 33)
    text = str(caught.value)
    assert "refused 33 channels at 48000 Hz" in text
    assert "\n" not in text


def test_a_codec_that_comes_only_after_the_start_is_taken_into_service(tmp_path: Path) -> None:
    """PortAudio looks for cards only when it starts: a process that is up already would never see it."""
    later = PulseServer(tmp_path, 8000)
    os.environ.update(later.environment)
    codec = PortAudioCodec(MachineClock(), "line1", 8000, 1, wait=False)
    try:
        for _ in range(20):
            assert codec.state() is CodecState.LOST
            assert codec.drain(8) == []
            time.sleep(STEP_S)
        later.start()
        until_live(codec)
        assert codec.refusal is None
    finally:
        codec.close()
        later.kill()


def test_ten_losses_leave_no_descriptor_and_no_process_behind() -> None:
    def left() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), len(children)

    before = left()
    codec = PortAudioCodec(MachineClock(), "line1", 48_000, 2)
    codec.play(0, np.zeros(800, np.int16))
    for _ in range(10):
        running = codec.process_id
        assert running is not None
        os.kill(running, signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while codec.state() is not CodecState.LIVE or codec.process_id == running:
            assert time.monotonic() < end, "the codec did not come back"
            time.sleep(0.005)
    codec.close()
    assert left() == before


RECORDER = """
import ctypes, sys, time
{before}
sys.path.insert(0, {root!r})
from hw.clock import MachineClock
from hw.codec import PortAudioCodec
codec = PortAudioCodec(MachineClock(), "line1", 48000, 2)
print(codec.process_id, flush=True)
time.sleep(60)
"""


def test_the_sound_process_ends_with_its_recorder_and_prints_nothing() -> None:
    """ALSA and JACK print 25 lines at a start: none of it may reach the journal."""
    recorder = subprocess.Popen(
        [sys.executable, "-c", RECORDER.format(root=str(ROOT), before="")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert recorder.stdout is not None
    assert recorder.stderr is not None
    sound_process = int(recorder.stdout.readline())
    assert alive(sound_process)
    recorder.kill()
    assert recorder.stderr.read() == b""
    recorder.wait()
    recorder.stdout.close()
    recorder.stderr.close()
    end = time.monotonic() + PATIENCE_S
    while alive(sound_process):
        assert time.monotonic() < end, "the sound process outlived its recorder"
        time.sleep(STEP_S)


def test_sound_is_captured_where_memory_cannot_be_writable_and_executable() -> None:
    """The unit runs under MemoryDenyWriteExecute; PR_SET_MDWE is the kernel's own form of it, and is inherited."""
    refuse = "ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0 or sys.exit(77)"
    code = RECORDER.format(root=str(ROOT), before=refuse).replace("time.sleep(60)", "codec.close()")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if result.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="locking memory needs root or LimitMEMLOCK=infinity, as the unit has")
def test_the_sound_process_is_closed_to_others_as_the_recorder_is() -> None:
    codec = PortAudioCodec(MachineClock(), "line1", 48_000, 2)
    proc = Path(f"/proc/{codec.process_id}")
    limits = {line[:25].strip(): line[25:].split() for line in (proc / "limits").read_text().splitlines()}
    assert limits["Max core file size"][:2] == ["0", "0"]
    locked = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("VmLck"))
    codec.close()
    assert int(locked.split()[1]) > 1024


def alive(pid: int) -> bool:
    """A zombie that waits for an init that does not reap is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
