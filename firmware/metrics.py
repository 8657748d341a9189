"""The recorder's state for a monitoring system: one text file in the Prometheus exposition format, read by
node-exporter's textfile collector. It names codes, counts, days and times; never a number, a call or a caller.
"""

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from firmware.policy.faults import TABLE

INFO_KEYS = ("clock", "device_id", "fingerprint", "kind", "memory", "version")
"""The only texts that are published. A text that is not listed stays here: default is not to tell."""

HELP = {
    "free_days": "Days until the oldest day must be destroyed early for space.",
    "holds": "Calls under legal hold.",
    "retained": "Calls that can be exported.",
    "backlog_ms": "Audio waiting for the card, in milliseconds.",
    "last_block_age_ms": "Age of the newest block of audio, in milliseconds.",
    "boot_no": "Starts since provisioning.",
    "generation": "Rotations of the root key since provisioning.",
    "selftest_failed": "Checks that failed in the last self-test.",
}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TEXT = re.compile(r"[A-Za-z0-9 ._:+/-]{0,80}")


def render(
    health: Mapping[str, int | str],
    active: Collection[tuple[str, int | None]],
    outcomes: Mapping[str, int],
    written_utc_ms: int,
) -> str:
    """``active``: (code, line or None) of every fault and alarm in force. ``outcomes``: ledger rows since the start, by
    outcome. Names of ``health`` that are no metric names are refused by assertion."""
    lines = ["# HELP tacet_alarm 1 while this fault or alarm is in force (firmware/ALARMS.md says what to do)."]
    lines.append("# TYPE tacet_alarm gauge")
    for code, fault in TABLE.items():
        stops = "yes" if fault.stops_capture else "no"
        in_force = int(any(code == active_code for active_code, _ in active))
        lines.append(f'tacet_alarm{{code="{code}",stops_capture="{stops}"}} {in_force}')
    lines += _outcomes(outcomes)
    for name, value in sorted(health.items()):
        assert _NAME.fullmatch(name), name
        if isinstance(value, int):
            lines += _gauge(f"tacet_{name}", HELP.get(name, f"Health figure {name} of the vault."), int(value))
    lines += _info(health)
    lines += _gauge(
        "tacet_written_timestamp_seconds", "When this file was written, trusted UTC.", written_utc_ms // 1000
    )
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Beside it and renamed: the collector sees the old file or the new one. It lies in RAM; nothing is synced.
    Raises OSError."""
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)


def _outcomes(outcomes: Mapping[str, int]) -> list[str]:
    lines = [
        "# HELP tacet_calls_total Call events since the start, by their outcome.",
        "# TYPE tacet_calls_total counter",
    ]
    for outcome, count in sorted(outcomes.items()):
        assert _NAME.fullmatch(outcome), outcome
        lines.append(f'tacet_calls_total{{outcome="{outcome}"}} {count}')
    return lines


def _gauge(name: str, text: str, value: int) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value}"]


def _info(health: Mapping[str, int | str]) -> list[str]:
    known = [(key, health[key]) for key in INFO_KEYS if isinstance(health.get(key), str)]
    labels = ",".join(f'{key}="{value}"' for key, value in known if _TEXT.fullmatch(str(value)))
    return ["# HELP tacet_info What this recorder is.", "# TYPE tacet_info gauge", f"tacet_info{{{labels}}} 1"]
