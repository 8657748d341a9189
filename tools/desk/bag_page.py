"""The two files that a recipient opens first: index.html (any browser, no network) and VERIFY.txt (by hand)."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from markupsafe import Markup

from tools.desk.bag_source import Source
from tools.desk.bag_verdict import Check
from tools.desk.local_times import clock_text, local_text
from tools.desk.pictures import waveform_path
from tools.desk.spans import Span

TEMPLATES = Path(__file__).with_name("bag_templates")
PICTURE_WIDTH, PICTURE_HEIGHT = 1200, 200
SHADE_WIDTH_MIN = 2.0
LETTER_WIDTH = 9.0
"""Of a label in the picture: one that does not fit is left to the table below it."""

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
RECIPIENTS = {"mp": "Member of Parliament", "police": "Police", "caller": "The caller"}


def index_html(source: Source, disclosure: Mapping[str, Any], checks: Sequence[Check], now_utc_ms: int) -> str:
    """Style and script are part of it and named by their hashes, so that the browser runs nothing else."""
    return page(
        source,
        disclosure,
        checks,
        now_utc_ms,
        spans=source.silent,
        axis_path=waveform_path(source.axis, PICTURE_WIDTH, PICTURE_HEIGHT),
        title="Telephone call as evidence",
        remark="",
    )


def page(
    source: Source,
    disclosure: Mapping[str, Any],
    checks: Sequence[Check],
    now_utc_ms: int,
    *,
    spans: Sequence[Span],
    axis_path: str,
    title: str,
    remark: str,
    good: str = "Every frame is here, in order, signed by this recorder, and unchanged.",
) -> str:
    simulation = source.row.device.startswith("SIM-")
    zone = source.zone
    style, script = (TEMPLATES.joinpath(name).read_text(encoding="utf-8") for name in ("index.css", "index.js"))
    return _ENVIRONMENT.get_template("index.html").render(
        title=title,
        simulation=simulation,
        good=good,
        remark=remark,
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        row=source.row,
        seconds=len(source.axis) / source.rate_hz,
        width=PICTURE_WIDTH,
        height=PICTURE_HEIGHT,
        path=axis_path,
        shades=_shades(source, spans),
        gaps=[(span, span.first / source.rate_hz, span.end / source.rate_hz) for span in spans],
        timeline=_timeline(source, spans, zone),
        answered=local_text(source.row.started_utc_ms, zone),
        ended=local_text(source.row.ended_utc_ms, zone),
        made=local_text(now_utc_ms, zone),
        number=source.row.number or (source.row.number_absence or "not known").replace("_", " "),
        fingerprint=(source.chain.fingerprint or b"").hex(),
        checks=checks,
        findings=[str(finding) for finding in source.findings.items],
        sound=not source.findings and source.chain.anchored,
        disclosure=disclosure,
        recipient=RECIPIENTS.get(str(disclosure["recipient"]), str(disclosure["recipient"]).capitalize()),
        clock=clock_text,
        words=lambda text: str(text).replace("_", " ").replace("-", " "),
    )


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _shades(source: Source, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Rectangles of the picture; ``label`` is empty where it does not fit."""
    scale = PICTURE_WIDTH / max(len(source.axis), 1)
    shades = []
    for span in spans:
        width = max(span.samples * scale, SHADE_WIDTH_MIN)
        fits = len(span.label) * LETTER_WIDTH < width
        shades.append(
            {
                "x": f"{span.first * scale:.1f}",
                "width": f"{width:.1f}",
                "middle": f"{span.first * scale + width / 2:.1f}",
                "label": span.label if fits else "",
                "span": span,
            }
        )
    return shades


def _timeline(source: Source, spans: Sequence[Span], zone: ZoneInfo) -> list[tuple[float, str, str]]:
    """(seconds from the answer, time of day, what happened), in order."""
    rate, row = source.rate_hz, source.row
    length = len(source.axis) / rate
    events = [(0.0, "The call was answered.")]
    events += [(span.first / rate, f"{span.label} begins. {span.meaning}") for span in spans]
    events += [(span.end / rate, f"{span.label} ends.") for span in spans]
    if source.meta is not None:
        presses = source.meta.payment_presses_ms
        events += [(ms / 1000, "The PAYMENT key was pressed.") for ms in presses]
    events.append((length, f"The call ended ({_how_ended(source)})."))
    times = [row.started_utc_ms + round(seconds * 1000) for seconds, _ in events]
    table = [(seconds, _time_of_day(utc_ms, zone), what) for (seconds, what), utc_ms in zip(events, times, strict=True)]
    return sorted(table, key=lambda entry: entry[0])


def _how_ended(source: Source) -> str:
    return source.call.close.ended.value.replace("_", " ")


def _time_of_day(utc_ms: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, zone).strftime("%H:%M:%S")


def verify_text(source: Source, checks: Sequence[Check]) -> str:
    return _ENVIRONMENT.get_template("VERIFY.txt").render(
        row=source.row,
        fingerprint=(source.chain.fingerprint or b"").hex(),
        checks=checks,
        findings=[str(finding) for finding in source.findings.items],
        word={True: "yes", False: "NO", None: "not checked"},
    )


def access_text(copy: Source, removed: int) -> str:
    return _ENVIRONMENT.get_template("ACCESS.txt").render(
        row=copy.row, fingerprint=(copy.chain.fingerprint or b"").hex(), removed=removed
    )
