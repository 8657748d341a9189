"""bag, access-pack: what leaves the house as evidence, or to the caller."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from firmware.evidence.order import Basis, Purpose, RecipientKind
from tools.desk import passphrase
from tools.desk.access import make_access_pack
from tools.desk.bag import Disclosure, Made, make_bag
from tools.desk.bag_seal import Sealing, check_sealing
from tools.desk.command_calls import refuse_expired
from tools.desk.command_common import add_home, add_now, add_passphrase, now_of, open_own
from tools.desk.desk import Desk
from tools.desk.errors import Damaged, NotVerified
from tools.desk.findings import Findings, Severity
from tools.desk.home import Home

ZIP_VARIABLE = "TACET_ZIP_PASSPHRASE"


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bag = commands.add_parser("bag", help="one call as an evidence bag: opens without our software")
    _add_common(bag)
    bag.add_argument("--recipient", type=RecipientKind, choices=list(RecipientKind), required=True)
    bag.add_argument("--basis", type=Basis, choices=list(Basis), required=True)
    bag.add_argument("--purpose", type=Purpose, choices=list(Purpose), required=True)
    bag.set_defaults(run=run_bag)
    access = commands.add_parser("access-pack", help="a copy for the caller, other people's stretches removed")
    _add_common(access)
    access.add_argument(
        "--remove", action="append", default=[], metavar="START-END", help="seconds from the answer, as 12.5-15"
    )
    access.set_defaults(
        run=run_access,
        recipient=RecipientKind.CALLER,
        basis=Basis.LEGAL_OBLIGATION,
        purpose=Purpose.SUBJECT_ACCESS,
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("call", metavar="CALL", help="its id, or the unique beginning of it")
    add_home(command)
    add_passphrase(command)
    add_now(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR|FILE.zip|FILE.age")
    command.add_argument("--authoriser", required=True, metavar="NAME", help="who answers for it")
    command.add_argument("--case", metavar="REF", help="case reference")
    sealing = command.add_mutually_exclusive_group()
    sealing.add_argument("--zip-passphrase-file", type=Path, metavar="FILE", help=f"for FILE.zip (else {ZIP_VARIABLE})")
    sealing.add_argument("--age", metavar="RECIPIENT", help="for FILE.age: the recipient's age1... key")


def sealing_of(arguments: argparse.Namespace) -> Sealing:
    """Raises Refused, NotFound."""
    given = None
    if arguments.age is None and arguments.out.suffix.lower() == ".zip":
        given = passphrase.given(arguments.zip_passphrase_file, ZIP_VARIABLE)
    elif arguments.zip_passphrase_file is not None:
        given = ""
    sealing = Sealing(given, arguments.age)
    check_sealing(arguments.out, sealing)
    return sealing


def disclosure_of(arguments: argparse.Namespace) -> Disclosure:
    return Disclosure(
        arguments.recipient, arguments.basis, arguments.purpose, arguments.authoriser.strip(), arguments.case
    )


def run_bag(arguments: argparse.Namespace) -> int:
    return _run(arguments, make_bag)


def run_access(arguments: argparse.Namespace) -> int:
    def make(desk: Desk, call_id: str, disclosure: Disclosure, out: Path, sealing: Sealing) -> Made:
        return make_access_pack(desk, call_id, arguments.remove, disclosure, out, sealing)

    return _run(arguments, make)


def _run(arguments: argparse.Namespace, make: Callable[[Desk, str, Disclosure, Path, Sealing], Made]) -> int:
    home = Home.open(arguments.home)
    sealing, now = sealing_of(arguments), now_of(arguments)
    person = open_own(arguments, home)
    refuse_expired(home, person, arguments.call, now)
    with Desk.open(home, person, now) as desk:
        made = make(desk, arguments.call, disclosure_of(arguments), arguments.out, sealing)
    return told(made)


def told(made: Made) -> int:
    print(f"{made.path}: SHA-256 of its tag manifest {made.sha256}.")
    for finding in made.findings:
        print(finding, file=sys.stderr)
    worst = Findings(list(made.findings)).worst
    if worst is None:
        return 0
    print("Not everything in it is sound; the bag says so on its first page.", file=sys.stderr)
    return NotVerified.exit_code if worst is Severity.UNVERIFIED else Damaged.exit_code
