"""What the monitoring system reads: well-formed, complete, whole, and without a single private thing."""

import re
from pathlib import Path

import pytest

from boot import alarm_page
from firmware import metrics
from firmware.policy.faults import TABLE
from firmware.policy.records import Outcome

NOW_UTC_MS = 1_795_000_000_000
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="[^"\\]*",?)*)\})? (-?[0-9]+)')


def parse(text: str) -> dict[tuple[str, str], int]:
    """The exposition format: every sample line well formed, every family announced once by HELP and TYPE before it."""
    values: dict[tuple[str, str], int] = {}
    announced: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in announced
            announced[family] = kind
            continue
        if line.startswith("# HELP "):
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] in announced, line
        key = (match[1], match[2] or "")
        assert key not in values, line
        values[key] = int(match[3])
    return values


def rendered(**health: int | str) -> str:
    return metrics.render(health, [("CALL_NOT_RECORDED", 0)], {str(o): 1 for o in Outcome}, NOW_UTC_MS)


def test_every_fault_and_alarm_has_its_sample_and_only_the_active_one_is_set() -> None:
    values = parse(rendered())
    alarms = {labels: value for (name, labels), value in values.items() if name == "tacet_alarm"}
    assert len(alarms) == len(TABLE)
    assert [labels for labels, value in alarms.items() if value] == ['code="CALL_NOT_RECORDED",stops_capture="no"']


def test_every_outcome_is_counted() -> None:
    assert sum(name == "tacet_calls_total" for name, _ in parse(rendered())) == len(Outcome)


def test_health_figures_become_gauges() -> None:
    values = parse(rendered(free_days=31, backlog_ms=0))
    assert values["tacet_free_days", ""] == 31
    assert values["tacet_written_timestamp_seconds", ""] == NOW_UTC_MS // 1000


def test_a_text_that_is_not_listed_is_never_published() -> None:
    text = rendered(device_id="tacet-0001", last_number="020 7946 0018")
    assert "7946" not in text
    assert 'device_id="tacet-0001"' in text


def test_a_label_cannot_be_broken_out_of() -> None:
    assert '"} 1\nevil' not in rendered(version='1"} 1\nevil 1')


def test_a_collector_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tacet.prom"
    metrics.write(path, rendered(free_days=1))
    first = path.stat().st_ino
    metrics.write(path, rendered(free_days=2))
    assert path.stat().st_ino != first
    assert parse(path.read_text())["tacet_free_days", ""] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["tacet.prom"]


def test_a_link_laid_in_its_way_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("whole")
    (tmp_path / ".tacet.prom.new").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        metrics.write(tmp_path / "tacet.prom", rendered())
    assert target.read_text() == "whole"


def test_the_page_of_alarms_is_current() -> None:
    assert alarm_page.PAGE.read_text() == alarm_page.page(), "run `python3 -m boot.alarm_page`"


@pytest.mark.parametrize("code", ["CALL_NOT_RECORDED", "DEAD_CHANNEL", "SELFTEST_FAILED"])
def test_the_alarms_that_must_exist_are_on_the_page(code: str) -> None:
    assert f"| `{code}` |" in alarm_page.PAGE.read_text()
