"""Site settings and notice audio: in clear, twice, pinned by hash in the key table (FORMAT.md 11)."""

from firmware.store import rotate
from firmware.store.core import Core
from firmware.store.errors import Refused
from firmware.store.layout import BLOCK_BYTES, blocks_of, digest
from firmware.store.table import DOCUMENTS_MAX, Document

STEM = "documents"
DOCUMENT_BYTES_MAX = 4 * 1024 * 1024


def get(core: Core, name: str) -> bytes | None:
    """From whichever copy has the pinned hash; None where there is no such document or both copies are damaged.

    What was read or put once is kept in memory: the loop asks for a changed document while the writer owns the card.
    """
    document = core.table.documents.get(name)
    if document is None:
        return None
    known = core.documents.get(name)
    if known is not None and digest(known) == document.sha256:
        return known
    for data in core.card.read_mirrors(STEM, document.first_block * BLOCK_BYTES, document.length):
        if digest(data) == document.sha256:
            core.documents[name] = data
            return data
    return None


def put(core: Core, name: str, data: bytes) -> None:
    """Write to free blocks, then one ROTATE points there. Raises Refused (``document_too_long``,
    ``documents_full``), CardFailed, ErasureUnconfirmed."""
    core.ready()
    if len(data) > DOCUMENT_BYTES_MAX:
        raise Refused("document_too_long")
    first = _free_run(core, blocks_of(len(data)))
    if first is None or (name not in core.table.documents and len(core.table.documents) >= DOCUMENTS_MAX):
        raise Refused("documents_full")
    core.card.mirrored(STEM, first * BLOCK_BYTES, data)
    change = rotate.begin(core)
    change.table.documents[name] = Document(name, first, len(data), digest(data))
    rotate.commit(core, change)
    core.documents[name] = data


def _free_run(core: Core, blocks: int) -> int | None:
    """First fit beside all documents in force, the one to be replaced included."""
    at = 0
    for document in sorted(core.table.documents.values(), key=lambda document: document.first_block):
        if at + blocks <= document.first_block:
            return at
        at = document.first_block + blocks_of(document.length)
    return at if at + blocks <= core.identity.geometry.document_blocks else None
