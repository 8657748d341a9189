"""Writes firmware/ALARMS.md from the one table of faults: `python3 -m boot.alarm_page`."""

from pathlib import Path

from firmware.policy.faults import TABLE, Fault

PAGE = Path(__file__).resolve().parent.parent / "firmware" / "ALARMS.md"

HEAD = """\
# Faults and alarms

Made from `firmware/policy/faults.py` by `python3 -m boot.alarm_page`; a test keeps it current. A **fault** stops
recording and lights FAULT steadily; an **alarm** lets it go on and makes FAULT blink once a second. The telephone call
itself is never affected. The same codes are in `REPLY.txt` on the stick, in the desk's health statement and in the
metric `tacet_alarm{code="..."}`.
"""


def page() -> str:
    faults = [fault for fault in TABLE.values() if fault.stops_capture]
    alarms = [fault for fault in TABLE.values() if not fault.stops_capture]
    return HEAD + _section("Faults: recording has stopped", faults) + _section("Alarms: recording goes on", alarms)


def _section(title: str, entries: list[Fault]) -> str:
    lines = [
        "",
        f"## {title}",
        "",
        "| code | lamp | what happened | what is safe | what to do |",
        "|---|---|---|---|---|",
    ]
    for fault in entries:
        lines.append(f"| `{fault.code}` | {fault.lamp.value} | {fault.happened} | {fault.safe} | {fault.action} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
