"""The statement says what the signed log says, and the compliance pack what the settings say."""

from pathlib import Path

import pytest

from firmware.config import parse_site
from firmware.store.audit import AuditLine
from tests.simulate.kit import Kit, Tape, noise
from tools.desk import compliance, statement
from tools.desk.keychain import Keychain


def line(seq: int, event: str, utc_ms: int = 1_772_442_000_000, **fields: str) -> AuditLine:
    return AuditLine(seq, utc_ms, event, fields, bytes(32), bytes(64), b"")


CALL = {"line": "0", "direction": "inbound", "rule": "r", "started": "1772442000000", "ended": "1772442060000"}


def made(*lines: AuditLine, proven: bool = True) -> statement.Statement:
    start, end = statement.month("2026-03")
    return statement.make("TACET-TEST", Keychain(lines=list(lines)), start, end, True, proven)


def test_a_call_that_was_opted_out_after_its_row_counts_as_opted_out_and_only_once() -> None:
    found = made(
        line(1, "CALL", outcome="recorded", call="aa" * 16, **CALL),
        line(2, "CALL", outcome="recorded", call="bb" * 16, **CALL),
        line(3, "DESTROYED", op="opt_out", call="aa" * 16, technique="crypto_erase", proven="1"),
    )
    assert (found.outcomes["recorded"], found.outcomes["opted_out"]) == (1, 1)
    assert found.destroyed == {"opt_out": 1}


def test_a_day_that_expired_counts_every_call_of_it() -> None:
    found = made(
        line(1, "DESTROYED", op="expiry", day="20514", calls="17", ids="", technique="crypto_erase", proven="1")
    )
    assert found.destroyed == {"expiry": 17}


def test_a_disclosure_names_recipient_basis_and_purpose_of_its_order() -> None:
    order = {"order": "ab", "op": "export", "recipient": "police", "basis": "public_task", "purpose": "threats"}
    found = made(line(1, "ORDER", **order), line(2, "DISCLOSE", order="ab", call="aa" * 16))
    assert found.disclosed == {"police, public_task, threats": 1}


def test_a_keep_in_a_call_of_which_nothing_is_kept_names_its_line() -> None:
    found = made(line(7, "HOLD_REFUSED", op="keep", why="not_kept", line="1"))
    assert [(row.reference, row.group, row.what) for row in found.rows] == [
        (7, "not held", "keep refused, not kept: a call on line 2")
    ]


def test_what_happened_in_another_month_is_not_in_this_one() -> None:
    found = made(line(1, "DESTROYED", utc_ms=1_775_001_600_000, op="erase", call="aa" * 16, technique="x", proven="1"))
    assert not found.destroyed
    assert not found.rows


def test_a_statement_of_a_degraded_recorder_says_that_erasure_is_not_proven() -> None:
    assert "not proven" in statement.as_html(made(line(1, "BOOT"), proven=False))
    assert "not proven" not in statement.as_html(made(line(1, "BOOT")))


@pytest.mark.parametrize("text", ["2026-13", "2026", "march", ""])
def test_a_month_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"time data|unconverted"):
        statement.month(text)


def facts(site: str, memory: str = "at24") -> compliance.Facts:
    return compliance.Facts("TACET-TEST", parse_site(site), "ab" * 32, memory, "1 Mar 2026")


@pytest.mark.parametrize(
    ("site", "page", "words"),
    [
        ("[retention]\nmonths = 1\n", "4-retention.md", "Recordings: 1 calendar month,"),
        ("[retention]\ndays = 28\n", "4-retention.md", "Recordings: 28 days,"),
        ("[gate]\nlook_back_s = 17\n", "2-dpia-annex.md", "the last 17 s before a press"),
        ("[payment]\nkey = 'latching'\n", "6-pci-scope.md", "PAYMENT key is latching"),
        ("[desk]\nsupervisor_may_export = false\n", "3-lawful-basis-and-recipients.md", "A supervisor may not order"),
        ("[notice]\nversion = 'v7'\n", "5-notice.md", "Version: v7"),
        ("[notice]\nsource = 'upstream'\n", "5-notice.md", "was not heard on the line is not kept"),
        ("[site]\ncontroller = 'Example Council'\n", "1-register-of-processing.md", "| controller | Example Council |"),
        ("[[line]]\nname = 'north'\nsense = false\n", "1-register-of-processing.md", "| north | analogue | no |"),
    ],
)
def test_a_changed_setting_changes_the_page(site: str, page: str, words: str) -> None:
    assert words in compliance.pages(facts(site))[page]
    assert words not in compliance.pages(facts(""))[page]


def test_a_recorder_without_erasable_memory_never_claims_proof() -> None:
    pages = compliance.pages(facts("", memory="file"))
    assert "NOT PROVEN" in pages["4-retention.md"]
    assert "NOT PROVEN" in pages["2-dpia-annex.md"]


def test_from_the_recorder_to_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = Kit(tmp_path / "kit")
    stick = kit.new_stick()
    tape = Tape(kit.root / "tape", audio={"line1": noise(60)}).call(2.0, 6.0, 40.0)
    kit.simulate(tape.stick(80.0, stick))
    kit.take_in(stick)
    out = kit.root / "out"
    kit.desk("statement", "--month", "2026-03", "--out", str(out))
    kit.desk("compliance", "--out", str(out))
    assert "Calls by outcome,recorded,1," in (out / "statement.csv").read_text()
    assert "checked against the pinned fingerprint" in (out / "statement.html").read_text()
    assert len(list(out.glob("*.md"))) == 9
