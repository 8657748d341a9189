"""Sound and pictures of one opened call, from memory: WAV with byte ranges, so that the player can seek."""

import io
import re
import struct
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from tools.desk.errors import NotFound, Refused
from tools.desk.pictures import spectrogram_png, waveform_svg
from tools.desk.web_session import Play

_RANGE = re.compile(r"bytes=([0-9]{0,12})-([0-9]{0,12})")
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


def description(play: Play) -> dict[str, Any]:
    """For the page: seconds, and every silent stretch with its name."""
    rate = play.row.rate_hz
    return {
        "duration_s": len(play.axis) / rate,
        "rate_hz": rate,
        "gaps": [
            {
                "start_s": span.first / rate,
                "end_s": span.end / rate,
                "reason": span.reason,
                "label": span.label,
                "meaning": span.meaning,
            }
            for span in play.silent
        ],
        "findings": [str(finding) for finding in play.findings],
    }


def answer(play: Play, what: str, query: Mapping[str, str], wanted: str | None) -> Response:
    """Raises NotFound, Refused."""
    if what == "audio.wav":
        return _audio(play, wanted)
    first, end = _window(play, query)
    if what == "waveform.svg":
        return Response(waveform_svg(play.axis[first:end], play.loudest), media_type="image/svg+xml")
    if what == "spectrogram.png":
        return Response(spectrogram_png(play.axis[first:end]), media_type="image/png")
    raise NotFound("There is no such picture.")


def _window(play: Play, query: Mapping[str, str]) -> tuple[int, int]:
    start, end = query.get("from", "0"), query.get("to", "999999")
    if not _SECONDS.fullmatch(start) or not _SECONDS.fullmatch(end):
        raise Refused("A picture is of a stretch in seconds.")
    first = min(int(float(start) * play.row.rate_hz), len(play.axis))
    return first, max(first, min(round(float(end) * play.row.rate_hz), len(play.axis)))


def _audio(play: Play, wanted: str | None) -> Response:
    header = wav_header(len(play.axis), play.row.rate_hz)
    total = len(header) + 2 * len(play.axis)
    common = {"accept-ranges": "bytes"}
    bounds = byte_range(wanted, total) if wanted is not None else None
    if wanted is not None and bounds is None:
        return Response(status_code=416, headers={**common, "content-range": f"bytes */{total}"})
    first, end = bounds or (0, total)
    if wanted is not None:
        common["content-range"] = f"bytes {first}-{end - 1}/{total}"
    body = _slice(play, header, first, end)
    return Response(body, 206 if wanted is not None else 200, common, media_type="audio/wav")


def byte_range(wanted: str, total: int) -> tuple[int, int] | None:
    """[first, end) of one range of RFC 9110 14.1.2; None when it cannot be served."""
    match = _RANGE.fullmatch(wanted)
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        first, end = max(total - int(match[2]), 0), total
    else:
        first, end = int(match[1]), min(int(match[2]) + 1, total) if match[2] else total
    return (first, end) if first < end <= total else None


def _slice(play: Play, header: bytes, first: int, end: int) -> bytes:
    body = io.BytesIO()
    body.write(header[first:end])
    start, stop = max(first - len(header), 0), max(end - len(header), 0)
    if stop > start:
        samples = play.axis[start // 2 : (stop + 1) // 2].astype("<i2").tobytes()
        body.write(samples[start % 2 : start % 2 + stop - start])
    return body.getvalue()


def wav_header(samples: int, rate_hz: int) -> bytes:
    """RIFF WAVE of 16-bit mono PCM."""
    return WAV_HEADER.pack(
        b"RIFF", 36 + 2 * samples, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16, b"data", 2 * samples
    )
