"""The pages, each from what the desk knows; templates escape everything (Jinja2 with autoescape)."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2

from firmware.evidence.note import NOTE_BYTES_MAX, NoteError, parse
from firmware.evidence.order import ORDER_FILE, Basis, Ground, Op, Purpose, RecipientKind
from firmware.evidence.order import parse as parse_order
from firmware.policy.records import Outcome
from tools.desk.bundle import SMALL_BYTES_MAX
from tools.desk.errors import DeskError
from tools.desk.files import read_if_there
from tools.desk.home import Home
from tools.desk.library import CallRow, Query
from tools.desk.local_times import clock_text, local_day, local_text, typed_moment, zone_of
from tools.desk.retention import purged
from tools.desk.times import parse_time
from tools.desk.web_session import Browser, Service

SHOWN_MAX = 200
LOG_SHOWN_MAX = 500
LISTENERS_SHOWN_MAX = 12
"""Of one call, on its page; the log has all."""
SEARCH_FIELDS = (
    "number", "from_day", "from_time", "to_day", "to_time", "line", "outcome", "held", "audio", "duration",
)  # fmt: skip

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("web_templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_EVENTS = {
    "HEARD": "listened",
    "ORDER": "order written",
    "COSIGN": "order signed",
    "IMPORT": "stick imported",
    "PIN": "recorder pinned",
    "PURGE": "destroyed at limit",
    "ERASED": "erased",
    "UNLOCK": "unlocked",
    "PROVISION": "recorder provisioned",
    "DRILL": "drill",
    "PASSPHRASE": "passphrase changed",
    "BAG": "evidence bag begun",
    "BAG_MADE": "evidence bag made",
    "ACCESS": "access pack begun",
    "ACCESS_MADE": "access pack made",
}


def words(value: str) -> str:
    """A word of a closed list as a person reads it."""
    return value.replace("_", " ").replace("-", " ")


def render(template: str, service: Service, browser: Browser | None, **values: Any) -> str:
    common = {
        "csrf": browser.csrf if browser is not None else "",
        "unlocked": browser is not None and browser.unlocked,
        "notices": browser.take_notices() if browser is not None else [],
        "role": service.home.role,
        "stick": str(service.stick) if service.stick is not None else None,
        "words": words,
    }
    return _ENVIRONMENT.get_template(template).render(**common, **values)


# ----------------------------------------------------------------------------------------------------------- calls


@dataclass(frozen=True)
class Shown:
    """One call in words. ``state``: held, provisional, refused (a hold that was asked for) or empty."""

    call_id: str
    started: str
    line: str
    number: str
    outcome: str
    duration: str
    state: str
    gaps: str
    audio: bool
    sound: bool


def shown(row: CallRow, zone: ZoneInfo) -> Shown:
    return Shown(
        call_id=row.call_id,
        started=local_text(row.started_utc_ms, zone),
        line=row.line_name,
        number=row.number or words(row.number_absence or "not known"),
        outcome=words(row.outcome),
        duration=clock_text(row.duration_s),
        state="provisional" if row.provisional else "held" if row.held else "refused" if row.hold_refused else "",
        gaps=", ".join(words(reason) for reason in sorted({reason for _, _, reason in row.gaps})),
        audio=row.bag is not None,
        sound=row.sound,
    )


def query_of(search: dict[str, str], zone: ZoneInfo) -> Query:
    """Raises ValueError with what was typed wrongly."""
    duration = search.get("duration", "")
    if duration and not (duration.isdigit() and len(duration) < 6):
        raise ValueError("the shortest duration is a number of seconds")
    return Query(
        number=search.get("number") or None,
        from_utc_ms=typed_moment(search.get("from_day", ""), search.get("from_time", ""), zone, end=False),
        to_utc_ms=typed_moment(search.get("to_day", ""), search.get("to_time", ""), zone, end=True),
        line=search.get("line") or None,
        outcome=search.get("outcome") or None,
        held=True if search.get("held") else None,
        with_audio=True if search.get("audio") else None,
        duration_min_s=float(duration) if duration else None,
        limit=SHOWN_MAX + 1,
    )


def calls_page(service: Service, browser: Browser) -> str:
    zone = zone_of(service.home)
    problem = ""
    rows: list[CallRow] = []
    with service.desk() as desk:
        try:
            rows = desk.library.find(query_of(browser.search, zone))
        except ValueError as error:
            problem = f"The search was not made: {error}."
        lines = desk.library.line_names()
        total = desk.library.count()
        destroyed = len(desk.destroyed)
    if destroyed:
        browser.tell("done", purged(destroyed))
    return render(
        "calls.html",
        service,
        browser,
        calls=[shown(row, zone) for row in rows[:SHOWN_MAX]],
        more=len(rows) > SHOWN_MAX,
        total=total,
        problem=problem,
        search={name: browser.search.get(name, "") for name in SEARCH_FIELDS},
        searching=any(browser.search.values()),
        lines=lines,
        outcomes=[outcome.value for outcome in Outcome],
        zone=zone.key,
    )


# -------------------------------------------------------------------------------------------------------- one call


def call_page(service: Service, browser: Browser, call_id: str) -> str:
    """Raises NotFound."""
    zone = zone_of(service.home)
    with service.desk() as desk:
        row = desk.library.get(call_id)
    return render(
        "call.html",
        service,
        browser,
        call=shown(row, zone),
        facts=_facts(row, zone),
        device=row.device,
        held=row.held,
        provisional=row.provisional,
        heard=listeners(service.home, row.call_id, zone)[:LISTENERS_SHOWN_MAX],
        second=[role for role in ("escrow", "supervisor") if service.home.key_file(role).exists()],
        tomorrow=_day_after(service.clock()),
        grounds=[ground.value for ground in Ground],
        **choices(),
    )


def choices() -> dict[str, list[str]]:
    return {
        "purposes": [purpose.value for purpose in Purpose],
        "bases": [basis.value for basis in Basis],
        "recipients": [kind.value for kind in RecipientKind],
    }


def _day_after(now_utc_ms: int) -> str:
    return (datetime.fromtimestamp(now_utc_ms / 1000, UTC) + timedelta(days=1)).strftime("%Y-%m-%d")


def _facts(row: CallRow, zone: ZoneInfo) -> list[tuple[str, str]]:
    notice = row.meta.get("notice") or {}
    held = f"no: it was asked for and refused ({words(row.hold_refused)})" if row.hold_refused else "no"
    if row.held:
        review = f", review {local_day(row.review_utc_ms, zone)}" if row.review_utc_ms else ""
        held = ("provisionally (KEEP key)" if row.provisional else "yes") + review
    facts = [
        ("Started", local_text(row.started_utc_ms, zone)),
        ("Duration", clock_text(row.duration_s)),
        ("Line", row.line_name),
        ("Number", row.number or words(row.number_absence or "not known")),
        ("Name", row.caller_name or ""),
        ("Direction", words(row.direction or "")),
        ("Outcome", words(row.outcome)),
        ("Held", held),
        ("Must be gone by", "kept by the hold" if row.held else local_text(row.limit_utc_ms, zone)),
        ("Notice", f"{notice['version']}, {notice['played_ms'] / 1000:.1f} s played" if notice else ""),
        ("Recorder", row.device),
        ("Left the house", "yes, in an evidence bag" if row.disclosed else "no"),
        ("Call id", row.call_id),
    ]
    return [(name, value) for name, value in facts if value]


def listeners(home: Home, call_id: str, zone: ZoneInfo) -> list[tuple[str, str, str]]:
    """(when, who, what) of everything that was done with this call here, newest first."""
    found = [entry for entry in log_entries(home, zone) if call_id in entry["details"]]
    return [(entry["when"], entry["by"], entry["what"]) for entry in found]


def log_entries(home: Home, zone: ZoneInfo) -> list[dict[str, str]]:
    """Newest first. Raises Damaged when the chain is broken."""
    entries = []
    for seq, utc, event, body, _ in home.log.lines():
        fields = dict(pair.partition("=")[::2] for pair in body.split(";") if pair)
        by = fields.pop("by", "")
        what = _EVENTS.get(event, event.lower())
        if event == "HEARD" and fields.get("use") not in (None, "listen"):
            what = f"taken out ({fields['use']})"
        if event == "ORDER":
            what = f"order {fields.get('op', '').lower()} written"
        entries.append(
            {
                "seq": seq,
                "when": local_text(parse_time(utc), zone),
                "by": by,
                "what": what,
                "details": " ".join(f"{name} {value}" for name, value in fields.items()),
            }
        )
    return entries[::-1]


# ------------------------------------------------------------------------------------------------- stick and log


def stick_page(service: Service, browser: Browser) -> str:
    zone = zone_of(service.home)
    with service.desk() as desk:
        lines = desk.library.line_names()
    return render(
        "stick.html",
        service,
        browser,
        order=_order_on(service.stick, zone),
        replies=_replies_on(service.stick),
        devices=[device.device_id for device in service.home.devices()],
        lines=lines,
        zone=zone.key,
        **choices(),
    )


def _order_on(stick: Path | None, zone: ZoneInfo) -> list[tuple[str, str]]:
    """The order that lies on the stick, in words; empty when there is none."""
    if stick is None:
        return []
    try:
        data = read_if_there(stick / ORDER_FILE, NOTE_BYTES_MAX)
    except DeskError as error:
        return [("Order", str(error))]
    if data is None:
        return []
    try:
        note = parse(data)
        order = parse_order(note.lines)
    except (NoteError, ValueError) as error:
        return [("Order", f"what lies there is no order: {error}")]
    facts = [
        ("Order", order.op.value),
        ("Recorder", order.device),
        ("Valid until", local_text(order.not_after_utc_ms, zone)),
        ("Signed by", ", ".join(signature.name.partition("-")[0] for signature in note.signatures)),
    ]
    if order.op is Op.EXPORT and order.from_utc_ms is not None and order.to_utc_ms is not None:
        facts.append(("From", local_text(order.from_utc_ms, zone)))
        facts.append(("To (not included)", local_text(order.to_utc_ms, zone)))
    if order.calls:
        facts.append(("Calls", ", ".join(call.hex()[:12] for call in order.calls)))
    return facts


def _replies_on(stick: Path | None) -> list[tuple[str, str]]:
    """(state, text) of each REPLY.txt, the newest file first."""
    if stick is None:
        return []
    paths = [*stick.glob("TACET/REPLY*.txt"), *stick.glob("TACET/*/*/REPLY*.txt")]
    plain = sorted((path for path in paths if path.is_file() and not path.is_symlink()), key=_written, reverse=True)
    found = []
    for path in plain[:50]:
        text = (read_if_there(path, SMALL_BYTES_MAX) or b"").decode("utf-8", "replace").replace("\r\n", "\n").strip()
        text = "".join(c for c in text if c.isprintable() or c == "\n")
        found.append(("failed" if text.startswith(("REFUSED", "FAILED")) else "done", text))
    return found


def _written(path: Path) -> float:
    return path.stat().st_mtime


def log_page(service: Service, browser: Browser) -> str:
    zone = zone_of(service.home)
    try:
        entries, broken = log_entries(service.home, zone), ""
    except DeskError as error:
        entries, broken = [], str(error)
    return render(
        "log.html", service, browser, entries=entries[:LOG_SHOWN_MAX], more=len(entries) > LOG_SHOWN_MAX, broken=broken
    )
