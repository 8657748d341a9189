"""What silences a line: payment, the opt-out key, keyed digits, a lost codec. Silences only ever grow or end; none is
taken back.

A press of PAYMENT always mutes, at once, and removes the look-back before it. Only a press held for 1.5 s while the
line is already muted resumes. Digits on the line may only ever reduce what is kept.
"""

from collections import deque

from firmware.policy.call import end_if_open
from firmware.policy.events import DigitHeard
from firmware.policy.gate import Silence
from firmware.policy.records import GapReason
from firmware.units import US_PER_S

DIGIT_PAD_US = 8_000
"""Cut on each side of a keyed digit: the detector's own error is at most 5 ms in 99 % of digits (line.md D9)."""

STICKY_DIGITS, STICKY_WINDOW_US, STICKY_HOLD_US = 3, 5 * US_PER_S, 2 * US_PER_S
"""line.md M2: once three digits came in five seconds the mask holds for two seconds after each."""

CARD_DIGITS, CARD_WINDOW_US = 6, 15 * US_PER_S
"""product.md 4: six or more keyed digits in 15 s outside a payment are taken for a card number."""


class Privacy:
    """Silences of one line. All times are ``_mono_us``."""

    def __init__(self, look_back_us: int, payment_latching: bool) -> None:
        self.silences: list[Silence] = []
        self.payment_since_mono_us: int | None = None
        self.card_suspected = False
        self._look_back_us = look_back_us
        self._latching = payment_latching
        self._muted_at_press = False
        self._key_down = False
        self._digits: deque[int] = deque(maxlen=CARD_DIGITS)

    # --------------------------------------------------------------------------------------------- payment

    def payment_pressed(self, at_mono_us: int) -> None:
        self._key_down = True
        self._muted_at_press = self.payment_since_mono_us is not None
        self._mute_for_payment(at_mono_us)

    def payment_held(self, at_mono_us: int, pressed_mono_us: int) -> None:
        """Momentary key: a hold resumes, and only what was muted before the hold began."""
        if not self._latching and self._muted_at_press:
            self._resume(at_mono_us)

    def payment_released(self, at_mono_us: int) -> None:
        self._key_down = False
        if self._latching:
            self._resume(at_mono_us)

    def call_ended(self, at_mono_us: int) -> None:
        """The payment state ends with the call; a latching key that is still down is a level and stays in force."""
        if not (self._latching and self._key_down):
            self._resume(at_mono_us)
        self._digits.clear()

    def _mute_for_payment(self, at_mono_us: int) -> None:
        if self.payment_since_mono_us is None:
            self.payment_since_mono_us = at_mono_us
        self.silences.append(Silence(GapReason.PAYMENT, at_mono_us - self._look_back_us))

    def _resume(self, at_mono_us: int) -> None:
        self.payment_since_mono_us, self.card_suspected = None, False
        self._end(GapReason.PAYMENT, at_mono_us)

    def all_payment(self, from_mono_us: int, to_mono_us: int) -> bool:
        """Whether everything captured in [from, to) belongs to a payment, its look-back included."""
        return any(
            silence.reason is GapReason.PAYMENT
            and silence.from_mono_us <= from_mono_us
            and (silence.to_mono_us is None or to_mono_us <= silence.to_mono_us)
            for silence in self.silences
        )

    # --------------------------------------------------------------------------------------------- opt-out

    def opt_out_pressed(self, at_mono_us: int) -> None:
        self.silences.append(Silence(GapReason.OPT_OUT_KEY, at_mono_us - self._look_back_us))

    def opt_out_released(self, at_mono_us: int) -> None:
        self._end(GapReason.OPT_OUT_KEY, at_mono_us)

    # ---------------------------------------------------------------------------------------------- digits

    def digit(self, digit: DigitHeard) -> None:
        """Whatever may be a digit is cut; only what certainly is one counts towards a card number."""
        onset_mono_us, end_mono_us = digit.at_mono_us, digit.end_mono_us
        certain = digit.strict and not digit.continued
        if certain:
            self._digits.append(onset_mono_us)
        recent = [at for at in self._digits if onset_mono_us - at <= STICKY_WINDOW_US]
        hold = STICKY_HOLD_US if len(recent) >= STICKY_DIGITS else DIGIT_PAD_US
        self.silences.append(Silence(GapReason.KEYED_DIGITS, onset_mono_us - DIGIT_PAD_US, end_mono_us + hold))
        if certain and len(self._digits) == CARD_DIGITS and onset_mono_us - self._digits[0] <= CARD_WINDOW_US:
            self.card_suspected = self.card_suspected or self.payment_since_mono_us is None
            self._mute_for_payment(onset_mono_us)
            self._digits.clear()

    # ----------------------------------------------------------------------------------------------- codec

    def codec_lost(self, at_mono_us: int) -> None:
        self.silences.append(Silence(GapReason.FAULT, at_mono_us))

    def codec_back(self, at_mono_us: int) -> None:
        self._end(GapReason.FAULT, at_mono_us)

    # --------------------------------------------------------------------------------------------- helpers

    def forget_before(self, at_mono_us: int) -> None:
        """Drop silences that ended before anything that can still be judged."""
        self.silences = [s for s in self.silences if s.to_mono_us is None or s.to_mono_us >= at_mono_us]

    def _end(self, reason: GapReason, at_mono_us: int) -> None:
        self.silences = [end_if_open(silence, reason, at_mono_us) for silence in self.silences]
