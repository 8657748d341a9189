"""The answer on the stick: a BagIt bag (RFC 8493) with SHA-512 manifests, written once, front to back.

The ``bagit`` library makes a bag out of a directory by moving and re-reading its files through paths; here there is
only a :class:`~firmware.ports.Stick`, each byte passes once, is hashed on the way, and nothing is ever renamed or
replaced on a FAT stick that may vanish at any moment. So the four small tag files are written here, and the tests let
``bagit`` validate every bag.

``tagmanifest-sha512.txt`` is written last: a bag without it is an export that did not finish.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from functools import partial

from firmware.evidence.courier import Courier
from firmware.ports import Stick

BAGIT_TXT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
CHUNK_BYTES = 64 * 1024


class StickLies(OSError):
    """The stick took a file without an error and gave other bytes back."""


class AnswerBag:
    def __init__(self, stick: Stick, courier: Courier, directory: str) -> None:
        self._stick = stick
        self._courier = courier
        self._directory = directory
        self._payload: list[tuple[str, str]] = []
        self._tags: list[tuple[str, str]] = []
        self._payload_bytes = 0

    @property
    def files(self) -> int:
        return len(self._payload)

    def add(self, name: str, chunks: Iterator[bytes]) -> Generator[None, None, int]:
        """Write ``data/<name>``; returns its length in bytes. Raises OSError."""
        digest, length = yield from self._write(f"data/{name}", chunks)
        self._payload.append((f"data/{name}", digest))
        self._payload_bytes += length
        return length

    def finish(self, info: Sequence[tuple[str, str]]) -> Generator[None, None, bytes]:
        """Tag files, sync, and every byte read back and compared. Returns the tag manifest's SHA-256. Raises
        OSError."""
        oxum = f"{self._payload_bytes}.{len(self._payload)}"
        labels = "".join(f"{label}: {value}\n" for label, value in (*info, ("Payload-Oxum", oxum)))
        for name, data in (
            ("bagit.txt", BAGIT_TXT),
            ("bag-info.txt", labels.encode("utf-8")),
            ("manifest-sha512.txt", _manifest(self._payload)),
        ):
            digest, _ = yield from self._write(name, iter([data]))
            self._tags.append((name, digest))
        tag_manifest = _manifest(self._tags)
        digest, _ = yield from self._write("tagmanifest-sha512.txt", iter([tag_manifest]))
        yield from self._courier.call(self._stick.sync)
        for name, expected in (*self._payload, *self._tags, ("tagmanifest-sha512.txt", digest)):
            yield from self._courier.call(partial(self._compare, name, expected))
        return hashlib.sha256(tag_manifest).digest()

    def _write(self, name: str, chunks: Iterator[bytes]) -> Generator[None, None, tuple[str, int]]:
        digest = hashlib.sha512()
        length = 0

        def passing() -> Iterator[bytes]:
            nonlocal length
            for chunk in chunks:
                digest.update(chunk)
                length += len(chunk)
                yield chunk

        yield from self._courier.send(partial(self._stick.write, f"{self._directory}/{name}"), passing())
        return digest.hexdigest(), length

    def _compare(self, name: str, expected: str) -> None:
        digest = hashlib.sha512()
        for chunk in self._stick.reread(f"{self._directory}/{name}"):
            digest.update(chunk)
        if digest.hexdigest() != expected:
            raise StickLies(f"{name} reads back differently")


def _manifest(entries: Sequence[tuple[str, str]]) -> bytes:
    """Names are made by the device: ASCII without the characters that RFC 8493 2.1.3 wants escaped."""
    return "".join(f"{digest}  {name}\n" for name, digest in entries).encode("ascii")
