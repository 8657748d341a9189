"""From the answer to the on-hook: OPEN, frames, CLOSE. Each is durable when its function returns."""

from numpy import int16
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec, CallMeta, GapReason, LedgerRow
from firmware.store import begun, space
from firmware.store import meta as metas
from firmware.store.append import append
from firmware.store.audit import Value
from firmware.store.bag import CALLS_MAX, Bag, stored_bytes
from firmware.store.ciphers import KEY_BYTES
from firmware.store.core import Call, Contents, Core
from firmware.store.entries import Close, Kind, Open, close_message
from firmware.store.errors import ErasureUnconfirmed, Refused, RingFull
from firmware.store.frame import Piece, Sealer, Stamp, encoded_bytes
from firmware.store.keys import Purpose, seal_key, seal_text, wipe
from firmware.store.layout import BLOCK_BYTES, DEK, META, digest
from firmware.store.running import Running
from firmware.store.table import NO_CALL, BagType
from firmware.units import MS_PER_DAY

RUNNING_RESERVE_BYTES = stored_bytes(metas.TEXT_BYTES_MAX + 512) + stored_bytes(512)
"""What a running call may still need in its bag: a META of the greatest length and a CLOSE."""
INTENT_RESERVE_BYTES = 4096
"""Kept free in every bag, so that an opt-out never has to wait for room."""


def open_call(
    core: Core,
    line: int,
    opened_utc_ms: int,
    codec: AudioCodec,
    channels: int,
    rate_hz: int,
    meta: CallMeta | None,
) -> bytes:
    """Raises Refused (line opted out, clock not known), CardFailed, RingFull, ErasureUnconfirmed."""
    core.ready()
    assert line < core.identity.geometry.lines
    if core.table.lines[line].opted_out:
        raise Refused("opted_out")
    if not core.time.may_record:
        raise Refused("clock_unknown")
    call_id = core.parts.random(16)
    dek = bytearray(core.parts.random(KEY_BYTES))
    purpose = Purpose(DEK, core.device_id, call_id, opened_utc_ms)
    sealed = seal_key(core.ciphers, core.table.recipients, dek, purpose)
    entry = Open(call_id, opened_utc_ms, line, codec, channels, rate_hz, core.ring.head, sealed)
    body = entry.encode()
    sealer = Sealer(core.ciphers, call_id, dek, body)
    wipe(dek)
    contents: Contents = [(Kind.OPEN, body)]
    if meta is not None:
        contents.append((Kind.META, _meta_body(core, call_id, opened_utc_ms, meta)))
    bag = _bag_for(core, opened_utc_ms // MS_PER_DAY, contents)
    append(core, bag, contents)
    core.start(core.calls[call_id], Running(sealer, codec, channels, rate_hz, core.ring.head))
    core.table.lines[line].interrupted = NO_CALL
    return call_id


def append_audio(
    core: Core,
    call_id: bytes,
    first: int,
    samples: int,
    payload: NDArray[int16] | bytes,
    codec: AudioCodec | None = None,
) -> int | None:
    """Returns the sample through which the call is durable now, where a frame was sealed. Raises CardFailed, and,
    before the piece is taken, RingFull and ErasureUnconfirmed: the caller may then try again."""
    _, running = running_call(core, call_id)
    sealed = _make_way(core, running, first, samples)
    running.add_audio(first, samples, payload, codec)
    running.taken_mono_us = core.parts.clock.mono_us()
    return _seal_due(core, running) or sealed


def append_gap(core: Core, call_id: bytes, first: int, samples: int, reason: GapReason) -> int | None:
    """As ``append_audio``; a gap may be of any length."""
    _, running = running_call(core, call_id)
    sealed = _make_way(core, running, first, samples)
    running.add_gap(first, samples, reason)
    return _seal_due(core, running) or sealed


def flush(core: Core, call_id: bytes, *, last: bool = False) -> int | None:
    """Seal what is pending: one frame, or two where one had been shortened and could not be written."""
    _, running = running_call(core, call_id)
    sealed = None
    while running.pending:
        sealed = _seal(core, running, whole=True, last=last and not running.shortened)
    return sealed


def seal_quiet(core: Core, quiet_us: int) -> None:
    """Seal what nothing followed for ``quiet_us``: before a long gap, or when the codec fell silent, a call's last
    words are not left in memory. Raises CardFailed, RingFull, ErasureUnconfirmed."""
    before_mono_us = core.parts.clock.mono_us() - quiet_us
    for running in [call.running for call in core.running.values()]:
        if running is not None and running.waits_since(before_mono_us):
            _seal(core, running, whole=True)


def close_call(core: Core, call_id: bytes, meta: CallMeta, row: LedgerRow) -> int | None:
    """Last frame, META and CLOSE in one append, then the ledger row: it is written at boot where a cut comes
    between. In a full ring the call ends with its last whole frame."""
    call, running = running_call(core, call_id)
    try:
        sealed = flush(core, call_id, last=True)
    except RingFull:
        running.drop()
        sealed = None
    body = _meta_body(core, call_id, call.opened_utc_ms, meta)
    unsigned = Close(
        call_id,
        row.ended_utc_ms,
        meta.ended,
        row.outcome,
        row.direction,
        row.sense,
        row.rule,
        running.frames,
        max(running.frames - 1, 0),
        running.sealer.link,
        running.first,
        running.end,
        digest(body),
        core.table.sign_epoch,
    )
    close_with(core, call, [(Kind.META, body)], unsigned)
    core.stop(call)
    assert call.close is not None
    write_row(core, call.close.row(call.line, call.opened_utc_ms))
    return sealed


def close_with(core: Core, call: Call, before: Contents, unsigned: Close) -> None:
    """Sign and append a CLOSE."""
    bag_id = call.day_bag
    assert bag_id is not None
    message = close_message(core.device_id, unsigned.unsigned())
    signed = sign(unsigned, core.ciphers.sign(core.table.seed, message))
    append(core, core.bags[bag_id], [*before, (Kind.CLOSE, signed.encode())])


def sign(close: Close, signature: bytes) -> Close:
    return Close(**{**close.__dict__, "signature": signature})


def write_row(core: Core, row: LedgerRow) -> int:
    """One call event, one line. Returns its seq. Raises CardFailed."""
    core.ready()
    fields: dict[str, Value] = {
        "line": row.line,
        "outcome": row.outcome.value,
        "direction": row.direction.value,
        "rule": row.rule,
        "started": row.started_utc_ms,
        "ended": row.ended_utc_ms,
        "sense": int(row.sense),
    }
    if row.ended is not None:
        fields["how"] = row.ended.value
    if row.call_id is not None:
        fields["call"] = row.call_id
    answer = begun.find(core.table.begun, row.line, row.started_utc_ms)
    if answer is not None:
        fields["begun"] = answer
    line = core.log.append(core.now_utc_ms(), "CALL", fields, core.table.seed)
    if answer is not None:
        del core.table.begun[answer]
    state = core.table.lines[row.line]
    if row.call_id is not None and row.call_id == state.owed_call:
        state.owed_row_utc_ms, state.owed_call = 0, NO_CALL
    return line.seq


def running_call(core: Core, call_id: bytes) -> tuple[Call, Running]:
    """Raises Refused where the call was destroyed meanwhile or is closed."""
    call = core.calls.get(call_id)
    if call is None or call.running is None:
        raise Refused("not_kept")
    return call, call.running


# --------------------------------------------------------------------------------------------------------- in detail


def _meta_body(core: Core, call_id: bytes, opened_utc_ms: int, meta: CallMeta) -> bytes:
    purpose = Purpose(META, core.device_id, call_id, opened_utc_ms)
    text = metas.encode(meta)
    return call_id + seal_text(core.ciphers, core.table.recipients, text, purpose, core.parts.random)


def _bag_for(core: Core, day: int, contents: Contents) -> Bag:
    """A bag of that day with room for the call to its end, or a new one."""
    need = sum(stored_bytes(len(body)) for _, body in contents) + RUNNING_RESERVE_BYTES + INTENT_RESERVE_BYTES
    for bag in core.bags.values():
        if bag.row.type is BagType.DAY and bag.row.day == day and bag.calls < CALLS_MAX:
            promised = sum(RUNNING_RESERVE_BYTES for call in core.running.values() if call.day_bag == bag.row.bag_id)
            if core.pool.room(bag) >= need + promised:
                return bag
    return space.new_day_bag(core, day)


def _make_way(core: Core, running: Running, first: int, samples: int) -> int | None:
    """Seal what would grow past 2 s, or what an earlier attempt left."""
    core.ready()
    sealed = _seal(core, running) if running.due else None
    while running.full_with(first, samples):
        sealed = _seal(core, running, whole=True)
    return sealed


def _seal_due(core: Core, running: Running) -> int | None:
    """The piece is taken by now: where a ROTATE for room hangs, or there is none, the frame waits for the next piece,
    which is refused with the reason."""
    if not running.due:
        return None
    try:
        return _seal(core, running)
    except (ErasureUnconfirmed, RingFull):
        return None


def _seal(core: Core, running: Running, *, whole: bool = False, last: bool = False) -> int:
    """Returns the sample through which the call is durable. ``whole``: it is not
    shortened to fill its blocks."""
    core.ready()
    pieces = _encoded(core, running, whole=whole)
    blocks = encoded_bytes([len(piece.payload) for piece in pieces]) // BLOCK_BYTES
    position = space.make_room(core, blocks)
    stamp = Stamp(core.device_id, position, core.table.sign_epoch, core.table.seed)
    frame = running.sealer.seal(pieces, stamp, last=last)
    position = space.write(core, position, frame)
    if running.frames == 0:
        running.first = position
    running.frames += 1
    running.end = core.ring.head
    return running.sealed()


def _encoded(core: Core, running: Running, *, whole: bool) -> list[Piece]:
    """The pending pieces for one frame; a gap with reason FAULT where the encoder failed."""
    try:
        return running.encoded(core.parts.encoder, whole=whole)
    except OSError:
        core.encoder_failures += 1
        return running.failed()
