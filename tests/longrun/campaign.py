"""Run workloads under the explorer until a number of states is reached; one seed, one result, to be replayed."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.longrun.explore import Effort, Explorer, Tally
from tests.longrun.quick import remembering
from tests.longrun.stories import random_story
from tests.longrun.workloads import ALL, DEEP, SKIP, Workload
from tests.longrun.world import Site, World


def explore_until(states: int, seed: int, effort: Effort | None = None) -> Tally:
    """At least ``states`` distinct crash states: all workloads, then random stories, with seeds that follow from
    ``seed``. Stops at the end of the operation that reaches the number, or at the first operation with a violation."""
    tally = Tally()
    with quietly():
        for name, workload, site in _worlds(seed):
            _run(name, workload, site, f"{seed}/{name}", effort or Effort(), tally, states)
            if tally.states >= states or tally.violations:
                break
    return tally


def explore_workload(name: str, seed: int, effort: Effort | None = None) -> Tally:
    tally = Tally()
    workload, site = ALL[name]
    with quietly():
        _run(name, workload, site, f"{seed}/{name}", effort or Effort(), tally, None)
    return tally


def _worlds(seed: int) -> Iterator[tuple[str, Workload, Site]]:
    for name, (workload, site) in ALL.items():
        yield name, workload, site
    number = 0
    while True:
        yield f"story {number}", random_story(f"{seed}/{number}"), Site()
        number += 1


def _run(
    name: str, workload: Workload, site: Site, seed: str, effort: Effort, tally: Tally, states: int | None
) -> None:
    world = World(seed, site)
    if name in DEEP and states is None:
        effort = replace(effort, deep_every=1)
    explorer = Explorer(world, effort, seed, tally)
    for operation in workload(world):
        if operation == SKIP:
            explorer.skip()
            continue
        explorer.explore(f"{name}: {operation}")
        if tally.violations or (states is not None and tally.states >= states):
            return
    explorer.finish()


@contextmanager
def quietly() -> Iterator[None]:
    """No cyclic garbage collection between operations (nothing here makes cycles), pure functions remembered."""
    gc.collect()
    gc.disable()
    try:
        with remembering():
            yield
    finally:
        gc.enable()
