"""A tape: everything that happens to a simulated appliance, read from TOML and checked before anything is played.

start = 2026-03-02T09:00:00Z
[[line]]   name, audio (mono WAV, 8/16/48 kHz; its first sample is at 0.0 s)
[[event]]  at (seconds from the start), do, and what that needs: line, key, dir, for, to, times, every
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

EVENTS_MAX = 100_000
HOURS_MAX = 24 * 90

KEYS = ("payment", "opt_out", "keep")

NEEDS: dict[str, tuple[str, ...]] = {
    "ring": ("line",),
    "ring_stop": ("line",),
    "off_hook": ("line",),
    "on_hook": ("line",),
    "hook_flash": ("line",),
    "reversal": ("line",),
    "press": ("line", "key"),
    "release": ("line", "key"),
    "bounce": ("line", "key", "times", "every"),
    "stick_in": ("dir",),
    "stick_out": (),
    "power_cut": (),
    "power_on": (),
    "codec_out": (),
    "codec_in": (),
    "codec_freeze": (),
    "card_stall": ("for",),
    "card_full": (),
    "clock_set": ("to",),
    "erasable_fail": (),
}
"""Every event and what it must name. ``codec_*`` may name a line: then it is that line's codec."""

MAY: dict[str, tuple[str, ...]] = {
    "hook_flash": ("for",),
    "codec_out": ("line",),
    "codec_in": ("line",),
    "codec_freeze": ("line",),
    "card_full": ("for",),
    "erasable_fail": ("for",),
}


class TapeError(ValueError):
    """One sentence: which entry of the tape cannot be played, and why."""


@dataclass(frozen=True)
class TapeLine:
    name: str
    audio: Path | None


@dataclass(frozen=True)
class TapeEvent:
    at_us: int
    do: str
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Tape:
    start_utc_ms: int
    lines: tuple[TapeLine, ...]
    events: tuple[TapeEvent, ...]


def read_tape(path: Path) -> Tape:
    """Raises TapeError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TapeError(f"The tape {path.name} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise TapeError(f"The tape {path.name} is not TOML: {error}.") from None
    unknown = sorted(set(document) - {"start", "line", "event"})
    if unknown:
        raise TapeError(f"The tape has an unknown entry {unknown[0]!r}; known are start, line and event.")
    lines = tuple(_line(entry, path.parent) for entry in _tables(document.get("line", []), "line"))
    if not lines:
        raise TapeError("The tape has no [[line]].")
    names = {line.name for line in lines}
    events = [
        _event(entry, i + 1, names, path.parent) for i, entry in enumerate(_tables(document.get("event", []), "event"))
    ]
    return Tape(_start(document.get("start")), lines, tuple(sorted(events, key=lambda event: event.at_us)))


def _tables(given: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(given, list) or any(not isinstance(entry, dict) for entry in given):
        raise TapeError(f"{what} must be written as [[{what}]].")
    if len(given) > EVENTS_MAX:
        raise TapeError(f"The tape has more than {EVENTS_MAX} entries of [[{what}]].")
    return given


def _start(given: Any) -> int:
    if not isinstance(given, datetime):
        raise TapeError("The tape's start must be a date and time, such as 2026-03-02T09:00:00Z.")
    moment = given if given.tzinfo is not None else given.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def _line(entry: Mapping[str, Any], folder: Path) -> TapeLine:
    unknown = sorted(set(entry) - {"name", "audio"})
    if unknown or not isinstance(entry.get("name"), str):
        raise TapeError("A [[line]] has a name and, if it has sound, audio; nothing else.")
    audio = entry.get("audio")
    if audio is not None and not isinstance(audio, str):
        raise TapeError(f"The audio of line {entry['name']} must be the path of a WAV file.")
    return TapeLine(entry["name"], folder / audio if audio else None)


def _event(entry: dict[str, Any], number: int, lines: set[str], folder: Path) -> TapeEvent:
    at, do = entry.get("at"), entry.get("do")
    if not isinstance(at, (int, float)) or isinstance(at, bool) or not 0 <= at <= HOURS_MAX * 3600:
        raise TapeError(f"Event {number} needs `at`, in seconds from 0 to {HOURS_MAX * 3600}.")
    if do not in NEEDS:
        raise TapeError(f"Event {number} does {do!r}, which is not one of: {', '.join(NEEDS)}.")
    given = {key: value for key, value in entry.items() if key not in ("at", "do")}
    missing = [key for key in NEEDS[do] if key not in given]
    if missing:
        raise TapeError(f"Event {number} ({do}) needs `{missing[0]}`.")
    unknown = sorted(set(given) - set(NEEDS[do]) - set(MAY.get(do, ())))
    if unknown:
        raise TapeError(f"Event {number} ({do}) has an unknown entry `{unknown[0]}`.")
    return TapeEvent(
        round(at * 1_000_000), do, {key: _value(key, value, number, lines, folder) for key, value in given.items()}
    )


def _value(key: str, value: Any, number: int, lines: set[str], folder: Path) -> Any:
    if key == "line" and value not in lines:
        raise TapeError(f"Event {number} names a line that the tape does not have.")
    if key == "key" and value not in KEYS:
        raise TapeError(f"Event {number} names a key that is not one of: {', '.join(KEYS)}.")
    if key == "dir":
        if not isinstance(value, str):
            raise TapeError(f"Event {number}: `dir` must be a path.")
        return folder / value
    if key == "to":
        return _start(value)
    if key == "times" and (type(value) is not int or not 1 <= value <= 1000):
        raise TapeError(f"Event {number}: `times` must be a whole number from 1 to 1000.")
    if key in ("for", "every") and (not isinstance(value, (int, float)) or not 0 < value <= 86_400):
        raise TapeError(f"Event {number}: `{key}` must be seconds, more than 0 and at most 86400.")
    return value
