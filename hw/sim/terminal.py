"""A terminal as the panel of a simulated appliance: single keys without Enter, one picture redrawn in place."""

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any


class Terminal:
    """A context manager, so that the terminal is always given back as it was. Without a terminal it shows and reads
    nothing."""

    def __init__(self) -> None:
        self._saved: list[Any] | None = None
        self._rows = 0
        self._ended = False

    def __enter__(self) -> "Terminal":
        if sys.stdin.isatty():
            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)
        if self._rows:
            print()

    def read_key(self) -> str | None:
        """The key that was pressed since the last call, if any; never waits. Keys may also come through a pipe."""
        if self._ended or not select.select([sys.stdin], [], [], 0)[0]:
            return None
        key = os.read(sys.stdin.fileno(), 1).decode("ascii", "replace")
        self._ended = not key
        return key or None

    def show(self, text: str) -> None:
        if not sys.stdout.isatty():
            return
        up = f"\x1b[{self._rows - 1}F" if self._rows > 1 else "\r"
        body = "\n".join(row + "\x1b[K" for row in text.split("\n"))
        sys.stdout.write((up if self._rows else "") + body)
        sys.stdout.flush()
        self._rows = text.count("\n") + 1
