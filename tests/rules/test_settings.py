"""No setting that nothing reads, no fault that nothing raises: both would be promises without anybody behind them."""

from pathlib import Path

import pytest

from firmware.config import MACHINE_KEYS, SITE_KEYS
from firmware.policy.faults import TABLE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = {
    path: path.read_text(encoding="utf-8")
    for folder in ("firmware", "hw", "tools")
    for path in (ROOT / folder).rglob("*.py")
}
KEYS = [(section, key.name) for keys in (SITE_KEYS, MACHINE_KEYS) for section, rows in keys.items() for key in rows]


@pytest.mark.parametrize(("section", "key"), sorted(set(KEYS)))
def test_every_setting_is_read_somewhere(section: str, key: str) -> None:
    assert any(f'of("{section}", "{key}")' in text for text in SOURCE.values()), "a setting that nothing reads"


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_fault_can_be_raised(code: str) -> None:
    raised = [path for path, text in SOURCE.items() if f'"{code}"' in text and path.name != "faults.py"]
    assert raised, "a row of the table that nothing raises"
