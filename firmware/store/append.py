"""One synced append to a bag, and what happens when the bag has no room for it."""

from firmware.store import rotate
from firmware.store.bag import Bag, stored_bytes
from firmware.store.core import Contents, Core
from firmware.store.entries import subject
from firmware.store.errors import Refused
from firmware.store.table import BagType


def append(core: Core, bag: Bag, contents: Contents) -> None:
    """Durable in both mirrors and taken up when it returns. A full bag is first rewritten without its superseded
    entries. Raises Refused (``bag_full``), CardFailed, ErasureUnconfirmed."""
    core.ready()
    need = sum(stored_bytes(len(body)) for _, body in contents)
    if need > core.pool.room(bag):
        bag = _rewritten(core, bag, subject(*contents[0]))
        if need > core.pool.room(bag):
            raise Refused("bag_full")
    core.pool.append(bag, contents, core.parts.random)
    for kind, body in contents:
        core.index_entry(bag, kind, body)


def _rewritten(core: Core, bag: Bag, call_id: bytes) -> Bag:
    change = rotate.begin(core)
    change.rewrite[bag.row.bag_id] = core.contents(bag)
    rotate.commit(core, change)
    call = core.calls[call_id]
    bag_id = call.day_bag if bag.row.type is BagType.DAY else call.hold_bag
    assert bag_id is not None
    return core.bags[bag_id]
