"""An unlocked home: the person's keys, the library, and the rule that retention runs before anything else.

``with Desk.open(home, person, now) as desk:`` loads the sealed index under the home's lock, destroys what is due, and
saves what changed at the end. The command line and the web page both work through it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tools.desk import retention
from tools.desk.errors import Damaged
from tools.desk.files import read_if_there, write_file
from tools.desk.home import Home
from tools.desk.keys import Unlocked
from tools.desk.library import Library
from tools.desk.locking import locked

INDEX_FILE = "index.sealed"
INDEX_MAGIC = b"TCIX\x00\x01"
INDEX_BYTES_MAX = 2 * 1024**3
NONCE_BYTES = 12


class Desk:
    def __init__(self, home: Home, person: Unlocked, library: Library, now_utc_ms: int) -> None:
        self.home = home
        self.person = person
        self.library = library
        self.now_utc_ms = now_utc_ms
        self.destroyed: list[str] = []
        """Calls that retention destroyed when this desk was opened."""

    @classmethod
    @contextmanager
    def open(cls, home: Home, person: Unlocked, now_utc_ms: int) -> Iterator["Desk"]:
        with locked(home.path / "home.lock"):
            library = load(home, person)
            try:
                desk = cls(home, person, library, now_utc_ms)
                desk.destroyed = retention.purge(home, library, now_utc_ms)
                save(home, person, library)
                yield desk
            finally:
                save(home, person, library)
                library.close()


def load(home: Home, person: Unlocked) -> Library:
    """Raises Damaged: the index can be built again by importing the sticks, the calls themselves are untouched."""
    data = read_if_there(home.path / INDEX_FILE, INDEX_BYTES_MAX)
    if data is None:
        return Library()
    start = len(INDEX_MAGIC)
    nonce, box = data[start : start + NONCE_BYTES], data[start + NONCE_BYTES :]
    try:
        if data[:start] != INDEX_MAGIC:
            raise InvalidTag
        return Library(ChaCha20Poly1305(person.derive(b"index")).decrypt(nonce, box, INDEX_MAGIC))
    except (InvalidTag, ValueError):
        raise Damaged(
            f"The search index {home.path / INDEX_FILE} does not open: it is damaged or of another key; the imported "
            "calls are safe. Move the file away and import the sticks again."
        ) from None


def save(home: Home, person: Unlocked, library: Library) -> None:
    if not library.changed:
        return
    nonce = os.urandom(NONCE_BYTES)
    box = ChaCha20Poly1305(person.derive(b"index")).encrypt(nonce, library.image(), INDEX_MAGIC)
    write_file(home.path / INDEX_FILE, INDEX_MAGIC + nonce + box, replace=True)
    library.changed = False
