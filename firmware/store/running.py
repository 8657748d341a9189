"""A call while it is recorded: pieces that wait for their frame, in memory that is overwritten after use."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec, GapReason
from firmware.ports import AudioEncoder
from firmware.store.fit import bits_of_first, expected_bits, samples_within
from firmware.store.frame import Piece, Sealer, spare_bytes
from firmware.store.keys import wipe
from firmware.store.layout import BLOCK_BYTES
from firmware.units import BLOCK_SAMPLES, FRAME_SAMPLES_MAX, FRAME_SEAL_SAMPLES, PORTION_BLOCKS, SAMPLE_RATE_HZ

PORTION_SAMPLES = PORTION_BLOCKS * BLOCK_SAMPLES
FRAME_DUE_SAMPLES = FRAME_SEAL_SAMPLES - PORTION_SAMPLES
"""Past this a frame is sealed: the next portion would make it longer than ``FRAME_SEAL_SAMPLES``."""

WASTE_BYTES = BLOCK_BYTES // 4
"""So much of a frame's last block may be left empty, rather than encode it a second time."""

FLAC_MARGIN_BYTES = BLOCK_BYTES // 16
"""The forecast of a stream's length is right to a few per cent; a byte too many opens another block. Measured on
speech-like noise at 8 kHz: 1.1 streams encoded and 2 % of the ring wasted; frames of a fixed length waste 12 %."""

LEAST_SHARE = 2
"""A frame is shortened to no less than half, or two small ones would waste more than one."""


@dataclass
class _Run:
    """Adjacent audio, or one gap, before it is encoded."""

    first_sample: int
    samples: int
    reason: GapReason | None
    codec: AudioCodec
    pcm: list[NDArray[np.int16]]
    coded: bytearray
    known_bits: NDArray[np.float64] | None = None
    """Of its samples, once they were asked for and until others come."""

    @property
    def coded_bytes_per_sample(self) -> int:
        """0: not a whole number of bytes a sample, or samples that are not coded yet."""
        return 0 if len(self.coded) % self.samples else len(self.coded) // self.samples

    @property
    def bits(self) -> float:
        """What the encoder is expected to make of it."""
        return float(self._expected().sum())

    def _expected(self) -> NDArray[np.float64]:
        if self.known_bits is None:
            joined = np.concatenate(self.pcm, axis=1)
            self.known_bits = expected_bits(joined)
            joined.fill(0)
        return self.known_bits

    def part(self, share: float) -> int:
        """How many samples from the start take this share (0 to 1) of its bytes; all where it cannot be cut."""
        if self.pcm:
            return samples_within(self._expected(), share)
        return int(self.samples * share) if self.coded_bytes_per_sample else self.samples

    def split(self, samples: int) -> "_Run":
        """Keep the first ``samples`` of them; the others become a run of their own."""
        rest = _Run(self.first_sample + samples, self.samples - samples, self.reason, self.codec, [], bytearray())
        at = samples * self.coded_bytes_per_sample
        whole, self.coded, rest.coded = self.coded, self.coded[:at], self.coded[at:]
        wipe(whole)
        kept, begins = [], 0
        for pcm in self.pcm:
            cut = min(max(samples - begins, 0), pcm.shape[1])
            if cut:
                kept.append(pcm[:, :cut])
            if cut < pcm.shape[1]:
                rest.pcm.append(pcm[:, cut:])
            begins += pcm.shape[1]
        self.pcm, self.samples = kept, samples
        self.known_bits = None if self.known_bits is None else bits_of_first(self.known_bits, samples)
        return rest

    def take(self, after: "_Run") -> None:
        """What follows without a break."""
        self.samples += after.samples
        self.known_bits = None
        self.pcm += after.pcm
        self.coded += after.coded
        wipe(after.coded)

    def wipe(self) -> None:
        for samples in self.pcm:
            samples.fill(0)
        wipe(self.coded)


class Running:
    """The pending pieces of one call and its sealer."""

    def __init__(self, sealer: Sealer, codec: AudioCodec, channels: int, rate_hz: int, first: int) -> None:
        self.sealer = sealer
        self._codec = codec
        self._channels = channels
        self._rate_hz = rate_hz
        self._runs: list[_Run] = []
        self._pieces: list[Piece] = []
        """The runs once they are encoded; no piece is taken between that and ``sealed``."""
        self._bytes_per_bit: float | None = None
        """Of the frame before."""
        self._rest: _Run | None = None
        """What the frame that is encoded leaves for the next."""
        self.taken_mono_us = 0
        """When the last piece was taken."""
        self.through_sample = 0
        """Past the last sample taken, pending ones included."""
        self.frames = 0
        self.first = first
        self.end = first
        """Positions of the frames written so far: [first, end)."""

    # ------------------------------------------------------------------------------------------------------- taking

    @property
    def pending(self) -> bool:
        return bool(self._runs)

    def waits_since(self, at_mono_us: int) -> bool:
        """Something is pending, and nothing has come since."""
        return self.pending and self.taken_mono_us <= at_mono_us

    @property
    def shortened(self) -> bool:
        """What is encoded leaves something for another frame."""
        return self._rest is not None

    def full_with(self, first_sample: int, samples: int) -> bool:
        """The frame has to be sealed before this piece is taken: together they would span more than 2 s."""
        return self.pending and self._span(first_sample + samples) > FRAME_SAMPLES_MAX * self._rate_hz

    @property
    def due(self) -> bool:
        """The frame is long enough to be sealed, or was to be sealed before and could not be."""
        long = self.pending and self._span(self.through_sample) > FRAME_DUE_SAMPLES * self._rate_hz
        return long or bool(self._pieces)

    def add_audio(
        self, first_sample: int, samples: int, payload: NDArray[np.int16] | bytes, codec: AudioCodec | None = None
    ) -> None:
        """int16 [channels, n] for FLAC, the codec's bytes for others. ``codec``: of this piece, where the far ends have
        changed it in mid-call; None: the call's."""
        assert samples * SAMPLE_RATE_HZ <= FRAME_SAMPLES_MAX * self._rate_hz, "at most 2 s at a time"
        run = self._run(first_sample, None, codec or self._codec)
        if isinstance(payload, bytes):
            assert run.codec is not AudioCodec.FLAC
            run.coded += payload
        else:
            assert run.codec is AudioCodec.FLAC
            assert payload.shape == (self._channels, samples)
            run.pcm.append(payload.astype(np.int16, copy=True))
        self._grow(run, samples)

    def add_gap(self, first_sample: int, samples: int, reason: GapReason) -> None:
        self._grow(self._run(first_sample, reason, self._codec), samples)

    def _run(self, first_sample: int, reason: GapReason | None, codec: AudioCodec) -> _Run:
        assert first_sample >= self.through_sample, "pieces come in order and do not overlap"
        assert not self._pieces, "what is encoded has to be sealed first"
        last = self._runs[-1] if self._runs else None
        alike = last is not None and (last.reason, last.codec) == (reason, codec)
        if last is None or not alike or last.first_sample + last.samples != first_sample:
            last = _Run(first_sample, 0, reason, codec, [], bytearray())
            self._runs.append(last)
        return last

    def _grow(self, run: _Run, samples: int) -> None:
        assert samples > 0
        run.samples += samples
        run.known_bits = None
        self.through_sample = run.first_sample + run.samples

    def _span(self, end_sample: int) -> int:
        """In 1/(8000 x rate) s, so that no rate rounds."""
        return (end_sample - self._runs[0].first_sample) * SAMPLE_RATE_HZ

    # ------------------------------------------------------------------------------------------------------- sealing

    def encoded(self, encoder: AudioEncoder, *, whole: bool) -> list[Piece]:
        """The pending pieces for one frame; unless it has to be the ``whole``, without what would fill a last block
        badly: that waits for the next frame. They stay pending until ``sealed``. Raises OSError of the encoder."""
        if not self._pieces:
            if not whole and self._bytes_per_bit is not None:
                self._shorten([self._expected_bytes(run) for run in self._runs], WASTE_BYTES // 2)
            self._pieces = [self._piece(run, encoder) for run in self._runs]
            self._learn()
            if not whole and self._shorten([len(piece.payload) for piece in self._pieces], WASTE_BYTES):
                self._drop(self._pieces.pop())
                self._pieces.append(self._piece(self._runs[-1], encoder))
        return self._pieces

    def _shorten(self, payload_bytes: Sequence[int], waste_bytes: int) -> bool:
        """Cut the last run, where the frame of these payloads would leave more than ``waste_bytes`` of its last block
        empty, so that it ends with a block."""
        run, spare = self._runs[-1], spare_bytes(payload_bytes)
        if run.reason is not None or spare <= waste_bytes:
            return False
        margin_bytes = FLAC_MARGIN_BYTES if run.pcm else 0
        share = 1 - (BLOCK_BYTES - spare + margin_bytes) / payload_bytes[-1]
        keep = run.part(share) if share > 0 else 0
        if not max(1, run.samples // LEAST_SHARE) <= keep < run.samples:
            return False
        rest = run.split(keep)
        if self._rest is not None:
            rest.take(self._rest)
        self._rest = rest
        return True

    def _expected_bytes(self, run: _Run) -> int:
        assert self._bytes_per_bit is not None
        return max(1, round(run.bits * self._bytes_per_bit)) if run.pcm else len(run.coded)

    def _learn(self) -> None:
        """How right the forecast was; the next frame's is corrected by it."""
        run, piece = self._runs[-1], self._pieces[-1]
        if run.pcm:
            self._bytes_per_bit = len(piece.payload) / run.bits

    def failed(self) -> list[Piece]:
        """In place of audio that could not be encoded: a gap, so that the time axis stays honest."""
        for piece in self._pieces:
            self._drop(piece)
        first, last = self._runs[0].first_sample, self._runs[-1]
        samples = last.first_sample + last.samples - first
        self._pieces = [Piece(first, samples, GapReason.FAULT, self._codec, self._channels, self._rate_hz)]
        return self._pieces

    def sealed(self) -> int:
        """Their frame is durable: only what it left is pending, and nothing of it stays in memory. Returns the sample
        through which the call is durable, exclusive."""
        last = self._runs[-1]
        for run in self._runs:
            run.wipe()
        for piece in self._pieces:
            self._drop(piece)
        self._runs, self._pieces, self._rest = [] if self._rest is None else [self._rest], [], None
        return last.first_sample + last.samples

    def _drop(self, piece: Piece) -> None:
        if isinstance(piece.payload, bytearray):
            wipe(piece.payload)

    def forget(self) -> None:
        """Opt-out or end: keys and pending audio are overwritten."""
        self.sealer.forget()
        self.drop()

    def drop(self) -> None:
        """Nothing is pending any more, written or not."""
        while self._runs:
            self.sealed()

    def _piece(self, run: _Run, encoder: AudioEncoder) -> Piece:
        payload = bytearray(run.coded)
        if run.pcm:
            joined = np.concatenate(run.pcm, axis=1)
            payload = bytearray(encoder.encode(joined, self._rate_hz))
            joined.fill(0)
        return Piece(run.first_sample, run.samples, run.reason, run.codec, self._channels, self._rate_hz, payload)
