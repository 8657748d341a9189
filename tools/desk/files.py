"""Files of the home and of a stick on the PC: private, whole or absent, never through a link."""

import os
from pathlib import Path

from tools.desk.errors import AlreadyThere, MediumFailed, NotFound

PRIVATE_FILE = 0o600
PRIVATE_DIRECTORY = 0o700


def make_directory(path: Path) -> Path:
    """The directory and its parents, for the owner alone. Raises MediumFailed."""
    try:
        path.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
    except OSError as error:
        raise MediumFailed(f"The directory {path} could not be made: {error.strerror}.") from None
    return path


def write_file(path: Path, data: bytes, *, replace: bool = False) -> None:
    """All of the file or nothing of it: written beside its name, synced, renamed. Raises AlreadyThere, MediumFailed."""
    if not replace and path.exists():
        raise AlreadyThere(f"{path} exists already and was left as it is.")
    part = path.with_name(path.name + ".part")
    make_directory(path.parent)
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), PRIVATE_FILE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise MediumFailed(f"{path} could not be written: {error.strerror}; it is as it was before.") from None


def read_file(path: Path, limit: int) -> bytes:
    """A regular file of at most ``limit`` bytes. Raises NotFound, MediumFailed."""
    data = read_if_there(path, limit)
    if data is None:
        raise NotFound(f"There is no file {path}.")
    return data


def read_if_there(path: Path, limit: int) -> bytes | None:
    """None when there is none. Raises MediumFailed also for a link, a device or an over-long file."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise MediumFailed(f"{path} could not be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        if not path.is_file():
            raise MediumFailed(f"{path} is no ordinary file and was not read.")
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise MediumFailed(f"{path} could not be read: {error.strerror}.") from None
    if len(data) > limit:
        raise MediumFailed(f"{path} is longer than the {limit} bytes that such a file may have; it was not read.")
    return data
