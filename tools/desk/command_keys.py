"""init, provision, invite, drill, passphrase: keys, people and new recorders."""

import argparse
import os
import sys
from pathlib import Path

from tools.desk import ceremony, passphrase
from tools.desk.command_common import add_home, add_now, add_passphrase, now_of, open_own, open_role
from tools.desk.files import write_file
from tools.desk.home import Home
from tools.desk.keys import lock
from tools.desk.provisioning import Wishes, provision

GENERATED_CHARACTERS = 25
"""125 bits: Crockford base 32 carries 5 bits a character."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = commands.add_parser("init", help="make a desk home: the custodian's and the escrow's keys")
    add_home(init)
    add_passphrase(init)
    init.add_argument("--escrow-passphrase-file", type=Path, metavar="FILE")
    init.add_argument(
        "--role", choices=("custodian", "supervisor"), default="custodian", help="whose home it is (one person)"
    )
    init.set_defaults(run=run_init)

    prov = commands.add_parser("provision", help="write the provisioning pack for a new recorder onto a stick")
    add_home(prov)
    add_passphrase(prov)
    add_now(prov)
    prov.add_argument("--stick", type=Path, required=True, metavar="P", help="the stick (a directory)")
    prov.add_argument("--site", type=Path, metavar="SITE.toml", help="site settings (else: a simulation's defaults)")
    prov.add_argument("--notice", type=Path, metavar="WAV", help="the spoken notice (else the one that is shipped)")
    prov.add_argument(
        "--consent",
        metavar="TEXT",
        help="who answers for recording on this line, name and office; without it the pack is a simulation's",
    )
    prov.add_argument("--device", metavar="ID", help="the device id (else a new one is drawn)")
    prov.set_defaults(run=run_provision)

    invite = commands.add_parser("invite", help="enrol a person whose keys are in another home, by their .pub file")
    add_home(invite)
    invite.add_argument("public", type=Path, metavar="FILE.pub")
    invite.set_defaults(run=run_invite)

    drill = commands.add_parser("drill", help="prove that a key and its passphrase open what recorders seal")
    add_home(drill)
    add_passphrase(drill)
    add_now(drill)
    drill.add_argument("--role", choices=("custodian", "escrow", "supervisor"), default="escrow")
    drill.set_defaults(run=run_drill)

    change = commands.add_parser("passphrase", help="change the passphrase of a key file")
    add_home(change)
    add_passphrase(change)
    add_now(change)
    change.add_argument("--new-passphrase-file", type=Path, metavar="FILE")
    change.add_argument("--role", choices=("custodian", "escrow", "supervisor"), help="(else the home's own)")
    change.set_defaults(run=run_passphrase)


def run_init(arguments: argparse.Namespace) -> int:
    role: str = arguments.role
    own = passphrase.ask(arguments.passphrase_file, passphrase.PASSPHRASE_VARIABLE, role, twice=True)
    passphrases = {role: own}
    generated = None
    if role == "custodian":
        passphrases["escrow"], generated = _escrow_passphrase(arguments.escrow_passphrase_file)
    home = ceremony.make_keys(arguments.home, role, passphrases)
    print(f"Made the desk home {home.path} of the {role}.")
    for name in passphrases:
        print(f"Key file: {home.key_file(name)}")
    print(f"Recovery sheet to print and keep: {home.path / 'RECOVERY-SHEET.txt'}")
    if generated is not None:
        print(f"Passphrase of the escrow key, shown this once; write it onto the sheet by hand: {generated}")
    if role == "custodian":
        print("Move escrow.key onto its own medium, into a sealed envelope, in another building.")
    else:
        print(f"Give {home.path / f'{role}.pub'} to the custodian, who enrols you with `invite`.")
    return 0


def _escrow_passphrase(file: Path | None) -> tuple[str, str | None]:
    """Given, typed, or made here and shown once: it must not lie beside the key file."""
    found = passphrase.given(file, passphrase.ESCROW_VARIABLE)
    if found is not None:
        return found, None
    if sys.stdin.isatty():
        return passphrase.ask(None, passphrase.ESCROW_VARIABLE, "escrow", twice=True), None
    made = passphrase.generate(os.urandom(GENERATED_CHARACTERS))
    return made, made


def run_provision(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    unlocked = open_own(arguments, home)
    wishes = Wishes(arguments.site, arguments.notice, arguments.consent, arguments.device)
    device = provision(home, unlocked, arguments.stick, wishes, now_of(arguments))
    kind = "a simulated recorder" if device.simulation else "a recorder"
    print(f"Device id: {device.device_id}")
    print(f"The pack for {kind} is in {arguments.stick / 'TACET' / 'PROVISION'}. Plug the stick in, then `import` it.")
    return 0


def run_invite(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    person = ceremony.invite(home, arguments.public)
    print(
        f"Enrolled the {person.role} {person.request_key().key_id.hex()} in this home: the next pack carries "
        "their keys; recorders in service learn them by `order keys`."
    )
    return 0


def run_drill(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    unlocked = open_role(home, arguments.role, arguments.passphrase_file)
    ceremony.drill(unlocked)
    home.log.append("DRILL", now_of(arguments), {"role": arguments.role})
    print(f"The {arguments.role} key and its passphrase open what recorders seal.")
    return 0


def run_passphrase(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    role = arguments.role or home.role
    unlocked = open_role(home, role, arguments.passphrase_file)
    new = passphrase.ask(arguments.new_passphrase_file, "TACET_NEW_PASSPHRASE", role, twice=True)
    write_file(home.key_file(role), lock(unlocked, new, os.urandom), replace=True)
    home.log.append("PASSPHRASE", now_of(arguments), {"role": role})
    print(f"The {role} key has its new passphrase. Replace the copies on other media: the old one still opens those.")
    return 0
