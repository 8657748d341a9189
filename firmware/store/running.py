"""A call while it is recorded: pieces that wait for their frame, in memory that is overwritten after use."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware.policy.records import AudioCodec, GapReason
from firmware.ports import AudioEncoder
from firmware.store.frame import Piece, Sealer, spare_bytes
from firmware.store.keys import wipe
from firmware.units import BLOCK_SAMPLES, FRAME_SAMPLES_MAX, FRAME_SEAL_SAMPLES, SAMPLE_RATE_HZ

FRAME_EARLY_SAMPLES = FRAME_SEAL_SAMPLES - 5 * BLOCK_SAMPLES
"""From here on a frame may be sealed if it fills its 4 KiB blocks well: five blocks of 100 ms are at least one of 4
KiB, for G.711 (0.8 KB each) as for FLAC (1.1 KB)."""


@dataclass
class _Run:
    """Adjacent audio, or one gap, before it is encoded."""

    first_sample: int
    samples: int
    reason: GapReason | None
    codec: AudioCodec
    pcm: list[NDArray[np.int16]]
    coded: bytearray


class Running:
    """The pending pieces of one call and its sealer."""

    def __init__(self, sealer: Sealer, codec: AudioCodec, channels: int, rate_hz: int, first: int) -> None:
        self.sealer = sealer
        self._codec = codec
        self._channels = channels
        self._rate_hz = rate_hz
        self._runs: list[_Run] = []
        self._try_at = FRAME_EARLY_SAMPLES
        self._pieces: list[Piece] = []
        """The runs once they are encoded; no piece is taken between that and ``sealed``."""
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

    def full_with(self, first_sample: int, samples: int) -> bool:
        """The frame has to be sealed before this piece is taken: together they would span more than 2 s."""
        return self.pending and self._span(first_sample + samples) > FRAME_SAMPLES_MAX * self._rate_hz

    @property
    def due(self) -> bool:
        """The frame is long enough to be encoded, and sealed if it fills its blocks well."""
        return self.pending and self._span(self.through_sample) >= self._try_at * self._rate_hz

    def better_later(self) -> bool:
        """The encoded frame leaves so much of its last block empty that more audio would go into the same blocks, and
        there is time for it: it is tried again when it should be full. A frame that is cut anywhere between 1.3 and
        1.8 s wastes 4 % of the ring, one of fixed length 12 % (measured: ``tests/bench/store_bench.py``)."""
        lengths = [len(piece.payload) for piece in self._pieces]
        span = self._span(self.through_sample) // self._rate_hz
        bytes_per_block = max(1, sum(lengths) * BLOCK_SAMPLES // span)
        blocks = spare_bytes(lengths) // bytes_per_block
        if blocks == 0 or span >= FRAME_SEAL_SAMPLES:
            return False
        self._try_at = min(span + blocks * BLOCK_SAMPLES, FRAME_SEAL_SAMPLES)
        self._drop_pieces()
        return True

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
        self.through_sample = run.first_sample + run.samples

    def _span(self, end_sample: int) -> int:
        """In 1/(8000 x rate) s, so that no rate rounds."""
        return (end_sample - self._runs[0].first_sample) * SAMPLE_RATE_HZ

    # ------------------------------------------------------------------------------------------------------- sealing

    def encoded(self, encoder: AudioEncoder) -> list[Piece]:
        """The pending pieces for one frame. They stay pending until ``sealed``. Raises OSError of the encoder."""
        if not self._pieces:
            self._pieces = [self._piece(run, encoder) for run in self._runs]
        return self._pieces

    def failed(self) -> list[Piece]:
        """In place of pending audio that could not be encoded: a gap, so that the time axis stays honest."""
        first = self._runs[0].first_sample
        samples = self.through_sample - first
        self._pieces = [Piece(first, samples, GapReason.FAULT, self._codec, self._channels, self._rate_hz)]
        return self._pieces

    def sealed(self) -> None:
        """Their frame is durable: nothing is pending, and nothing of it stays in memory."""
        for run in self._runs:
            for samples in run.pcm:
                samples.fill(0)
            wipe(run.coded)
        self._runs = []
        self._drop_pieces()
        self._try_at = FRAME_EARLY_SAMPLES

    def _drop_pieces(self) -> None:
        for piece in self._pieces:
            if isinstance(piece.payload, bytearray):
                wipe(piece.payload)
        self._pieces = []

    def forget(self) -> None:
        """Opt-out or end: keys and pending audio are overwritten."""
        self.sealer.forget()
        self.sealed()

    def _piece(self, run: _Run, encoder: AudioEncoder) -> Piece:
        payload = bytearray(run.coded)
        if run.pcm:
            joined = np.concatenate(run.pcm, axis=1)
            payload = bytearray(encoder.encode(joined, self._rate_hz))
            joined.fill(0)
        return Piece(run.first_sample, run.samples, run.reason, run.codec, self._channels, self._rate_hz, payload)
