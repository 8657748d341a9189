"""A loop that stood still: what was captured meanwhile is heard and judged as it was then, never ahead of the ear."""

import numpy as np

from firmware.dsp.ear import Listening
from firmware.policy.events import DigitHeard, Event, Signal
from firmware.policy.line import LineSettings
from firmware.store.commands import AppendAudio
from firmware.units import US_PER_S
from tests.loop.bench import Bench, noise
from tests.loop.test_call import samples

ANSWER_S = 6.5
DIGIT_S = 31.0


class Attentive:
    """Reports one keyed digit, a moment after its end, where it was allowed to listen; remembers what it might hear."""

    def __init__(self, digit_s: float) -> None:
        self._digit_us = round(digit_s * US_PER_S)
        self.allowed: dict[int, Listening] = {}

    def hear(self, sound: np.ndarray, first_mono_us: list[int], listening: list[Listening]) -> list[Event]:
        at = first_mono_us[0]
        self.allowed[at] = listening[0]
        late = self._digit_us + 300_000
        if at <= late < at + 100_000 and self.allowed[self._digit_us].digits:
            return [DigitHeard(0, self._digit_us, self._digit_us + 100_000, True)]
        return []

    def reset(self, line: int) -> None: ...


def answered(look_back_s: int = 10, digit_s: float = DIGIT_S) -> tuple[Bench, Attentive]:
    bench = Bench([noise(120)], LineSettings(look_back_us=look_back_s * US_PER_S))
    ear = Attentive(digit_s)
    bench.loop._rigs[0].ear = ear  # type: ignore[assignment]
    bench.ring(2.0)
    bench.ring(5.0)
    bench.level(ANSWER_S, Signal.LOOP, True)
    bench.run_to(30.0)
    return bench, ear


def kept_digit(bench: Bench, digit_s: float = DIGIT_S) -> bool:
    return bool(bench.kept(ANSWER_S)[samples(digit_s) : samples(digit_s + 0.1)].any())


def stand_still(bench: Bench, until_s: float) -> None:
    bench.clock.advance_us(round(until_s * US_PER_S) - bench.clock.mono_us())
    bench.loop.step()


def test_digits_keyed_in_a_stall_are_cut_although_the_handset_is_down_when_the_loop_comes_round() -> None:
    bench, ear = answered()
    bench.level(34.0, Signal.LOOP, False)
    stand_still(bench, 36.0)
    bench.run_to(50.0)
    assert ear.allowed[round(DIGIT_S * US_PER_S)].digits, "nobody listened to what was captured before the hang-up"
    assert not kept_digit(bench)
    assert any(isinstance(command, AppendAudio) for command in bench.writer.commands)


def test_a_backlog_is_not_judged_ahead_of_the_ear_with_the_shortest_look_back() -> None:
    """One step takes 5 s of sound; the digit begins in its last block and is recognised in the next step's first."""
    in_last_block_s = 34.9
    bench, _ = answered(look_back_s=2, digit_s=in_last_block_s)
    stand_still(bench, 39.0)
    bench.run_to(60.0)
    assert not kept_digit(bench, in_last_block_s)


def test_sound_older_than_a_payments_look_back_is_still_listened_to_for_digits() -> None:
    bench, ear = answered(look_back_s=2)
    bench.press(36.0, Signal.PAYMENT)
    stand_still(bench, 37.0)
    bench.run_to(50.0)
    assert ear.allowed[round(DIGIT_S * US_PER_S)].digits
    assert not ear.allowed[round(35.0 * US_PER_S)].digits, "what the payment covers is not listened to"
    assert not kept_digit(bench)
