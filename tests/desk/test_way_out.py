"""From the recorder to the ear: order, answer, import, list, extract, verify, by the command line alone."""

import io
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from firmware.store import holding
from tests.desk.rig import PASSPHRASE, Rig, run
from tools import ringread


def test_a_call_is_ordered_imported_listed_and_heard_sample_for_sample(rig: Rig, tmp_path: Path) -> None:
    call_id, axis = rig.recorder.call()
    assert rig.export().state == "done"
    taken = rig.take_in()
    assert taken.code == 0, taken.err
    assert "Compare this fingerprint" in taken.out
    (entry,) = rig.listed()
    assert entry["id"] == call_id
    assert (entry["line"], entry["direction"], entry["outcome"]) == ("line1", "inbound", "recorded")
    assert (entry["number"], entry["number_absence"]) == ("02079460123", None)
    assert entry["started_utc"].startswith("2026-03-02T09:00:0")
    assert entry["duration_s"] == 6.0
    assert entry["held"] is False
    assert entry["gaps"] == [{"start_s": 2.0, "end_s": 4.0, "reason": "payment"}]
    out = tmp_path / "out.wav"
    assert rig.desk("extract", call_id, "--wav", out).code == 0
    with wave.open(str(out)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert np.array_equal(np.frombuffer(file.readframes(48_000), np.int16), axis)
        assert file.getnframes() == 48_000


def test_flac_and_wav_are_the_same_sound(rig: Rig, tmp_path: Path) -> None:
    call_id, axis = rig.recorder.call()
    rig.export()
    rig.take_in()
    assert rig.desk("extract", call_id[:8], "--flac", tmp_path / "out.flac").code == 0
    sound, rate = soundfile.read(tmp_path / "out.flac", dtype="int16")
    assert rate == 8000
    assert np.array_equal(sound, axis)


def test_verify_names_the_identity_it_knows(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    rig.take_in()
    fingerprint = rig.recorder.vault.fingerprint.hex()
    assert "identity not checked" in run("verify", rig.stick).out
    for anchor in (("--home", rig.home), ("--fingerprint", fingerprint)):
        checked = run("verify", rig.stick, *anchor)
        assert checked.code == 0
        assert "  verified" in checked.out
    wrong = run("verify", rig.stick, "--fingerprint", "00" * 32)
    assert wrong.code == 7
    assert "not the pinned one" in wrong.out


def test_the_offline_reader_finds_the_same_calls_gaps_and_audio(rig: Rig, tmp_path: Path) -> None:
    call_id, axis = rig.recorder.call()
    rig.export()
    words = [str(rig.stick), "--key", str(rig.home / "custodian.key"), "--out", str(tmp_path / "out")]
    assert ringread.main([*words, "--fingerprint", rig.recorder.vault.fingerprint.hex()]) == 0
    folder = tmp_path / "out" / call_id
    assert folder.joinpath("gaps.csv").read_text().splitlines()[1:] == ["16000,16000,2.000000,4.000000,payment"]
    heard = np.zeros(48_000, np.int16)
    for line in folder.joinpath("pieces.csv").read_text().splitlines()[1:]:
        name, first, samples, *_ = line.split(",")
        sound, _ = soundfile.read(io.BytesIO((folder / name).read_bytes()), dtype="int16")
        heard[int(first) : int(first) + int(samples)] = sound
    assert np.array_equal(heard, axis)
    assert json.loads((folder / "meta.json").read_text())["number"] == "02079460123"


def test_the_escrow_key_opens_everything_too(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    passphrase = tmp_path / "escrow-passphrase"
    passphrase.write_text("another passphrase in an envelope\n")
    words = [str(rig.stick), "--key", str(rig.home / "escrow.key"), "--passphrase-file", str(passphrase)]
    assert ringread.main([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / call_id / "000000-0.flac").exists()


def test_an_index_lists_calls_whose_audio_was_never_exported(rig: Rig) -> None:
    rig.recorder.call("02079460999")
    assert rig.order("index").code == 0
    assert rig.recorder.plug(rig.stick).state == "done"
    rig.take_in()
    (entry,) = rig.listed()
    assert (entry["number"], entry["audio"]) == ("02079460999", False)
    heard = rig.desk("extract", entry["id"], "--wav", rig.root / "x.wav")
    assert heard.code == 4
    assert "export order" in heard.err


def test_calls_are_found_by_any_part_of_the_number_and_by_line_and_time(rig: Rig) -> None:
    first, _ = rig.recorder.call("+442079460111", seed=1)
    rig.recorder.world.clock.advance_ms(3_600_000)
    second, _ = rig.recorder.call(None, seed=2)
    rig.export()
    rig.take_in()
    assert [call["id"] for call in rig.listed("--number", "60111")] == [first]
    assert [call["id"] for call in rig.listed("--number", "020 7946 0111")] == [first]
    assert [call["id"] for call in rig.listed("--number", "11")] == [first]
    assert rig.listed("--number", "555") == []
    assert [call["id"] for call in rig.listed("--from", "2026-03-02T09:30Z")] == [second]
    assert [call["id"] for call in rig.listed("--to", "2026-03-02T09:30Z")] == [first]
    assert len(rig.listed("--line", "line1")) == 2
    assert rig.listed("--line", "line2") == []
    assert [call["number_absence"] for call in rig.listed()] == ["withheld", None]


def test_a_lost_enrolment_is_found_in_the_log(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    (rig.stick / "TACET" / rig.device / "ENROL.txt").unlink()
    taken = rig.take_in()
    assert taken.code == 0, taken.err
    assert rig.recorder.vault.fingerprint.hex() in taken.out
    assert rig.desk("extract", call_id, "--wav", rig.root / "x.wav").code == 0


def test_an_answer_that_was_not_finished_is_told_once_and_not_taken_in(rig: Rig) -> None:
    rig.recorder.call()
    rig.order("export", "--from", "2026-03-02", "--to", "2026-03-03", "--purpose", "quality", "--basis", "consent")
    assert rig.recorder.plug(rig.stick, pull_after_bytes=9_000).state == "failed"
    taken = rig.take_in()
    assert taken.code == 6
    assert "did not finish" in taken.err
    assert rig.take_in().code == 0
    assert rig.listed() == []


def test_importing_twice_takes_in_once(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    rig.take_in()
    again = rig.take_in()
    assert again.code == 0
    assert "Answers taken in: 0 (here already: 1)" in again.out
    assert len(rig.listed()) == 1


def test_a_refused_order_says_why_and_exits_with_its_code(rig: Rig) -> None:
    rig.order("report", "--not-before", "2026-01-01")
    assert rig.recorder.plug(rig.stick).code == "expired"
    taken = rig.take_in()
    assert taken.code == 5
    assert "no longer valid" in taken.out
    assert rig.take_in().code == 0, "a reply that was read is not told again"


def test_a_hold_is_seen_in_the_next_index_and_its_release_too(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    words = ("hold", call_id, "--case", "C-1", "--reason", "threat", "--review", "2026-06-01")
    assert rig.order(*words).code == 0
    assert rig.recorder.plug(rig.stick).state == "done"
    rig.take_in()
    (entry,) = rig.listed("--held")
    assert entry["review_utc"].startswith("2026-06-01")
    release = rig.order("release", call_id, "--reason", "closed", "--cosign", "escrow")
    assert release.code == 0, release.err
    assert rig.recorder.plug(rig.stick).state == "done"
    rig.take_in()
    assert rig.listed("--held") == []


def test_a_keep_that_found_no_room_is_told_as_refused_and_not_as_held(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    call_id, _ = rig.recorder.call()
    with monkeypatch.context() as full:
        full.setattr(holding, "_bag_left", lambda core: False)
        assert rig.recorder.vault.keep(bytes.fromhex(call_id)) == "hold_quota_full"
    rig.order("index")
    rig.recorder.plug(rig.stick)
    rig.take_in()
    (entry,) = rig.listed()
    assert (entry["held"], entry["provisional_hold"], entry["hold_refused"]) == (False, False, "hold_quota_full")
    assert re.search(" refused +", rig.desk("list").out)
    made = rig.desk("statement", "--month", "2026-03", "--out", rig.root / "statement")
    assert made.code == 0, made.err
    text = (rig.root / "statement" / "statement.csv").read_text()
    assert f'not held,"keep refused, hold quota full: call {call_id[:12]}"' in text
    rig.order("hold", call_id, "--case", "C-1", "--reason", "threat", "--review", "2026-06-01")
    rig.recorder.plug(rig.stick)
    rig.take_in()
    (entry,) = rig.listed("--held")
    assert entry["hold_refused"] is None


def test_one_signature_is_told_to_be_one_and_a_second_person_adds_theirs(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.order("hold", call_id, "--case", "C-1", "--reason", "threat", "--review", "2026-06-01")
    rig.recorder.plug(rig.stick)
    made = rig.order("release", call_id, "--reason", "closed")
    assert "second enrolled person" in made.out
    assert rig.recorder.plug(rig.stick).code == "needs_two_persons"
    signed = rig.order("cosign", "--role", "escrow")
    assert signed.code == 0, signed.err
    assert call_id in signed.out
    assert rig.recorder.plug(rig.stick).state == "done"


def test_an_erased_call_dies_at_the_desk_too(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    frames = list((rig.home / "bags").rglob("1.tcf"))
    assert frames
    rig.order("erase", call_id, "--ground", "erasure-request")
    assert rig.recorder.plug(rig.stick).state == "done"
    assert "erased them: 1" in rig.take_in().out
    assert rig.listed() == []
    assert not list((rig.home / "bags").rglob("1.tcf"))
    assert not list((rig.home / "bags").rglob("1.key"))


def test_a_call_that_the_caller_opted_out_of_dies_at_the_desk_too(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    rig.recorder.vault.opt_out([bytes.fromhex(call_id)], 0)
    rig.order("report")
    rig.recorder.plug(rig.stick)
    rig.take_in()
    assert rig.listed() == []


def test_power_cut_before_the_close_is_heard_up_to_its_last_frame(rig: Rig, tmp_path: Path) -> None:
    recorder = rig.recorder
    call_id = recorder.vault.open_call(0, recorder.vault.now_utc_ms())
    sound = np.arange(16_000, dtype=np.int16)
    for first in range(0, 16_000, 800):
        recorder.vault.append_audio(call_id, first, 800, sound[None, first : first + 800])
    recorder.vault.flush(call_id)
    recorder.world.disk = recorder.world.disk.cut(recorder.world.rng)
    recorder.world.clock.power_off(60_000)
    recorder.boot()
    assert rig.export().state == "done"
    assert rig.take_in().code == 0
    assert rig.desk("extract", call_id.hex(), "--wav", tmp_path / "cut.wav").code == 0
    heard, _ = soundfile.read(tmp_path / "cut.wav", dtype="int16")
    assert np.array_equal(heard, sound[: len(heard)])
    assert len(heard) >= 14_000


def test_passphrase_from_a_file(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TACET_PASSPHRASE")
    missing = rig.desk("list")
    assert missing.code == 3
    assert "passphrase" in missing.err
    path = rig.root / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    assert rig.desk("list", "--passphrase-file", path).code == 0


def test_a_call_may_be_ordered_by_the_beginning_of_its_id(rig: Rig) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    assert rig.order("hold", call_id[:12], "--case", "C", "--reason", "r", "--review", "2026-06-01").code == 0
    assert rig.recorder.plug(rig.stick).state == "done"
    assert rig.recorder.vault.calls()[0].held
    wrong = "0" * 12 if not call_id.startswith("0" * 12) else "f" * 12
    assert rig.order("erase", wrong, "--ground", "objection").code == 4


def test_people_read_the_zone_and_programs_utc(rig: Rig) -> None:
    rig.recorder.call()
    rig.export()
    rig.take_in()
    assert re.search("2026-03-02 09:00 (.|\\n)*Times are Europe/London", rig.desk("list").out)
    assert re.fullmatch(r"2026-03-02T09:00:0[0-9]\.[0-9]{3}Z", rig.listed()[0]["started_utc"])
    (reply,) = rig.stick.rglob("REPLY.txt")
    assert "2 March 2026, 09:00:0" in reply.read_text()


@pytest.mark.parametrize("op", ["index", "report"])
def test_plain_orders(rig: Rig, op: str) -> None:
    assert rig.order(op).code == 0
    assert rig.recorder.plug(rig.stick).state == "done"


def test_settings_notice_time_and_keys_by_order(rig: Rig) -> None:
    site = rig.root / "site.toml"
    site.write_text('[[line]]\nname = "line1"\n[retention]\nmonths = 1\n')
    notice = Path("firmware/notice/notice.wav")
    for words in (
        ("settings", site),
        ("notice", notice, "--version", "v2"),
        ("time", "--time", "2026-03-02T09:30Z"),
        ("keys", "--cosign", "escrow"),
    ):
        made = rig.order(*words)
        assert made.code == 0, made.err
        report = rig.recorder.plug(rig.stick)
        assert report.state == "done", (words, report)
    assert rig.recorder.vault.document("notice") == notice.read_bytes()
