"""A captured VoIP call from the file to the exported sound: the same gate, the same vault, the same desk."""

import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firmware.__main__ import OK, SETTINGS, TAPE
from firmware.__main__ import main as firmware
from firmware.loop import Loop
from firmware.policy.events import Packet, Port
from firmware.voip.audio import ALAW
from tests.simulate.kit import Kit, contains
from tests.simulate.test_bad_input import said
from tests.voip.capture import block, enhanced, head, write
from tests.voip.wire import CALLER, DDI, SBC, Dialogue, Voice, Wire, talk

START_US = 1_772_442_000_000_000
"""2026-03-02T09:00:00Z, the day that the kit's orders cover."""

SITE = f"""
[gate]
look_back_s = 2
[notice]
source = "upstream"
upstream_claim_suffices = SUFFICES
[voip]
ddi_list = ["{DDI}"]
peers = ["{SBC}"]
[[line]]
name = "desk1"
kind = "voip"
"""


def kit_for(tmp_path: Path, suffices: str = "true") -> Kit:
    return Kit(tmp_path / "kit", SITE.replace("SUFFICES", suffices))


def captured(kit: Kit, wire: Wire) -> Path:
    path = kit.root / "trunk.pcapng"
    first = wire.packets[0].at_mono_us
    write(path, [Packet(p.port, p.at_mono_us - first + START_US, p.data) for p in wire.packets])
    return path


def replay(kit: Kit, wire: Wire, code: int = 0) -> None:
    words = ["replay", str(captured(kit, wire)), "--state", str(kit.state), "--provision", str(kit.pack)]
    assert firmware(words) == code


def call(wire: Wire, milliseconds: int = 4000) -> tuple[Voice, Voice]:
    dialogue = Dialogue(wire)
    dialogue.establish()
    caller, agent = Voice(dialogue, Port.TRUNK, 1, ssrc=1), Voice(dialogue, Port.INSIDE, 2, ssrc=2)
    talk(wire, milliseconds, caller, agent)
    dialogue.bye()
    wire.wait(500)
    return caller, agent


def export(kit: Kit, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    stick = kit.new_stick()
    _visit(kit, stick)
    kit.take_in(stick)
    return kit.calls(capsys)


def _visit(kit: Kit, stick: Path) -> None:
    """The stick is plugged into the recorder the capture was replayed on."""
    import os

    from firmware.appliance import read_site_facts
    from firmware.evidence.courier import InlineCourier
    from firmware.evidence.visit import visit
    from firmware.store.vault import Vault, VaultParts
    from hw.disk import DirectoryDisk
    from hw.flac import FlacEncoder
    from hw.nvmem import FileMemory
    from hw.sim.clock import SimClock, SimRtc
    from hw.usbstick import UsbStick

    clock = SimClock(START_US // 1000 + 3_600_000)
    parts = VaultParts(
        DirectoryDisk(kit.state), FileMemory(kit.state / "memory"), clock, SimRtc(clock), os.urandom, FlacEncoder()
    )
    vault = Vault.open(parts, simulation=True)
    for _ in visit(vault, UsbStick(str(stick)), read_site_facts, InlineCourier()):
        pass


def test_a_captured_call_is_kept_as_it_came_and_heard_at_the_desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_for(tmp_path)
    wire = Wire()
    caller, agent = call(wire)
    replay(kit, wire)
    [row] = kit.ledger(capsys)
    assert (row["outcome"], row["rule"], row["line"]) == ("recorded", "trunk_invite_ddi", "desk1")
    [found] = export(kit, capsys)
    assert found["number"] == CALLER
    heard = kit.wav(str(found["id"]))
    both = [ALAW[np.frombuffer(bytes(voice.sent), np.uint8)].astype(np.int32) for voice in (caller, agent)]
    expected = np.clip(both[0] + both[1], -32768, 32767)
    start = len(heard) - len(expected)
    assert np.array_equal(heard[start:], expected), "both sides together, as they came"
    assert contains(kit.state, [bytes(caller.sent[800:832]), bytes(agent.sent[800:832])]) == []


def test_without_the_notice_heard_a_claim_alone_does_not_suffice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_for(tmp_path, "false")
    wire = Wire()
    call(wire)
    replay(kit, wire)
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["notice_not_completed"]


def test_a_call_whose_goodbye_was_lost_ends_with_its_last_sound_in_the_ledger_and_at_the_desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_for(tmp_path)
    wire = Wire()
    dialogue = Dialogue(wire)
    dialogue.establish()
    caller, agent = Voice(dialogue, Port.TRUNK, 1, ssrc=1), Voice(dialogue, Port.INSIDE, 2, ssrc=2)
    talk(wire, 3000, caller, agent)
    dialogue.reinvite(5, flow="sendonly", by_called=True)
    talk(wire, 2000, caller)
    dialogue.reinvite(6, by_called=True)
    talk(wire, 3000, caller, agent)
    wire.wait(90_000)
    wire.datagram(Port.TRUNK, 9999, 9999, b"time passes")
    replay(kit, wire)
    [row] = kit.ledger(capsys)
    [found] = export(kit, capsys)
    lasted = datetime.fromisoformat(row["ended_utc"]) - datetime.fromisoformat(row["started_utc"])
    assert found["duration_s"] == pytest.approx(lasted.total_seconds(), abs=0.1)
    assert found["duration_s"] == pytest.approx(8.0, abs=0.2)
    assert len(kit.wav(str(found["id"]))) == round(found["duration_s"] * 8000)
    holds = [gap for gap in found["gaps"] if gap["reason"] == "on_hold"]
    assert [(round(gap["start_s"]), round(gap["end_s"])) for gap in holds] == [(3, 5)]
    assert all(gap["end_s"] <= found["duration_s"] for gap in found["gaps"])


def test_an_outbound_call_has_its_row_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_for(tmp_path)
    wire = Wire()
    dialogue = Dialogue(wire, side=Port.INSIDE)
    dialogue.establish()
    talk(wire, 3000, Voice(dialogue, Port.TRUNK, 1, ssrc=1), Voice(dialogue, Port.INSIDE, 2, ssrc=2))
    dialogue.bye()
    wire.wait(500)
    replay(kit, wire)
    assert [(row["outcome"], row["rule"]) for row in kit.ledger(capsys)] == [("outbound", "inside_invite")]
    assert export(kit, capsys) == []


def test_the_empty_days_of_a_capture_pass_at_once_and_the_call_after_them_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fortnight in steps of 100 ms would be 12 million."""
    steps = 0
    real_step = Loop.step

    def step(loop: Loop) -> None:
        nonlocal steps
        steps += 1
        real_step(loop)

    monkeypatch.setattr(Loop, "step", step)
    kit = kit_for(tmp_path)
    wire = Wire()
    call(wire, 1000)
    wire.wait(14 * 24 * 3600 * 1000)
    call(wire, 1000)
    replay(kit, wire)
    rows = kit.ledger(capsys)
    assert [row["outcome"] for row in rows] == ["recorded", "recorded"]
    assert [row["started_utc"][:10] for row in rows] == ["2026-03-02", "2026-03-16"]
    assert steps < 5000


def test_one_wrong_time_stamp_ends_the_replay_with_one_sentence_and_keeps_the_call_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = kit_for(tmp_path)
    wire = Wire()
    call(wire, 1000)
    wire.wait(10 * 365 * 24 * 3600 * 1000)
    wire.datagram(Port.TRUNK, 9999, 9999, b"wrong")
    capsys.readouterr()
    replay(kit, wire, code=TAPE)
    assert "time stamp" in said(capsys)
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["recorded"]


def test_packets_of_another_interface_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = kit_for(tmp_path)
    wire = Wire()
    call(wire, 1000)
    path = captured(kit, wire)
    third = block(6, struct.pack("<IIIII", 2, 0, 0, 4, 4) + b"abcd")
    path.write_bytes(head(("trunk", "inside", "eth0")) + third + path.read_bytes()[len(head()) :] + third)
    capsys.readouterr()
    assert firmware(["replay", str(path), "--state", str(kit.state), "--provision", str(kit.pack)]) == OK
    assert "2" in said(capsys)
    assert [row["outcome"] for row in kit.ledger(capsys)] == ["recorded"]


def test_a_capture_for_a_site_without_voip_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = Kit(tmp_path / "kit")
    wire = Wire()
    call(wire, 100)
    replay(kit, wire, code=SETTINGS)
    assert not kit.state.exists()


FRAME = Packet(Port.TRUNK, 1, bytes(60))


@pytest.mark.parametrize(
    "content",
    [b"no capture at all", b"", head(), head() + enhanced(FRAME), head() + enhanced(FRAME._replace(at_mono_us=2**63))],
    ids=["text", "nothing", "no packet", "1970", "the year 294247"],
)
def test_a_file_that_is_no_capture(content: bytes, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    (kit.root / "no.pcapng").write_bytes(content)
    words = ["replay", str(kit.root / "no.pcapng"), "--state", str(kit.state), "--provision", str(kit.pack)]
    assert firmware(words) == TAPE
    said(capsys)
    assert not kit.state.exists()


@pytest.mark.parametrize("name", ["none.pcapng", ".", "pack"])
def test_a_capture_that_is_not_there_or_a_directory(name: str, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    assert firmware(["replay", str(kit.root / name), "--state", str(kit.state), "--provision", str(kit.pack)]) == TAPE
    assert "Errno" not in said(capsys)
    assert not kit.state.exists()
