"""Options and steps that several commands share."""

import argparse
from pathlib import Path

from tools.desk import passphrase
from tools.desk.errors import NotFound
from tools.desk.home import Home
from tools.desk.keys import Unlocked, unlock
from tools.desk.times import now_utc_ms, parse_time


def time_argument(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_home(command: argparse.ArgumentParser) -> None:
    command.add_argument("--home", type=Path, required=True, metavar="H", help="the desk home")


def add_passphrase(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"the passphrase is in this file (else {passphrase.PASSPHRASE_VARIABLE}, else it is asked for)",
    )


def add_now(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--now", type=time_argument, metavar="TIME", help="take this as the time of day (for tapes from another date)"
    )


def now_of(arguments: argparse.Namespace) -> int:
    given: int | None = getattr(arguments, "now", None)
    return now_utc_ms() if given is None else given


def open_own(arguments: argparse.Namespace, home: Home) -> Unlocked:
    """The key of the person this home belongs to."""
    return open_role(home, home.role, arguments.passphrase_file)


_VARIABLES = {"escrow": passphrase.ESCROW_VARIABLE, "supervisor": passphrase.SUPERVISOR_VARIABLE}


def open_role(home: Home, role: str, file: Path | None) -> Unlocked:
    path = home.key_file(role)
    if not path.exists():
        raise NotFound(f"This home has no {role} key.")
    variable = passphrase.PASSPHRASE_VARIABLE if role == home.role else _VARIABLES.get(role, "")
    return unlock(path, passphrase.ask(file, variable or passphrase.PASSPHRASE_VARIABLE, role))
