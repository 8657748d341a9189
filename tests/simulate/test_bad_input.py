"""Everything that can be wrong at the start gets one clear sentence, an exit code of its own, and loses nothing."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firmware import ledgertable
from firmware.__main__ import (
    CARD,
    DEVICE,
    INTERNAL,
    NO_ROOT,
    OK,
    SETTINGS,
    TAPE,
    UNPROVISIONED,
    USAGE,
    WRONG_KIND,
)
from firmware.__main__ import main as firmware
from firmware.policy.events import Packet, Port
from firmware.policy.records import Direction, LedgerRow, Outcome
from firmware.store.vault import Vault
from tests.simulate.kit import Kit, Tape, noise
from tests.voip.capture import write


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr: one paragraph, no trace of Python."""
    text = capsys.readouterr().err.strip()
    assert text, "nothing was said"
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    assert text[0].isupper() or text[0] in "`'", text
    assert text.endswith("."), text
    return text


def settings(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "tacet.toml"
    path.write_text(text.replace("STATE", str(tmp_path / "state")))
    return ["run", "--config", str(path)]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[appliance\n", "TOML"),
        ("[appliance]\nringmib = 5\n", "appliance.ringmib"),
        ("[apliance]\n", "apliance"),
        ("[appliance]\nring_mib = 5\n", "appliance.ring_mib"),
        ('[appliance]\nmemory = "ds3231"\n', "appliance.memory"),
        ("[appliance]\nring_mib = true\n", "appliance.ring_mib"),
        ('[[codec]]\ndevice = "hw:CARD=x"\nrate_hz = 44100\nlines = ["a"]\n', "rate_hz"),
        ('[[codec]]\ndevice = "hw:CARD=x"\nlines = ["Ü"]\n', "line names"),
        ('[voip]\ntrunk_interface = "trunk"\n', "inside_interface"),
        ('[voip]\ntrunk_interface = "eth0"\ninside_interface = "eth0"\n', "mirror port"),
        ('[voip]\ntrunk_interface = "a"\ninside_interface = "b"\ntrunk_mac = "02:00:5e:10:00:01"\n', "mirror port"),
        ('[voip]\ntrunk_mac = "02:00:5e"\n', "voip.trunk_mac"),
        ("[voip]\nsip_ports = [0]\n", "voip.sip_ports"),
        ("[voip]\nsip_ports = []\n", "voip.sip_ports"),
        ("[voip]\nsip_ports = [5061]\n", "in common"),
        ('[voip]\ntrunk_mac = "02:00:5e:10:00:01"\n', "mirror port"),
        ('[voip]\ntls_ports = ["5061"]\n', "voip.tls_ports"),
    ],
)
def test_settings_that_cannot_be(text: str, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(settings(tmp_path, text)) == SETTINGS
    assert word in said(capsys)


def test_settings_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(["run", "--config", str(tmp_path / "none.toml")]) == SETTINGS
    said(capsys)


LINE = "start = 2026-03-02T09:00:00Z\n[[line]]\nname='line1'\n"
EVENT = LINE + "[[event]]\n"
PLAIN = (
    '[appliance]\nstate = "STATE"\n[panel]\nenabled = false\n[[codec]]\ndevice = "hw:CARD=none"\nlines = ["line1"]\n'
)


def test_a_recorder_that_was_never_provisioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(settings(tmp_path, PLAIN)) == UNPROVISIONED
    assert "stick" in said(capsys)


def test_no_keys_on_a_machine_without_pins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(settings(tmp_path, PLAIN.replace("enabled = false", "enabled = true"))) == DEVICE
    assert "rpi-lgpio" in said(capsys)


def test_a_simulations_state_under_run(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(Tape(kit.root / "tape"))
    assert firmware(settings(kit.root, PLAIN.replace("STATE", str(kit.state)))) == WRONG_KIND
    assert "simulation" in said(capsys)


def test_a_tape_without_a_provisioned_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape(tmp_path / "tape").save()
    assert firmware(["simulate", str(tape), "--state", str(tmp_path / "state")]) == UNPROVISIONED
    said(capsys)


def test_a_pack_that_was_changed_after_it_was_signed(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    (kit.pack / "TACET/PROVISION/SITE.toml").write_text("[retention]\nmonths = 1\n")
    kit.simulate(Tape(kit.root / "tape"), code=UNPROVISIONED)
    assert "SITE.toml" in said(capsys)


def test_an_empty_pack(kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit.pack = tmp_path / "empty"
    kit.pack.mkdir()
    kit.simulate(Tape(kit.root / "tape"), code=UNPROVISIONED)
    assert "provision" in said(capsys)


@pytest.mark.parametrize("command", ["simulate", "replay"])
@pytest.mark.parametrize("what", ["nothing", "a file", "a file in PACK.txt's place that is a directory", "a long file"])
def test_a_pack_that_is_none_is_one_sentence_about_the_pack_and_leaves_nothing(
    what: str, command: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    place = kit.root / "nopack"
    if what == "a file":
        place.write_text("no pack")
    elif what != "nothing":
        (place / "TACET/PROVISION").mkdir(parents=True)
        if what == "a long file":
            (place / "TACET/PROVISION/PACK.txt").write_bytes(bytes(1 << 20))
        else:
            (place / "TACET/PROVISION/PACK.txt").mkdir()
    played = Tape(kit.root / "tape").save()
    if command == "replay":
        played = kit.root / "a.pcapng"
        write(played, [Packet(Port.TRUNK, 1_772_442_000_000_000, bytes(60))])
    assert firmware([command, str(played), "--state", str(kit.state), "--provision", str(place)]) == UNPROVISIONED
    sentence = said(capsys)
    assert "pack" in sentence
    assert "card" not in sentence
    assert not kit.state.exists()


def test_a_first_start_without_a_pack_says_how_to_give_it_and_leaves_nothing(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = Tape(kit.root / "tape").save()
    assert firmware(["simulate", str(tape), "--state", str(kit.state)]) == UNPROVISIONED
    assert "--provision" in said(capsys)
    assert not kit.state.exists()


def test_a_ledger_of_a_mistyped_directory_speaks_of_the_directory(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(["ledger", "--state", str(kit.root / "sttae")]) == UNPROVISIONED
    sentence = said(capsys)
    assert "--state" in sentence
    assert "stick" not in sentence


def test_a_ledger_is_shown_also_where_the_sites_time_zone_is_none() -> None:
    moment = datetime(2026, 7, 2, 9, tzinfo=UTC).timestamp() * 1000
    row = LedgerRow(0, Outcome.RECORDED, Direction.INBOUND, "rule1", int(moment), int(moment) + 1000, True, None)
    assert "10:00" in ledgertable.table(ledgertable.rows([(1, row)], ["line1"]), "Nowhere/City")


def test_a_state_that_is_a_file(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.state.write_text("a file")
    kit.simulate(Tape(kit.root / "tape"), code=SETTINGS)
    assert "--state" in said(capsys)
    assert kit.state.read_text() == "a file"


@pytest.mark.parametrize("words", [["--ring-mib", "0"], ["--ring-mib", "-1"], ["--ring-mib", "9" * 30]])
def test_a_ring_that_cannot_be_is_refused_before_anything_is_made(words: list[str], kit: Kit) -> None:
    with pytest.raises(SystemExit) as stopped:
        kit.simulate(Tape(kit.root / "tape"), *words)
    assert stopped.value.code == USAGE
    assert not kit.state.exists()


def test_the_settings_sentence_names_the_file_and_everything_that_it_may_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.toml").write_text("x = 1\n")
    assert firmware(["run", "--config", str(tmp_path / "bad.toml")]) == SETTINGS
    sentence = said(capsys)
    assert "bad.toml" in sentence
    assert "[[codec]]" in sentence
    assert "tacet.toml" not in sentence


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 5000, '"a\\nb" = 1', '[panel]\n"a\\nb" = 1'])
def test_settings_that_break_a_parser_are_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert firmware(settings(tmp_path, text)) == SETTINGS
    said(capsys)


def test_a_recorder_whose_key_is_gone_changes_nothing(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(Tape(kit.root / "tape"))
    (kit.state / "memory").write_bytes(bytes(64))
    before = {path.name: path.read_bytes() for path in kit.state.iterdir()}
    kit.simulate(Tape(kit.root / "again", start="2026-03-02T12:00:00Z"), code=NO_ROOT)
    assert "custodian" in said(capsys)
    assert {path.name: path.read_bytes() for path in kit.state.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("start = 5\n[[line]]\nname='line1'\n", "start"),
        ("start = 2026-03-02T09:00:00Z\n", "line"),
        (EVENT + "at=1\ndo='rign'\nline='line1'\n", "rign"),
        (EVENT + "at=1\ndo='ring'\n", "line"),
        (
            EVENT + "at=1\ndo='press'\nline='line1'\nkey='x'\n",
            "key",
        ),
        (EVENT + "at=-1\ndo='ring'\nline='line1'\n", "at"),
        (LINE + "audio='none.wav'\n", "none.wav"),
        (EVENT + "at=1\ndo='stick_in'\ndir='none'\n", "none"),
        ("= =", "TOML"),
    ],
)
def test_tapes_that_cannot_be_played(text: str, word: str, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    tape = kit.root / "bad.toml"
    tape.write_text(text)
    words = ["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)]
    assert firmware(words) == TAPE
    assert word in said(capsys)


def test_a_tape_for_a_line_that_the_site_does_not_have(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(Tape(kit.root / "tape", lines=["other"]), code=SETTINGS)
    said(capsys)
    assert not kit.state.exists()


def test_a_damaged_identity(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(Tape(kit.root / "tape"))
    (kit.state / "identity").write_bytes(b"\xff" * 8192)
    kit.simulate(Tape(kit.root / "again", start="2026-03-02T12:00:00Z"), code=CARD)
    said(capsys)


def test_a_damaged_mirror_of_the_table_and_of_the_bags_is_healed(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(Tape(kit.root / "tape", audio={"line1": noise(60)}).call(2.0, 6.0, 40.0))
    for name in ("kt0.a", "kt1.a", "bags.a"):
        (kit.state / name).write_bytes(b"\xa5" * (kit.state / name).stat().st_size)
    stick = kit.new_stick()
    kit.simulate(Tape(kit.root / "again", start="2026-03-02T12:00:00Z").stick(5.0, stick))
    assert len(list(stick.rglob("data/*.tcf"))) == 1


def test_a_stick_without_an_order_is_told_so(kit: Kit) -> None:
    stick = kit.root / "bare"
    stick.mkdir()
    kit.simulate(Tape(kit.root / "tape").stick(5.0, stick))
    assert re.search(r"order", (stick / "TACET/REPLY.txt").read_text(), re.IGNORECASE)


def test_optimised_python_is_refused() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-O", "-m", "firmware", "ledger", "--state", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == INTERNAL
    assert "assertions" in done.stderr


def test_settings_that_are_damaged_in_both_copies_record_nothing(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(60.0)}).call(2.0, 6.0, 50.0).save()
    kit.state.mkdir(exist_ok=True)
    assert firmware(["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)]) == OK
    site = (kit.pack / "TACET/PROVISION/SITE.toml").read_bytes()
    for mirror in "ab":
        path = kit.state / f"documents.{mirror}"
        data = path.read_bytes()
        assert site in data
        path.write_bytes(data.replace(site, bytes(len(site))))
    assert firmware(["simulate", str(tape), "--state", str(kit.state)]) == OK
    capsys.readouterr()
    assert firmware(["ledger", "--state", str(kit.state), "--json"]) == OK
    assert [row["outcome"] for row in json.loads(capsys.readouterr().out)] == ["recorded", "fault"]


def test_a_power_cut_while_it_is_provisioned_leaves_nothing_that_records_and_the_same_stick_completes_it(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys are written, the site's settings are not yet."""
    tape = Tape(kit.root / "tape", audio={"line1": noise(60.0)}).call(2.0, 6.0, 50.0).save()
    real_put = Vault.put_document

    def cut(vault: Vault, name: str, data: bytes) -> None:
        raise SystemExit("the lights go out")

    monkeypatch.setattr(Vault, "put_document", cut)
    with pytest.raises(SystemExit):
        firmware(["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)])
    monkeypatch.setattr(Vault, "put_document", real_put)
    assert firmware(["simulate", str(tape), "--state", str(kit.state)]) == UNPROVISIONED
    assert "stick" in said(capsys)
    assert firmware(["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)]) == OK
    assert firmware(["ledger", "--state", str(kit.state), "--json"]) == OK
    assert [row["outcome"] for row in json.loads(capsys.readouterr().out)] == ["recorded"]
