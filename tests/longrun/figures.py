# ruff: noqa: E501 (the lines of a table cannot be broken)
"""Writes FIGURES.md from the progress of the long runs: ``python -m tests.longrun.figures [PROGRESS...]``.

The numbers come from the progress files (``progress.jsonl`` beside this file unless others are named) and from short
runs made now; the words say what each proves and what it does not.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.longrun.errors import sweep
from tests.longrun.flips import flip_all
from tests.longrun.mutants import MUTANTS, SUMMARY
from tests.longrun.progress import Portion, portions_in

HERE = Path(__file__).parent
PAGE = HERE / "FIGURES.md"
PROGRESS = HERE / "progress.jsonl"

TEXT = """# What the long runs have shown, and what they have not

Made by `python -m tests.longrun.figures` from `progress.jsonl` and from runs made at that moment; do not edit.

| run | figure | violations | seeds |
|---|---|---|---|
| crash explorer | {states:,} crash states, {boots:,} boots of the production code, {rate:.0f} states per CPU second | {state_violations} | {state_seeds} |
| device-years | {years:.1f} years, {faults:,} faults | {year_violations} | {year_seeds} |
| errors at every call | {runs:,} lives: {disk_calls} disk calls × once, twice, for ever × EIO, ENOSPC; {memory_calls} memory accesses × once, twice, for ever | {sweep_violations} | – |
| bit flips | {flips:,}: {slots} of a slot, {table:,} of a table, {entries:,} of 50 bag entries, {frames:,} of 3 frames | {accepted} accepted | – |
| mutants | {mutants} known bugs put into the store, {equivalent} of them argued equivalent in MUTANTS.md; the last whole run of `make mutate` ended with `{mutated}` | – | – |

A violation is an invariant of the storage design (I1 to I26) that a state broke. A run replays from its seed on the code that
it ran on: `python -m tests.longrun --seed N --states M --years Y`. The figures are added up over versions of the store; what
a run found was mended, has a test in `test_found.py` or a mutant, and is not among them. What seeds below 9100 say of cuts in
a recovery is nothing: until 24 November 2026 these fell at its end. Since then they fall at any of its moments, and found at
once that the healing of one copy of the log could be cut so that an acknowledged line was lost (mended, and a mutant).

## What each proves
- **Crash explorer** (`explore.py`). The production vault runs workloads of every operation; each operation's writes, syncs and
  slot writes become crash images: every subset of unsynced sectors up to six, above that all prefixes, all singletons and
  random ones up to 64; sectors torn at some byte, old or garbage behind it; a slot torn at every byte. The production code
  boots each image; the result is compared with what had been acknowledged, and with what a symbolic attacker opens who has
  every ciphertext ever made, the custodian's key and the erasable memory. Images that a boot cannot tell apart (all bytes
  that it looked at are equal) are counted and not booted again; a boot that comes to the one root and the table of another, or
  to what another knew once its log was continued, and would see the same bytes from there on, is not carried on. A share of
  the recoveries is cut again, and again in the recovery of that; a share is booted twice, with one copy of what is mirrored
  spoilt, and lives on.
- **At the lamp**: the state is judged at each acknowledgement, before any reboot, and with mirrored files spoilt in turn.
- **Device-years** (`years.py`). Small devices live a year each: a few calls a day, cuts in the middle of any call to disk or
  memory and in the recovery, I/O errors, a memory that does not answer, clocks that jump, stop and fall silent, rings and
  pools of bags that are too small.
- **Errors at every call** (`errors.py`), **bit flips** (`flips.py`): nothing acknowledged is lost, nothing is taken silently.
- **Mutants** (`mutants.py`): the tests themselves are tested. The unchanged store is hunted with all of the hunts first.
- **Old copies of the erasable memory** (I12) and **secrets in any byte written** (I11) are checked over whole histories.

## Other commands
| what | command |
|---|---|
| the explorer and a quarter of a device-year in each test run | `python -m pytest tests/longrun/test_explorer.py` |
| every branch of `firmware/store` (it must say 100 %) | `python -m pytest tests/store -m "not proof" --cov=firmware/store --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=100` |
| `python -O` is refused | `python -m pytest tests/store/test_recovery.py tests/simulate/test_bad_input.py` |
| power cuts on a real file system | `python -m pytest tests/longrun/test_real.py -m proof` (root) |
| opt-out, boot of a 64 GB ring, bytes written | `python -m tests.bench store_bench` |

## What none of them proves
- The fault model: at most one of {{mirror copy, store device}} is bad at a time; a flush that returned is on the medium (a card
  that lies is found only by cutting real power); unsynced sectors survive in any subset, one may be torn; the erasable
  memory is torn at any byte; power fails at any time, in recovery too; clocks are arbitrary; the card can be read and
  written by the attacker; the custodian's key may leak later.
- The explorer's signatures and HPKE are ideal (nobody forges them); a sample runs with the real ones. Their strength, and
  that of ChaCha20-Poly1305, is taken from others.
- Workloads are small: a few calls a day, a ring of 1 MiB, bags of 20 KiB. Sizes are parameters of the same code.
- Real file systems: the adapter is tried by a SIGKILL storm, and in `make proof` (as root) by power cuts on ext4 that drop all
  that was not synced (`power.py`); power cuts on real cards are for the bench.

## Residual risks
1. No secure boot on a Pi 3: whoever holds the device can replace its firmware and record *future* calls.
2. Exported bundles are outside erasure.
3. A device without power cannot erase.
4. One erasable memory and a dead battery lose everything, holds included.
5. A rollback within one hour is not visible unless a stick carried a head of the log within it.
6. Traffic data (times, durations) can be read by a thief of the whole device.
7. Python's memory hygiene is best effort.
8. Remanence of FRAM and EEPROM under laboratory attack; hourly rotation keeps any one value short-lived.
9. No post-quantum sealing yet; the suite id leaves room.
"""


def main(arguments: Sequence[str]) -> None:
    paths = [Path(name) for name in arguments] or [PROGRESS]
    portions = [portion for path in paths if path.exists() for portion in portions_in(path)]
    PAGE.write_text(page(portions), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def page(portions: Sequence[Portion]) -> str:
    explored = [portion for portion in portions if portion.kind == "states"]
    lived = [portion for portion in portions if portion.kind == "years"]
    done, found = sweep(), flip_all()
    states, cpu_s = sum(portion.states for portion in explored), sum(portion.cpu_s for portion in explored)
    return TEXT.format(
        states=states,
        boots=sum(portion.boots for portion in explored),
        rate=states / cpu_s if cpu_s else 0,
        state_violations=sum(len(portion.violations) for portion in explored),
        state_seeds=_seeds(explored),
        years=sum(portion.years for portion in lived),
        faults=sum(portion.boots for portion in lived),
        year_violations=sum(len(portion.violations) for portion in lived),
        year_seeds=_seeds(lived),
        runs=done.runs,
        disk_calls=done.disk_calls,
        memory_calls=done.memory_calls,
        sweep_violations=len(done.violations),
        flips=found.total,
        slots=found.slots,
        table=found.table,
        entries=found.entries,
        frames=found.frames,
        accepted=found.accepted,
        mutants=len(MUTANTS),
        equivalent=sum(bool(mutant.equivalent) for mutant in MUTANTS),
        mutated=SUMMARY.read_text(encoding="utf-8").strip(),
    )


def _seeds(portions: Sequence[Portion]) -> str:
    return ", ".join(str(seed) for seed in sorted({portion.seed for portion in portions})) or "–"


if __name__ == "__main__":
    main(sys.argv[1:])
