"""The state of keys' lamps, faults and the sounder, per line: fed by the loop with what was measured, shown by
patterns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firmware.policy import events as ev
from firmware.policy.events import Key, Lamp
from firmware.policy.faults import TABLE, Pattern
from firmware.policy.keyed import KeyedLine
from firmware.policy.lamps import BLINK_US, LinePanel, Reminder, lit, patterns
from firmware.units import US_PER_S

AFTER_END_US = 10 * US_PER_S
"""How long OPT-OUT and KEEP go on telling their result after the call."""

REFUSED_US = 3 * US_PER_S

PER_LINE_CAPTURE = frozenset({"CODEC_LOST"})
"""Its stretch is a gap of its own (policy/privacy): what was captured before it is kept."""


@dataclass
class LineLamps:
    """Measured state of one line's panel. Times are ``_mono_us``."""

    would_keep: bool = False
    keeping: bool = False
    opt_out: Pattern = Pattern.OFF
    opt_out_until: int | None = None
    keep: Pattern = Pattern.OFF
    keep_until: int | None = None
    level_dbm0: float = -96.0


class Panel:
    def __init__(self, lines: int, remind_us: int) -> None:
        self.lines = [LineLamps() for _ in range(lines)]
        self.stick = Pattern.OFF
        self._reminder = Reminder(remind_us)
        self._faults: set[tuple[str, int | None]] = set()
        self._faults_of: dict[int | None, frozenset[str]] = {}
        """What ``faults`` has answered since the last change."""
        self._measured: dict[int, tuple[LinePanel, frozenset[str], Pattern]] = {}
        """What the patterns of each line were made from."""
        self._patterns: dict[tuple[int, Lamp], Pattern] = {}
        self._sounder = False
        self._shown: dict[tuple[int, Lamp], bool] = {}
        self._shown_phase: int | None = None

    # ------------------------------------------------------------------------------------------- faults

    def set_fault(self, code: str, line: int | None, active: bool) -> None:
        assert code in TABLE, code
        if active == ((code, line) in self._faults):
            return
        self._faults_of.clear()
        if active:
            self._faults.add((code, line))
        else:
            self._faults.remove((code, line))

    def faults(self, line: int | None = None) -> frozenset[str]:
        """Codes active for this line or for the whole appliance; every one where ``line`` is None."""
        known = self._faults_of.get(line)
        if known is None:
            known = frozenset(code for code, where in self._faults if line is None or where in (None, line))
            self._faults_of[line] = known
        return known

    def active(self) -> set[tuple[str, int | None]]:
        """(code, line or None) of everything in force."""
        return set(self._faults)

    def stops_capture(self, line: int) -> bool:
        return any(TABLE[code].stops_capture and code not in PER_LINE_CAPTURE for code in self.faults(line))

    # --------------------------------------------------------------------------------------------- keys

    def heard(self, event: ev.Event) -> None:
        """The opt-out lamp answers at the first edge, before anything is decided."""
        lamps = self.lines[event.line]
        if isinstance(event, ev.KeyPressed) and event.key is Key.OPT_OUT and lamps.opt_out is Pattern.OFF:
            lamps.opt_out = Pattern.FAST
        elif isinstance(event, ev.KeyReleased) and event.key is Key.OPT_OUT and lamps.opt_out is Pattern.FAST:
            lamps.opt_out = Pattern.OFF

    def opt_out_begun(self, line: int) -> None:
        self.lines[line].opt_out, self.lines[line].opt_out_until = Pattern.SLOW, None

    def opt_out_done(self, line: int, now_us: int) -> None:
        """Solid only now: the call's key is destroyed, or there never was anything to destroy."""
        self.lines[line].opt_out = Pattern.STEADY
        self.lines[line].opt_out_until = now_us + AFTER_END_US

    def keep_done(self, line: int, *, refused: bool, now_us: int) -> None:
        self.lines[line].keep = Pattern.FAST if refused else Pattern.STEADY
        self.lines[line].keep_until = now_us + (REFUSED_US if refused else AFTER_END_US)

    # --------------------------------------------------------------------------------------------- show

    def follow(self, lines: Sequence[KeyedLine], now_us: int) -> None:
        """Patterns and sounder from what is measured now."""
        self._sounder = False
        for line in lines:
            state = self.lines[line.line]
            self._expire(state, line, now_us)
            payment = line.privacy.payment_since_mono_us
            shown = LinePanel(
                would_keep=state.would_keep,
                keeping=state.keeping,
                payment=payment is not None,
                card_suspected=line.privacy.card_suspected,
                opt_out=state.opt_out,
                keep=state.keep,
            )
            measured = shown, self.faults(line.line), self.stick
            if measured != self._measured.get(line.line):
                self._measured[line.line], self._shown_phase = measured, None
                for lamp, pattern in patterns(*measured).items():
                    self._patterns[line.line, lamp] = pattern
            self._sounder |= payment is not None and line.busy and self._reminder.sounds(payment, now_us)

    def show(self, now_us: int) -> tuple[Mapping[tuple[int, Lamp], bool], bool]:
        """Lamps as they are lit now, and the sounder."""
        phase = now_us // BLINK_US
        if phase != self._shown_phase:
            self._shown_phase = phase
            self._shown = {lamp: lit(pattern, now_us) for lamp, pattern in self._patterns.items()}
        return self._shown, self._sounder

    def _expire(self, state: LineLamps, line: KeyedLine, now_us: int) -> None:
        if state.opt_out is Pattern.STEADY and line.busy:
            state.opt_out_until = now_us + AFTER_END_US
        if state.keep is Pattern.STEADY and line.busy:
            state.keep_until = now_us + AFTER_END_US
        if state.opt_out_until is not None and now_us >= state.opt_out_until:
            state.opt_out, state.opt_out_until = Pattern.OFF, None
        if state.keep_until is not None and now_us >= state.keep_until:
            state.keep, state.keep_until = Pattern.OFF, None
