"""Two months hold at the desk too: what was imported dies at the call's limit unless it is held or was disclosed.

Copies of sealed frames, the row in the index, WAV and FLAC files made inside the home: all of them. Files are
overwritten once before they are removed; on flash that is not proof of anything, and the statement says so.
"""

import os
import re
import shutil
from pathlib import Path

from firmware.units import MS_PER_DAY
from tools.desk.errors import MediumFailed
from tools.desk.home import Home
from tools.desk.library import CallRow, Library

AUDIO_DIRECTORY = "audio"
OVERWRITE_BYTES = 1024 * 1024
UNKNOWN_ANSWER_MS_MAX = 62 * MS_PER_DAY
"""Two calendar months have at most 62 days."""

_CALL_FILE = re.compile(r"[0-9]{1,6}\.(tcf|key)")


def purge(home: Home, library: Library, now_utc_ms: int) -> list[str]:
    """Destroys what is due; returns the call ids. Raises MediumFailed with the rest left for the next time."""
    due = library.due(now_utc_ms)
    for row in due:
        destroy_copies(home, row)
        library.delete(row.call_id)
    if due:
        home.log.append("PURGE", now_utc_ms, {"calls": len(due)})
    sweep(home, library, now_utc_ms)
    return [row.call_id for row in due]


def sweep(home: Home, library: Library, now_utc_ms: int) -> None:
    """Copies that no row of the library stands for: a call that came twice, one that was not to be kept, the rest of an
    import that was broken off. Without a row nobody would destroy them at their limit.

    An answer that the library does not know at all (its index was lost) is left until it must be past any limit."""
    known, kept = library.answers(), library.copies()
    for directory in sorted((home.path / "bags").glob("*/*")):
        device, bag = directory.parent.name, directory.name
        age_ms = now_utc_ms - int(directory.stat().st_mtime * 1000)
        unfinished = bag.endswith(".part")
        if unfinished or (bag not in known and age_ms > UNKNOWN_ANSWER_MS_MAX):
            for path in sorted(directory.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    destroy_file(path)
            shutil.rmtree(directory, ignore_errors=True)
        elif bag in known:
            for path in sorted((directory / "data").glob("*")):
                if _CALL_FILE.fullmatch(path.name) and (device, bag, int(path.stem)) not in kept:
                    destroy_file(path)


def erase(home: Home, library: Library, row: CallRow, now_utc_ms: int, why: str) -> None:
    """An ERASE or an opt-out on the recorder reaches the copies here, whatever their limit."""
    destroy_copies(home, row)
    library.delete(row.call_id)
    home.log.append("ERASED", now_utc_ms, {"call": row.call_id, "why": why})


def destroy_copies(home: Home, row: CallRow) -> None:
    for path in audio_files(home, row):
        destroy_file(path)


def audio_files(home: Home, row: CallRow) -> list[Path]:
    found = sorted((home.path / AUDIO_DIRECTORY).glob(f"{row.call_id}*"))
    if row.bag is not None and row.file_number is not None:
        data = bag_directory(home, row.device, row.bag) / "data"
        found += [data / f"{row.file_number}.tcf", data / f"{row.file_number}.key"]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def bag_directory(home: Home, device: str, bag: str) -> Path:
    return home.path / "bags" / device / bag


def destroy_file(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0:
                left -= file.write(bytes(min(left, OVERWRITE_BYTES)))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except OSError as error:
        raise MediumFailed(f"{path} is due for destruction and could not be removed: {error.strerror}.") from None


def purged(calls: int) -> str:
    """What ``purge`` did, for people."""
    what = "1 call had reached its limit" if calls == 1 else f"{calls} calls had reached their limit"
    copies = "its copies" if calls == 1 else "their copies"
    return f"{what}; {copies} here were destroyed."
