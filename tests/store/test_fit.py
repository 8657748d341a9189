"""A frame ends where a block ends: the ring keeps nearly nothing but sound, and every sample still comes back."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.policy.records import AudioCodec, GapReason
from firmware.store.fit import SEGMENT_SAMPLES, expected_bits, samples_within
from firmware.store.frame import Piece, encoded_bytes, spare_bytes
from firmware.store.running import FRAME_DUE_SAMPLES, Running
from firmware.units import FRAME_SEAL_SAMPLES
from hw.flac import FlacEncoder


class NoSealer:
    def forget(self) -> None: ...


def syllables(seed: int, seconds: int) -> np.ndarray:
    """Noise whose level jumps as speech does: the hardest case for a forecast. int16 [1, n]."""
    random = np.random.default_rng(seed)
    levels = np.repeat(random.choice([20, 300, 2000, 6000], seconds * 4), 2000)
    return np.rint(np.convolve(random.normal(0, 1, len(levels)), np.ones(5) / 2, "same") * levels).astype(np.int16)[
        None
    ]


def frames(running: Running, sound: np.ndarray, portion: int) -> list[list[Piece]]:
    encoder, found = FlacEncoder(), []
    for at in range(0, sound.shape[1], portion):
        part = sound[:, at : at + portion]
        running.add_audio(at, part.shape[1], part)
        if running.due:
            pieces = running.encoded(encoder, whole=False)
            found.append([Piece(**{**piece.__dict__, "payload": bytes(piece.payload)}) for piece in pieces])
            running.sealed()
    while running.pending:
        pieces = running.encoded(encoder, whole=True)
        found.append([Piece(**{**piece.__dict__, "payload": bytes(piece.payload)}) for piece in pieces])
        running.sealed()
    encoder.close()
    return found


def decoded(found: list[list[Piece]]) -> np.ndarray:
    streams = [soundfile.read(io.BytesIO(bytes(p.payload)), dtype="int16", always_2d=True)[0] for f in found for p in f]
    return np.concatenate(streams).T


@pytest.mark.parametrize("portion", [800, 3200])
def test_the_ring_is_not_filled_with_padding(portion: int) -> None:
    found = frames(Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0), syllables(1, 60), portion)  # type: ignore[arg-type]
    lengths = [[len(piece.payload) for piece in frame] for frame in found[:-1]]
    assert sum(map(spare_bytes, lengths)) < 0.05 * sum(map(encoded_bytes, lengths))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([160, 800, 1111, 3200]))
def test_no_sample_is_lost_doubled_or_moved_where_a_frame_is_cut(seed: int, portion: int) -> None:
    sound = syllables(seed, 8)
    found = frames(Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0), sound, portion)  # type: ignore[arg-type]
    assert np.array_equal(decoded(found), sound)
    position = 0
    for piece in (piece for frame in found for piece in frame):
        assert piece.first_sample == position
        assert piece.samples <= FRAME_SEAL_SAMPLES + portion
        position += piece.samples


@given(st.integers(1, 5 * SEGMENT_SAMPLES), st.floats(0.0, 1.0))
def test_a_share_of_a_stretch_is_never_more_than_the_stretch(samples: int, share: float) -> None:
    pcm = np.random.default_rng(samples).integers(-9000, 9000, (2, samples)).astype(np.int16)
    assert 0 <= samples_within(expected_bits(pcm), share) <= -(-samples // SEGMENT_SAMPLES) * SEGMENT_SAMPLES


class WrongForecast(Running):
    """What the last frame taught is off by a factor."""

    factor = 1.0

    def _learn(self) -> None:
        super()._learn()
        assert self._bytes_per_bit is not None
        self._bytes_per_bit *= self.factor


@pytest.mark.parametrize("factor", [0.5, 0.7, 0.8, 0.9, 1.2, 1.5])
def test_a_forecast_that_is_wrong_costs_no_sample(factor: float) -> None:
    """The frame is cut once more when its length is known."""
    running = WrongForecast(NoSealer(), AudioCodec.FLAC, 1, 8000, 0)  # type: ignore[arg-type]
    running.factor = factor
    sound = syllables(2, 30)
    assert np.array_equal(decoded(frames(running, sound, 800)), sound)


def test_a_codecs_bytes_are_cut_between_two_samples_and_none_is_lost() -> None:
    running = Running(NoSealer(), AudioCodec.PCMU, 1, 8000, 0)  # type: ignore[arg-type]
    sound = bytes(np.random.default_rng(3).integers(0, 256, 13_000, np.uint8))
    running.add_audio(0, len(sound), sound)
    encoder = FlacEncoder()
    (first,) = [bytes(piece.payload) for piece in running.encoded(encoder, whole=False)]
    assert running.shortened
    assert spare_bytes([len(first)]) < 100
    assert running.sealed() == len(first)
    (rest,) = [bytes(piece.payload) for piece in running.encoded(encoder, whole=True)]
    encoder.close()
    assert first + rest == sound


def test_a_frame_of_one_block_is_not_cut_however_empty_it_is() -> None:
    running = Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0)  # type: ignore[arg-type]
    running.add_audio(0, 12_000, np.zeros((1, 12_000), np.int16))
    encoder = FlacEncoder()
    (piece,) = running.encoded(encoder, whole=False)
    encoder.close()
    assert piece.samples == 12_000
    assert not running.shortened


@pytest.mark.parametrize("silence_first", [True, False], ids=["with a forecast of nothing", "without a forecast"])
def test_a_single_sample_after_a_gap_ends_no_recorder_and_makes_no_empty_piece(silence_first: bool) -> None:
    """The gap ends exactly where the frame is not yet due."""
    encoder, found, at = FlacEncoder(), [], 0
    running = Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0)  # type: ignore[arg-type]
    for samples, gap in [(14_000, 0)] * silence_first + [(1000, FRAME_DUE_SAMPLES - 1000), (1, 0)]:
        running.add_audio(at, samples, np.zeros((1, samples), np.int16))
        at += samples
        if gap:
            running.add_gap(at, gap, GapReason.KEYED_DIGITS)
            at += gap
        if running.due:
            found += running.encoded(encoder, whole=False)
            running.sealed()
    encoder.close()
    assert [piece.samples for piece in found[-3:]] == [1000, FRAME_DUE_SAMPLES - 1000, 1]
    assert all(piece.samples > 0 for piece in found)


class Moody(FlacEncoder):
    """Fails once, when told."""

    fails = False

    def encode(self, samples: np.ndarray, rate_hz: int) -> bytes:
        if self.fails:
            self.fails = False
            raise OSError
        return super().encode(samples, rate_hz)


def test_what_an_encoder_failed_on_is_a_gap_and_nothing_is_told_twice() -> None:
    encoder, sound = Moody(), syllables(3, 8)
    running = Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0)  # type: ignore[arg-type]
    covered = 0
    for number, at in enumerate(range(0, sound.shape[1], 3200)):
        running.add_audio(at, 3200, sound[:, at : at + 3200])
        if running.due:
            encoder.fails = number > 6
            try:
                pieces = running.encoded(encoder, whole=False)
            except OSError:
                pieces = running.failed()
            for piece in pieces:
                assert piece.first_sample == covered
                covered += piece.samples
            assert running.sealed() == covered
    encoder.close()


def test_a_gap_before_what_an_encoder_failed_to_encode_again_is_told_once() -> None:
    """The last run was encoded, cut so that the frame fills its blocks, and fails now."""
    encoder, sound = Moody(), syllables(3, 2)
    running = Running(NoSealer(), AudioCodec.FLAC, 1, 8000, 0)  # type: ignore[arg-type]
    running.add_gap(0, 800, GapReason.PAYMENT)
    running.add_audio(800, 12_000, sound[:, :12_000])
    encode = encoder.encode

    def fail_next(samples: np.ndarray, rate_hz: int) -> bytes:
        stream = encode(samples, rate_hz)
        encoder.fails = True
        return stream

    encoder.encode = fail_next  # type: ignore[method-assign]
    with pytest.raises(OSError):  # noqa: PT011 an encoder's error has no words
        running.encoded(encoder, whole=False)
    encoder.close()
    assert running.shortened
    (gap,) = running.failed()
    assert (gap.reason, gap.first_sample) == (GapReason.FAULT, 0)
    assert running.sealed() == gap.samples < 12_800


def test_codec_bytes_that_were_cut_apart_are_overwritten_where_they_were() -> None:
    running = Running(NoSealer(), AudioCodec.PCMA, 2, 8000, 0)  # type: ignore[arg-type]
    for at in range(0, 12_800, 3200):
        running.add_audio(at, 3200, b"\xd5\x2a" * 3200)
    before = running._runs[-1].coded
    running.encoded(FlacEncoder(), whole=False)
    assert running.shortened
    assert not any(before)
