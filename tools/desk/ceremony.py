"""The key ceremony: making the keys of a home, the recovery sheet, the drill."""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from firmware.store.keys import key_id_of
from tools.desk import keys as key_files
from tools.desk.errors import AlreadyThere, Damaged, DeskError, WrongPassphrase
from tools.desk.files import write_file
from tools.desk.home import Home
from tools.desk.keys import Person, Unlocked

DRILL_INFO = b"tacet/drill/1"
DRILL_TEXT = b"This text stands for the key of a recording."


def make_keys(path: Path, role: str, passphrases: dict[str, str]) -> Home:
    """``passphrases``: one for each key file to make in this home. All are checked before anything is written."""
    for passphrase in passphrases.values():
        key_files.check_passphrase(passphrase)
    if len(set(passphrases.values())) != len(passphrases):
        raise WrongPassphrase("Each key needs a passphrase of its own; nothing was changed.")
    for name in passphrases:
        if (path / f"{name}.key").exists():
            raise AlreadyThere(f"{path / f'{name}.key'} exists already; nothing was changed.")
    home = Home.create(path, role)
    for name, passphrase in passphrases.items():
        made = key_files.create(name)
        key_files.write_key_file(home.key_file(name), made, passphrase, os.urandom)
        write_file(path / f"{name}.pub", key_files.public_file(made.person))
    write_file(path / "RECOVERY-SHEET.txt", recovery_sheet(home).encode("utf-8"))
    return home


def invite(home: Home, public_file: Path) -> Person:
    """Enrol a person whose keys live in another home, from their ``.pub`` file."""
    person = key_files.read_person(public_file)
    identity = key_id_of(person.request_public).hex()
    write_file(home.path / "people" / f"{identity}.pub", key_files.public_file(person), replace=True)
    return person


def drill(unlocked: Unlocked) -> None:
    """Proves that the key opens what recorders seal: a text is sealed to its public half and opened again. Raises
    Damaged."""
    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    public = X25519PublicKey.from_public_bytes(unlocked.person.seal_public)
    sealed = suite.encrypt(DRILL_TEXT, public, DRILL_INFO)
    try:
        opened = suite.decrypt(sealed, unlocked.seal, DRILL_INFO)
    except InvalidTag:
        opened = b""
    if opened != DRILL_TEXT:
        raise Damaged(f"The {unlocked.person.role} key does not open what is sealed to it.")


def recovery_sheet(home: Home) -> str:
    """To be printed. It holds no secret: the passphrases are written onto the paper by hand."""
    persons = home.persons()
    if not persons:
        raise DeskError("There is no key in this home.")
    parts = [_SHEET_HEAD]
    for person in persons:
        parts.append(
            f"""
{person.role.upper()}
  key file            {home.key_file(person.role).name}  (copy it onto the medium that is kept with this sheet)
  opens recordings    {_grouped(key_id_of(person.seal_public))}   public key {person.seal_public.hex()}
  signs orders        {_grouped(key_id_of(person.request_public))}   public key {person.request_public.hex()}
  held by             ______________________________________   since  ____________________
  passphrase          ______________________________________________________________________
"""
        )
    parts.append(_SHEET_TAIL)
    return "".join(parts)


def _grouped(data: bytes) -> str:
    text = data.hex()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


_SHEET_HEAD = """TACET - KEY RECOVERY SHEET

Recordings are sealed to the keys below. Without one of these key files AND its passphrase no recording can be
opened by anybody, us included. Print this sheet, write the passphrases by hand, put each key file on its own medium,
and keep the escrow's sheet and medium in a sealed envelope in another building than the custodian's.
"""

_SHEET_TAIL = """
If the custodian's key is lost: the escrow's key opens every recording that still exists. Have the escrow and a second
enrolled person sign a key change (`order keys`), which enrols a new custodian.
If a key file was copied by somebody: change the keys at once, and change the passphrase of what remains.
Once a year: `python -m tools.desk drill` with each key. Date and signature:

  ____________________   ____________________   ____________________   ____________________
"""
