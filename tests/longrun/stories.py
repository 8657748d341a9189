"""Random lives of a device: what may be asked of the vault in its present state, drawn by seed.

``steps`` lists the operations that make sense now (a call can be closed only when it is open), each a name and a
function; a story picks among them. The same steps serve the crash explorer and the years of the simulator.
"""

import random
from collections.abc import Callable, Iterator

from firmware.store.errors import Refused, RingFull
from tests.longrun.model import Kept
from tests.longrun.world import World

HOUR_MS = 3_600_000
Step = tuple[str, float, Callable[[], object]]
"""Name, weight, action."""
STORY_OPERATIONS = 40


def random_story(seed: str) -> Callable[[World], Iterator[str]]:
    def story(world: World) -> Iterator[str]:
        rng = random.Random(seed)
        for _ in range(STORY_OPERATIONS):
            yield step(world, rng)

    return story


def step(world: World, rng: random.Random) -> str:
    """One random operation; a refusal that the rules demand is part of life."""
    choices = steps(world, rng)
    name, _, act = rng.choices(choices, [weight for _, weight, _ in choices])[0]
    try:
        act()
    except (Refused, RingFull) as refused:
        world.take_over()
        return f"{name} refused: {refused.code}"
    return name


def steps(world: World, rng: random.Random) -> list[Step]:
    calls = list(world.promise.calls.values())
    running = [call for call in calls if not call.closed]
    closed = [call for call in calls if call.closed]
    free_lines = [line for line in range(2) if line not in {call.line for call in running}]
    found: list[Step] = [
        ("tick", 2, world.tick),
        ("row", 1, world.row),
        ("log", 0.5, world.log),
        ("an hour", 2, lambda: _an_hour(world)),
        ("midnight", 2, world.midnight),
        ("reboot", 1, lambda: world.reboot(rng.choice((1000, 60_000, HOUR_MS, 14 * HOUR_MS)))),
        ("order", 0.5, lambda: world.order(rng.randbytes(16))),
        ("document", 0.3, lambda: world.document("site", rng.randbytes(rng.randrange(1, 9000)))),
        ("change keys", 0.2, world.change_keys),
    ]
    for line in free_lines:
        latched = line in world.promise.latched
        found.append(("on hook", 4, lambda at=line: world.on_hook(at)) if latched else _opening(world, line))
    if running:
        found += _with_running(world, rng.choice(running), rng)
    if closed:
        found += _with_closed(world, rng.choice(closed))
    return found


def _an_hour(world: World) -> None:
    world.pass_ms(HOUR_MS)
    world.tick()


def _opening(world: World, line: int) -> Step:
    return ("open call", 4, lambda: world.open_call(line))


def _with_running(world: World, call: Kept, rng: random.Random) -> list[Step]:
    call_id = call.call_id
    return [
        ("append", 8, lambda: world.append(call_id, blocks=rng.randrange(1, 5))),
        ("gap", 1, lambda: world.gap(call_id)),
        ("close", 5, lambda: world.close(call_id)),
        ("opt-out running", 1.5, lambda: world.opt_out(call_id)),
        ("KEEP running", 0.7, lambda: world.keep(call_id)),
    ]


def _with_closed(world: World, call: Kept) -> list[Step]:
    call_id = call.call_id
    found: list[Step] = [
        ("opt-out closed", 0.7, lambda: world.opt_out(call_id)),
        ("KEEP", 0.7, lambda: world.keep(call_id)),
    ]
    if not call.hold:
        found += [("erase", 0.7, lambda: world.erase(call_id)), ("hold", 0.7, lambda: world.hold(call_id))]
    if call.hold == "provisional":
        found.append(("confirm", 1, lambda: world.confirm(call_id)))
    if call.hold == "confirmed":
        found.append(("extend", 0.3, lambda: world.extend(call_id, days=400)))
    if call.hold:
        found.append(("release", 1, lambda: world.release(call_id)))
    return found
