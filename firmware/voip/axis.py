"""The time axis of one inbound call: two tracks and the stretches in which nothing may be kept, cut into pieces.

Every sample from the answer to the end leaves here once, in order: as audio of both channels or as a gap with its
reason.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec, GapReason
from firmware.units import SAMPLE_US
from firmware.voip.audio import decode_mono
from firmware.voip.output import MediaPiece
from firmware.voip.parts import Run
from firmware.voip.rtp import PCMU, Coding
from firmware.voip.track import Track

MIXED = "mixed"
"""The two sides speak different encodings: the stretch leaves as linear audio."""

Kind = Coding | str | None
"""The encoding of a stretch, MIXED, or None where neither side has audio."""


class Axis:
    """``call`` and ``line`` only label the pieces."""

    def __init__(self, call: int, line: int, answered_mono_us: int, piece_samples: int) -> None:
        self.call = call
        self.line = line
        self.position = 0
        """Everything before this sample has left."""
        self._answered_mono_us = answered_mono_us
        self._piece_samples = piece_samples
        self._blocks: list[tuple[int, GapReason | None]] = [(0, None)]
        """From this sample on: the reason why nothing is kept, None where audio is."""
        self._last_coding = PCMU

    def sample_at(self, at_mono_us: int) -> int:
        """Never before what has already left."""
        return max(self.position, (at_mono_us - self._answered_mono_us) // SAMPLE_US)

    def mark(self, sample: int, reason: GapReason | None) -> None:
        """From ``sample`` on nothing is kept (a reason) or audio is again (None). Calls come in order."""
        sample = max(sample, self._blocks[-1][0])
        if self._blocks[-1][1] is not reason:
            self._blocks.append((sample, reason))

    @property
    def reason(self) -> GapReason | None:
        return self._blocks[-1][1]

    def due(self, ready_mono_us: int) -> int:
        """The last whole piece that lies before ``ready_mono_us``."""
        ready = (ready_mono_us - self._answered_mono_us) // SAMPLE_US
        return ready - ready % self._piece_samples

    def cut(self, until: int, caller: Track, agent: Track) -> list[MediaPiece]:
        pieces: list[MediaPiece] = []
        while self.position < until:
            reason, boundary = self._stretch()
            end = min(until, boundary)
            if reason is not None:
                caller.drop(end)
                agent.drop(end)
                pieces.append(self._gap(self.position, end, reason))
            elif caller.empty(self.position) and agent.empty(self.position):
                pieces.append(self._gap(self.position, end, GapReason.LOST_SAMPLES))
            else:
                end = min(end, self.position + self._piece_samples)
                pieces += self._both(
                    self.position, end, caller.runs(self.position, end), agent.runs(self.position, end)
                )
            self.position = end
        return pieces

    def _stretch(self) -> tuple[GapReason | None, int]:
        """The reason in force at ``position`` and where it ends."""
        while len(self._blocks) > 1 and self._blocks[1][0] <= self.position:
            del self._blocks[0]
        end = self._blocks[1][0] if len(self._blocks) > 1 else 1 << 62
        return self._blocks[0][1], end

    def _gap(self, start: int, end: int, reason: GapReason) -> MediaPiece:
        coding = self._last_coding
        at = self._answered_mono_us + start * SAMPLE_US
        return MediaPiece(self.call, self.line, at, start, end - start, coding.codec, coding.rate_hz, None, reason)

    def _both(self, start: int, end: int, caller: list[Run], agent: list[Run]) -> list[MediaPiece]:
        if len(caller) == 1 and len(agent) == 1:
            one, other = caller[0], agent[0]
            if one.coding is other.coding and one.start == other.start == start and one.end == other.end == end:
                return [self._piece(start, end, one.coding, one.data, other.data, 0, 0)]
        pieces = []
        for first, last, kind in _stretches(start, end, caller, agent):
            if kind is None:
                pieces.append(self._gap(first, last, GapReason.LOST_SAMPLES))
            elif isinstance(kind, str):
                pieces.append(self._linear(first, last, caller, agent))
            else:
                lost = _lost(first, last, caller), _lost(first, last, agent)
                voices = _render(first, last, kind, caller), _render(first, last, kind, agent)
                pieces.append(self._piece(first, last, kind, *voices, *lost))
        return pieces

    def _piece(
        self, start: int, end: int, coding: Coding, caller: bytes, agent: bytes, lost_caller: int, lost_agent: int
    ) -> MediaPiece:
        self._last_coding = coding
        payload: bytes | NDArray[np.int16]
        if coding.codec is AudioCodec.FLAC:
            payload = np.stack([decode_mono(coding, caller), decode_mono(coding, agent)])
        else:
            interleaved = bytearray(2 * (end - start))
            interleaved[0::2] = caller
            interleaved[1::2] = agent
            payload = bytes(interleaved)
        at = self._answered_mono_us + start * SAMPLE_US
        return MediaPiece(
            self.call,
            self.line,
            at,
            start,
            end - start,
            coding.codec,
            coding.rate_hz,
            payload,
            None,
            lost_caller,
            lost_agent,
        )

    def _linear(self, start: int, end: int, caller: list[Run], agent: list[Run]) -> MediaPiece:
        """Different encodings: both decoded to the higher of their rates."""
        rate_hz = max(run.coding.rate_hz for run in caller + agent if run.start < end and run.end > start)
        payload = np.stack([_decoded(start, end, rate_hz, runs) for runs in (caller, agent)])
        at = self._answered_mono_us + start * SAMPLE_US
        lost = _lost(start, end, caller), _lost(start, end, agent)
        return MediaPiece(self.call, self.line, at, start, end - start, AudioCodec.FLAC, rate_hz, payload, None, *lost)


def _stretches(start: int, end: int, caller: list[Run], agent: list[Run]) -> list[tuple[int, int, Kind]]:
    """[start, end) in stretches of one kind: an encoding that both, or the only one there, speak; MIXED; None."""
    edges = {start, end}
    for run in caller + agent:
        edges.update((run.start, run.end))
    marks = sorted(edge for edge in edges if start <= edge <= end)
    stretches: list[tuple[int, int, Kind]] = []
    for first, last in pairwise(marks):
        kind = _kind(_coding_at(first, caller), _coding_at(first, agent))
        if stretches and stretches[-1][2] is kind:
            stretches[-1] = (stretches[-1][0], last, kind)
        else:
            stretches.append((first, last, kind))
    return stretches


def _coding_at(sample: int, runs: list[Run]) -> Coding | None:
    for run in runs:
        if run.start <= sample < run.end:
            return run.coding
    return None


def _kind(caller: Coding | None, agent: Coding | None) -> Kind:
    if caller is None or agent is None or caller is agent:
        return caller or agent
    return MIXED


def _lost(start: int, end: int, runs: list[Run]) -> int:
    return end - start - sum(max(0, min(run.end, end) - max(run.start, start)) for run in runs)


def _render(start: int, end: int, coding: Coding, runs: list[Run]) -> bytes:
    """The channel's bytes of the stretch, silence where it has none."""
    unit = coding.unit_bytes
    out = bytearray(coding.silence * (end - start))
    for run in runs:
        first, last = max(run.start, start), min(run.end, end)
        if first < last:
            out[(first - start) * unit : (last - start) * unit] = run.data[
                (first - run.start) * unit : (last - run.start) * unit
            ]
    return bytes(out)


def _decoded(start: int, end: int, rate_hz: int, runs: list[Run]) -> NDArray[np.int16]:
    factor = rate_hz // 8000
    out = np.zeros((end - start) * factor, dtype=np.int16)
    for run in runs:
        first, last = max(run.start, start), min(run.end, end)
        if first >= last:
            continue
        unit = run.coding.unit_bytes
        linear = decode_mono(run.coding, run.data[(first - run.start) * unit : (last - run.start) * unit])
        if run.coding.rate_hz < rate_hz:
            linear = np.repeat(linear, rate_hz // run.coding.rate_hz)
        out[(first - start) * factor : (last - start) * factor] = linear
    return out
