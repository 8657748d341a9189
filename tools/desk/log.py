"""The desk's own log: who listened, exported, ordered, imported. Each line carries the hash of the line before.

``seq|utc|event|k=v;…|prev`` and a newline, prev = SHA-256 of the previous line. Values are words, hex and integers;
no number, no name, no key. Removing or changing a line breaks every line after it; ``last`` in the home's answers lets
a paper copy pin the end.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from firmware.evidence.fields import utc_text
from tools.desk.errors import Damaged, MediumFailed
from tools.desk.files import PRIVATE_FILE
from tools.desk.locking import locked

_WORD = re.compile(r"[A-Za-z0-9_.:-]{0,200}")
_FIRST = "0" * 64


class DeskLog:
    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: str, now_utc_ms: int, fields: Mapping[str, str | int]) -> None:
        """Durable when it returns. Raises MediumFailed, Damaged (an earlier line was changed: nothing is added)."""
        body = ";".join(f"{name}={value}" for name, value in fields.items())
        assert all(_WORD.fullmatch(str(value)) for value in fields.values()), "free text has no place in the log"
        with locked(self._path.with_suffix(".lock")):
            seq, previous = self._end()
            line = f"{seq}|{utc_text(now_utc_ms)}|{event}|{body}|{previous}\n".encode("ascii")
            try:
                descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
                with os.fdopen(descriptor, "ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise MediumFailed(f"The desk's log could not be written: {error.strerror}.") from None

    def lines(self) -> Iterator[list[str]]:
        """[seq, utc, event, fields, prev] of each line, the chain checked on the way. Raises Damaged."""
        previous = _FIRST
        for count, line in enumerate(self._raw(), 1):
            parts = line.rstrip(b"\n").decode("ascii", "replace").split("|")
            if len(parts) != 5 or parts[0] != str(count) or parts[4] != previous or not line.endswith(b"\n"):
                raise Damaged(f"The desk's log {self._path} is broken at line {count}: it was changed or cut.")
            previous = hashlib.sha256(line.rstrip(b"\n")).hexdigest()
            yield parts

    def _raw(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise MediumFailed(f"The desk's log could not be read: {error.strerror}.") from None

    def _end(self) -> tuple[int, str]:
        raw = self._raw()
        if not raw:
            return 1, _FIRST
        for _ in self.lines():
            pass
        return len(raw) + 1, hashlib.sha256(raw[-1].rstrip(b"\n")).hexdigest()
