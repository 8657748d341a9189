"""A stick is plugged in: what the recorder does, what it says, what it logs, and what it never does."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import bagit
import pytest

from firmware.evidence.fields import NewKey
from firmware.evidence.order import Basis, Op, Purpose, RecipientKind
from firmware.store.commands import StickReport
from firmware.store.keys import Role
from hw.sim.stick import SimStick
from tests.evidence.rig import CUSTODIAN, DEVICE, ESCROW, SITE, STRANGER, SUPERVISOR, Rig, later, signer, wav
from tests.store.world import DAY_MS, HOUR_MS, RECIPIENTS, START_UTC_MS

DONE = StickReport("done")


def refused(code: str) -> StickReport:
    return StickReport("refused", code)


# --------------------------------------------------------------------------------------------------------- export


def test_an_export_is_a_valid_bag_with_the_calls_the_index_and_the_log(rig: Rig) -> None:
    calls = [rig.world.call(line) for line in (0, 1)]
    order = rig.order()
    assert rig.give(order) == DONE
    answer = rig.answer(order)
    assert bagit.Bag(str(answer)).is_valid()
    names = {path.relative_to(answer).as_posix() for path in answer.rglob("*") if path.is_file()}
    assert names >= {"data/1.tcf", "data/1.key", "data/2.tcf", "data/2.key", "data/index/1.key", "data/audit.log"}
    assert {line["call"] for line in rig.events("DISCLOSE")} == {call.hex() for call in calls}
    assert (answer / "REPLY.txt").read_text().startswith("DONE")
    assert (answer.parent / "ENROL.txt").exists()


def test_the_frames_leave_as_they_lie_in_the_ring(rig: Rig) -> None:
    call_id = rig.world.call(seconds=6)
    frames = b"".join(rig.vault.sealed(call_id).frames())
    order = rig.order(calls=(call_id,))
    assert rig.give(order) == DONE
    assert (rig.answer(order) / "data/1.tcf").read_bytes() == frames


def test_only_the_lines_and_times_that_were_ordered_leave(rig: Rig) -> None:
    rig.world.call(0)
    wanted = rig.world.call(1)
    order = rig.order(lines=("line2",))
    assert rig.give(order) == DONE
    assert [line["call"] for line in rig.events("DISCLOSE")] == [wanted.hex()]
    early = rig.order(from_utc_ms=START_UTC_MS - 2 * HOUR_MS, to_utc_ms=START_UTC_MS - HOUR_MS)
    assert rig.give(early) == DONE
    assert not (rig.answer(early) / "data/1.tcf").exists()
    assert "No call on this recorder began in that time." in (rig.answer(early) / "REPLY.txt").read_text()


def test_a_call_that_is_going_on_is_not_given_out(rig: Rig) -> None:
    running = rig.world.open()
    rig.world.speak(running, 4.0)
    order = rig.order()
    assert rig.give(order) == DONE
    assert not (rig.answer(order) / "data/1.key").exists()


def test_the_index_never_carries_a_key_to_audio(rig: Rig) -> None:
    call_id = rig.world.call()
    opened = rig.vault.sealed(call_id).open_entry
    order = rig.order(Op.INDEX)
    assert rig.give(order) == DONE
    index = (rig.answer(order) / "data/index/1.key").read_bytes()
    assert call_id in index
    assert opened[40:] not in index
    assert not list((rig.answer(order) / "data").glob("*.tcf"))


def test_the_order_and_its_basis_are_logged_before_the_first_byte_leaves(rig: Rig) -> None:
    rig.world.call()
    order = rig.order()
    data = rig.write(order)
    seen_at_first_byte: list[str] = []

    class Watching(SimStick):
        def write(self, path: str, chunks: object) -> None:
            if not seen_at_first_byte:
                seen_at_first_byte.extend(line["event"] for line in rig.events("ORDER", "DISCLOSE"))
            super().write(path, chunks)  # type: ignore[arg-type]

    assert rig.plug(Watching(str(rig.root))) == DONE
    assert seen_at_first_byte[:1] == ["ORDER"]
    (line,) = rig.events("ORDER")
    assert line["note"] == hashlib.sha256(data).hexdigest()
    assert (line["op"], line["purpose"], line["basis"]) == ("export", "quality", "legitimate_interests")


def test_the_last_line_names_the_bag_that_was_read_back(rig: Rig) -> None:
    rig.world.call()
    order = rig.order()
    rig.give(order)
    tag = (rig.answer(order) / "tagmanifest-sha512.txt").read_bytes()
    (line,) = rig.events("ANSWERED")
    assert line["bag"] == hashlib.sha256(tag).hexdigest()


def test_a_call_that_is_opted_out_while_it_is_copied_leaves_no_key(rig: Rig) -> None:
    call_id = rig.world.call(seconds=6)
    order = rig.order(calls=(call_id,))
    rig.write(order)

    class OptsOutMeanwhile(SimStick):
        def write(self, path: str, chunks: object) -> None:
            super().write(path, chunks)  # type: ignore[arg-type]
            if path.endswith("1.tcf"):
                rig.vault.opt_out([call_id], 0)

    assert rig.plug(OptsOutMeanwhile(str(rig.root))) == DONE
    assert not (rig.answer(order) / "data/1.key").exists()
    assert not (rig.answer(order) / "data/index").exists()
    assert "opted out meanwhile" in (rig.answer(order) / "REPLY.txt").read_text()


# ---------------------------------------------------------------------------------------------------- single use


def test_the_same_order_is_obeyed_once(rig: Rig) -> None:
    rig.world.call()
    order = rig.order()
    assert rig.give(order) == DONE
    before = rig.files()
    assert rig.plug() == refused("already_used")
    assert {name: data for name, data in rig.files().items() if "REPLY" not in name} == {
        name: data for name, data in before.items() if "REPLY" not in name
    }


def test_a_used_order_is_refused_on_another_stick_too(rig: Rig, tmp_path: Path) -> None:
    rig.world.call()
    order = rig.order()
    rig.give(order)
    rig.root = tmp_path / "other"
    rig.root.mkdir()
    assert rig.give(order) == refused("already_used")
    assert not (rig.answer(order) / "data").exists()


def test_an_export_that_failed_is_used_all_the_same(rig: Rig) -> None:
    """I17: at most once. The reply says so, and a new order costs a minute; a second copy cannot be called back."""
    rig.world.call()
    order = rig.order()
    rig.write(order)
    assert rig.plug(SimStick(str(rig.root), pull_after_bytes=3000)).state == "failed"
    assert rig.events("STICK_FAILED")
    assert rig.plug() == refused("already_used")


def test_a_lying_stick_is_told_to_be_one(rig: Rig) -> None:
    rig.world.call()
    rig.write(rig.order())

    class Lying(SimStick):
        def reread(self, path: str) -> Iterator[bytes]:
            yield b"something else"

    assert rig.plug(Lying(str(rig.root))).state == "failed"
    (reply,) = rig.replies()
    assert reply.startswith("FAILED")
    assert "gave back other bytes" in reply
    assert not rig.events("ANSWERED")


@pytest.mark.parametrize("steps", range(1, 34, 2))
def test_power_cut_after_any_step_discloses_nothing_unlogged_and_nothing_twice(rig: Rig, steps: int) -> None:
    """Cuts between every two durable steps of the module's docstring."""
    call_id = rig.world.call()
    order = rig.order(calls=(call_id,))
    rig.write(order)
    visit = rig.steps()
    for _ in range(steps):
        next(visit, None)
    visit.close()
    begun = rig.vault.order_seen(order.order_id)
    on_stick = list(rig.root.rglob("*.tcf"))
    rig.world.cut()
    assert rig.vault.order_seen(order.order_id) == begun, "a used order was forgotten"
    assert not on_stick or [line["call"] for line in rig.events("DISCLOSE")] == [call_id.hex()]
    answered = len(rig.events("ANSWERED"))
    assert rig.plug() == (refused("already_used") if begun else DONE)
    assert len(rig.events("ANSWERED")) == answered + (not begun)
    assert len(rig.events("DISCLOSE")) <= 1


# ------------------------------------------------------------------------------------------------------- refusals


def test_a_stick_without_an_order_gets_a_reply_alone(rig: Rig) -> None:
    assert rig.plug() == refused("no_order")
    assert list(rig.files()) == ["TACET/REPLY.txt"]


def test_a_stick_that_comes_back_again_and_again_is_not_filled_with_replies(rig: Rig) -> None:
    for _ in range(25):
        rig.plug()
    assert len(rig.files()) == 20


@pytest.mark.parametrize(
    ("changes", "signers", "code"),
    [
        ({}, (STRANGER,), "unsigned"),
        ({"device": "SIM-OTHER1"}, (CUSTODIAN,), "other_device"),
        ({"simulation": False}, (CUSTODIAN,), "other_world"),
        ({"not_after_utc_ms": START_UTC_MS + 14 * DAY_MS}, (CUSTODIAN,), "validity_too_long"),
        ({"not_before_utc_ms": START_UTC_MS + HOUR_MS}, (CUSTODIAN,), "not_yet_valid"),
        (
            {"not_before_utc_ms": START_UTC_MS - DAY_MS, "not_after_utc_ms": START_UTC_MS - HOUR_MS},
            (CUSTODIAN,),
            "expired",
        ),
        ({"lines": ("line9",)}, (CUSTODIAN,), "unknown_line"),
        ({"purpose": Purpose.FRAUD}, (SUPERVISOR,), "purpose_not_allowed"),
        ({"recipient": RecipientKind.POLICE}, (SUPERVISOR,), "purpose_not_allowed"),
    ],
)
def test_what_is_not_permitted_is_refused_and_changes_nothing(
    rig: Rig, changes: dict[str, object], signers: tuple[object, ...], code: str
) -> None:
    rig.world.call()
    order = rig.order(**changes)
    assert rig.give(order, *signers) == refused(code)  # type: ignore[arg-type]
    assert [line["code"] for line in rig.events("REFUSED")] == [code]
    assert not rig.events("ORDER", "DISCLOSE")
    (reply,) = rig.replies()
    assert reply.startswith("REFUSED")
    assert "Nothing was changed" in reply
    assert not list(rig.root.rglob("*.tcf"))


def test_an_order_for_another_recorder_gets_its_reply_where_this_recorder_writes(rig: Rig) -> None:
    rig.give(rig.order(device="SIM-OTHER1"))
    assert not (rig.root / "TACET" / "SIM-OTHER1").exists()


def test_every_changed_byte_of_an_order_is_noticed(rig: Rig) -> None:
    rig.world.call()
    data = rig.write(rig.order())
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1
        rig.write(bytes(changed))
        assert rig.plug().state == "refused", f"byte {at}"
    assert not rig.events("ORDER", "DISCLOSE")


def test_a_supervisor_may_not_export_where_the_site_forbids_it(rig: Rig) -> None:
    rig.world.call()
    assert rig.give(rig.order(), SUPERVISOR) == DONE
    rig.vault.put_document("site", (SITE + "[desk]\nsupervisor_may_export = false\n").encode())
    assert rig.give(rig.order(), SUPERVISOR) == refused("role")


@pytest.mark.parametrize("op", [Op.HOLD, Op.CONFIRM, Op.EXTEND, Op.ERASE, Op.RELEASE])
def test_a_supervisor_may_not_hold_release_or_erase(rig: Rig, op: Op) -> None:
    call_id = rig.world.call()
    assert rig.give(rig.order(op, calls=(call_id,)), SUPERVISOR) == refused("role")


def test_remembered_orders_are_never_forgotten_to_make_room(rig: Rig) -> None:
    until = START_UTC_MS + DAY_MS
    for number in range(256):
        rig.vault.remember_order(number.to_bytes(16, "big"), until)
    assert rig.give(rig.order()) == refused("orders_full")
    assert rig.vault.order_seen(bytes(16))


# ---------------------------------------------------------------------------------------------------- other orders


def test_hold_extend_and_release_by_two_persons(rig: Rig) -> None:
    call_id = rig.world.call()
    assert rig.give(rig.order(Op.HOLD, calls=(call_id,))) == DONE
    assert rig.vault.calls()[0].held
    assert rig.give(rig.order(Op.EXTEND, calls=(call_id,), review_utc_ms=START_UTC_MS + 90 * DAY_MS)) == DONE
    release = rig.order(Op.RELEASE, calls=(call_id,))
    assert rig.give(release, CUSTODIAN) == refused("needs_two_persons")
    assert rig.give(release, CUSTODIAN, CUSTODIAN) == refused("needs_two_persons")
    assert rig.vault.calls()[0].held
    assert rig.give(release, CUSTODIAN, SUPERVISOR) == DONE
    assert not rig.vault.calls()[0].held


def test_a_provisional_hold_is_confirmed(rig: Rig) -> None:
    call_id = rig.world.call()
    assert rig.vault.keep(call_id) is None
    assert rig.give(rig.order(Op.CONFIRM, calls=(call_id,))) == DONE
    assert not rig.vault.calls()[0].provisional


def test_a_held_call_is_not_erased(rig: Rig) -> None:
    call_id = rig.world.call()
    rig.give(rig.order(Op.HOLD, calls=(call_id,)))
    assert rig.give(rig.order(Op.ERASE, calls=(call_id,))) == refused("held")
    assert rig.vault.calls()


def test_an_erased_call_is_gone_and_its_certificate_is_in_the_answer(rig: Rig) -> None:
    call_id = rig.world.call()
    order = rig.order(Op.ERASE, calls=(call_id,))
    assert rig.give(order) == DONE
    assert rig.vault.calls() == []
    assert call_id.hex() in (rig.answer(order) / "data/certificates.txt").read_text()


def test_a_recorder_without_erasable_memory_never_claims_proof(rig: Rig) -> None:
    """storage.md 1.9: replies and certificates of the degraded mode say so."""
    for kind, degraded in (("file", True), ("at24", False)):
        other = Rig(rig.root.parent / kind, memory_kind=kind)
        call_id = other.world.call()
        order = other.order(Op.ERASE, calls=(call_id,))
        other.give(order)
        reply = (other.answer(order) / "REPLY.txt").read_text()
        assert ("erasure is not proven on this storage" in reply) == degraded
        assert f"proven={int(not degraded)}" in (other.answer(order) / "data/certificates.txt").read_text()


def test_a_hold_of_several_calls_says_what_became_of_each(rig: Rig) -> None:
    call_id = rig.world.call()
    order = rig.order(Op.HOLD, calls=(call_id, bytes(16)))
    assert rig.give(order) == DONE
    reply = (rig.answer(order) / "REPLY.txt").read_text()
    assert f"Call {call_id.hex()} is held" in reply
    assert f"Call {bytes(16).hex()} was left as it is" in reply


def test_new_keys_need_two_persons_and_a_complete_set(rig: Rig) -> None:
    fresh = signer(7, Role.CUSTODIAN)
    recipients = tuple(NewKey(key.key_id, "1", key.public_key) for key in RECIPIENTS)
    requests = (NewKey(fresh.key.key_id, "custodian", fresh.key.public_key),)
    order = rig.order(Op.KEYS, recipient_keys=recipients, request_keys=requests)
    assert rig.give(order, CUSTODIAN) == refused("needs_two_persons")
    incomplete = rig.order(Op.KEYS, recipient_keys=recipients[:1], request_keys=requests)
    assert rig.give(incomplete, CUSTODIAN, ESCROW) == refused("keys_refused")
    assert rig.give(order, CUSTODIAN, ESCROW) == DONE
    assert rig.give(rig.order(Op.REPORT), CUSTODIAN) == refused("unsigned")
    assert rig.give(rig.order(Op.REPORT), fresh) == DONE


def test_a_new_notice_is_taken_only_as_it_was_signed(rig: Rig) -> None:
    sound = wav()
    path = rig.root / "TACET" / "NOTICE.wav"
    order = rig.order(Op.NOTICE, sha256=hashlib.sha256(sound).digest(), version="v2")
    assert rig.give(order) == refused("attachment")
    path.write_bytes(sound[:-2] + b"\1\0")
    assert rig.plug() == refused("attachment")
    path.write_bytes(sound)
    assert rig.plug() == DONE
    assert rig.vault.document("notice") == sound
    assert rig.changed() == ["notice"]


@pytest.mark.parametrize("sound", [b"RIFF", wav(0.5), wav(61), wav(channels=2), wav(rate_hz=11025), wav()[:-10]])
def test_a_notice_that_cannot_be_played_is_refused(rig: Rig, sound: bytes) -> None:
    rig.write(rig.order(Op.NOTICE, sha256=hashlib.sha256(sound).digest(), version="v2"))
    (rig.root / "TACET" / "NOTICE.wav").write_bytes(sound)
    assert rig.plug() == refused("settings_refused")
    assert rig.vault.document("notice") is None


def test_settings_are_checked_and_never_go_beyond_two_months(rig: Rig) -> None:
    def give(text: str) -> StickReport:
        rig.write(rig.order(Op.SETTINGS, sha256=hashlib.sha256(text.encode()).digest()))
        (rig.root / "TACET" / "SITE.toml").write_text(text)
        return rig.plug()

    assert give(SITE + "[retention]\nmonths = 3\n") == refused("settings_refused")
    assert give('[[line]]\nname = "line1"\n') == refused("settings_refused")
    assert give(SITE + "[retention]\nmonths = 1\n") == DONE
    assert rig.changed() == ["site"]
    assert rig.vault.charter.retention_months == 1


def test_a_time_order_cures_a_clock_that_would_call_it_invalid(rig: Rig) -> None:
    rig.world.rtc.stop()
    rig.world.cut(off_ms=30 * DAY_MS)
    true_utc_ms = START_UTC_MS + 30 * DAY_MS
    times = {"not_before_utc_ms": true_utc_ms - HOUR_MS, "not_after_utc_ms": true_utc_ms + DAY_MS}
    assert rig.give(rig.order(Op.REPORT, **times)) == refused("not_yet_valid")
    assert rig.give(rig.order(Op.TIME, time_utc_ms=true_utc_ms, **times)) == DONE
    assert abs(rig.vault.now_utc_ms() - true_utc_ms) < HOUR_MS


def test_an_old_time_order_moves_nothing(rig: Rig) -> None:
    rig.world.rtc.stop()
    rig.world.cut(off_ms=DAY_MS)
    before = rig.vault.now_utc_ms()
    old = START_UTC_MS - 20 * DAY_MS
    order = rig.order(Op.TIME, time_utc_ms=old, not_before_utc_ms=old - HOUR_MS, not_after_utc_ms=old + DAY_MS)
    assert rig.give(order) == refused("time_refused")
    assert rig.vault.now_utc_ms() >= before


def test_a_held_call_leaves_after_its_limit_and_an_ordinary_one_does_not(rig: Rig) -> None:
    held, ordinary = rig.world.call(), rig.world.call()
    rig.give(rig.order(Op.HOLD, calls=(held,), review_utc_ms=START_UTC_MS + 200 * DAY_MS))
    rig.world.sleep(65 * DAY_MS, step_ms=6 * HOUR_MS)
    now = rig.vault.now_utc_ms()
    order = rig.order(
        calls=(held, ordinary),
        not_before_utc_ms=now // 1000 * 1000 - HOUR_MS,
        not_after_utc_ms=now // 1000 * 1000 + DAY_MS,
    )
    assert rig.give(order) == DONE
    assert [line["call"] for line in rig.events("DISCLOSE")] == [held.hex()]
    assert "1 of the calls named are not here" in (rig.answer(order) / "REPLY.txt").read_text()


def test_nothing_that_a_person_wrote_reaches_the_log(rig: Rig) -> None:
    call_id = rig.world.call()
    rig.give(rig.order(Op.HOLD, calls=(call_id,), case="Ms Example 020 7946 0777", reason="Mr Sample threatened"))
    rig.give(rig.order(basis=Basis.PUBLIC_TASK, case="Ms Example"))
    log = b"\n".join(rig.vault.audit_lines())
    for word in (b"Example", b"0777", b"Sample", b"threat"):
        assert word not in log


def test_the_answer_says_nothing_in_clear_about_the_caller(rig: Rig) -> None:
    rig.world.call(number="02079460555")
    rig.give(rig.order())
    assert not [name for name, data in rig.files().items() if b"7946" in data]
    assert later(rig.order(), case="X").case == "X"
    assert DEVICE in rig.replies()[0]
