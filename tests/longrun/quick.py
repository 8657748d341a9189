"""Pure functions of the store, remembered: the explorer asks them the same questions in every crash image.

Only functions from bytes to immutable values are wrapped, so that nothing is judged differently; exceptions are not
remembered.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from firmware.store import auditlog, core

REMEMBERED = (
    (auditlog, "parse_line"),
    (core, "decode_open"),
    (core, "decode_close"),
    (core, "decode_hold"),
    (core, "decode_intent"),
)


@contextmanager
def remembering() -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name in REMEMBERED]
    for module, name, function in before:
        setattr(module, name, lru_cache(maxsize=1 << 14)(function))
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)
