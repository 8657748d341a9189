"""`make demo`: a day on a simulated line through the production loop, then the stick and the desk. Ends by naming
what to look at.

Speech is made here by espeak-ng; nothing is downloaded and nothing recorded is shipped.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile

from tools.linesound import Sound, caller_id, dial_tone, keyed, mix, room_noise
from tools.speech import SpeechError, speak
from tools.waveform import Gap, draw

START = "2026-03-02T09:00:00Z"
PASSPHRASE = "a demonstration only"
CALLER, AGENT = "en-gb", "en-gb-scotland"
NUMBER, SECOND_NUMBER = "02079460123", "02079460456"
RATE_HZ = 8000


@dataclass(frozen=True)
class Scene:
    """One call of the day: what is heard, when, and what hands do. Seconds from the scene's begin."""

    length_s: float
    sounds: tuple[tuple[float, Sound], ...]
    events: tuple[tuple[float, str, str], ...]
    """(at, do, key)."""


class Progress:
    def __init__(self, steps: int) -> None:
        self._steps, self._done, self._began = steps, 0, time.monotonic()

    def __call__(self, what: str) -> None:
        self._done += 1
        print(f"[{self._done}/{self._steps}] {time.monotonic() - self._began:4.1f} s  {what}", flush=True)


def said(agent: bool, words: str) -> Sound:
    return speak(words, AGENT if agent else CALLER, 190)


def conversation(at_s: float, *turns: tuple[bool, str]) -> tuple[tuple[float, Sound], ...]:
    """Turns of (agent speaks, words), one after the other with a short pause."""
    placed: list[tuple[float, Sound]] = []
    for agent, words in turns:
        sound = said(agent, words)
        placed.append((at_s, sound))
        at_s += len(sound) / RATE_HZ + 0.4
    return tuple(placed)


def ended(sounds: Sequence[tuple[float, Sound]]) -> float:
    return max(at + len(sound) / RATE_HZ for at, sound in sounds) + 1.0


def day() -> list[Scene]:
    return [_with_caller_id(), _with_payment(), _with_opt_out(), _outbound(), _unanswered(), _withheld()]


def _answered(talk: tuple[tuple[float, Sound], ...], number: str | None, *hands: tuple[float, str, str]) -> Scene:
    """Caller ID, two rings, the handset up at 6 s; the notice then takes about 15 s, in which nobody speaks."""
    end = max(ended(talk), max((at for at, _, _ in hands), default=0) + 2)
    line = ((0.5, caller_id(number, datetime.fromisoformat(START))), *talk)
    events = ((2.5, "ring", ""), (6.0, "off_hook", ""), *hands, (end, "on_hook", ""))
    return Scene(end + 15, line, events)


def _with_caller_id() -> Scene:
    return _answered(
        conversation(
            22.0,
            (True, "Good morning, contact team, how can I help?"),
            (False, "Hello. The lift in our building has been out of order since Friday."),
            (True, "I am sorry to hear that. I will send an engineer today."),
            (False, "Thank you very much. Goodbye."),
        ),
        NUMBER,
    )


def _with_payment() -> Scene:
    before = conversation(
        22.0, (False, "I would like to pay my rent by card, please."), (True, "Of course. Before that, one moment.")
    )
    press = ended(before) + 11
    card = conversation(
        press - 2.0,
        (True, "Please read me the long number on your card."),
        (False, "Four nine two nine, one two three four, five six seven eight, nine zero one two."),
    )
    resume = ended(card) + 3
    after = conversation(
        resume + 3.0, (True, "Thank you, that is paid. Is there anything else?"), (False, "No, that was all.")
    )
    digits = ((ended(card), keyed("123")),)
    return _answered(
        (*before, *card, *digits, *after),
        SECOND_NUMBER,
        (press, "press", "payment"),
        (press + 0.2, "release", "payment"),
        (resume, "press", "payment"),
        (resume + 1.7, "release", "payment"),
    )


def _with_opt_out() -> Scene:
    talk = conversation(
        22.0,
        (False, "Before we begin: I do not want this call to be recorded."),
        (True, "That is fine. I am switching the recording off."),
    )
    press = ended(talk)
    rest = conversation(press + 2, (False, "Thank you. It is about my neighbour."))
    return _answered((*talk, *rest), NUMBER, (press, "press", "opt_out"), (press + 1.3, "release", "opt_out"))


def _outbound() -> Scene:
    talk = conversation(9.0, (True, "Hello, this is the contact team calling you back."))
    sounds = ((1.0, dial_tone(2.5)), (3.6, keyed("02079460789")), *talk)
    return Scene(ended(talk) + 15, sounds, ((0.8, "off_hook", ""), (ended(talk), "on_hook", "")))


def _unanswered() -> Scene:
    sounds = ((0.5, caller_id(NUMBER, datetime.fromisoformat(START))),)
    return Scene(25, sounds, ((2.5, "ring", ""), (11.0, "ring_stop", "")))


def _withheld() -> Scene:
    return _answered(
        conversation(
            22.0,
            (True, "Contact team, good afternoon."),
            (False, "I would rather not say who I am, but I want to report some damage."),
        ),
        None,
    )


# -------------------------------------------------------------------------------------------------- the tape


def write_tape(folder: Path, scenes: Sequence[Scene], stick: Path) -> float:
    """Returns the second at which the stick goes in."""
    placed: list[tuple[float, Sound]] = []
    lines = [f"start = {START}", "", "[[line]]", 'name = "line1"', 'audio = "line1.wav"']
    at_s = 5.0
    for scene in scenes:
        placed += [(at_s + offset, sound) for offset, sound in scene.sounds]
        for offset, do, key in scene.events:
            lines += ["", "[[event]]", f"at = {at_s + offset:.3f}", 'line = "line1"', f'do = "{do}"']
            lines += [f'key = "{key}"'] if key else []
        at_s += scene.length_s
    lines += ["", "[[event]]", f"at = {at_s:.3f}", 'do = "stick_in"', f'dir = "{stick}"']
    audio = mix(at_s, (0.0, room_noise(at_s, 1)), *placed)
    soundfile.write(folder / "line1.wav", audio, RATE_HZ, subtype="PCM_16")
    (folder / "day.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return at_s


# ------------------------------------------------------------------------------------------------ the walk


def run(*command: str) -> str:
    """One of the product's own commands, as a person would type it."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, env={**_environment()}
    )
    if done.returncode:
        raise RuntimeError(f"python -m {' '.join(command[:3])} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "TACET_PASSPHRASE": PASSPHRASE, "TACET_ESCROW_PASSPHRASE": PASSPHRASE + ", escrow"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("demo-output"))
    given = parser.parse_args(argv)
    try:
        play(given.out.resolve())
    except (SpeechError, RuntimeError) as error:
        print(f"The demonstration stopped: {error}", file=sys.stderr)
        return 1
    return 0


def play(out: Path) -> None:
    tell = Progress(7)
    shutil.rmtree(out, ignore_errors=True)
    home, stick, pack, state = (out / name for name in ("desk", "stick", "pack", "recorder"))
    for folder in (stick, pack):
        folder.mkdir(parents=True)
    tell("speaking: six calls, two voices")
    write_tape(out, day(), stick)
    tell("keys for custodian and escrow, and the provisioning stick")
    run("tools.desk", "init", "--home", str(home))
    run("tools.desk", "provision", "--home", str(home), "--stick", str(pack))
    tell("an order to export the day, signed")
    run(
        "tools.desk", "order", "export", "--home", str(home), "--stick", str(stick),
        "--from", "2026-03-02T08:00Z", "--to", "2026-03-02T18:00Z", "--not-before", "2026-03-02T00:00Z",
        "--purpose", "quality", "--basis", "legitimate-interests",
    )  # fmt: skip
    tell("the day, faster than real time, through the production loop")
    run("firmware", "simulate", str(out / "day.toml"), "--state", str(state), "--provision", str(pack))
    tell("the desk opens what the stick brought")
    now = ("--now", "2026-03-02T18:00Z")
    run("tools.desk", "import", "--home", str(home), "--stick", str(stick), *now)
    calls = json.loads(run("tools.desk", "list", "--home", str(home), "--json", *now))
    tell("sound files and pictures")
    made = [made for number, call in enumerate(calls, 1) for made in _listen(out, home, number, call, now)]
    tell("done")
    print()
    print(run("firmware", "ledger", "--state", str(state)))
    print("What was made:")
    for path, words in made:
        print(f"  {path.relative_to(out.parent)}  {words}")


def _listen(
    out: Path, home: Path, number: int, call: dict[str, object], now: tuple[str, ...]
) -> list[tuple[Path, str]]:
    wav, picture = out / f"call-{number}.wav", out / f"call-{number}.png"
    run("tools.desk", "extract", str(call["id"]), "--home", str(home), "--wav", str(wav), *now)
    samples, _ = soundfile.read(wav, dtype="int16")
    gaps = [Gap(g["start_s"], g["end_s"], g["reason"]) for g in call["gaps"]]  # type: ignore[attr-defined]
    first = int(np.flatnonzero(samples)[0]) / RATE_HZ if samples.any() else 0.0
    who = call["number"] or call["number_absence"]
    draw(
        picture,
        samples,
        RATE_HZ,
        [Gap(0.0, first, "notice"), *gaps],
        f"{call['line']}, {call['started_utc']}, from {who}",
    )
    named = ", ".join(sorted({gap.reason for gap in gaps})) or "none"
    return [(wav, f"{call['duration_s']:.0f} s from {who}; gaps: {named}"), (picture, "the same, drawn")]


if __name__ == "__main__":
    sys.exit(main())
