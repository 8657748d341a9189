"""Keys of a telephone as named events (RFC 4733): that one was down, from when to when; never which.

The code of an event is compared with the one opt-out key here and goes nowhere else.
"""

from dataclasses import dataclass, replace

from firmware.units import SAMPLE_US
from firmware.voip.output import Channel
from firmware.voip.rtp import EVENT

DTMF_EVENTS = range(16)
EVENT_IDLE_US = 300_000
"""RFC 4733 2.5.1.2: events are repeated every 50 ms; six are missing, the key is up."""

EVENT_REPORT_US = 1_000_000
"""A key held longer is reported once a second, well inside the shortest look-back (2 s)."""

OPT_OUT_HELD_US = 1_000_000

REPORTS_MAX = 64
"""Reports between two cuts (0.1 s). More than that many keys become one long one, which silences at least as much."""


@dataclass(frozen=True)
class Keyed:
    """A key was down from ``at_mono_us`` to ``end_mono_us``; ``opt_out``: it was the opt-out key and has now been
    held for 1 s; ``continued``: the same press as the one before."""

    channel: Channel
    at_mono_us: int
    end_mono_us: int
    opt_out: bool = False
    continued: bool = False


@dataclass
class _Press:
    stamp: int
    onset_mono_us: int
    reported_mono_us: int
    end_mono_us: int
    heard_mono_us: int
    opt_out_key: bool
    opt_out_told: bool = False


class KeyWatch:
    """``opt_out_event``: the event code of the key that may be held to opt out; None where there is none."""

    def __init__(self, channel: Channel, opt_out_event: int | None) -> None:
        self._channel = channel
        self._opt_out_event = opt_out_event
        self._press: _Press | None = None
        self._reports: list[Keyed] = []

    def take(self, stamp: int, onset_mono_us: int, payload: bytes, at_mono_us: int) -> None:
        """One event packet. ``onset_mono_us``: where its time stamp lies on the call's axis, so that the report and
        the audio around it are compared on one axis; ``at_mono_us``: its arrival."""
        if len(payload) < EVENT.size:
            return
        code, flags, duration = EVENT.unpack_from(payload)
        if code not in DTMF_EVENTS:
            return
        press = self._press
        if press is None or press.stamp != stamp:
            self._finish()
            press = _Press(stamp, onset_mono_us, onset_mono_us, onset_mono_us, at_mono_us, code == self._opt_out_event)
            self._press = press
        press.heard_mono_us = at_mono_us
        press.end_mono_us = max(press.end_mono_us, press.onset_mono_us + max(duration, 1) * SAMPLE_US)
        self._report(press, ended=bool(flags & 0x80))

    def drain(self, now_mono_us: int) -> list[Keyed]:
        """What is to be told. A key whose last packets were lost is up after EVENT_IDLE_US."""
        if self._press is not None and now_mono_us - self._press.heard_mono_us > EVENT_IDLE_US:
            self._finish()
        reports, self._reports = self._reports, []
        return reports

    def _finish(self) -> None:
        if self._press is not None:
            self._report(self._press, ended=True)
            self._press = None

    def _report(self, press: _Press, *, ended: bool) -> None:
        held_us = press.end_mono_us - press.onset_mono_us
        if press.opt_out_key and not press.opt_out_told and held_us >= OPT_OUT_HELD_US:
            press.opt_out_told = True
            self._put(Keyed(self._channel, press.onset_mono_us, press.end_mono_us, opt_out=True))
        since = press.reported_mono_us
        if press.end_mono_us > since and (ended or press.end_mono_us - since >= EVENT_REPORT_US):
            self._put(Keyed(self._channel, since, press.end_mono_us, continued=since > press.onset_mono_us))
            press.reported_mono_us = press.end_mono_us

    def _put(self, keyed: Keyed) -> None:
        if len(self._reports) < REPORTS_MAX or keyed.opt_out:
            self._reports.append(keyed)
            return
        last = self._reports[-1]
        begin = min(last.at_mono_us, keyed.at_mono_us)
        self._reports[-1] = replace(last, at_mono_us=begin, end_mono_us=max(last.end_mono_us, keyed.end_mono_us))
