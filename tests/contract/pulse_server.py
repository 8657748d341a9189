"""A private PulseAudio daemon as a sound card: a null sink whose monitor is the line-in. No root, D-Bus or hardware.

Bit-exact where sink, keep-warm reader, WAV and stream all use one rate (measured: hw/WIRING.md's bench notes).
SIGKILL is a codec that is gone, SIGSTOP one that is frozen.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

PROGRAMS = ("pulseaudio", "parec", "paplay")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
UP_S_MAX = 10.0
FIRST = ["nice", "-n", "-15"] if os.geteuid() == 0 else []
"""A sound card does not wait for the processor; this one does, and loses samples when others keep it busy."""

# PortAudio 19.6 stops with an assertion where no "default" is defined, also when nobody asks for it (measured).
_ALSA = """
pcm.default {{ type null }}
pcm.line1 {{
    type asym
    capture.pcm {{ type pulse server "unix:{socket}" device "line.monitor" }}
    playback.pcm {{ type pulse server "unix:{socket}" device "{playback}" }}
}}
"""


class PulseServer:
    """``rate_hz`` and ``channels`` of the sink ``line``; ``earpiece`` adds a second sink for what we play, so that it
    is not heard back on the line."""

    def __init__(self, directory: Path, rate_hz: int, channels: int = 1, *, earpiece: bool = False) -> None:
        self.directory = directory
        self.rate_hz = rate_hz
        self.channels = channels
        self._sinks = ("line", "earpiece") if earpiece else ("line",)
        self._socket = directory / "native"
        self._warm: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        alsa = directory / "asound.conf"
        alsa.write_text(_ALSA.format(socket=self._socket, playback=self._sinks[-1]))
        self.environment: Mapping[str, str] = {
            **os.environ,
            "ALSA_CONFIG_PATH": str(alsa),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_RUNTIME_PATH": str(directory),
            "XDG_RUNTIME_DIR": str(directory),
            "HOME": str(directory),
        }

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        sinks = [
            f"--load=module-null-sink sink_name={sink} rate={self.rate_hz} channels={self.channels} format=s16le"
            for sink in self._sinks
        ]
        protocol = f"--load=module-native-protocol-unix auth-anonymous=1 socket={self._socket}"
        options = [
            "-n",
            "--daemonize=no",
            "--exit-idle-time=-1",
            "--disable-shm=yes",
            "--use-pid-file=no",
        ]
        self._daemon = self._spawn("pulseaudio", *options, *sinks, protocol)
        limit = time.monotonic() + UP_S_MAX
        while not self._socket.exists():
            assert self._daemon.poll() is None, "the PulseAudio daemon did not start"
            assert time.monotonic() < limit, "the PulseAudio daemon made no socket"
            time.sleep(0.01)
        self._warm = self._spawn(*self._listen())
        with subprocess.Popen([*FIRST, *self._listen()], env=self.environment, stdout=subprocess.PIPE) as first:
            assert first.stdout is not None
            first.stdout.read(1)  # the sink's first period takes 2 s, and a stream opened before that spins
            first.kill()

    def play(self, wav: Path) -> None:
        """Plays a WAV of the sink's own rate into the line; returns when it was heard."""
        command = [*FIRST, "paplay", "--device=line", str(wav)]
        subprocess.run(command, env=self.environment, check=True, timeout=60, capture_output=True)

    def kill(self) -> None:
        """The codec is gone."""
        self._end(self._warm)
        self._end(self._daemon)

    def freeze(self) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGCONT)

    def _listen(self) -> list[str]:
        sound = ["--format=s16le", f"--rate={self.rate_hz}", f"--channels={self.channels}"]
        return ["parec", "--latency-msec=10", "--device=line.monitor", *sound]

    def _spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        quiet = subprocess.DEVNULL
        return subprocess.Popen([*FIRST, *command], env=self.environment, stdin=quiet, stdout=quiet, stderr=quiet)

    @staticmethod
    def _end(process: "subprocess.Popen[bytes] | None") -> None:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
