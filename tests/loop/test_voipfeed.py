"""The VoIP feed beside real lines and the real recorder: whose keys silence a call that was transferred, and what REC
shows."""

from collections.abc import Callable
from itertools import count
from typing import Any

from firmware.panel import Panel
from firmware.policy import events as ev
from firmware.policy.keyed import LineSettings, NoticeSource
from firmware.policy.records import AudioCodec, Direction, Ended, GapReason, Outcome
from firmware.recording import Recorder
from firmware.store.commands import AppendAudio, AppendGap, Command
from firmware.units import SAMPLE_US, US_PER_S
from firmware.voip import output as vo
from firmware.voipfeed import VoipFeed
from firmware.voipline import VoipLine

RULE = vo.Rule.TRUNK_INVITE_DDI
LOOK_BACK_S = 10


def s(seconds: float) -> int:
    return round(seconds * US_PER_S)


class Silent:
    """An ear and a wire without anything on them."""

    def hear(self, *heard: Any, digits: bool = True) -> list[Any]:
        return []

    def tick(self, now_mono_us: int) -> list[Any]:
        return []

    def drain(self, packets_max: int) -> list[Any]:
        return []

    def dropped(self) -> int:
        return 0

    def lost(self) -> bool:
        return False


class Sides:
    """An ear that says once a second what the test says of the caller's and the agent's side."""

    def __init__(self) -> None:
        self.zero, self.voice = (False, False), (True, True)
        self._pieces = 0

    def hear(self, piece: vo.MediaPiece, *, digits: bool) -> list[ev.ChannelQuality]:
        self._pieces += 1
        if self._pieces % 10:
            return []
        return [
            ev.ChannelQuality(
                line=side,
                at_mono_us=piece.at_mono_us,
                level_dbm0=-20.0,
                noise_dbm0=-60.0,
                clipped_samples=0,
                silent=not self.voice[side],
                digital_zero=self.zero[side],
                hum_dbm0=-70.0,
            )
            for side in range(2)
        ]


class Stage:
    """Two lines, one call that the first of them answered at 0 s."""

    def __init__(self, make_ear: Callable[[], Any] = Silent) -> None:
        numbers = count(1)
        settings = LineSettings(voip=True, notice_source=NoticeSource.UPSTREAM, upstream_claim_suffices=True)
        self.lines = [VoipLine(number, settings, lambda: next(numbers)) for number in range(2)]
        self.commands: list[Command] = []
        recorder = Recorder(self.commands.append, lambda mono_us: mono_us // 1000, [True, True])
        self.panel = Panel(2, 120 * US_PER_S)
        silent: Any = Silent()
        slots = dict(enumerate(self.lines))
        self.feed = VoipFeed(silent, silent, slots, recorder, self.panel, make_ear, lambda acts: None)
        self.tell(vo.CallStarted(7, 0, s(-1), Direction.INBOUND, RULE, ()))
        self.tell(vo.CallAnswered(7, 0, s(0), Direction.INBOUND, RULE, ()))

    def tell(self, told: vo.VoipOutput) -> None:
        self.feed._told(told)

    def talk(self, start_s: float, end_s: float) -> None:
        for tenth in range(round(start_s * 10), round(end_s * 10)):
            first = tenth * 800
            self.tell(vo.MediaPiece(7, 0, first * SAMPLE_US, first, 800, AudioCodec.PCMA, 8000, bytes(1600)))
            self.pass_time(first * SAMPLE_US + 100_000)

    def pass_time(self, now_us: int) -> None:
        self.feed.hear(now_us)
        self.feed.judge(now_us)

    def transfer(self, at_s: int) -> None:
        """To the other line."""
        self.tell(vo.Transferred(7, 1, s(at_s), at_s * 8000))

    def kept(self) -> set[int]:
        """Tenths of a second from the answer of which any sample was handed on."""
        audio = [command for command in self.commands if isinstance(command, AppendAudio)]
        return {sample // 800 for c in audio for sample in range(c.first_sample, c.first_sample + c.samples, 80)}


def test_a_late_press_by_the_agent_who_transferred_still_reaches_his_own_look_back() -> None:
    stage = Stage()
    stage.talk(0, 30)
    stage.transfer(30)
    stage.talk(30, 33)
    stage.lines[0].apply(ev.KeyPressed(0, s(33), ev.Key.PAYMENT))
    stage.talk(33, 60)
    stage.pass_time(s(75))
    kept = stage.kept()
    assert not kept & set(range(230, 300)), "from ten seconds before the press to the transfer"
    assert {229, 300, 400} <= kept, "what came before, and what the new agent speaks, is kept"
    assert any(isinstance(c, AppendGap) and c.reason is GapReason.PAYMENT for c in stage.commands)


def test_the_new_agents_payment_silences_the_call_that_came_to_him() -> None:
    stage = Stage()
    stage.talk(0, 30)
    stage.transfer(30)
    stage.talk(30, 50)
    stage.lines[1].apply(ev.KeyPressed(1, s(50), ev.Key.PAYMENT))
    stage.talk(50, 60)
    stage.pass_time(s(75))
    assert max(stage.kept()) < 400


def test_rec_goes_out_when_the_last_caller_hangs_up() -> None:
    stage = Stage()
    stage.talk(0, 20)
    assert stage.panel.lines[0].would_keep
    assert stage.panel.lines[0].keeping
    stage.tell(
        vo.CallEnded(7, 0, s(20), Direction.INBOUND, RULE, Outcome.RECORDED, Ended.ON_HOOK, 160_000, s(-1), s(0))
    )
    assert not stage.panel.lines[0].would_keep


def test_a_call_of_which_one_side_is_silence_alarms_while_it_goes_on_and_not_after_it() -> None:
    ear = Sides()
    stage = Stage(lambda: ear)
    stage.talk(0, 10)
    ear.zero, ear.voice = (False, True), (True, False)
    stage.talk(10, 29)
    assert stage.panel.faults(0) == frozenset()
    stage.talk(29, 31)
    assert stage.panel.faults(0) == {"ONE_SIDED"}
    assert stage.panel.faults(1) == frozenset(), "the other line has nothing to do with it"
    stage.tell(
        vo.CallEnded(7, 0, s(31), Direction.INBOUND, RULE, Outcome.RECORDED, Ended.ON_HOOK, 248_000, s(-1), s(0))
    )
    assert stage.panel.faults() == frozenset()


def test_a_side_whose_packets_stay_away_alarms_until_it_is_heard_again() -> None:
    ear = Sides()
    stage = Stage(lambda: ear)
    stage.talk(0, 10)
    ear.zero = (True, False)
    stage.tell(vo.MediaMissing(7, 0, s(10), vo.Channel.CALLER))
    stage.talk(10, 12)
    assert stage.panel.faults(0) == {"ONE_SIDED"}
    ear.zero = (False, False)
    stage.talk(12, 14)
    assert stage.panel.faults(0) == frozenset()


def test_a_call_without_any_sound_is_a_dead_channel() -> None:
    ear = Sides()
    ear.zero, ear.voice = (True, True), (False, False)
    stage = Stage(lambda: ear)
    stage.talk(0, 6)
    assert stage.panel.faults(0) == {"DEAD_CHANNEL"}


def test_music_on_hold_does_not_count_against_a_side() -> None:
    ear = Sides()
    stage = Stage(lambda: ear)
    ear.zero, ear.voice = (True, False), (False, True)
    stage.talk(0, 15)
    stage.tell(vo.HoldStarted(7, 0, s(15), 15 * 8000))
    stage.talk(15, 30)
    assert stage.panel.faults(0) == frozenset()


def test_a_side_that_was_missing_is_no_alarm_on_hold_nor_on_the_line_the_call_has_left() -> None:
    for leave in (
        lambda stage: stage.tell(vo.HoldStarted(7, 0, s(12), 12 * 8000)),
        lambda stage: stage.transfer(12),
    ):
        ear = Sides()
        ear.zero = (True, False)
        stage = Stage(lambda heard=ear: heard)
        stage.talk(0, 10)
        stage.tell(vo.MediaMissing(7, 0, s(10), vo.Channel.CALLER))
        stage.talk(10, 12)
        assert stage.panel.faults(0) == {"ONE_SIDED"}
        leave(stage)
        assert stage.panel.faults(0) == frozenset()


def test_rec_goes_out_with_the_press_and_not_with_the_next_piece() -> None:
    stage = Stage()
    stage.talk(0, 20)
    stage.lines[0].apply(ev.KeyPressed(0, s(20), ev.Key.PAYMENT))
    stage.feed.show(0)
    assert not stage.panel.lines[0].would_keep


def test_sound_of_a_payment_that_arrives_after_it_is_not_searched_for_digits() -> None:
    """A stretch is handed on more than a second after it was spoken: the payment may be over by then."""
    told: list[tuple[int, bool]] = []

    class Noting(Silent):
        def hear(self, *heard: Any, digits: bool = True) -> list[Any]:
            told.append((heard[0].at_mono_us, digits))
            return []

    stage = Stage(Noting)
    stage.talk(0, 20)
    line = stage.lines[0]
    line.apply(ev.KeyPressed(0, s(20), ev.Key.PAYMENT))
    line.apply(ev.KeyReleased(0, s(20), ev.Key.PAYMENT, s(20)))
    line.apply(ev.KeyPressed(0, s(23), ev.Key.PAYMENT))
    line.apply(ev.KeyHeld(0, s(25), ev.Key.PAYMENT, s(23)))
    stage.talk(20, 30)
    assert not any(digits for at, digits in told if s(20) <= at < s(25))
    assert all(digits for at, digits in told if at >= s(25))
