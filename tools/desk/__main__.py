"""``python -m tools.desk``: the evidence desk on the command line. ``--help`` of each command says the rest."""

import argparse
import sys
from collections.abc import Sequence

from tools.desk import command_bags, command_calls, command_keys, command_orders, command_statement, command_web
from tools.desk.errors import DeskError

GROUPS = (command_keys, command_orders, command_calls, command_bags, command_statement, command_web)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m tools.desk",
        description="Tacet's evidence desk: keys, orders, and the recordings that come back on a stick.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add_commands(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code (errors.EXIT_CODES). One sentence on stderr for everything that is not done."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except DeskError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
