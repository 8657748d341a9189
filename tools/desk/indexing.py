"""From a verified answer to the library: rows of calls, holds and erasures as the signed log tells them."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from firmware.policy.records import CallMeta, Outcome
from firmware.policy.retention import TWO_MONTHS, Period
from firmware.store.audit import AuditLine
from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import Piece
from firmware.units import SAMPLE_RATE_HZ
from tools.desk import retention
from tools.desk.bundle import HOLD_ENDS, HOLD_EVENTS, ORDER_ID, SMALL_BYTES_MAX, Bundle, hold_lines, limit_utc_ms
from tools.desk.callfile import CallFile, IndexEntry, open_meta, open_pieces
from tools.desk.desk import Desk
from tools.desk.errors import DeskError
from tools.desk.files import read_if_there, write_file
from tools.desk.findings import Finding, Severity
from tools.desk.home import Device
from tools.desk.library import CallRow
from tools.desk.site import site_facts

OUTCOMES = tuple(Outcome)


@dataclass
class Imported:
    """What one `import` did. ``pinned``: recorders whose fingerprint was seen for the first time."""

    answers: list[str] = field(default_factory=list)
    calls: int = 0
    indexed: int = 0
    erased: int = 0
    skipped: int = 0
    pinned: list[Device] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    refused: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def worst(self) -> Severity | None:
        return max((finding.severity for finding in self.findings), default=None)


@dataclass(frozen=True)
class _Site:
    line_names: tuple[str, ...]
    period: Period


def _site(bundle: Bundle) -> _Site:
    """The settings in force on the recorder; where they cannot be read, the notice's own promise."""
    text = (read_if_there(bundle.directory / "data/site.toml", SMALL_BYTES_MAX) or b"").decode("utf-8", "replace")
    try:
        facts = site_facts(text)
    except DeskError:
        return _Site((), TWO_MONTHS)
    return _Site(facts.line_names, Period(facts.retention_months, facts.retention_days))


def _remember_settings(desk: Desk, bundle: Bundle) -> None:
    data = read_if_there(bundle.directory / "data/site.toml", SMALL_BYTES_MAX)
    directory = desk.home.device_directory(bundle.device_id)
    if data is not None and directory.is_dir():
        write_file(directory / "SITE.toml", data, replace=True)


def _line_name(site: _Site, line: int) -> str:
    return site.line_names[line] if line < len(site.line_names) else f"line{line + 1}"


def index_answer(desk: Desk, bundle: Bundle, result: Imported) -> None:
    site = _site(bundle)
    newest = bundle.last_seq >= desk.library.state_seq(bundle.device_id)
    _check_earlier_answers(desk, bundle)
    if newest:
        result.erased += _follow_fates(desk, bundle)
        for entry in bundle.index:
            _put_index_entry(desk, bundle, site, entry)
        result.indexed += len(bundle.index)
    for call in bundle.calls:
        row = _read_row(desk, bundle, site, call)
        if _to_be_kept(desk, row):
            desk.library.put([row])
            result.calls += 1
    for path in sorted((bundle.directory / "data/index").glob("*.key")):
        retention.destroy_file(path)  # what it said is in the library now, and must not outlive the calls' limits here
    if newest:
        desk.library.set_state_seq(bundle.device_id, bundle.last_seq)
        _remember_settings(desk, bundle)
    desk.library.remember_keys(bundle.device_id, bundle.chain.keys)
    if bundle.chain.lines:
        desk.library.remember_line(bundle.device_id, bundle.chain.lines[-1].seq, bundle.chain.lines[-1].hash)
    desk.library.add_answer(bundle.directory.name, bundle.device_id, desk.now_utc_ms)
    retention.sweep(desk.home, desk.library, desk.now_utc_ms)
    desk.home.log.append(
        "IMPORT",
        desk.now_utc_ms,
        {"bag": bundle.directory.name, "device": bundle.device_id, "calls": len(bundle.calls)},
    )
    result.answers.append(bundle.directory.name)
    result.findings += bundle.findings.items


def _to_be_kept(desk: Desk, row: CallRow) -> bool:
    """Not past its limit, not erased on the recorder (a newer log may have told so), and not a damaged second copy of
    one that is sound."""
    if desk.library.was_erased(row.call_id) or not (row.limit_utc_ms > desk.now_utc_ms or row.held):
        return False
    known = desk.library.get(row.call_id) if desk.library.has(row.call_id) else None
    return row.sound or known is None or known.bag is None or not known.sound


def _check_earlier_answers(desk: Desk, bundle: Bundle) -> None:
    """The log says which tag manifest each earlier answer had when it was read back on the recorder."""
    for line in bundle.lines("ANSWERED"):
        order = line.fields.get("order", "")
        if not ORDER_ID.fullmatch(order):
            continue
        earlier = retention.bag_directory(desk.home, bundle.device_id, order)
        manifest = read_if_there(earlier / "tagmanifest-sha512.txt", SMALL_BYTES_MAX)
        if manifest is not None and sha256(manifest).hexdigest() != line.fields.get("bag"):
            bundle.findings.unverified(f"answer {order}", "it is not the one that left the recorder")


def _follow_fates(desk: Desk, bundle: Bundle) -> int:
    """Erasures and opt-outs reach the copies here; reviews of holds are taken over."""
    erased = 0
    known_to = desk.library.state_seq(bundle.device_id)
    for line in bundle.chain.lines:
        call_id = line.fields.get("call", "")
        if line.seq <= known_to:
            continue
        destroyed = line.event == "DESTROYED" and line.fields.get("op") in ("erase", "opt_out")
        if destroyed:
            desk.library.remember_erased(call_id)
        if not desk.library.has(call_id):
            continue
        if destroyed:
            retention.erase(desk.home, desk.library, desk.library.get(call_id), desk.now_utc_ms, line.fields["op"])
            erased += 1
        elif line.event in HOLD_EVENTS:
            review = int(line.fields.get("review") or 0) or None
            desk.library.update(
                call_id, held=True, provisional=line.event == "KEEP", review_utc_ms=review, hold_refused=None
            )
        elif line.event in HOLD_ENDS:
            desk.library.update(call_id, **_not_held(line))
    return erased


def _hold_state(bundle: Bundle, call_id: str, index_says_held: bool) -> dict[str, Any]:
    """The signed log decides. The index's flag is not signed: it counts for a KEEP, which may not have found room, and
    where the log no longer reaches back to the hold."""
    lines = hold_lines(line for line in bundle.chain.lines if line.fields.get("call") == call_id)
    whole = bool(bundle.chain.lines) and bundle.chain.lines[0].seq == 1
    if (lines and lines[-1].event in HOLD_ENDS) or (not lines and (whole or not index_says_held)):
        return _not_held(lines[-1] if lines else None)
    placed = [line.event for line in lines if line.event != "EXTEND"]
    provisional = placed[-1:] == ["KEEP"]
    review = int(lines[-1].fields.get("review") or 0) or None if lines else None
    held = index_says_held or not provisional
    return {"held": held, "provisional": provisional, "review_utc_ms": review, "hold_refused": None}


def _not_held(end: AuditLine | None) -> dict[str, Any]:
    """``end``: the line that ended it, or told why it never came about."""
    refused = end is not None and end.event == "HOLD_REFUSED"
    why = end.fields.get("why") if end is not None and refused else None
    return {"held": False, "provisional": False, "review_utc_ms": None, "hold_refused": why}


def _put_index_entry(desk: Desk, bundle: Bundle, site: _Site, entry: IndexEntry) -> None:
    call_id = entry.call_id.hex()
    state = _hold_state(bundle, call_id, entry.held != 0)
    if desk.library.has(call_id):
        known = desk.library.get(call_id)
        if any(getattr(known, name) != value for name, value in state.items()):
            desk.library.put([replace(known, **state)])
        return
    row = CallRow(
        call_id=call_id,
        device=bundle.device_id,
        line=entry.line,
        line_name=_line_name(site, entry.line),
        outcome=OUTCOMES[entry.outcome - 1] if 1 <= entry.outcome <= len(OUTCOMES) else "unknown",
        started_utc_ms=entry.opened_utc_ms,
        ended_utc_ms=entry.closed_utc_ms,
        limit_utc_ms=limit_utc_ms(entry.opened_utc_ms, site.period),
        **state,
    )
    meta = _meta(desk, bundle, entry.meta_body, entry.opened_utc_ms, row.call_id)
    row = _with_meta(row, meta)
    if _to_be_kept(desk, row):
        desk.library.put([row])


def _meta(desk: Desk, bundle: Bundle, body: bytes | None, opened_utc_ms: int, call_id: str) -> CallMeta | None:
    if body is None:
        return None
    try:
        return open_meta(body, bundle.device_id, opened_utc_ms, desk.person)
    except BadSeal:
        bundle.findings.damaged(f"call {call_id}", "its number and times are not sealed to this person")
    except Malformed:
        bundle.findings.damaged(f"call {call_id}", "its META is malformed")
    return None


def _with_meta(row: CallRow, meta: CallMeta | None) -> CallRow:
    if meta is None:
        return row
    rest = {
        "rule": meta.rule,
        "evidence": [[word, ms] for word, ms in meta.evidence],
        "notice": {
            "version": meta.notice.version,
            "sha256": meta.notice.sha256.hex(),
            "played_ms": meta.notice.played_ms,
            "source": meta.notice.source,
            "offset_ms": meta.notice.offset_ms,
        },
        "ended": meta.ended.value,
        "quality": None if meta.quality is None else vars(meta.quality),
        "caller_id": meta.caller_id,
        "payment_presses_ms": list(meta.payment_presses_ms),
        "keep_pressed": meta.keep_pressed,
    }
    return replace(
        row,
        direction=meta.direction.value,
        number=meta.number,
        number_absence=meta.number_absence.value if meta.number_absence is not None else None,
        caller_name=meta.caller_name,
        ended_utc_ms=meta.ended_utc_ms or row.ended_utc_ms,
        samples=meta.samples * row.rate_hz // SAMPLE_RATE_HZ,
        meta=rest,
    )


def _read_row(desk: Desk, bundle: Bundle, site: _Site, call: CallFile) -> CallRow:
    """Verifies and opens every frame once; what is wrong is in the bundle's findings."""
    call_id = call.open.call_id.hex()
    before = len(bundle.findings.items)
    known = desk.library.get(call_id) if desk.library.has(call_id) else None
    row = CallRow(
        call_id=call_id,
        device=bundle.device_id,
        line=call.open.line,
        line_name=_line_name(site, call.open.line),
        outcome=call.close.outcome.value,
        started_utc_ms=call.open.opened_utc_ms,
        ended_utc_ms=call.close.closed_utc_ms,
        limit_utc_ms=limit_utc_ms(call.open.opened_utc_ms, site.period),
        direction=call.close.direction.value,
        rate_hz=call.open.rate_hz,
        held=known.held if known else False,
        provisional=known.provisional if known else False,
        review_utc_ms=known.review_utc_ms if known else None,
        hold_refused=known.hold_refused if known else None,
        disclosed=known.disclosed if known else False,
        bag=bundle.directory.name,
        file_number=int(call.tcf.stem),
    )
    row = _with_meta(row, _meta(desk, bundle, call.meta_body, call.open.opened_utc_ms, call_id))
    gaps, end = _gaps(_pieces(desk, bundle, call))
    sound = len(bundle.findings.items) == before
    return replace(row, gaps=gaps, samples=row.samples or end, sound=sound)


def _pieces(desk: Desk, bundle: Bundle, call: CallFile) -> Iterator[Piece]:
    try:
        yield from open_pieces(call, bundle.device_id, bundle.chain, desk.person, bundle.findings)
    except BadSeal:
        bundle.findings.damaged(call.name, "it is not sealed to this person, or it is of another call or recorder")


def _gaps(pieces: Iterator[Piece]) -> tuple[tuple[tuple[int, int, str], ...], int]:
    """Gaps with touching ones of one reason joined, and the end of the last piece."""
    gaps: list[tuple[int, int, str]] = []
    end = 0
    for piece in pieces:
        end = max(end, piece.first_sample + piece.samples)
        if piece.reason is None:
            continue
        word = piece.reason.word
        if gaps and gaps[-1][2] == word and gaps[-1][0] + gaps[-1][1] == piece.first_sample:
            gaps[-1] = (gaps[-1][0], gaps[-1][1] + piece.samples, word)
        else:
            gaps.append((piece.first_sample, piece.samples, word))
    return tuple(gaps), end
