"""The whole production recorder (ear, gate, threaded writer, real ciphers, real disk) with a codec fed from standard
input.

Every line is in an inbound call whose notice is over; the input is raw s16 at 48 kHz, one channel per line.
"""

import json
import os
import select
import sys
import time
from pathlib import Path

BEGAN = time.monotonic()

import numpy as np  # noqa: E402

import firmware  # noqa: E402, F401  first: it tells numpy to start no threads
from firmware.appliance import Appliance, Attached, Devices, read_site_facts  # noqa: E402
from firmware.evidence.courier import ThreadCourier  # noqa: E402
from firmware.policy.events import Edge, Signal  # noqa: E402
from firmware.ports import Block, CodecState, Playback, Samples  # noqa: E402
from firmware.store.ciphers import REAL  # noqa: E402
from firmware.store.keys import Recipient, RequestKey, Role  # noqa: E402
from firmware.store.vault import Charter, Vault, VaultParts  # noqa: E402
from firmware.units import BLOCK_MS, BLOCK_SAMPLES, MS_PER_S, SAMPLE_RATE_HZ, STEP_MS  # noqa: E402
from hw.clock import MachineClock  # noqa: E402
from hw.disk import DirectoryDisk  # noqa: E402
from hw.flac import FlacEncoder  # noqa: E402
from hw.nvmem import FileMemory  # noqa: E402
from hw.resample import Resampler  # noqa: E402
from hw.sim.clock import SimClock, SimRtc  # noqa: E402

RATE_HZ = 48_000


class PipeCodec:
    """Sound from a pipe, resampled as a codec's is."""

    def __init__(self, channels: int, clock: MachineClock) -> None:
        self.channels = channels
        self._clock = clock
        self._resampler = Resampler(RATE_HZ, channels)
        self._raw = b""
        self._have: Samples = np.zeros((channels, 0), np.int16)
        self._next = 0
        self._zero_mono_us: int | None = None
        self.ended = False

    def drain(self, blocks_max: int) -> list[Block]:
        self._read()
        blocks = []
        while self._have.shape[1] >= BLOCK_SAMPLES:
            samples, self._have = self._have[:, :BLOCK_SAMPLES], self._have[:, BLOCK_SAMPLES:]
            assert self._zero_mono_us is not None
            blocks.append(Block(self._next, self._zero_mono_us + self._next * 125, np.ascontiguousarray(samples)))
            self._next += BLOCK_SAMPLES
        return blocks

    def _read(self) -> None:
        while not self.ended and select.select([0], [], [], 0)[0]:
            data = os.read(0, 1 << 20)
            self.ended = not data
            self._raw += data
        whole = len(self._raw) // (2 * self.channels) * 2 * self.channels
        if whole:
            if self._zero_mono_us is None:
                self._zero_mono_us = self._clock.mono_us() - BLOCK_MS * 1000
            samples = np.frombuffer(self._raw[:whole], np.int16).reshape(-1, self.channels).T
            self._raw = self._raw[whole:]
            self._have = np.concatenate([self._have, self._resampler.push(samples)], axis=1)

    def state(self) -> CodecState:
        return CodecState.LIVE

    def play(self, channel: int, samples: Samples) -> None: ...

    def stop(self, channel: int) -> None: ...

    def playback(self, channel: int) -> Playback | None:
        return Playback(SAMPLE_RATE_HZ, self._clock.mono_us())

    def close(self) -> None: ...


class RungPins:
    """Every line rings once and is answered at once."""

    def __init__(self, lines: int, clock: MachineClock) -> None:
        self._lines = lines
        self._clock = clock
        self._step = 0

    def read(self) -> list[Edge]:
        self._step += 1
        now = self._clock.mono_us()
        if self._step == 2:
            return [Edge(line, Signal.RING, True, now) for line in range(self._lines)]
        if self._step == 8:
            rings = [Edge(line, Signal.RING, False, now - 1) for line in range(self._lines)]
            return rings + [Edge(line, Signal.LOOP, True, now) for line in range(self._lines)]
        return []

    def show(self, lamps: object, sounder: bool) -> None: ...

    def close(self) -> None: ...


class NoWatchdog:
    def ready(self) -> None: ...

    def kick(self) -> None: ...


class DeafEar:
    def hear(self, *heard: object, digits: bool = True) -> list[object]:
        return []

    def reset(self, line: int) -> None: ...


def provisioned(parts: VaultParts, lines: int) -> None:
    site = "\n".join(["[gate]", "look_back_s = 2", "[notice]", "delay_ms = 0"])
    site += "".join(f'\n[[line]]\nname = "line{i + 1}"' for i in range(lines))
    keys = [os.urandom(32) for _ in range(3)]
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    publics = [X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw() for key in keys[:2]]
    import hashlib

    recipients = tuple(Recipient(hashlib.sha256(key).digest()[:8], 1, key) for key in publics)
    request = REAL.public_key(keys[2])
    charter = Charter(
        "bench", True, recipients, (RequestKey(hashlib.sha256(request).digest()[:8], request, Role.CUSTODIAN),),
        256 << 20, 16 << 20, 2, lines,
    )  # fmt: skip
    Vault.provision(parts, charter)
    vault = Vault.open(parts, simulation=True)
    read_site_facts(site)
    vault.put_document("site", site.encode())
    notice = Path(__file__).resolve().parents[2] / "firmware/notice/notice.wav"
    vault.put_document("notice", notice.read_bytes())


def main() -> None:
    state, lines = Path(sys.argv[1]), int(sys.argv[2])
    state.mkdir(parents=True, exist_ok=True)
    clock = MachineClock()
    rtc = SimRtc(SimClock(round(time.time() * 1000)))
    parts = VaultParts(
        DirectoryDisk(state), FileMemory(state / "memory", create=True), clock, rtc, os.urandom, FlacEncoder()
    )
    imported = time.monotonic() - BEGAN
    provisioned(parts, lines)
    from hw.wav import read_notice

    again = time.monotonic()
    codec = PipeCodec(lines, clock)
    names = tuple(f"line{i + 1}" for i in range(lines))
    devices = Devices(
        clock, [Attached(codec, names)], RungPins(lines, clock), NoWatchdog(), read_notice, ThreadCourier(clock)
    )
    appliance = Appliance(parts, lambda: devices, simulation=True, threaded=True)
    if "--deaf" in sys.argv:
        for rig in appliance.loop._rigs:
            rig.ear = DeafEar()  # type: ignore[assignment]
    start_s = imported + time.monotonic() - again
    cpu_s = time.process_time()
    while not codec.ended:
        began = time.monotonic()
        appliance.step()
        time.sleep(max(0.0, STEP_MS / MS_PER_S - (time.monotonic() - began)))
    appliance.close()
    told = {"start_s": start_s, "cpu_s": time.process_time() - cpu_s}
    state.with_suffix(".json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()
