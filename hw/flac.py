"""AudioEncoder: one independent, lossless FLAC stream (RFC 9639) per frame, by libsndfile.

The stream is written into an anonymous memory file (``memfd``), never a ``BytesIO``: soundfile drives a Python file
object through cffi callbacks, which need memory that is writable and executable at once, and the unit runs under
``MemoryDenyWriteExecute``. libsndfile writes to a descriptor without them (``tests/contract/test_flac.py`` encodes in
a process that has refused such memory to itself).
"""

import os

import numpy as np
import soundfile

from firmware.ports import Samples


class FlacEncoder:
    """Implements ``firmware.ports.AudioEncoder``. One memory file is made once and used again for each frame: nothing
    is opened per frame, so a process that has run for months has as many descriptors as on its first day.

    For one thread (the writer's). 2 s at 8 kHz take 0.35 ms mono, 0.66 ms stereo (``tests/bench/codec_bench.py``).
    """

    def __init__(self) -> None:
        self._memory = os.memfd_create("tacet-frame", os.MFD_CLOEXEC)

    def encode(self, samples: Samples, rate_hz: int) -> bytes:
        """int16 [channels, n], n >= 1, to a whole FLAC stream with the MD5 of its audio. Raises OSError."""
        assert samples.dtype == np.int16, samples.dtype
        assert samples.ndim == 2, samples.shape
        assert samples.shape[1] >= 1, samples.shape
        os.ftruncate(self._memory, 0)
        os.lseek(self._memory, 0, os.SEEK_SET)
        try:
            with soundfile.SoundFile(
                self._memory, "w", rate_hz, samples.shape[0], "PCM_16", format="FLAC", closefd=False
            ) as stream:
                stream.write(np.ascontiguousarray(samples.T))
        except soundfile.LibsndfileError as error:
            raise OSError(f"A frame of audio could not be encoded as FLAC: {error.error_string}") from error
        return os.pread(self._memory, os.fstat(self._memory).st_size, 0)

    def close(self) -> None:
        os.close(self._memory)
