"""A tape: everything that happens to a simulated appliance, read from TOML and checked before anything is played.

start = 2026-03-02T09:00:00Z
[[line]]   name, audio (mono WAV, 8/16/48 kHz; its first sample is at 0.0 s)
[[event]]  at (seconds from the start), do, and what that needs: line, key, dir, for, to, times, every
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from re import fullmatch
from typing import Any, TypeGuard

from firmware.units import MS_PER_S, US_PER_S

EVENTS_MAX = 100_000
TAPE_BYTES_MAX = 32 << 20
"""More than EVENTS_MAX events need."""
HOURS_MAX = 24 * 90
SPAN_S_MAX = 86_400
TIMES_MAX = 1000
YEARS = range(2000, 2100)
"""What a tape's clocks may show: the calendar rules are for these."""

LINE_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
LINES_MAX = 32
"""As the settings of a site have it."""
SHOWN_CHARACTERS_MAX = 40

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
    document = _document(path)
    unknown = sorted(set(document) - {"start", "line", "event"})
    if unknown:
        raise TapeError(f"The tape has an unknown entry {as_written(unknown[0])}; known are start, line and event.")
    start_utc_ms = _moment(document.get("start"), "The tape's start")
    lines = tuple(_line(entry, path.parent) for entry in _tables(document.get("line", []), "line", LINES_MAX))
    if not lines:
        raise TapeError("The tape has no [[line]].")
    names = [line.name for line in lines]
    if len(set(names)) != len(names):
        raise TapeError("Two lines of the tape have one name; each needs its own.")
    entries = _tables(document.get("event", []), "event", EVENTS_MAX)
    events = [_event(entry, i + 1, _Around(names, path.parent)) for i, entry in enumerate(entries)]
    return Tape(start_utc_ms, lines, tuple(sorted(events, key=lambda event: event.at_us)))


def as_written(text: str) -> str:
    """Somebody's word in a sentence of ours: in quotes, on one line, and not all of it where it is long."""
    return repr(text[:SHOWN_CHARACTERS_MAX])


def _document(path: Path) -> dict[str, Any]:
    name = as_written(path.name)
    try:
        with path.open("rb") as file:
            data = file.read(TAPE_BYTES_MAX + 1)
    except OSError as error:
        raise TapeError(f"The tape {name} cannot be read: {error.strerror}.") from None
    if len(data) > TAPE_BYTES_MAX:
        raise TapeError(f"The tape {name} is longer than {TAPE_BYTES_MAX >> 20} MiB.")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise TapeError(f"The tape {name} is not TOML: it is not text in UTF-8.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists
        raise TapeError(f"The tape {name} is not TOML: {error}.") from None


def _tables(given: Any, what: str, most: int) -> list[dict[str, Any]]:
    if not isinstance(given, list) or any(not isinstance(entry, dict) for entry in given):
        raise TapeError(f"In a tape, {what} must be written as [[{what}]].")
    if len(given) > most:
        raise TapeError(f"The tape has more than {most} entries of [[{what}]].")
    return given


def _line(entry: Mapping[str, Any], folder: Path) -> TapeLine:
    name, audio = entry.get("name"), entry.get("audio")
    if set(entry) - {"name", "audio"}:
        raise TapeError("A [[line]] has a name and, if it has sound, audio; nothing else.")
    if not isinstance(name, str) or not fullmatch(LINE_NAME, name):
        raise TapeError("A [[line]] needs a name of 1 to 32 small letters, digits, - and _.")
    return TapeLine(name, None if audio is None else _path(audio, f"The audio of line {name}", folder))


def _event(entry: dict[str, Any], number: int, around: "_Around") -> TapeEvent:
    at, do = entry.get("at"), entry.get("do")
    if not _is_number(at) or not 0 <= at <= HOURS_MAX * 3600:
        raise TapeError(f"Event {number} needs `at`, in seconds from 0 to {HOURS_MAX * 3600}.")
    if not isinstance(do, str) or do not in NEEDS:
        what = f"does {as_written(do)}, which" if isinstance(do, str) else "needs `do`, which"
        raise TapeError(f"Event {number} {what} must be one of: {', '.join(NEEDS)}.")
    given = {key: value for key, value in entry.items() if key not in ("at", "do")}
    missing = [key for key in NEEDS[do] if key not in given]
    if missing:
        raise TapeError(f"Event {number} ({do}) needs `{missing[0]}`.")
    unknown = sorted(set(given) - set(NEEDS[do]) - set(MAY.get(do, ())))
    if unknown:
        raise TapeError(f"Event {number} ({do}) has an unknown entry {as_written(unknown[0])}.")
    values = {key: READERS[key](value, f"Event {number} ({do}): `{key}`", around) for key, value in given.items()}
    return TapeEvent(round(at * US_PER_S), do, values)


# -------------------------------------------------------------------------------------------- one value of an event


@dataclass(frozen=True)
class _Around:
    """What the values of an event may name."""

    lines: list[str]
    folder: Path


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _moment(value: Any, what: str) -> int:
    if not isinstance(value, datetime) or value.year not in YEARS:
        years = f"from {YEARS[0]} to {YEARS[-1]}"
        raise TapeError(f"{what} must be a date and time {years}, such as 2026-03-02T09:00:00Z.")
    moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round(moment.timestamp() * MS_PER_S)


def _path(value: Any, what: str, folder: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise TapeError(f"{what} must be a path.")
    return folder / value


def _a_line(value: Any, what: str, around: _Around) -> str:
    if not isinstance(value, str) or value not in around.lines:
        raise TapeError(f"{what} must be a line that the tape has: {', '.join(around.lines)}.")
    return value


def _a_key(value: Any, what: str, around: _Around) -> str:
    if not isinstance(value, str) or value not in KEYS:
        raise TapeError(f"{what} must be one of: {', '.join(KEYS)}.")
    return value


def _a_directory(value: Any, what: str, around: _Around) -> Path:
    path = _path(value, what, around.folder)
    try:
        there = path.is_dir()
    except OSError:  # a name too long, a directory that may not be looked into
        there = False
    if not there:
        raise TapeError(f"{what} must be a stick's directory; {as_written(value)} is none.")
    return path


def _a_moment(value: Any, what: str, around: _Around) -> int:
    return _moment(value, what)


def _a_count(value: Any, what: str, around: _Around) -> int:
    if type(value) is not int or not 1 <= value <= TIMES_MAX:
        raise TapeError(f"{what} must be a whole number from 1 to {TIMES_MAX}.")
    return value


def _a_span(value: Any, what: str, around: _Around) -> float:
    if not _is_number(value) or not 1 / US_PER_S <= value <= SPAN_S_MAX:
        raise TapeError(f"{what} must be seconds, more than 0 and at most {SPAN_S_MAX}.")
    return float(value)


READERS: dict[str, Callable[[Any, str, _Around], Any]] = {
    "line": _a_line,
    "key": _a_key,
    "dir": _a_directory,
    "for": _a_span,
    "to": _a_moment,
    "times": _a_count,
    "every": _a_span,
}
