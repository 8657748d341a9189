"""Caller-ID sent as keyed tones before the first ring (ETS 300 778-1 annex; forms as in published decoders).

    A<number>[D<redirecting>][B<reason>]C    BE BR DK FI IN NL SE; reason 00 unavailable, 10 restricted
    A<number>#    D1# restricted    D2# international    D3# unavailable
    D<number>C    TW KW
    <number>#     DK NL; only where the site configures ``dtmf``: people key a number and # too

Used only while the gate says that the line is idle. The string lives here and nowhere else; only a complete message
leaves, as a caller's number.
"""

import re
from dataclasses import dataclass

from firmware.dsp.clip_message import NUMBER_MAX
from firmware.dsp.dtmf import Digit
from firmware.units import SAMPLE_RATE_HZ

GAP_MAX = 10 * SAMPLE_RATE_HZ
"""A message is over 10 s after its last tone."""

KEYS_MAX = 2 * NUMBER_MAX + 8

FRAMED = re.compile(r"A([0-9]{1,24})(?:D[0-9]*)?(?:B[0-9]*)?C|A([0-9]{1,24})#|D([0-9]{2,24})C")
REASON = re.compile(r"AB(00|10)C|B(00|10)C|D([123])#")
PLAIN = re.compile(r"([0-9]{3,24})#")
ABSENCE = {"00": "O", "10": "P", "1": "P", "2": "O", "3": "O"}


@dataclass(frozen=True, repr=False)
class KeyedCallerId:
    """Either ``number`` or ``absence`` (P withheld, O unavailable). Not shown by repr."""

    line: int
    end_sample: int
    number: str | None
    absence: str | None


class KeyedCallerIdReceiver:
    """Feed it the strict keys heard on an idle line."""

    def __init__(self, lines: int, *, plain: bool) -> None:
        self._plain = plain
        self._keys = [""] * lines
        self._last = [0] * lines

    def key(self, digit: Digit) -> KeyedCallerId | None:
        line = digit.line
        if digit.onset_sample - self._last[line] > GAP_MAX:
            self._keys[line] = ""
        self._last[line] = digit.end_sample
        self._keys[line] = (self._keys[line] + digit.value)[-KEYS_MAX:]
        found = self._read(self._keys[line])
        if found is None:
            return None
        self._keys[line] = ""
        return KeyedCallerId(line, digit.end_sample, *found)

    def reset(self, line: int) -> None:
        self._keys[line] = ""

    def _read(self, keys: str) -> tuple[str | None, str | None] | None:
        """(number, absence) when the string ends in a whole message."""
        for pattern in (FRAMED, PLAIN) if self._plain else (FRAMED,):
            found = pattern.search(keys)
            if found is not None and found.end() == len(keys):
                return next(group for group in found.groups() if group), None
        reason = REASON.search(keys)
        if reason is not None and reason.end() == len(keys):
            return None, ABSENCE[next(group for group in reason.groups() if group)]
        return None
