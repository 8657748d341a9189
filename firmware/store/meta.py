"""CallMeta as canonical JSON: UTF-8, sorted keys, no white space (FORMAT.md 6)."""

import json
from typing import Any

from firmware.policy.events import Absence
from firmware.policy.records import CallMeta, Direction, Ended, NoticeProof, Quality
from firmware.store.errors import Malformed

TEXT_BYTES_MAX = 4096
LIST_MAX = 64
"""Presses and pieces of evidence kept of one call: the first ones decide and are reviewed."""
FIELD_CHARACTERS_MAX = 200


def encode(meta: CallMeta) -> bytes:
    """At most TEXT_BYTES_MAX bytes: overlong lists and texts are cut, so that a bag's reserve always suffices."""
    quality = meta.quality
    value = {
        "number": _cut(meta.number),
        "number_absence": meta.number_absence,
        "caller_name": _cut(meta.caller_name),
        "direction": meta.direction,
        "rule": meta.rule,
        "evidence": [[word, ms] for word, ms in meta.evidence[:LIST_MAX]],
        "notice": {
            "version": meta.notice.version,
            "sha256": meta.notice.sha256.hex(),
            "played_ms": meta.notice.played_ms,
            "source": meta.notice.source,
            "offset_ms": meta.notice.offset_ms,
        },
        "answered_utc_ms": meta.answered_utc_ms,
        "ended_utc_ms": meta.ended_utc_ms,
        "ended": meta.ended,
        "samples": meta.samples,
        "quality": None if quality is None else {name: getattr(quality, name) for name in _QUALITY},
        "caller_id": {key: _cut(text) for key, text in meta.caller_id.items()},
        "payment_presses_ms": list(meta.payment_presses_ms[:LIST_MAX]),
        "keep_pressed": meta.keep_pressed,
    }
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    assert len(text) <= TEXT_BYTES_MAX
    return text


def decode(text: bytes) -> CallMeta:
    """Raises Malformed."""
    try:
        return _decode(json.loads(text.decode("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"meta: {type(error).__name__}") from None


_QUALITY = tuple(Quality.__dataclass_fields__)


def _decode(value: dict[str, Any]) -> CallMeta:
    notice = value["notice"]
    absence = value["number_absence"]
    quality = value["quality"]
    return CallMeta(
        number=value["number"],
        number_absence=None if absence is None else Absence(absence),
        caller_name=value["caller_name"],
        direction=Direction(value["direction"]),
        rule=value["rule"],
        evidence=tuple((word, ms) for word, ms in value["evidence"]),
        notice=NoticeProof(
            notice["version"],
            bytes.fromhex(notice["sha256"]),
            notice["played_ms"],
            notice["source"],
            notice["offset_ms"],
        ),
        answered_utc_ms=value["answered_utc_ms"],
        ended_utc_ms=value["ended_utc_ms"],
        ended=Ended(value["ended"]),
        samples=value["samples"],
        quality=None if quality is None else Quality(**quality),
        caller_id=dict(value["caller_id"]),
        payment_presses_ms=tuple(value["payment_presses_ms"]),
        keep_pressed=value["keep_pressed"],
    )


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:FIELD_CHARACTERS_MAX]
