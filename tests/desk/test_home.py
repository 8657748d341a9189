"""Keys, people, retention and the log of a desk home; and every way a command can fail."""

import hashlib
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk.rig import ESCROW_PASSPHRASE, PASSPHRASE, Rig, run
from tools.desk import keys
from tools.desk.errors import EXIT_CODES, DeskError, WrongPassphrase

PAST_LIMIT = "2026-05-02T00:00Z"
"""Two calendar months after the rig's day: the first moment at which its calls must be gone."""


# ------------------------------------------------------------------------------------------------------------ keys


def test_a_key_file_opens_with_its_passphrase_alone(tmp_path: Path) -> None:
    made = keys.create("custodian")
    path = tmp_path / "custodian.key"
    keys.write_key_file(path, made, PASSPHRASE, lambda count: bytes(count))
    opened = keys.unlock(path, PASSPHRASE)
    assert opened.person == made.person
    assert opened.seal.private_bytes_raw() == made.seal.private_bytes_raw()
    with pytest.raises(WrongPassphrase):
        keys.unlock(path, PASSPHRASE + ".")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert made.seal.private_bytes_raw() not in path.read_bytes()


def test_no_changed_byte_of_a_key_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "custodian.key"
    keys.write_key_file(path, keys.create("custodian"), PASSPHRASE, lambda count: bytes(count))
    data = path.read_bytes()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DeskError):
            keys.unlock(path, PASSPHRASE)


def test_the_shipped_cost_of_a_guess_is_that_of_rfc_9106() -> None:
    source = Path(keys.__file__).read_text()
    assert "MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4" in source


def test_a_short_passphrase_makes_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACET_PASSPHRASE", "too short")
    made = run("init", "--home", tmp_path / "h")
    assert made.code == 3
    assert "at least 12" in made.err
    assert not (tmp_path / "h").exists()


def test_custodian_and_escrow_never_share_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACET_ESCROW_PASSPHRASE", PASSPHRASE)
    assert run("init", "--home", tmp_path / "h").code == 3


def test_a_script_without_an_escrow_passphrase_gets_one_shown_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TACET_ESCROW_PASSPHRASE")
    made = run("init", "--home", tmp_path / "h")
    assert made.code == 0
    shown = made.out.partition("write it onto the sheet by hand: ")[2].split()[0]
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}", shown)
    for path in (tmp_path / "h").rglob("*"):
        assert path.is_dir() or shown.encode() not in path.read_bytes()
    monkeypatch.setenv("TACET_ESCROW_PASSPHRASE", shown)
    assert run("drill", "--home", tmp_path / "h").code == 0


def test_the_drill_proves_both_keys(rig: Rig) -> None:
    assert rig.desk("drill", "--role", "escrow").code == 0
    assert rig.desk("drill", "--role", "custodian").code == 0
    assert rig.desk("drill", "--role", "supervisor").code == 4


def test_the_recovery_sheet_names_the_keys_and_holds_no_secret(rig: Rig) -> None:
    sheet = (rig.home / "RECOVERY-SHEET.txt").read_text()
    for name in ("custodian", "escrow"):
        person = keys.read_person(rig.home / f"{name}.key")
        assert person.seal_public.hex() in sheet
    assert PASSPHRASE not in sheet
    assert ESCROW_PASSPHRASE not in sheet


def test_a_changed_passphrase_opens_and_the_old_one_does_not(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TACET_NEW_PASSPHRASE", "quite a different passphrase")
    assert rig.desk("passphrase").code == 0
    assert rig.desk("list").code == 3
    monkeypatch.setenv("TACET_PASSPHRASE", "quite a different passphrase")
    assert rig.desk("list").code == 0


def test_init_leaves_an_existing_home_alone(rig: Rig) -> None:
    before = (rig.home / "custodian.key").read_bytes()
    assert run("init", "--home", rig.home).code == 9
    assert (rig.home / "custodian.key").read_bytes() == before


def test_a_supervisor_in_a_home_of_their_own(rig: Rig, tmp_path: Path) -> None:
    home = tmp_path / "supervisor"
    assert run("init", "--home", home, "--role", "supervisor").code == 0
    assert run("invite", "--home", rig.home, home / "supervisor.pub").code == 0
    assert rig.order("keys", "--cosign", "escrow").code == 0
    assert rig.recorder.plug(rig.stick).state == "done"
    call_id, _ = rig.recorder.call()
    assert run("import", "--home", home, "--stick", rig.stick, "--now", "2026-03-02T09:30Z").code == 0
    words = ("--purpose", "training", "--basis", "legitimate-interests", "--from", "2026-03-02", "--to", "2026-03-03")
    made = run("order", "export", "--home", home, "--stick", rig.stick, *words, "--now", "2026-03-02T09:30Z")
    assert made.code == 0, made.err
    assert rig.recorder.plug(rig.stick).state == "done"
    assert run("import", "--home", home, "--stick", rig.stick, "--now", "2026-03-02T09:30Z").code == 0
    heard = run("extract", call_id, "--home", home, "--wav", tmp_path / "x.wav", "--now", "2026-03-02T09:30Z")
    assert heard.code == 0, heard.err
    held = run("order", "erase", call_id, "--ground", "objection", "--home", home, "--stick", rig.stick)
    assert held.code == 5
    assert "custodian" in held.err


def test_a_custodian_leaves_and_another_takes_over(rig: Rig, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert run("init", "--home", new).code == 0
    for name in ("custodian", "escrow"):
        assert run("invite", "--home", rig.home, new / f"{name}.pub").code == 0
    leaving = [
        keys.read_person(rig.home / f"{name}.pub").request_key().key_id.hex() for name in ("custodian", "escrow")
    ]
    without = [word for key_id in leaving for word in ("--without", key_id)]
    assert rig.order("keys", "--without", "00" * 8, "--cosign", "escrow").code == 4
    made = rig.order("keys", *without, "--cosign", "escrow")
    assert made.code == 0, made.err
    assert rig.recorder.plug(rig.stick).state == "done"
    call_id, _ = rig.recorder.call()
    assert run("import", "--home", new, "--stick", rig.stick, "--now", "2026-03-02T09:30Z").code == 0
    assert rig.export().code == "unsigned", "the old custodian has no say any more"
    window = ("--from", "2026-03-02", "--to", "2026-03-03", "--purpose", "quality", "--basis", "public-task")
    words = ("--home", new, "--stick", rig.stick, "--now", "2026-03-02T09:30Z")
    assert run("order", "export", *window, *words).code == 0
    assert rig.recorder.plug(rig.stick).state == "done"
    run("import", *words)
    heard = run("extract", call_id, "--home", new, "--wav", tmp_path / "x.wav", "--now", "2026-03-02T09:30Z")
    assert heard.code == 0, heard.err


# ------------------------------------------------------------------------------------------------------- retention


def files_of_calls(home: Path) -> list[Path]:
    return [path for path in (home / "bags").rglob("*") if re.fullmatch(r"[0-9]+\.(tcf|key)", path.name)]


def test_at_the_limit_everything_of_a_call_is_gone_from_the_home(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    inside = rig.home / "audio" / f"{call_id}.wav"
    assert rig.desk("extract", call_id, "--wav", inside).code == 0
    assert len(rig.listed(now="2026-05-01T23:59Z")) == 1
    assert files_of_calls(rig.home)
    assert rig.listed(now=PAST_LIMIT) == []
    assert files_of_calls(rig.home) == []
    assert not inside.exists()


def test_a_call_past_its_limit_is_not_extracted(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    late = rig.desk("extract", call_id, "--wav", rig.root / "late.wav", now=PAST_LIMIT)
    assert late.code == 8
    assert not (rig.root / "late.wav").exists()
    assert files_of_calls(rig.home) == []


def test_a_call_past_its_limit_is_not_even_imported(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    assert rig.take_in(now=PAST_LIMIT).code == 0
    assert rig.listed(now=PAST_LIMIT) == []
    assert files_of_calls(rig.home) == []


def test_a_call_that_was_exported_twice_dies_twice(rig: Rig) -> None:
    rig.recorder.call()
    for _ in range(2):
        rig.export()
        rig.take_in()
    assert len(files_of_calls(rig.home)) == 2, "one copy is kept"
    rig.listed(now=PAST_LIMIT)
    assert files_of_calls(rig.home) == []


def test_an_older_stick_does_not_bring_an_erased_call_back(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    older, rig.stick = rig.stick, tmp_path / "newer"
    rig.order("erase", call_id, "--ground", "erasure-request")
    assert rig.recorder.plug(rig.stick).state == "done"
    assert rig.take_in().code == 0
    rig.stick = older
    assert rig.take_in().code == 0
    assert rig.listed() == []
    assert files_of_calls(rig.home) == []


def test_what_an_import_left_behind_when_it_was_broken_off_is_swept(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    rig.take_in()
    left = rig.home / "bags" / rig.device / ("ab" * 16 + ".part")
    (left / "data").mkdir(parents=True)
    (left / "data" / "1.tcf").write_bytes(b"left behind")
    rig.listed()
    assert not left.exists()
    assert len(files_of_calls(rig.home)) == 2


def test_a_held_call_stays(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.order("hold", call_id, "--case", "C", "--reason", "threat", "--review", "2026-07-01")
    rig.recorder.plug(rig.stick)
    rig.export("--call", call_id)
    rig.take_in()
    assert [call["id"] for call in rig.listed(now=PAST_LIMIT)] == [call_id]


# ------------------------------------------------------------------------------------------------- log and privacy


def test_who_listened_is_in_the_chained_log(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    rig.desk("extract", call_id, "--wav", rig.root / "x.wav")
    shown = run("log", "--home", rig.home)
    assert shown.code == 0
    events = [line.split("\t")[2] for line in shown.out.splitlines()]
    assert events == ["PROVISION", "ORDER", "PIN", "IMPORT", "HEARD"]
    assert call_id in shown.out


@pytest.mark.parametrize(
    "change", [lambda lines: lines[:1] + lines[2:], lambda lines: [lines[1], lines[0], *lines[2:]]]
)
def test_a_line_taken_out_of_the_log_is_noticed(rig: Rig, change: object) -> None:
    rig.order("report")
    rig.order("index")
    path = rig.home / "desk.log"
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]
    assert run("log", "--home", rig.home).code == 6
    assert rig.order("report").code == 6, "nothing is added to a broken log"


def test_no_number_lies_in_clear_in_the_home_or_on_the_stick(rig: Rig) -> None:
    rig.recorder.call("02079460777")
    rig.export()
    rig.take_in()
    assert rig.listed("--number", "0777")
    for path in [*rig.home.rglob("*"), *rig.stick.rglob("*")]:
        if path.is_file():
            assert b"79460777" not in path.read_bytes(), path
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.is_relative_to(rig.stick), path


# -------------------------------------------------------------------------------------------------------- bad input


def test_every_error_has_one_sentence_and_its_exit_code(rig: Rig, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        (run("list", "--home", empty), 4),
        (run("verify", empty), 4),
        (rig.desk("import", "--stick", empty), 4),
        (rig.desk("extract", "abcdef", "--wav", tmp_path / "x.wav"), 4),
        (rig.order("report", "--device", "TACET-NOWHERE"), 4),
        (rig.order("report", "--not-before", "2026-03-02", "--not-after", "2026-04-02"), 5),
        (rig.order("report", "--not-before", "2026-03-02", "--not-after", "2026-03-01"), 5),
        (rig.desk("provision", "--stick", rig.pack), 9),
        (rig.desk("provision", "--stick", empty, "--device", "x"), 5),
        (rig.desk("provision", "--stick", empty, "--device", rig.device), 9),
        (rig.desk("provision", "--stick", empty, "--site", tmp_path / "none.toml"), 4),
        (rig.desk("extract", "zz", "--wav", tmp_path / "x.wav"), 4),
        (run("frobnicate"), 2),
        (rig.order("export", "--purpose", "curiosity", "--basis", "consent"), 2),
        (rig.order("export", "--from", "yesterday", "--purpose", "quality", "--basis", "consent"), 2),
        (rig.order("export", "--from", "2026-03-02T08:00", "--purpose", "quality", "--basis", "consent"), 2),
        (rig.order("export", "--purpose", "quality", "--basis", "consent"), 5),
        (rig.order("export", "--line", "line9", "--purpose", "quality", "--basis", "consent"), 4),
    ]
    for number, (ran, code) in enumerate(cases):
        assert ran.code == code, (number, ran)
        assert ran.code in EXIT_CODES
        assert ran.err.strip(), number
        assert "Traceback" not in ran.err
        if code != 2:
            assert len(ran.err.strip().splitlines()) == 1, ran.err


def test_settings_that_break_the_promise_are_never_signed(rig: Rig, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[[line]]\nname = "line1"\n[retention]\nmonths = 3\n')
    for ran in (rig.order("settings", site), rig.desk("provision", "--stick", tmp_path / "p", "--site", site)):
        assert ran.code == 5
        assert "retention" in ran.err
    assert not (tmp_path / "p" / "TACET" / "PROVISION" / "PACK.txt").exists()


def test_another_recorder_under_a_known_name_is_not_taken_in(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    assert rig.take_in().code == 0
    path = rig.stick / "TACET" / rig.device / "ENROL.txt"
    other = bytes(range(32))
    path.write_text(f"tacet/enrol/1\ngenesis_public: {other.hex()}\nfingerprint: {hashlib.sha256(other).hexdigest()}\n")
    taken = rig.take_in()
    assert taken.code == 7
    assert "another fingerprint" in taken.err


def test_the_command_starts_as_a_program_of_its_own() -> None:
    shown = subprocess.run([sys.executable, "-m", "tools.desk", "--help"], capture_output=True, text=True, check=True)
    for word in ("init", "provision", "order", "import", "list", "extract", "verify", "purge", "drill"):
        assert word in shown.stdout
