"""What the panel shows: lamps from measured output and active faults, patterns from time. Decides nothing else."""

from dataclasses import dataclass

from firmware.policy.events import Lamp
from firmware.policy.faults import TABLE, Pattern
from firmware.units import US_PER_S

HALF_PERIOD_US = {Pattern.SLOW: US_PER_S // 2, Pattern.FAST: US_PER_S // 8}

BLINK_US = US_PER_S // 8
"""No lamp changes between two multiples of this by blinking alone."""


@dataclass(frozen=True)
class LinePanel:
    """``would_keep``: the newest block as judged now. ``keeping``: the gate's last output. Both are measured, not
    commanded."""

    would_keep: bool = False
    keeping: bool = False
    payment: bool = False
    card_suspected: bool = False
    opt_out: Pattern = Pattern.OFF
    keep: Pattern = Pattern.OFF


@dataclass(frozen=True)
class Reminder:
    """The sounder reminds of a payment that is still on; never heard on the line. Times are ``_us``."""

    after_us: int
    every_us: int = 15 * US_PER_S
    length_us: int = US_PER_S // 5

    def sounds(self, payment_since_mono_us: int | None, now_mono_us: int) -> bool:
        if payment_since_mono_us is None:
            return False
        late = now_mono_us - payment_since_mono_us - self.after_us
        return late >= 0 and late % self.every_us < self.length_us


def patterns(panel: LinePanel, faults: frozenset[str], stick: Pattern) -> dict[Lamp, Pattern]:
    return {
        Lamp.REC: _rec(panel),
        Lamp.PAYMENT: _payment(panel),
        Lamp.OPT_OUT: panel.opt_out,
        Lamp.KEEP: panel.keep,
        Lamp.FAULT: _fault(faults),
        Lamp.STICK: stick,
    }


def lit(pattern: Pattern, now_mono_us: int) -> bool:
    half_period_us = HALF_PERIOD_US.get(pattern)
    if half_period_us is None:
        return pattern is Pattern.STEADY
    return now_mono_us // half_period_us % 2 == 0


def _rec(panel: LinePanel) -> Pattern:
    if not panel.would_keep:
        return Pattern.OFF
    return Pattern.STEADY if panel.keeping else Pattern.SLOW


def _payment(panel: LinePanel) -> Pattern:
    if not panel.payment:
        return Pattern.OFF
    return Pattern.SLOW if panel.card_suspected else Pattern.STEADY


def _fault(faults: frozenset[str]) -> Pattern:
    if any(TABLE[code].stops_capture for code in faults):
        return Pattern.STEADY
    return Pattern.SLOW if faults else Pattern.OFF
