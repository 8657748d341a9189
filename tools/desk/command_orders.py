"""order export|index|hold|confirm|extend|release|erase|keys|notice|time|settings|report|cosign."""

import argparse
import hashlib
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from firmware.evidence.fields import FieldError, NewKey
from firmware.evidence.notice import check_notice
from firmware.evidence.order import NOTICE_FILE, SITE_FILE, Basis, Ground, Op, Purpose, RecipientKind
from firmware.evidence.pack import recipients as check_recipients
from firmware.evidence.pack import request_keys as check_requests
from firmware.evidence.site import NOTICE_BYTES_MAX
from tools.desk.command_common import add_home, add_now, add_passphrase, now_of, open_own, open_role, time_argument
from tools.desk.desk import load
from tools.desk.errors import NotFound, Refused
from tools.desk.files import read_file
from tools.desk.home import Device, Home
from tools.desk.keys import Person, Unlocked
from tools.desk.orders import Draft, Validity, build, cosign, write
from tools.desk.site import site_facts, site_file

CALL_ID_DIGITS = 32

Drafter = Callable[[argparse.Namespace, Home], Draft]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    order = commands.add_parser("order", help="write a signed order onto a stick")
    ops = order.add_subparsers(dest="op", required=True, metavar="OP")
    _add_export(ops)
    _op(ops, "index", "times, lines, outcomes and sealed numbers of all calls", _plain(Op.INDEX))
    _op(ops, "report", "ledger, audit log, certificates, health", _plain(Op.REPORT))
    for name, what, op in (
        ("hold", "hold calls as evidence", Op.HOLD),
        ("confirm", "confirm a provisional hold (KEEP key)", Op.CONFIRM),
        ("extend", "move the review date of a hold", Op.EXTEND),
    ):
        command = _op(ops, name, what, _hold(op))
        _add_calls(command)
        command.add_argument("--case", required=op is not Op.EXTEND, metavar="REF", help="case reference")
        command.add_argument("--reason", required=True, metavar="TEXT")
        command.add_argument("--review", required=True, type=time_argument, metavar="DATE")
    release = _op(ops, "release", "end a hold (two persons sign)", _release)
    _add_calls(release)
    release.add_argument("--case", metavar="REF")
    release.add_argument("--reason", required=True, metavar="TEXT")
    erase = _op(ops, "erase", "destroy one call before its limit", _erase)
    erase.add_argument("calls", nargs=1, type=_call_word, metavar="CALL")
    erase.add_argument("--ground", required=True, type=Ground, choices=list(Ground), metavar=_words(Ground))
    erase.add_argument("--case", metavar="REF")
    keys = _op(ops, "keys", "enrol the persons of this home as the new set of keys (two persons sign)", _keys)
    keys.add_argument("--without", action="append", default=[], metavar="ID", help="leave out who has this key id")
    notice = _op(ops, "notice", "a new spoken notice", _notice)
    notice.add_argument("wav", type=Path, metavar="WAV")
    notice.add_argument("--version", required=True)
    clock = _op(ops, "time", "settle a suspect clock", _time)
    clock.add_argument("--time", type=time_argument, metavar="TIME", help="(else the time of this PC)")
    settings = _op(ops, "settings", "new site settings", _settings)
    settings.add_argument("site", type=Path, metavar="SITE.toml")
    second = ops.add_parser("cosign", help="a second person signs the order on the stick")
    add_home(second)
    add_passphrase(second)
    add_now(second)
    second.add_argument("--stick", type=Path, required=True, metavar="K")
    second.add_argument("--role", choices=("custodian", "escrow", "supervisor"), help="(else the home's own)")
    second.set_defaults(run=run_cosign)


def _op(
    ops: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, draft: Drafter
) -> argparse.ArgumentParser:
    command = ops.add_parser(name, help=what)
    add_home(command)
    add_passphrase(command)
    add_now(command)
    command.add_argument("--stick", type=Path, required=True, metavar="K", help="the stick (a directory)")
    command.add_argument("--device", metavar="ID", help="the recorder (else the only one of this home)")
    command.add_argument("--not-before", type=time_argument, metavar="TIME", help="valid from (else an hour ago)")
    command.add_argument("--not-after", type=time_argument, metavar="TIME", help="valid until (else 14 days)")
    command.add_argument(
        "--cosign",
        choices=("escrow", "supervisor", "custodian"),
        help="a second person signs here, with a key of this home",
    )
    command.add_argument("--cosign-passphrase-file", type=Path, metavar="FILE")
    command.set_defaults(run=run_order, draft=draft)
    return command


def _words(kind: type[StrEnum]) -> str:
    return "{" + ",".join(kind) + "}"


def _add_export(ops: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    export = _op(ops, "export", "calls, sealed: those that began in a time window, or named ones", _export)
    export.add_argument("--from", dest="start", type=time_argument, metavar="TIME", help="calls that began from")
    export.add_argument("--to", dest="end", type=time_argument, metavar="TIME", help="... up to, not included")
    export.add_argument("--line", action="append", default=[], metavar="NAME", help="this line only (else all)")
    export.add_argument(
        "--call", dest="calls", action="append", default=[], type=_call_word, metavar="CALL", help="this call"
    )
    export.add_argument("--purpose", required=True, type=Purpose, choices=list(Purpose), metavar=_words(Purpose))
    export.add_argument("--basis", required=True, type=Basis, choices=list(Basis), metavar=_words(Basis))
    export.add_argument(
        "--recipient",
        type=RecipientKind,
        choices=list(RecipientKind),
        default=RecipientKind.INTERNAL,
        metavar=_words(RecipientKind),
    )
    export.add_argument("--case", metavar="REF", help="case reference")


def _add_calls(command: argparse.ArgumentParser) -> None:
    command.add_argument("calls", nargs="+", type=_call_word, metavar="CALL")


def _call_word(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{4,32}", text):
        raise argparse.ArgumentTypeError("a call is named by the hex digits of its id, or the first ones (see `list`)")
    return text.lower()


def _named(home: Home, person: Unlocked, words: Sequence[str]) -> tuple[bytes, ...]:
    """Whole ids as they are; beginnings of ids as the library knows them. Raises NotFound."""
    if all(len(word) == CALL_ID_DIGITS for word in words):
        return tuple(bytes.fromhex(word) for word in words)
    library = load(home, person)
    try:
        return tuple(bytes.fromhex(library.get(word).call_id) for word in words)
    finally:
        library.close()


# ---------------------------------------------------------------------------------------------------------- drafts


def _plain(op: Op) -> Drafter:
    return lambda arguments, home: Draft(op)


def _export(arguments: argparse.Namespace, home: Home) -> Draft:
    fields = {
        "purpose": arguments.purpose,
        "basis": arguments.basis,
        "recipient": arguments.recipient,
        "case": arguments.case,
        "from_utc_ms": arguments.start,
        "to_utc_ms": arguments.end,
        "lines": tuple(arguments.line),
        "calls": arguments.calls,
    }
    return Draft(Op.EXPORT, fields)


def _hold(op: Op) -> Drafter:
    return lambda arguments, home: Draft(
        op,
        {
            "calls": arguments.calls,
            "case": arguments.case,
            "reason": arguments.reason,
            "review_utc_ms": arguments.review,
        },
    )


def _release(arguments: argparse.Namespace, home: Home) -> Draft:
    return Draft(Op.RELEASE, {"calls": arguments.calls, "case": arguments.case, "reason": arguments.reason})


def _erase(arguments: argparse.Namespace, home: Home) -> Draft:
    return Draft(Op.ERASE, {"calls": arguments.calls, "ground": arguments.ground, "case": arguments.case})


def _keys(arguments: argparse.Namespace, home: Home) -> Draft:
    """The persons of this home; ``--without`` takes a person by either of their two key ids."""
    left_out = {name.lower() for name in arguments.without}
    staying = []
    for person in home.persons():
        ids = {person.recipient().key_id.hex(), person.request_key().key_id.hex()}
        if ids & left_out:
            left_out -= ids
        else:
            staying.append(person)
    if left_out:
        raise NotFound("This home has no key with an id given by --without; see RECOVERY-SHEET.txt.")
    recipients = tuple(NewKey(key.key_id, str(key.suite), key.public_key) for key in map(Person.recipient, staying))
    requests = tuple(
        NewKey(key.key_id, key.role.name.lower(), key.public_key) for key in map(Person.request_key, staying)
    )
    try:
        check_recipients(recipients)
        check_requests(requests)
    except FieldError as error:
        raise Refused(f"The recorder would refuse this set of keys: {error}.") from None
    return Draft(Op.KEYS, {"recipient_keys": recipients, "request_keys": requests})


def _notice(arguments: argparse.Namespace, home: Home) -> Draft:
    data = read_file(arguments.wav, NOTICE_BYTES_MAX)
    try:
        check_notice(data)
    except ValueError as error:
        raise Refused(str(error)) from None
    fields = {"sha256": hashlib.sha256(data).digest(), "version": arguments.version}
    return Draft(Op.NOTICE, fields, (NOTICE_FILE, data))


def _time(arguments: argparse.Namespace, home: Home) -> Draft:
    moment = now_of(arguments) if arguments.time is None else arguments.time
    return Draft(Op.TIME, {"time_utc_ms": moment // 1000 * 1000})


def _settings(arguments: argparse.Namespace, home: Home) -> Draft:
    data = site_file(arguments.site)
    site_facts(data.decode("utf-8"))
    return Draft(Op.SETTINGS, {"sha256": hashlib.sha256(data).digest()}, (SITE_FILE, data))


# ------------------------------------------------------------------------------------------------------------ runs


def run_order(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    device = home.find_device(arguments.device)
    now = now_of(arguments)
    signers = [open_own(arguments, home)]
    arguments.calls = _named(home, signers[0], getattr(arguments, "calls", ()))
    _check_lines(device, getattr(arguments, "line", ()))
    draft = arguments.draft(arguments, home)
    order = build(device, draft, Validity.of(now, arguments.not_before, arguments.not_after))
    if arguments.cosign is not None:
        signers.append(open_role(home, arguments.cosign, arguments.cosign_passphrase_file))
    path, missing = write(home, arguments.stick, order, signers, draft, now)
    print(f"Order {order.order_id.hex()} ({order.op.value}) for {device.device_id} is in {path}.")
    if missing:
        print("It needs the signature of a second enrolled person: `order cosign` in their home, with this stick.")
    return 0


def _check_lines(device: Device, names: Sequence[str]) -> None:
    """A mistyped line is told here, not by the recorder a walk later. Raises NotFound."""
    if not names or not (device.directory / "SITE.toml").exists():
        return
    known = site_facts(device.site_text()).line_names
    for name in names:
        if name not in known:
            raise NotFound(f"{device.device_id} has no line {name}; it has: {', '.join(known)}.")


def run_cosign(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    role = arguments.role or home.role
    order = cosign(home, arguments.stick, open_role(home, role, arguments.passphrase_file), now_of(arguments))
    calls: Sequence[bytes] = order.calls
    named = f" of {', '.join(call.hex() for call in calls)}" if calls else ""
    print(f"Signed as {role}: order {order.order_id.hex()}, {order.op.value}{named}, for {order.device}.")
    return 0
