"""The long runs as one command.

    python -m tests.longrun --seed N --states M --years Y [--progress FILE]

At least M crash states and Y device-years from seed N. The last line reads ``states=M years=Y violations=0 seed=N``;
exit status 1 with any violation, whose text names the workload and the seed that replay it exactly. With ``--progress``
the run is cut into portions that are added to the file, and an interrupted run goes on where the last whole portion
ended; FIGURES.md is made from that file.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.longrun.campaign import explore_until
from tests.longrun.explore import Tally
from tests.longrun.progress import Portion, Progress
from tests.longrun.years import Life, live_years

STATES_PER_PORTION = 50_000
YEARS_PER_PORTION = 10.0
ROUNDING_YEARS = 1e-5
"""What is left by adding up days, which are lived whole."""


def main(arguments: Sequence[str]) -> int:
    asked = _parser().parse_args(arguments)
    progress = Progress(asked.progress, asked.seed)
    while (total := progress.total()).states < asked.states and not total.violations:
        _explore(progress, min(asked.states - total.states, STATES_PER_PORTION))
    while (total := progress.total()).years < asked.years - ROUNDING_YEARS and not total.violations:
        _live(progress, min(asked.years - total.years, YEARS_PER_PORTION))
    print(f"states={total.states} years={total.years:.6g} violations={total.violations} seed={asked.seed}")
    return 1 if total.violations else 0


def _explore(progress: Progress, states: int) -> None:
    number = progress.next_number("states")
    tally: Tally = explore_until(states, progress.seed * 1000 + number)
    progress.add(Portion("states", number, tally.states, tally.boots, 0.0, tally.cpu_s, tuple(tally.violations)))
    print(
        f"portion {number}: {tally.states} crash states, {tally.boots} boots ({tally.nested} cut again, "
        f"{tally.deep} booted twice), "
        f"{tally.per_s:.0f} states per CPU second, {len(tally.violations)} violations",
        flush=True,
    )
    _show(tally.violations)


def _live(progress: Progress, years: float) -> None:
    number = progress.next_number("years")
    life: Life = live_years(years, progress.seed * 1000 + number)
    progress.add(Portion("years", number, 0, sum(life.faults.values()), life.years, life.cpu_s, tuple(life.violations)))
    faults = ", ".join(f"{count} {name}" for name, count in sorted(life.faults.items()))
    print(
        f"portion {number}: {life.years:.4g} device-years, {life.operations} operations, {faults}, "
        f"{life.cpu_s:.0f} s CPU, {len(life.violations)} violations",
        flush=True,
    )
    _show(life.violations)


def _show(violations: Sequence[str]) -> None:
    for text in violations[:20]:
        print(f"VIOLATION {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.longrun", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--states", type=int, default=0, help="crash states to reach")
    parser.add_argument("--years", type=float, default=0.0, help="device-years to reach")
    parser.add_argument("--progress", type=Path, help="portions are added to this file; earlier ones count")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
