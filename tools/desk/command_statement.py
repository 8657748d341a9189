"""statement, compliance: what the DPO shows to the controller, to callers and to the regulator."""

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path

from firmware.config import ConfigError, Site, parse_site
from tools.desk import compliance, statement
from tools.desk.command_common import add_home, add_now, now_of
from tools.desk.errors import Damaged
from tools.desk.files import read_if_there, write_file
from tools.desk.home import Device, Home
from tools.desk.local_times import local_text, zone_of

NOTICE_BYTES_MAX = 4 << 20


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    monthly = commands.add_parser("statement", help="a month's statement, as a page and a table, from the signed log")
    _add_common(monthly)
    monthly.add_argument("--month", type=_month, required=True, metavar="YYYY-MM")
    monthly.set_defaults(run=run_statement)
    pack = commands.add_parser("compliance", help="the compliance pack, from the settings in force")
    _add_common(pack)
    pack.set_defaults(run=run_compliance)


def _add_common(command: argparse.ArgumentParser) -> None:
    add_home(command)
    add_now(command)
    command.add_argument("--device", metavar="ID", help="the recorder, where the home knows several")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")


def _month(text: str) -> tuple[int, int]:
    try:
        return statement.month(text)
    except ValueError:
        raise argparse.ArgumentTypeError("a month is written as 2026-03") from None


def run_statement(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    device = home.find_device(arguments.device)
    answer, chain = statement.newest_log(home, device)
    may_export = _site(device).of("desk", "supervisor_may_export")
    proven = compliance.proven(statement.memory_kind(answer))
    start, end = arguments.month
    made = statement.make(device.device_id, chain, start, end, may_export, proven)
    _write(arguments.out, {"statement.html": statement.as_html(made), "statement.csv": statement.as_csv(made)})
    return 0


def run_compliance(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    device = home.find_device(arguments.device)
    notice = read_if_there(home.device_directory(device.device_id) / "NOTICE.wav", NOTICE_BYTES_MAX) or b""
    answer, _ = statement.newest_log(home, device)
    facts = compliance.Facts(
        device=device.device_id,
        site=_site(device),
        notice_sha256=hashlib.sha256(notice).hexdigest(),
        memory=statement.memory_kind(answer),
        made=local_text(now_of(arguments), zone_of(home)).split(",")[0],
    )
    _write(arguments.out, compliance.pages(facts))
    return 0


def _site(device: Device) -> Site:
    try:
        return parse_site(device.site_text())
    except ConfigError as error:
        raise Damaged(f"The site settings in this home cannot be read: {error}") from None


def _write(folder: Path, pages: Mapping[str, str]) -> None:
    """A page that is there already is left as it is: a statement that was given out does not change."""
    for name, text in pages.items():
        write_file(folder / name, text.encode("utf-8"))
        print(folder / name)
