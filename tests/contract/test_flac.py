"""AudioEncoder: what is kept can be heard again, bit for bit, by any FLAC decoder (RFC 9639)."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hw.flac import FlacEncoder

ROOT = Path(__file__).parents[2]


def decoded(data: bytes) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    return samples.T


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 2).flatmap(lambda channels: arrays(np.int16, st.tuples(st.just(channels), st.integers(1, 16_000))))
)
def test_no_sample_is_changed_whatever_was_on_the_line(samples: np.ndarray) -> None:
    encoder = FlacEncoder()
    try:
        assert np.array_equal(decoded(encoder.encode(samples, 8000)), samples)
    finally:
        encoder.close()


def test_a_frame_stands_alone_after_a_longer_one() -> None:
    """The memory file is used again: nothing of the frame before may be left in it."""
    encoder = FlacEncoder()
    noise = np.random.default_rng(1).integers(-30_000, 30_000, (1, 16_000)).astype(np.int16)
    encoder.encode(noise, 8000)
    short = encoder.encode(np.zeros((1, 1), np.int16), 8000)
    assert short == FlacEncoder().encode(np.zeros((1, 1), np.int16), 8000)
    assert len(short) < 200
    encoder.close()


def test_the_stream_names_its_rate_length_and_digest() -> None:
    """STREAMINFO (RFC 9639, 8.2), so that a frame can be checked by any tool on its own."""
    import hashlib

    samples = np.arange(-800, 800, dtype=np.int16)[np.newaxis]
    data = FlacEncoder().encode(samples, 8000)
    assert data[:4] == b"fLaC"
    fields = int.from_bytes(data[18:26], "big")
    assert fields >> 44 == 8000
    assert (fields >> 41 & 7) + 1 == 1
    assert (fields >> 36 & 31) + 1 == 16
    assert fields & (1 << 36) - 1 == 1600
    assert data[26:42] == hashlib.md5(samples.astype("<i2").tobytes()).digest()


def test_the_same_sound_gives_the_same_bytes() -> None:
    samples = np.random.default_rng(2).integers(-3000, 3000, (2, 4000)).astype(np.int16)
    assert FlacEncoder().encode(samples, 8000) == FlacEncoder().encode(samples, 8000)


@pytest.mark.skipif(shutil.which("flac") is None, reason="the reference decoder (Debian's flac) is not installed")
def test_the_reference_decoder_reads_it(tmp_path: Path) -> None:
    samples = np.random.default_rng(3).integers(-3000, 3000, (1, 16_000)).astype(np.int16)
    (tmp_path / "frame.flac").write_bytes(FlacEncoder().encode(samples, 8000))
    command = ["flac", "--decode", "--silent", "--force-raw-format", "--endian=little", "--sign=signed", "--stdout"]
    raw = subprocess.run([*command, tmp_path / "frame.flac"], capture_output=True, check=True).stdout
    assert np.array_equal(np.frombuffer(raw, "<i2"), samples[0])


def test_an_empty_frame_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        FlacEncoder().encode(np.zeros((1, 0), np.int16), 8000)


def test_a_rate_that_flac_cannot_hold_is_an_error_of_the_world() -> None:
    with pytest.raises(OSError, match="could not be encoded"):
        FlacEncoder().encode(np.zeros((1, 10), np.int16), 10_000_000)


def test_no_descriptor_is_left_behind_by_an_hour_of_frames() -> None:
    encoder = FlacEncoder()
    samples = np.zeros((1, 16), np.int16)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(1800):
        encoder.encode(samples, 8000)
    assert len(os.listdir("/proc/self/fd")) == before
    encoder.close()


WITHOUT_WRITABLE_CODE = """
import ctypes, sys
sys.path.insert(0, {root!r})
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, Linux 6.3
    sys.exit(77)
import numpy
{body}
"""


def run_without_writable_code(body: str) -> subprocess.CompletedProcess[str]:
    """Runs ``body`` in a process that the kernel refuses memory which is writable and executable, as the unit is."""
    code = WITHOUT_WRITABLE_CODE.format(root=str(ROOT), body=body)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if result.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE (Linux 6.3)")
    return result


def test_frames_are_encoded_where_memory_cannot_be_writable_and_executable() -> None:
    body = "from hw.flac import FlacEncoder\nprint(len(FlacEncoder().encode(numpy.zeros((1, 800), numpy.int16), 8000)))"
    result = run_without_writable_code(body)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 42


def test_the_refusal_is_real() -> None:
    """The road not taken, soundfile over a Python file object, fails there: else the test above would prove nothing."""
    body = "import io, soundfile\nsoundfile.write(io.BytesIO(), numpy.zeros(8, numpy.int16), 8000, format='FLAC')"
    assert "MemoryError" in run_without_writable_code(body).stderr
