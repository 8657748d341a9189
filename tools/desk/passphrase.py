"""Where a passphrase comes from: an option's file, an environment variable, or the keyboard. Never an argument: the
process list is public."""

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.desk.errors import WrongPassphrase
from tools.desk.files import read_file

FILE_BYTES_MAX = 4096
PASSPHRASE_VARIABLE = "TACET_PASSPHRASE"
ESCROW_VARIABLE = "TACET_ESCROW_PASSPHRASE"
SUPERVISOR_VARIABLE = "TACET_SUPERVISOR_PASSPHRASE"

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O or U, so that it can be read aloud and copied by hand."""


def given(file: Path | None, variable: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """From the file, else the variable, else None. Raises NotFound, WrongPassphrase."""
    if file is not None:
        return _decoded(read_file(file, FILE_BYTES_MAX))
    return environment.get(variable) or None


def ask(file: Path | None, variable: str, whose: str, *, twice: bool = False) -> str:
    """As :func:`given`, else from the keyboard. Raises WrongPassphrase where there is no keyboard."""
    found = given(file, variable)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise WrongPassphrase(
            f"The passphrase of the {whose} key is needed: use a terminal, --passphrase-file or {variable}."
        )
    typed = getpass.getpass(f"Passphrase of the {whose} key: ")
    if twice and getpass.getpass("The same again: ") != typed:
        raise WrongPassphrase("The two passphrases differ; nothing was changed.")
    return typed


def generate(random_bytes: bytes) -> str:
    """A passphrase to be written on paper: 5 bits a character, in groups of five."""
    letters = "".join(_ALPHABET[byte & 31] for byte in random_bytes)
    return "-".join(letters[at : at + 5] for at in range(0, len(letters), 5))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise WrongPassphrase("The passphrase file is not UTF-8 text.") from None
