"""import, list, extract, verify, purge, log: what came back on a stick."""

import argparse
import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from firmware import columns
from firmware.units import MS_PER_S
from tools.desk import audio
from tools.desk.bundle import enrolled_genesis, find_bundles, read_bundle
from tools.desk.callfile import check_call
from tools.desk.command_common import add_home, add_now, add_passphrase, now_of, open_own, time_argument
from tools.desk.desk import Desk, load
from tools.desk.errors import Damaged, DeskError, Expired, NotFound, NotVerified, Refused
from tools.desk.files import write_file
from tools.desk.findings import Findings, Severity
from tools.desk.home import Home
from tools.desk.imports import import_stick
from tools.desk.indexing import Imported
from tools.desk.library import CallRow, Query
from tools.desk.local_times import zone_of
from tools.desk.opening import hear
from tools.desk.retention import purged
from tools.desk.times import utc_ms_text


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    imp = _command(commands, "import", "take the answers on a stick into the home", run_import)
    imp.add_argument("--stick", type=Path, required=True, metavar="K")

    listing = _command(commands, "list", "the calls this home knows, newest first", run_list)
    listing.add_argument("--json", action="store_true", help="one array of objects")
    listing.add_argument("--number", metavar="PART", help="any part of the caller's number")
    listing.add_argument("--from", dest="start", type=time_argument, metavar="TIME")
    listing.add_argument("--to", dest="end", type=time_argument, metavar="TIME")
    listing.add_argument("--line", metavar="NAME")
    listing.add_argument("--outcome")
    listing.add_argument("--device", metavar="ID")
    listing.add_argument("--held", action="store_true", default=None, help="only held calls")
    listing.add_argument("--limit", type=int, default=100_000, metavar="N")

    extract = _command(commands, "extract", "one call as an audio file; gaps are silence of their length", run_extract)
    extract.add_argument("call", metavar="CALL", help="its id, or the unique beginning of it")
    kind = extract.add_mutually_exclusive_group(required=True)
    kind.add_argument("--wav", type=Path, metavar="OUT.wav")
    kind.add_argument("--flac", type=Path, metavar="OUT.flac")

    verify = commands.add_parser("verify", help="check the answers on a stick: signatures, chain, completeness")
    verify.add_argument("stick", type=Path, metavar="K", help="a stick, or one answer on it")
    anchor = verify.add_mutually_exclusive_group()
    anchor.add_argument("--home", type=Path, metavar="H", help="compare with the identity that this home pinned")
    anchor.add_argument("--fingerprint", type=_fingerprint, metavar="F", help="the recorder's, from its label")
    add_now(verify)
    verify.set_defaults(run=run_verify)

    _command(commands, "purge", "destroy the copies of calls that have reached their limit", run_purge)

    log = commands.add_parser("log", help="who listened, ordered, imported; the chain is checked")
    add_home(log)
    log.set_defaults(run=run_log)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, run: Any
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=what)
    add_home(command)
    add_passphrase(command)
    add_now(command)
    command.set_defaults(run=run)
    return command


def _fingerprint(text: str) -> bytes:
    plain = re.sub("[ :-]", "", text)
    try:
        value = bytes.fromhex(plain)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise argparse.ArgumentTypeError("a fingerprint has 64 hex digits")
    return value


# ---------------------------------------------------------------------------------------------------------- import


def run_import(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    person = open_own(arguments, home)
    with Desk.open(home, person, now_of(arguments)) as desk:
        _tell_destroyed(desk)
        result = import_stick(desk, arguments.stick)
    for device in result.pinned:
        print(f"First sight of {device.device_id}. Compare this fingerprint with the recorder's label:")
        print(f"  {(device.fingerprint or b'').hex()}")
    for reply in result.replies:
        print("Reply: " + reply.replace("\n", "\n  "))
    print(
        f"Answers taken in: {len(result.answers)} (here already: {result.skipped}). Calls with audio: {result.calls}."
    )
    print(f"Calls in the index: {result.indexed}. Erased here because the recorder erased them: {result.erased}.")
    return _verdict(result)


def _verdict(result: Imported) -> int:
    for finding in result.findings:
        print(finding, file=sys.stderr)
    if result.worst is Severity.UNVERIFIED:
        return NotVerified.exit_code
    if result.worst is Severity.DAMAGED:
        return Damaged.exit_code
    if result.refused and not result.answers:
        print("The recorder refused the order; see the reply above.", file=sys.stderr)
        return Refused.exit_code
    return 0


def _tell_destroyed(desk: Desk) -> None:
    if desk.destroyed:
        print(purged(len(desk.destroyed)), file=sys.stderr)


# ------------------------------------------------------------------------------------------------------------ list


def run_list(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    query = Query(
        number=arguments.number,
        from_utc_ms=arguments.start,
        to_utc_ms=arguments.end,
        line=arguments.line,
        outcome=arguments.outcome,
        device=arguments.device,
        held=arguments.held,
        limit=arguments.limit,
    )
    with Desk.open(home, open_own(arguments, home), now_of(arguments)) as desk:
        _tell_destroyed(desk)
        rows = desk.library.find(query)
    if arguments.json:
        print(json.dumps([listed(row) for row in rows], indent=1))
    else:
        _print_table(rows, zone_of(home))
    return 0


def listed(row: CallRow) -> dict[str, Any]:
    """The fields of ``list --json``."""
    return {
        "id": row.call_id,
        "line": row.line_name,
        "direction": row.direction,
        "outcome": row.outcome,
        "number": row.number,
        "number_absence": row.number_absence,
        "started_utc": utc_ms_text(row.started_utc_ms),
        "duration_s": row.duration_s,
        "held": row.held,
        "gaps": [
            {"start_s": first / row.rate_hz, "end_s": (first + samples) / row.rate_hz, "reason": reason}
            for first, samples, reason in row.gaps
        ],
        "device": row.device,
        "ended_utc": utc_ms_text(row.ended_utc_ms),
        "limit_utc": utc_ms_text(row.limit_utc_ms),
        "audio": row.bag is not None,
        "sound": row.sound,
        "provisional_hold": row.provisional,
        "review_utc": utc_ms_text(row.review_utc_ms) if row.review_utc_ms is not None else None,
        "caller_name": row.caller_name,
        "hold_refused": row.hold_refused,
    }


LIST_HEAD = ("call", "started", "line", "length", "number", "outcome", "held", "gaps")


def _print_table(rows: list[CallRow], zone: ZoneInfo) -> None:
    cells = []
    for row in rows:
        reasons = ", ".join(sorted({reason for _, _, reason in row.gaps}))
        held = "provisional" if row.provisional else "held" if row.held else "refused" if row.hold_refused else ""
        minutes, seconds = divmod(round(row.duration_s), 60)
        cells.append(
            (
                row.call_id[:12],
                f"{datetime.fromtimestamp(row.started_utc_ms / MS_PER_S, zone):%Y-%m-%d %H:%M}",
                row.line_name,
                f"{minutes}:{seconds:02d}",
                row.number or row.number_absence or "",
                row.outcome,
                held,
                reasons if row.bag else "no audio here",
            )
        )
    shrink = tuple(LIST_HEAD.index(name) for name in ("gaps", "line", "number"))
    print(f"{columns.table(LIST_HEAD, cells, shrink)}\nTimes are {zone.key}." if cells else "No calls.")


# --------------------------------------------------------------------------------------------------------- extract


def run_extract(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    person = open_own(arguments, home)
    now = now_of(arguments)
    refuse_expired(home, person, arguments.call, now)
    with Desk.open(home, person, now) as desk:
        heard = hear(desk, arguments.call, "extract")
    encode = audio.wav if arguments.wav is not None else audio.flac
    path: Path = arguments.wav if arguments.wav is not None else arguments.flac
    write_file(path, encode(heard.axis, heard.row.rate_hz), replace=True)
    print(f"{path}: {heard.row.duration_s:.3f} s, {len(heard.row.gaps)} gaps.")
    for finding in heard.findings:
        print(finding, file=sys.stderr)
    worst = Findings(list(heard.findings)).worst
    if worst is not None:
        return NotVerified.exit_code if worst is Severity.UNVERIFIED else Damaged.exit_code
    return 0


def refuse_expired(home: Home, person: Any, call_id: str, now_utc_ms: int) -> None:
    """Opening the desk destroys what is due; whoever asks for such a call is told so."""
    library = load(home, person)
    try:
        due = {row.call_id for row in library.due(now_utc_ms)}
        asked = library.get(call_id).call_id if due else None
    except NotFound:
        asked = None
    finally:
        library.close()
    if asked is not None and asked in due:
        with Desk.open(home, person, now_utc_ms):
            pass
        raise Expired("This call has reached its limit; its copies here were destroyed now.")


# ---------------------------------------------------------------------------------------------------------- verify


def run_verify(arguments: argparse.Namespace) -> int:
    directories = find_bundles(arguments.stick)
    if not directories:
        raise NotFound(f"There is no answer of a recorder on {arguments.stick}.")
    home = Home.open(arguments.home) if arguments.home is not None else None
    worst: Severity | None = None
    for directory in directories:
        found = _verify_one(directory, arguments.stick, home, arguments.fingerprint)
        worst = max(filter(None, (worst, found)), default=None)
    if worst is not None:
        raise (NotVerified if worst is Severity.UNVERIFIED else Damaged)(
            "Not everything on the stick is sound; see above."
        )
    return 0


def _verify_one(directory: Path, stick: Path, home: Home | None, fingerprint: bytes | None) -> Severity | None:
    device_id = directory.parent.name
    genesis = enrolled_genesis(stick, device_id) or enrolled_genesis(directory.parents[2], device_id)
    pinned = fingerprint
    if home is not None:
        device = home.find_device(device_id)
        pinned = device.fingerprint
        genesis = device.genesis_public or genesis
    bundle = read_bundle(directory, genesis, pinned)
    frames = sum(1 for call in bundle.calls for _ in check_call(call, device_id, bundle.chain, bundle.findings))
    print(f"Answer {directory.name} of {device_id}")
    print(f"  calls {len(bundle.calls)}, frames {frames}, calls in the index {len(bundle.index)}")
    if bundle.chain.fingerprint is not None:
        print(f"  fingerprint {bundle.chain.fingerprint.hex()}")
    for finding in bundle.findings.items:
        print(f"  {finding}")
    if not bundle.findings:
        known = "verified" if bundle.chain.anchored else "consistent, identity not checked"
        print(f"  {known}")
    return bundle.findings.worst


# --------------------------------------------------------------------------------------------------- purge and log


def run_purge(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    with Desk.open(home, open_own(arguments, home), now_of(arguments)) as desk:
        print(
            f"Calls at their limit, destroyed here: {len(desk.destroyed)}. Calls that remain: {desk.library.count()}."
        )
    return 0


def run_log(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    try:
        for seq, utc, event, fields, _ in home.log.lines():
            print(f"{seq}\t{utc}\t{event}\t{fields.replace(';', ' ')}")
    except DeskError:
        sys.stdout.flush()
        raise
    return 0
