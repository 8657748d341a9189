"""Pure functions of the store, remembered: the explorer asks them the same questions in every crash image.

Only functions of bytes and keys are wrapped, so that nothing is judged differently; what they return cannot be changed,
or is copied each time. Exceptions are not remembered. How many answers are kept follows from how large they are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, TypeVar

from firmware.policy import retention
from firmware.store import auditlog, core, recover, table
from firmware.store.bag import Opener
from firmware.store.core import Core, VaultParts
from firmware.store.identity import Identity
from firmware.store.recover import InForce
from firmware.store.table import Table
from tests.longrun.ideal import Dice
from tests.longrun.memo import WatchedMemory

Function = Callable[..., Any]
T = TypeVar("T")


@contextmanager
def remembering() -> Iterator[None]:
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in REMEMBERED]
    for owner, name, remember in REMEMBERED:
        setattr(owner, name, remember(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _small(function: Function) -> Function:
    return lru_cache(maxsize=1 << 14)(function)


def _large(function: Function) -> Function:
    """Tens of kilobytes each."""
    return lru_cache(maxsize=1 << 9)(function)


def _class_method(function: Function) -> object:
    return staticmethod(_small(function))


def _unsealing(function: Function) -> Function:
    """A table is edited by whoever asked for it: each gets one of his own."""
    remembered = lru_cache(maxsize=1 << 10)(function)

    @wraps(function)
    def unseal(*arguments: object) -> tuple[Table, bytes] | None:
        found = remembered(*arguments)
        return None if found is None else (_own(found[0]), found[1])

    return unseal


def _own(found: Table) -> Table:
    """A copy in which nothing is shared that can be changed."""
    own = _twin(found)
    own.lines = [_twin(line) for line in found.lines]
    own.certificates, own.todo = list(found.certificates), list(found.todo)
    own.orders, own.documents, own.bags = dict(found.orders), dict(found.documents), dict(found.bags)
    own.begun = {seq: _twin(answer) for seq, answer in found.begun.items()}
    return own


def _twin(of: T) -> T:
    """What ``dataclasses.replace`` gives, without asking each field."""
    twin = object.__new__(type(of))
    twin.__dict__.update(of.__dict__)
    return twin


def _watched(function: Function) -> Function:
    """The second half of a boot, told to the explorer (``memo.Rest``), which may know it."""

    @wraps(function)
    def recovered(parts: VaultParts, who: Identity, found: InForce) -> object:
        memory, random = parts.memory, parts.random
        if isinstance(memory, WatchedMemory) and memory.one_root is not None:
            assert isinstance(random, Dice)
            watch, memory.one_root = memory.one_root, None
            watch(found, random.drawn)
        return function(parts, who, found)

    return recovered


def _told(function: Function) -> Function:
    """What a boot knows once it has continued the log, told to the explorer, which may know the rest."""

    @wraps(function)
    def continue_log(booting: Core) -> None:
        function(booting)
        memory, random = booting.parts.memory, booting.parts.random
        if isinstance(memory, WatchedMemory) and memory.log_continued is not None:
            assert isinstance(random, Dice)
            watch, memory.log_continued = memory.log_continued, None
            watch(booting, random.drawn)

    return continue_log


REMEMBERED: tuple[tuple[Any, str, Callable[[Function], object]], ...] = (
    (auditlog, "parse_line", _small),
    (auditlog, "_parse_segment", _small),
    (core, "decode_open", _small),
    (core, "decode_close", _small),
    (core, "decode_hold", _small),
    (core, "decode_intent", _small),
    (retention, "limit_day", _small),
    (Opener, "parse", _large),
    (Identity, "decode", _class_method),
    (table, "unseal", _unsealing),
    (recover, "recovered", _watched),
    (recover, "_continue_log", _told),
)
