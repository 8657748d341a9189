"""Tacet's detectors as a plug-in of the telephony benchmark ``dspbench`` (its README has the contract).

    python run.py --plugin /path/to/tools/dspbench_plugin.py --baselines none --out ours.json

``audio`` is int16 at 8 or 48 kHz. TACET_MASK=pad masks without the sticky rule (three digits in five seconds blank the
next two seconds), to show what the detector alone leaves and takes. The benchmark asks for digit values: they come from
the inner detector; the recorder's own interface (``firmware.dsp.ear``) never hands them out.
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from firmware.dsp.alert_tone import AlertToneReceiver
from firmware.dsp.audio_line import AudioLines
from firmware.dsp.callerid import FskReceiver
from firmware.dsp.dtmf import COMPANY_WAIT, Digit, DtmfReceiver
from firmware.dsp.tone_plan import UK
from firmware.dsp.tones import ToneFound, ToneReceiver
from firmware.dsp.vad import VoiceDetector
from firmware.units import SAMPLE_RATE_HZ

NAME = "tacet" if os.environ.get("TACET_MASK") != "pad" else "tacet, not sticky"
RATES = (8000, 48000)
WANTS_FLOAT = False

BLOCK = 800
TAIL = SAMPLE_RATE_HZ // 2
PAD_S = 0.003
STICKY_DIGITS, STICKY_WITHIN_S, STICKY_HOLD_S = 3, 5.0, 2.0
TONE_KINDS = ("dial", "ringing", "busy", "congestion", "nu")

Pcm = NDArray[np.int16]


def _at_8_khz(audio: Pcm, fs: int) -> NDArray[np.float32]:
    """8 kHz float32 in counts; 48 kHz is low-passed at 3.7 kHz and decimated, delay removed."""
    x = np.asarray(audio, dtype=np.float32)
    if fs == SAMPLE_RATE_HZ:
        return x
    factor = fs // SAMPLE_RATE_HZ
    taps = np.kaiser(193, 8.0) * np.sinc(2.0 * 3750.0 / fs * (np.arange(193) - 96)) * (2.0 * 3750.0 / fs)
    size = 1 << (len(x) + len(taps)).bit_length()
    y = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(taps, size), size)[96 : 96 + len(x) : factor]
    return y.astype(np.float32)


def _blocks(x: NDArray[np.float32], block: int = 8000, tail: int = TAIL) -> list[NDArray[np.float32]]:
    padded = np.concatenate([x, np.zeros(tail, dtype=np.float32)])
    return [padded[None, at : at + block] for at in range(0, len(padded), block)]


def _digits(x: NDArray[np.float32]) -> list[Digit]:
    receiver = DtmfReceiver(1)
    found = [digit for block in _blocks(x, tail=COMPANY_WAIT) for digit in receiver.feed(block)]
    return sorted(found, key=lambda digit: digit.onset_sample)


def detect_dtmf(audio: Pcm, fs: int) -> list[dict[str, object]]:
    out: list[dict[str, object]] = []
    for digit in _digits(_at_8_khz(audio, fs)):
        if digit.continued and out:
            out[-1]["t1"] = digit.end_sample / SAMPLE_RATE_HZ
        elif digit.strict:
            out.append(
                {
                    "digit": digit.value,
                    "t0": digit.onset_sample / SAMPLE_RATE_HZ,
                    "t1": digit.end_sample / SAMPLE_RATE_HZ,
                }
            )
    return out


def mask_dtmf(audio: Pcm, fs: int) -> Pcm:
    y = np.array(audio, copy=True)
    onsets: list[float] = []
    for digit in _digits(_at_8_khz(audio, fs)):
        if not digit.loose:
            continue
        first = digit.onset_sample / SAMPLE_RATE_HZ - PAD_S
        last = digit.end_sample / SAMPLE_RATE_HZ + PAD_S
        if digit.strict and not digit.continued:
            onsets = [t for t in onsets if first - t < STICKY_WITHIN_S] + [first]
        if len(onsets) >= STICKY_DIGITS and not NAME.endswith("not sticky"):
            last += STICKY_HOLD_S
        y[max(0, int(first * fs)) : max(0, int(np.ceil(last * fs)))] = 0
    return y


def decode_cid(audio: Pcm, fs: int) -> list[dict[str, object]]:
    receiver = FskReceiver(1)
    out: list[dict[str, object]] = []
    for block in _blocks(_at_8_khz(audio, fs)):
        for _, reading in receiver.feed(block):
            message = reading.message
            if message is not None and message.is_call:
                out.append(
                    {
                        "number": message.number,
                        "absence": message.absence,
                        "date": message.date,
                        "name": message.name,
                        "name_absence": message.name_absence,
                        "type": message.message_type,
                        "t": receiver.position(reading.first_sample) / SAMPLE_RATE_HZ,
                        "repaired": reading.repaired,
                    }
                )
    return out


def detect_tones(audio: Pcm, fs: int) -> list[dict[str, object]]:
    """t0 is when the tone became certain, not when it began: the benchmark measures the delay."""
    tones, alerts = ToneReceiver(1, UK), AlertToneReceiver(1)
    out: list[dict[str, object]] = []
    for block in _blocks(_at_8_khz(audio, fs), BLOCK):
        for event in tones.feed(block):
            if event.tone.value not in TONE_KINDS:
                continue
            if isinstance(event, ToneFound):
                out.append({"kind": event.tone.value, "t0": event.at_sample / SAMPLE_RATE_HZ, "t1": None})
            elif out:
                out[-1]["t1"] = event.at_sample / SAMPLE_RATE_HZ
        for alert in alerts.feed(block):
            at = alert.onset_sample / SAMPLE_RATE_HZ
            out.append({"kind": "dtas", "t0": at, "t1": alert.end_sample / SAMPLE_RATE_HZ})
    return out


def vad(audio: Pcm, fs: int) -> list[tuple[float, float]]:
    detector = VoiceDetector(1)
    voices = [voice for block in _blocks(_at_8_khz(audio, fs)) for voice in detector.feed(block)]
    return [(v.onset_sample / SAMPLE_RATE_HZ, v.end_sample / SAMPLE_RATE_HZ) for v in voices + detector.flush()]


def segment_calls(audio: Pcm, fs: int) -> list[dict[str, object]]:
    voice, tones, alerts = VoiceDetector(1), ToneReceiver(1, UK), AlertToneReceiver(1)
    lines = AudioLines(1, voice)
    fsk, keys = FskReceiver(1), DtmfReceiver(1)
    calls: list[dict[str, object]] = []
    numbers: list[tuple[float, str | None]] = []
    x = _at_8_khz(audio, fs)
    for at in range(0, len(x), BLOCK):
        block = x[None, at : at + BLOCK]
        for event in tones.feed(block):
            lines.tone(event)
        for alert in alerts.feed(block):
            lines.signal(0, alert.onset_sample, alert.end_sample)
        for digit in keys.feed(block):
            if digit.strict:
                lines.signal(0, digit.onset_sample, digit.end_sample)
        for _, reading in fsk.feed(block):
            lines.signal(0, fsk.position(reading.first_sample) - SAMPLE_RATE_HZ // 2, fsk.position(reading.end_sample))
            if reading.message is not None and reading.message.is_call:
                numbers.append((fsk.position(reading.end_sample) / SAMPLE_RATE_HZ, reading.message.number))
        heard = lines.feed(block, voice.feed(block))[1]
        for call in [*heard, *(lines.flush() if at + BLOCK >= len(x) else [])]:
            if call.end_sample is not None:
                begin = call.onset_sample / SAMPLE_RATE_HZ
                before = [number for t, number in numbers if t < begin]
                calls.append(
                    {
                        "t0": begin,
                        "t1": call.end_sample / SAMPLE_RATE_HZ,
                        "direction": "in" if call.inbound else "out",
                        "number": before[-1] if before and call.inbound else None,
                    }
                )
    return calls


__all__ = [
    "NAME",
    "RATES",
    "WANTS_FLOAT",
    "decode_cid",
    "detect_dtmf",
    "detect_tones",
    "mask_dtmf",
    "segment_calls",
    "vad",
]
