"""SIGKILL at random moments of a run in real time: closed calls are whole, the open one up to the promise."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.simulate.kit import Kit, Tape, at, noise

SITE = "[gate]\nlook_back_s = 2\n[notice]\ndelay_ms = 0\n[[line]]\nname = 'line1'\n"


def killed(kit: Kit, after_s: float) -> tuple[Tape, float]:
    """Plays a tape in real time and kills the recorder. Returns the tape and the tape's second of the kill."""
    tape = Tape(kit.root / "tape", audio={"line1": noise(60.0)})
    tape.event(0.3, "ring").event(0.9, "off_hook")
    command = [sys.executable, "-m", "firmware", "simulate", str(tape.save()), "--state", str(kit.state), "--realtime"]
    kit.simulate(Tape(kit.root / "first", start="2026-03-02T08:00:00Z"))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ring = kit.state / "ring"
    while not any(ring.read_bytes()[:4]):
        assert process.poll() is None, "the recorder ended by itself"
        time.sleep(0.05)
    first_frame = time.monotonic()
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return tape, time.monotonic() - first_frame


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_in_mid_call_the_call_is_whole_up_to_the_promised_loss(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = Kit(tmp_path / "kit", SITE)
    tape, recorded_s = killed(kit, random.Random(seed).uniform(2.0, 6.0))
    stick = kit.new_stick()
    kit.simulate(Tape(kit.root / "again", start="2026-03-02T10:00:00Z").stick(5.0, stick))
    kit.take_in(stick)
    [call] = kit.calls(capsys)
    heard = kit.wav(call["id"])
    sound = np.flatnonzero(heard)
    first, last = int(sound[0]), int(sound[-1])
    assert np.array_equal(heard[first : last + 1], tape.audio["line1"][at(0.9) + first : at(0.9) + last + 1])
    late_s = 0.5
    """The look at the ring, and the step in which the kill fell."""
    assert (last - first) / 8000 >= recorded_s - late_s, "since the first frame more was lost than one frame"
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["recorded"]
