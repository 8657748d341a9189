"""G.711 to 16-bit linear: ITU-T G.711 tables 1 and 2 (A-law, µ-law), by the formulas of G.191."""

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.int16]


def _pcmu_table() -> Sound:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    magnitude = (((mantissa << 3) + 0x84) << exponent) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _pcma_table() -> Sound:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    low = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, low, (low + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_PCMU, _PCMA = _pcmu_table(), _pcma_table()


def decode_pcmu(data: bytes) -> Sound:
    return _PCMU[np.frombuffer(data, np.uint8)]


def decode_pcma(data: bytes) -> Sound:
    return _PCMA[np.frombuffer(data, np.uint8)]
