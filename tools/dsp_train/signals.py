"""Seeded telephone signals with known truth: keyed digits, caller-ID bursts, UK tones, and what a line does to them.

numpy only. Levels are dBm0 (full-scale sine = +3.14 dBm0, ITU-T G.711). Signals are float64 in int16 counts at 8 kHz;
``to_pcm`` rounds and clips. SNR is signal power over white noise in 0 to 4 kHz. Everything random comes from the
generator that is handed in, so one seed replays one signal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]
Rng = np.random.Generator

RATE_HZ = 8000
OVERSAMPLING = 6
"""Signals with edges are made at 48 kHz and decimated, as a codec would."""

HIGH_RATE_HZ = RATE_HZ * OVERSAMPLING
FULL_SCALE = 32767.0
FULL_SCALE_SINE_DBM0 = 3.14

ROW_HZ = (697.0, 770.0, 852.0, 941.0)
COLUMN_HZ = (1209.0, 1336.0, 1477.0, 1633.0)
KEYS = "123A456B789C*0#D"


def amplitude(dbm0: float) -> float:
    """Peak of one sine at ``dbm0``, in counts."""
    return float(FULL_SCALE * 10.0 ** ((dbm0 - FULL_SCALE_SINE_DBM0) / 20.0))


def rms(dbm0: float) -> float:
    return amplitude(dbm0) / float(np.sqrt(2.0))


def to_pcm(x: Wave) -> NDArray[np.int16]:
    return np.clip(np.rint(x), -32768, 32767).astype(np.int16)


def convolve(x: Wave, taps: Wave) -> Wave:
    """Linear-phase filter of odd length, delay removed."""
    size = 1 << (len(x) + len(taps) - 1).bit_length()
    y = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(taps, size), size)
    half = (len(taps) - 1) // 2
    return np.asarray(y[half : half + len(x)], dtype=np.float64)


def sinc_taps(low_hz: float, high_hz: float, rate_hz: float, taps: int, beta: float) -> Wave:
    n = np.arange(taps) - (taps - 1) / 2.0
    a, b = 2.0 * low_hz / rate_hz, 2.0 * high_hz / rate_hz
    return np.asarray((b * np.sinc(b * n) - a * np.sinc(a * n)) * np.kaiser(taps, beta), dtype=np.float64)


_DECIMATOR = sinc_taps(0.0, 3750.0, HIGH_RATE_HZ, 193, 8.0)
_TELEPHONE_BAND = sinc_taps(300.0, 3400.0, RATE_HZ, 161, 6.0)


def decimate(x: Wave) -> Wave:
    """48 kHz to 8 kHz, delay removed."""
    out: Wave = np.array(convolve(x, _DECIMATOR)[::OVERSAMPLING], dtype=np.float64)
    return out


def silence(seconds: float) -> Wave:
    """At 48 kHz."""
    return np.zeros(round(seconds * HIGH_RATE_HZ))


def tones(hz: Sequence[float], dbm0: Sequence[float], seconds: float, rng: Rng, ramp_s: float = 0.0) -> Wave:
    """Sum of sines at 48 kHz with random phases."""
    n = round(seconds * HIGH_RATE_HZ)
    t = np.arange(n) / HIGH_RATE_HZ
    y = np.zeros(n)
    for f, level in zip(hz, dbm0, strict=True):
        y += amplitude(level) * np.sin(2.0 * np.pi * f * t + rng.uniform(0.0, 2.0 * np.pi))
    k = min(int(ramp_s * HIGH_RATE_HZ), n // 2)
    if k:
        slope = 0.5 - 0.5 * np.cos(np.pi * np.arange(k) / k)
        y[:k] *= slope
        y[-k:] *= slope[::-1]
    return y


def key_hz(key: str) -> tuple[float, float]:
    index = KEYS.index(key)
    return ROW_HZ[index // 4], COLUMN_HZ[index % 4]


# ------------------------------------------------------------------------------------------------ what a line does


def noise(n: int, dbm0: float, rng: Rng) -> Wave:
    return rng.standard_normal(n) * rms(dbm0)


def add_snr(x: Wave, signal_power: float, snr_db: float, rng: Rng) -> Wave:
    sigma = float(np.sqrt(signal_power / 10.0 ** (snr_db / 10.0)))
    return x + rng.standard_normal(len(x)) * sigma


def hum(n: int, dbm0: float, rng: Rng) -> Wave:
    """50 Hz +-0.4 % with harmonics falling as they do on a real line."""
    t = np.arange(n) / RATE_HZ
    f0 = 50.0 * (1.0 + rng.uniform(-0.004, 0.004))
    y = np.zeros(n)
    for harmonic, relative_db in ((1, 0.0), (2, -18.0), (3, -9.0), (5, -17.0), (7, -23.0)):
        y += amplitude(dbm0 + relative_db) * np.sin(2 * np.pi * f0 * harmonic * t + rng.uniform(0, 2 * np.pi))
    return y


def clicks(n: int, per_s: float, peak_dbm0: float, rng: Rng) -> Wave:
    y = np.zeros(n)
    for at in rng.integers(0, n, rng.poisson(per_s * n / RATE_HZ)):
        m = min(int(rng.integers(2, 9)), n - int(at))
        y[at : at + m] += amplitude(peak_dbm0) * rng.choice([-1.0, 1.0]) * np.exp(-np.arange(m) / 2.0)
    return y


def telephone_band(x: Wave) -> Wave:
    return convolve(x, _TELEPHONE_BAND)


def echo(x: Wave, delay_samples: int, gain_db: float) -> Wave:
    y = x.copy()
    y[delay_samples:] += x[:-delay_samples] * 10.0 ** (gain_db / 20.0)
    return y


def a_law(x: Wave) -> Wave:
    """ITU-T G.711 A-law, encoded and decoded."""
    pcm = to_pcm(x).astype(np.int32) >> 3
    magnitude = np.minimum(np.where(pcm < 0, -pcm - 1, pcm), 4095)
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(int) - 4, 0)
    exponent = np.where(magnitude < 32, 0, exponent)
    shift = np.maximum(exponent, 1)
    mantissa = (magnitude >> shift) & 15
    decoded = np.where(exponent >= 1, ((mantissa + 16) * 2 + 1) << (shift - 1), mantissa * 2 + 1)
    return np.where(pcm < 0, -decoded, decoded).astype(np.float64) * 8.0


def lost_packets(x: Wave, share: float, packet: int, rng: Rng) -> Wave:
    y = x.copy()
    for at in range(0, len(y), packet):
        if rng.random() < share:
            y[at : at + packet] = 0.0
    return y


# ------------------------------------------------------------------------------------------------------ keyed digits


@dataclass(frozen=True)
class Press:
    key: str
    onset_s: float
    end_s: float


def keyed(
    keys: str,
    rng: Rng,
    *,
    on_s: float = 0.05,
    off_s: float = 0.05,
    dbm0: float = -10.0,
    twist_db: float = 0.0,
    deviation: tuple[float, float] = (0.0, 0.0),
    break_s: float = 0.0,
    lead_s: float = 0.15,
) -> tuple[Wave, list[Press]]:
    """A string of keys at 8 kHz; ``dbm0`` per tone, ``twist_db`` high group over low, ``deviation`` of (low, high)."""
    parts, presses, at = [silence(lead_s)], [], round(lead_s * HIGH_RATE_HZ)
    for key in keys:
        low, high = key_hz(key)
        hz = (low * (1.0 + deviation[0]), high * (1.0 + deviation[1]))
        burst = tones(hz, (dbm0 - twist_db / 2, dbm0 + twist_db / 2), on_s, rng)
        if break_s:
            middle = len(burst) // 2
            burst[middle : middle + int(break_s * HIGH_RATE_HZ)] = 0.0
        parts += [burst, silence(off_s)]
        presses.append(Press(key, at / HIGH_RATE_HZ, (at + len(burst)) / HIGH_RATE_HZ))
        at += len(burst) + len(parts[-1])
    parts.append(silence(0.2))
    return decimate(np.concatenate(parts)), presses


# ------------------------------------------------------------------------------------------------------------- FSK

V23_HZ = (1300.0, 2100.0)
BELL202_HZ = (1200.0, 2200.0)


def message(fields: Sequence[tuple[int, bytes]], message_type: int = 0x80) -> bytes:
    """EN 300 659-3 presentation layer: type, length, parameters, checksum."""
    body = b"".join(bytes([kind, len(value)]) + value for kind, value in fields)
    whole = bytes([message_type, len(body)]) + body
    return whole + bytes([-sum(whole) & 0xFF])


def single_data_message(date: bytes, number: bytes) -> bytes:
    """Bellcore SDMF (0x04): MMDDHHMM then the number."""
    body = date + number
    whole = bytes([0x04, len(body)]) + body
    return whole + bytes([-sum(whole) & 0xFF])


def fsk_bits(
    data: bytes, seizure: int, mark: int, rng: Rng | None = None, extra_stop_max: int = 0
) -> NDArray[np.int64]:
    """Channel seizure, mark, 8-N-1 bytes (least significant bit first)."""
    bits = [i & 1 for i in range(seizure)] + [1] * mark
    for byte in data:
        bits += [0, *((byte >> k) & 1 for k in range(8)), 1]
        if extra_stop_max and rng is not None:
            bits += [1] * int(rng.integers(0, extra_stop_max + 1))
    return np.array(bits + [1] * 8, dtype=np.int64)


def fsk(
    bits: NDArray[np.int64],
    hz: tuple[float, float],
    dbm0: float,
    *,
    baud: float = 1200.0,
    twist_db: float = 0.0,
    phase: float = 0.0,
) -> Wave:
    """Phase-continuous FSK at 48 kHz; ``hz`` = (mark, space), ``twist_db`` = mark over space."""
    n = int(len(bits) / baud * HIGH_RATE_HZ)
    t = (np.arange(n) + 1) / HIGH_RATE_HZ
    f = np.where(bits == 1, hz[0], hz[1])
    cycles = np.concatenate([[0.0], np.cumsum(f / baud)])
    k = np.minimum((t * baud).astype(int), len(bits) - 1)
    level = np.where(bits == 1, amplitude(dbm0 + twist_db / 2), amplitude(dbm0 - twist_db / 2))[k]
    return np.asarray(level * np.sin(2.0 * np.pi * (cycles[k] + f[k] * (t - k / baud)) + phase), dtype=np.float64)


def caller_id_burst(bits: NDArray[np.int64], hz: tuple[float, float], dbm0: float, **kwargs: float) -> Wave:
    """At 8 kHz, 0.2 s of silence before, 0.3 s after."""
    return decimate(np.concatenate([silence(0.2), fsk(bits, hz, dbm0, **kwargs), silence(0.3)]))


# ------------------------------------------------------------------------------------------------------------ tones

Step = tuple[tuple[float, ...], float, float]
"""Frequencies, seconds, dB relative to the tone's level."""

UK_TONES: dict[str, tuple[Step, ...]] = {
    "dial": (((350.0, 440.0), 10.0, 0.0),),
    "special_dial": (((350.0, 440.0), 0.75, 0.0), ((), 0.75, 0.0)),
    "ringing": (((400.0, 450.0), 0.4, 0.0), ((), 0.2, 0.0), ((400.0, 450.0), 0.4, 0.0), ((), 2.0, 0.0)),
    "busy": (((400.0,), 0.375, 0.0), ((), 0.375, 0.0)),
    "congestion": (((400.0,), 0.4, 0.0), ((), 0.35, 0.0), ((400.0,), 0.225, 6.0), ((), 0.525, 0.0)),
    "nu": (((400.0,), 10.0, 0.0),),
    "call_waiting": (((400.0,), 0.1, 0.0), ((), 3.0, 0.0)),
    "dtas": (((2130.0, 2750.0), 0.1, 0.0), ((), 10.0, 0.0)),
}


def uk_tone(kind: str, seconds: float, dbm0: float, rng: Rng, *, scale_hz: float = 1.0, scale_s: float = 1.0) -> Wave:
    """At 8 kHz; dual tones 3 dB lower each (SIN 350)."""
    parts, total = [], 0.0
    while total < seconds - 1e-9:
        for hz, length, relative_db in UK_TONES[kind]:
            length = min(length * scale_s, seconds - total)
            if length <= 0:
                break
            level = dbm0 + relative_db - (3.0 if len(hz) == 2 else 0.0)
            burst = tones([f * scale_hz for f in hz], [level] * len(hz), length, rng, 0.002) if hz else silence(length)
            parts.append(burst)
            total += length
    return decimate(np.concatenate(parts))


# ------------------------------------------------------------------------------------------------------------ music


def music(seconds: float, rng: Rng) -> Wave:
    """Melody and chords with harmonics, vibrato and decay, about -16 dBm0."""
    n = round(seconds * RATE_HZ)
    y = np.zeros(n)
    base = 98.0 * 2.0 ** (rng.integers(0, 12) / 12)
    scale = np.array([0, 2, 3, 5, 7, 8, 10] if rng.random() < 0.5 else [0, 2, 4, 5, 7, 9, 11])
    for _ in range(int(rng.integers(1, 5))):
        at = 0
        while at < n - 400:
            length = min(int(rng.choice([0.1, 0.2, 0.25, 0.5, 0.75, 1.2]) * RATE_HZ), n - at)
            f = base * 2.0 ** ((rng.choice(scale) + 12 * rng.integers(0, 5)) / 12)
            t = np.arange(length) / RATE_HZ
            wobble = 1.0 + 0.004 * np.sin(2 * np.pi * rng.uniform(4, 7) * t) * rng.integers(0, 2)
            phase = 2.0 * np.pi * np.cumsum(f * wobble) / RATE_HZ
            tilt = rng.uniform(0.6, 2.5)
            note = np.zeros(length)
            for h in range(1, 8):
                if f * h < 3600:
                    note += np.sin(h * phase + rng.uniform(0, 6.28)) * float(h) ** -tilt
            envelope = np.minimum(1.0, t / 0.008) * np.exp(-t * rng.uniform(0.2, 7.0))
            envelope *= np.minimum(1.0, (length / RATE_HZ - t) / 0.01)
            y[at : at + length] += note * envelope * rng.uniform(0.3, 1.0)
            at += length
    return np.asarray(y * (rms(-16.0) / (np.std(y) + 1e-9)), dtype=np.float64)


# ------------------------------------------------------------------------------------------------------------ voice


def voice(seconds: float, rng: Rng, dbm0: float = -16.0) -> Wave:
    """Something that moves like speech: syllables of 120 to 300 ms with gliding pitch and formants, fricatives, pauses.

    Not a voice one would listen to; for tests that must not need a synthesiser. ``dbm0``: while it speaks."""
    n = round(seconds * RATE_HZ)
    y = np.zeros(n)
    at, pitch = 0, float(rng.uniform(90, 240))
    while at < n - 800:
        length = min(int(rng.uniform(0.12, 0.3) * RATE_HZ), n - at)
        t = np.arange(length) / RATE_HZ
        f0 = pitch * (1.0 + rng.uniform(-0.15, 0.15) + rng.uniform(-0.6, 0.6) * t)
        formants = [rng.uniform(250, 850), rng.uniform(850, 2300), rng.uniform(2300, 3200)]
        phase = 2.0 * np.pi * np.cumsum(f0) / RATE_HZ
        syllable = np.zeros(length)
        for h in range(1, int(3600 / pitch)):
            f = h * pitch
            gain = sum(1.0 / (1.0 + ((f - c) / (60.0 + 0.06 * c)) ** 2) / (1 + i) for i, c in enumerate(formants))
            syllable += (gain + 0.01) * np.sin(h * phase + rng.uniform(0, 6.28))
        edge = min(length // 3, 320)
        shape = np.ones(length)
        shape[:edge] = np.linspace(0, 1, edge)
        shape[-edge:] = np.linspace(1, 0, edge)
        level = 10.0 ** (rng.uniform(-8, 0) / 20.0)
        y[at : at + length] += syllable * shape * level / (np.std(syllable) + 1e-9)
        at += length
        if rng.random() < 0.3 and at < n - 1600:
            hiss = rng.standard_normal(int(rng.uniform(0.04, 0.1) * RATE_HZ))
            hiss = np.diff(hiss, prepend=0.0) * 0.2
            y[at : at + len(hiss)] += hiss[: n - at]
            at += len(hiss)
        if rng.random() < 0.15:
            at += int(rng.uniform(0.2, 0.9) * RATE_HZ)
            pitch = float(rng.uniform(90, 240)) if rng.random() < 0.2 else pitch
    active = y[np.abs(y) > 0]
    return np.asarray(y * (rms(dbm0) / (np.std(active) + 1e-9)), dtype=np.float64)
