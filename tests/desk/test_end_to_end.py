"""The whole way: a tape is played through the simulated appliance, the answer travels on a FAT file system, and what is
heard on the PC is what was on the line, sample for sample, outside the gaps."""

import shutil
import subprocess
import wave
from pathlib import Path

import bagit
import numpy as np
import pytest

from firmware.__main__ import main as firmware
from tests.desk.rig import noise, run
from tools import ringread

TAPE = """start = 2026-03-02T09:00:00Z
[[line]]
name = "line1"
audio = "line1.wav"
"""
EVENTS = (
    (2.0, 'do = "ring"'),
    (6.5, 'do = "off_hook"'),
    (40.0, 'do = "press"\nkey = "payment"'),
    (40.2, 'do = "release"\nkey = "payment"'),
    (50.0, 'do = "press"\nkey = "payment"'),
    (52.0, 'do = "release"\nkey = "payment"'),
    (70.0, 'do = "on_hook"'),
)
ANSWER_SAMPLE = 52_000
LINE_SAMPLES = 80 * 8000


def write_tape(directory: Path) -> Path:
    sound = noise(LINE_SAMPLES, 5) // 8
    with wave.open(str(directory / "line1.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(sound.tobytes())
    events = "".join(f'[[event]]\nat = {at}\nline = "line1"\n{what}\n' for at, what in EVENTS)
    path = directory / "tape.toml"
    path.write_text(TAPE + events + '[[event]]\nat = 85.0\ndo = "stick_in"\ndir = "stick"\n')
    return path


def over_fat(stick: Path, scratch: Path) -> Path:
    """Onto a FAT image and back, as a stick would carry it."""
    image, back = scratch / "stick.img", scratch / "back"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    back.mkdir()
    for words in (
        ["mformat", "-i", image, "-v", "TACET", "::"],
        ["mcopy", "-i", image, "-s", stick / "TACET", "::TACET"],
        ["mcopy", "-i", image, "-s", "::TACET", back],
    ):
        subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return back


@pytest.mark.skipif(shutil.which("mcopy") is None, reason="mtools is not installed")
def test_what_is_heard_is_what_was_on_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = write_tape(tmp_path)
    home, pack, stick, state = (tmp_path / name for name in ("home", "pack", "stick", "state"))
    now = ("--now", "2026-03-03T09:00Z")
    assert run("init", "--home", home).code == 0
    assert run("provision", "--home", home, "--stick", pack).code == 0
    words = ("--from", "2026-03-02T08:00Z", "--to", "2026-03-02T18:00Z", "--not-before", "2026-03-02T00:00Z")
    why = ("--purpose", "quality", "--basis", "legitimate-interests")
    assert run("order", "export", "--home", home, "--stick", stick, *words, *why).code == 0
    assert firmware(["simulate", str(tape), "--state", str(state), "--provision", str(pack)]) == 0
    carried = over_fat(stick, tmp_path)
    (answer,) = [path.parent for path in carried.glob("TACET/*/*/bagit.txt")]
    assert bagit.Bag(str(answer)).is_valid()
    taken = run("import", "--home", home, "--stick", carried, *now)
    assert taken.code == 0, taken.err
    (call,) = run("list", "--home", home, "--json", *now).json
    assert [gap["reason"] for gap in call["gaps"]] == ["payment"]
    assert run("extract", call["id"], "--home", home, "--wav", tmp_path / "out.wav", *now).code == 0
    with wave.open(str(tmp_path / "out.wav")) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    line = noise(LINE_SAMPLES, 5) // 8
    assert len(heard) == (70.0 - 6.5) * 8000
    spoken = line[ANSWER_SAMPLE : ANSWER_SAMPLE + len(heard)]
    kept = np.flatnonzero(heard)
    assert np.array_equal(heard[kept], spoken[kept])
    gap = call["gaps"][0]
    inside = slice(round(gap["start_s"] * 8000), round(gap["end_s"] * 8000))
    assert not heard[inside].any()
    assert gap["start_s"] <= 40.0 - 6.5 - 9.9, "the look-back before the press is not kept"
    after = heard[inside.stop : inside.stop + 80_000]
    assert np.count_nonzero(after) > 0.99 * len(after), "the call goes on after the payment"
    assert run("verify", carried, "--home", home, *now).code == 0
    reading = [str(carried), "--key", str(home / "custodian.key"), "--out", str(tmp_path / "read")]
    assert ringread.main(reading) == 0
    capsys.readouterr()
    bag = over_seven_zip(home, call["id"], tmp_path, now)
    with wave.open(str(bag / "data/call.wav")) as file:
        assert np.array_equal(np.frombuffer(file.readframes(file.getnframes()), np.int16), heard)
    gaps = [row.split(",") for row in (bag / "data/gaps.csv").read_text().splitlines()[1:]]
    assert [gap[4] for gap in gaps] == ["notice", "payment"]
    silent = np.zeros(len(heard), bool)
    for first, samples, *_ in gaps:
        silent[int(first) : int(first) + int(samples)] = True
    assert np.array_equal(heard[~silent], spoken[~silent]), "outside the gaps it is the line, every sample of it"
    assert not heard[silent].any()
    keys = ["--call-keys", str(bag / "data/1.keys"), "--out", str(tmp_path / "checked")]
    assert ringread.main([str(bag), *keys]) == 0
    capsys.readouterr()


def over_seven_zip(home: Path, call_id: str, scratch: Path, now: tuple[str, ...]) -> Path:
    """The evidence bag as a passphrase ZIP, opened as its recipient would."""
    secret = scratch / "zip-passphrase"
    secret.write_text("eighteen yellow bricks\n")
    why = ("--recipient", "police", "--basis", "law-enforcement", "--purpose", "fraud", "--authoriser", "A. Custodian")
    words = ("--out", scratch / "bag.zip", "--zip-passphrase-file", secret)
    made = run("bag", call_id, "--home", home, *words, *why, *now)
    assert made.code == 0, made.err
    opened = ["7z", "x", "-peighteen yellow bricks", f"-o{scratch / 'opened'}", str(scratch / "bag.zip")]
    subprocess.run(opened, check=True, capture_output=True)
    (bag,) = (scratch / "opened").iterdir()
    assert bagit.Bag(str(bag)).is_valid()
    return bag
