"""Draws ``firmware/policy/STATES.md`` from the table that the recorder itself uses.

python -m tools.states            # write the page
python -m tools.states --check    # exit 1 when the page is not current
"""

import argparse
import sys
from pathlib import Path

from firmware.policy.line import ANY_PHASE, TABLE, Phase

PAGE = Path(__file__).resolve().parents[1] / "firmware/policy/STATES.md"


def page() -> str:
    lines = [
        "# The states of a line",
        "",
        "Drawn from `TABLE` in `line.py` by `python -m tools.states`; a test compares.",
        "An event that a phase does not list, and that is not in the last table, changes nothing there.",
        "",
    ]
    for phase in Phase:
        rows = [(kind.__name__, handler.__name__) for (where, kind), handler in TABLE.items() if where is phase]
        lines += [f"## {phase.value}", "", "| event | handled by |", "|---|---|"]
        lines += [f"| {kind} | `{handler}` |" for kind, handler in sorted(rows)]
        lines.append("")
    lines += ["## in every phase", "", "| event | handled by |", "|---|---|"]
    lines += [f"| {kind.__name__} | `{handler.__name__}` |" for kind, handler in ANY_PHASE.items()]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.states", description="Draws firmware/policy/STATES.md.")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(argv)
    if not given.check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        print("firmware/policy/STATES.md is not current; run python -m tools.states.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
