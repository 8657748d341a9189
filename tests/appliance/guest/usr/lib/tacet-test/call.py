"""A telephone call for the emulated machine: contacts by gpio-sim, the line's sound through the loop sound card.

Usage: call.py [--caller-id] SEED SECONDS [TIME PIN close|open]...   times in seconds after the answer. The sound is
white noise made from the seed: 8000 numbers a second, each held for six samples at 48 kHz (the test imports ``sound``,
too).
"""

import subprocess
import sys
import time
import wave
from pathlib import Path

RING, LOOP = 16, 20
RATE_HZ = 48_000
HOLD = 6
CALLER_ID = Path(__file__).with_name("caller-id.raw")
"""A caller-ID message, int16 at 8 kHz, that is sent before the first ring."""


def sound(seed: int, seconds: float) -> bytes:
    """int16 mono at 48 kHz. A linear congruential generator, so that both ends need nothing but this function."""
    state, out = seed, bytearray()
    for _ in range(int(seconds * RATE_HZ / HOLD)):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out += ((state >> 48) % 8000 - 4000).to_bytes(2, "little", signed=True) * HOLD
    return bytes(out)


def held(samples: bytes) -> bytes:
    """int16 at 8 kHz to 48 kHz; what that adds above 4 kHz the recorder's own filter takes away."""
    return b"".join(samples[i : i + 2] * HOLD for i in range(0, len(samples), 2))


def player(sound_48k: bytes, path: Path) -> "subprocess.Popen[bytes]":
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(sound_48k)
    return subprocess.Popen(["aplay", "-q", "-D", "hw:CARD=line1,DEV=1", str(path)])


def contact(pin: int, closed: bool) -> None:
    [path] = Path("/sys/devices/platform/gpio-sim.0").glob(f"gpiochip*/sim_gpio{pin}/pull")
    path.write_text("pull-down" if closed else "pull-up")


def main() -> None:
    words = [word for word in sys.argv[1:] if word != "--caller-id"]
    seed, seconds = int(words[0]), float(words[1])
    presses = [(float(t), int(pin), how == "close") for t, pin, how in zip(*[iter(words[2:])] * 3, strict=True)]
    path = Path(f"/run/call-{seed}.wav")
    noise = sound(seed, seconds + 4)
    if "--caller-id" in sys.argv:
        player(held(CALLER_ID.read_bytes()), path).wait()
        time.sleep(0.5)
    for closed, pause_s in ((True, 0.6), (False, 0.3), (True, 0.6), (False, 0.5)):
        contact(RING, closed)
        time.sleep(pause_s)
    playing = player(noise, path)
    time.sleep(0.5)
    contact(LOOP, True)
    answered = time.monotonic()
    for at_s, pin, closed in sorted([*presses, (seconds, LOOP, False)]):
        time.sleep(max(0.0, answered + at_s - time.monotonic()))
        contact(pin, closed)
    playing.terminate()
    playing.wait()
    path.unlink()


if __name__ == "__main__":
    main()
