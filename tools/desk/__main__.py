"""``python -m tools.desk``: the evidence desk on the command line. ``--help`` of each command says the rest."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from tools.desk import command_calls, command_keys, command_orders, command_statement
from tools.desk.errors import DeskError

QUICK = (command_keys, command_orders, command_calls, command_statement)
SLOW = ("command_bags", "command_web")
"""They bring a web server and an archive library, which nobody should wait for who asks for a list."""


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Of all commands; where ``words`` begin with a quick one, of the quick ones alone."""
    top = argparse.ArgumentParser(
        prog="python -m tools.desk",
        description="Tacet's evidence desk: keys, orders, and the recordings that come back on a stick.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in QUICK:
        group.add_commands(commands)
    if not words or words[0] not in commands.choices:
        for name in SLOW:
            importlib.import_module(f"tools.desk.{name}").add_commands(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code (errors.EXIT_CODES). One sentence on stderr for everything that is not done."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser(words).parse_args(words)
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
