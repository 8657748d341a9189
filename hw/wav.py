"""The notice's WAV file to samples at the line's rate. The standard library reads it, soxr resamples it."""

import io
import wave

import numpy as np
import soxr

from firmware.ports import Samples
from firmware.units import SAMPLE_RATE_HZ


def read_notice(data: bytes) -> Samples:
    """Mono 16-bit WAV -> int16 [n] at 8 kHz. Raises ValueError with one sentence where it is anything else."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise ValueError("The notice must be a mono WAV file of 16 bits.")
            rate_hz = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError):
        raise ValueError("The notice is not a WAV file.") from None
    if rate_hz == SAMPLE_RATE_HZ:
        return samples.astype(np.int16)
    resampled = soxr.resample(samples.astype(np.float32), rate_hz, SAMPLE_RATE_HZ, quality="MQ")
    rounded: Samples = np.clip(np.rint(resampled), -32768, 32767).astype(np.int16)
    return rounded
