"""One process at a time changes a home: the command line and the web page share it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.desk.errors import MediumFailed
from tools.desk.files import PRIVATE_FILE

WAIT_S_MAX = 30.0

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file until the block ends (the kernel lets go of it also when the process dies)."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    except OSError as error:
        raise MediumFailed(f"{path} could not be opened: {error.strerror}.") from None
    try:
        deadline = time.monotonic() + WAIT_S_MAX
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise MediumFailed("Another program has been using this home for 30 s; close it and try again.")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
