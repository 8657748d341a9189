"""Whether a file may become the notice that every caller hears."""

import io
import wave

NOTICE_S_MAX = 60.0
RATES_HZ = (8000, 16000, 44100, 48000)


def check_notice(data: bytes) -> None:
    """A WAV file, mono, 16 bit, at a rate the codec's output can be made from, of 1 to 60 s. Raises ValueError with
    a sentence."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate_hz, frames = (
                file.getnchannels(),
                file.getsampwidth(),
                file.getframerate(),
                file.getnframes(),
            )
            sound = file.readframes(frames)
    except (wave.Error, EOFError, RuntimeError):
        raise ValueError("The notice is not a plain WAV file.") from None
    if channels != 1 or width != 2 or rate_hz not in RATES_HZ:
        raise ValueError("The notice must be mono, 16 bit, at 8, 16, 44.1 or 48 kHz.")
    if len(sound) != 2 * frames:
        raise ValueError("The notice is cut short.")
    if not 1.0 <= frames / rate_hz <= NOTICE_S_MAX:
        raise ValueError(f"The notice must last between 1 and {NOTICE_S_MAX:.0f} s.")
