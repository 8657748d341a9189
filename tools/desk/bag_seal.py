"""How a bag travels: as a directory, as a ZIP under a passphrase (AES-256, opens in 7-Zip), or to an age recipient."""

import io
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyrage
import pyzipper

from tools.desk.errors import MediumFailed, Refused
from tools.desk.files import PRIVATE_FILE, make_directory

ZIP_PASSPHRASE_CHARACTERS_MIN = 12
DEFLATE_LEVEL = 1
"""Sealed frames do not shrink; the WAV does, already at the fastest level."""
STORED = (".tcf", ".flac", ".key")


@dataclass(frozen=True, repr=False)
class Sealing:
    """Exactly one of the two for a file; neither for a directory."""

    passphrase: str | None = None
    age_recipient: str | None = None


def check_sealing(out: Path, sealing: Sealing) -> None:
    """Raises Refused: before anything is logged or written."""
    kind = out.suffix.lower()
    if kind == ".zip":
        if sealing.passphrase is None or sealing.age_recipient is not None:
            raise Refused("A ZIP needs a passphrase, and only that (--zip-passphrase-file); nothing left the house.")
        if len(sealing.passphrase) < ZIP_PASSPHRASE_CHARACTERS_MIN:
            raise Refused(
                f"The ZIP's passphrase must have at least {ZIP_PASSPHRASE_CHARACTERS_MIN} characters; nothing left "
                "the house."
            )
    elif kind == ".age":
        if sealing.age_recipient is None or sealing.passphrase is not None:
            raise Refused("A .age file needs an age recipient, and only that (--age); nothing left the house.")
        _recipient(sealing.age_recipient)
    elif sealing.passphrase is not None or sealing.age_recipient is not None:
        raise Refused("What is sealed is a file: let --out end in .zip or .age; nothing left the house.")


def seal(directory: Path, out: Path, sealing: Sealing) -> None:
    """Puts the finished bag to ``out``: whole or not at all. Raises MediumFailed, Refused."""
    check_sealing(out, sealing)
    part = out.with_name(out.name + ".part")
    make_directory(out.parent)
    try:
        if sealing.passphrase is not None:
            _zip(directory, part, sealing.passphrase)
        elif sealing.age_recipient is not None:
            _age(directory, part, sealing.age_recipient)
        else:
            shutil.copytree(directory, part)
        os.replace(part, out)
    except OSError as error:
        raise MediumFailed(f"{out} could not be written: {error.strerror}; take nothing from it.") from None
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _members(directory: Path) -> list[tuple[Path, str]]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return [(path, path.relative_to(directory.parent).as_posix()) for path in paths]


def _zip(directory: Path, part: Path, passphrase: str) -> None:
    """WinZip AES-256 (AE-2): names of members stay readable, so no number is ever in one."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    with (
        os.fdopen(descriptor, "w+b") as file,
        pyzipper.AESZipFile(
            file, "w", zipfile.ZIP_DEFLATED, compresslevel=DEFLATE_LEVEL, encryption=pyzipper.WZ_AES
        ) as archive,
    ):
        archive.setpassword(passphrase.encode("utf-8"))
        archive.setencryption(pyzipper.WZ_AES, nbits=256)
        for path, name in _members(directory):
            archive.write(path, name, zipfile.ZIP_STORED if path.suffix in STORED else zipfile.ZIP_DEFLATED)
        archive.close()
        file.flush()
        os.fsync(file.fileno())


def _age(directory: Path, part: Path, recipient: str) -> None:
    """age (https://age-encryption.org/v1) around a ZIP: open with `age -d -i KEY FILE.age > bag.zip`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=DEFLATE_LEVEL) as archive:
        for path, name in _members(directory):
            archive.write(path, name)
    sealed = pyrage.encrypt(buffer.getvalue(), [_recipient(recipient)])
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(sealed)
        file.flush()
        os.fsync(file.fileno())


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise Refused("That is no age recipient (it begins with age1); nothing left the house.") from None
