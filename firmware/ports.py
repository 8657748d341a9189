"""What the recorder asks of the world. One Protocol per device; adapters live in ``hw/`` and are chosen in
``__main__``.

Each docstring says the units, whether a call may block, and what it raises. Adapters raise ``OSError`` (or a subclass
named here) for the world's faults and nothing else; a broken promise of ours is an assertion and stops the process.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from firmware.policy.events import Edge, Lamp, Packet, Port

Samples = NDArray[np.int16]
Integers = NDArray[np.int64]


# ---------------------------------------------------------------------------------------------------------- time


class Clock(Protocol):
    """The machine's clocks. Never blocks, never raises."""

    def mono_us(self) -> int:
        """Microseconds of CLOCK_BOOTTIME; never decreases while the machine is powered."""

    def boot_id(self) -> str:
        """Changes at each boot; tells a restart of the process from a restart of the machine."""


@dataclass(frozen=True)
class RtcReading:
    """``utc_ms`` is None when the part does not answer; ``stopped`` is its oscillator-stop flag (time is not known)."""

    utc_ms: int | None
    stopped: bool = False
    synchronised: bool = False
    """True when the system clock is disciplined by NTP at this moment."""


class Rtc(Protocol):
    def read(self) -> RtcReading:
        """May block for a few ms (I2C). Never raises: a part that does not answer is ``utc_ms=None``."""


# --------------------------------------------------------------------------------------------------------- sound


@dataclass(frozen=True)
class Block:
    """``samples``: int16, shape [channels, n] at SAMPLE_RATE_HZ, n = BLOCK_SAMPLES. ``first_sample`` counts lost
    samples too:
    where it jumps past the end of the block before, those samples were lost and are a gap."""

    first_sample: int
    captured_mono_us: int
    """Capture time of ``samples[:, 0]``."""
    samples: Samples


class CodecState(Enum):
    LIVE = "live"
    LOST = "lost"
    """Unplugged or stopped: no callback for 0.5 s (a lost codec raises nothing: measured)."""


@dataclass(frozen=True)
class Playback:
    """Progress of the notice on one channel. ``finished_mono_us``: when its last sample left the codec, output
    latency included."""

    samples_played: int
    finished_mono_us: int | None


class Codec(Protocol):
    """One sound device with one telephone line per channel. Nothing here blocks for longer than a copy."""

    channels: int

    def drain(self, blocks_max: int) -> list[Block]:
        """Blocks captured since the last call, oldest first. An overflow or a lost device shows as a jump of
        ``first_sample``."""

    def state(self) -> CodecState:
        """LIVE or LOST by the age of the last callback; a lost device comes back by itself when it can."""

    def play(self, channel: int, samples: Samples) -> None:
        """Start playing int16 [n] at SAMPLE_RATE_HZ onto the line, from its first sample; replaces what was playing."""

    def stop(self, channel: int) -> None:
        """Silence the output of the channel at once."""

    def playback(self, channel: int) -> Playback | None:
        """None when nothing was started, or the device was lost while playing (the notice was then not completed)."""

    def close(self) -> None: ...


class AudioEncoder(Protocol):
    """Lossless FLAC, one independent stream per frame (RFC 9639)."""

    def encode(self, samples: Samples, rate_hz: int) -> bytes:
        """int16 [channels, n], n >= 1 (an empty stream is refused by assertion). Raises OSError."""


# ------------------------------------------------------------------------------------------------------- packets


@dataclass(frozen=True, eq=False, repr=False)
class Burst:
    """Packets in the order of their capture, in one stretch of memory. Packet ``i`` is ``data[starts[i] : ends[i]]``
    (int64 [packets]) and came at ``at_mono_us[i]`` (int64) to the port of the trunk where ``at_trunk[i]`` (bool)."""

    data: bytes
    starts: Integers
    ends: Integers
    at_mono_us: Integers
    at_trunk: NDArray[np.bool_]

    @classmethod
    def of(cls, packets: Sequence[Packet]) -> "Burst":
        lengths = np.fromiter((len(packet.data) for packet in packets), np.int64, len(packets))
        ends = np.cumsum(lengths)
        return cls(
            b"".join(packet.data for packet in packets),
            ends - lengths,
            ends,
            np.fromiter((packet.at_mono_us for packet in packets), np.int64, len(packets)),
            np.fromiter((packet.port is Port.TRUNK for packet in packets), np.bool_, len(packets)),
        )

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Packet:
        port = Port.TRUNK if self.at_trunk[index] else Port.INSIDE
        return Packet(port, int(self.at_mono_us[index]), self.data[self.starts[index] : self.ends[index]])

    def __iter__(self) -> Iterator[Packet]:
        return map(self.__getitem__, range(len(self)))


class PacketSource(Protocol):
    """What passes between the trunk and the telephones: a live pair of interfaces, or a capture file."""

    def drain(self, packets_max: int) -> Burst:
        """Packets in the order of their capture, without those that this machine sent. Never blocks. Raises OSError
        when a file is damaged or the machine refuses."""

    def lost(self) -> bool:
        """An interface is gone, and nothing can be heard until it is back; never true of a file."""

    def dropped(self) -> int:
        """Packets lost between the wire and us since the start. Their audio is a gap ``lost_samples`` by itself."""

    def finished(self) -> bool:
        """A file was read to its end; never true of a live interface."""

    def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------- keys, lamps, line


class Pins(Protocol):
    """Keys, line sense, lamps and sounder. Lines are numbered from 0 in the order of the configuration."""

    def read(self) -> list[Edge]:
        """Edges latched since the last call, in time order: a press and release inside one stall are both there.

        Never blocks. The first call reports an edge for each input that is active already, stamped with the time of
        opening.
        """

    def show(self, lamps: Mapping[tuple[int, Lamp], bool], sounder: bool) -> None:
        """Set every lamp (line, lamp) and the sounder to on or off as they should be at this instant."""

    def close(self) -> None: ...


class Watchdog(Protocol):
    def ready(self) -> None: ...
    def kick(self) -> None:
        """Only after a whole step succeeded."""


# --------------------------------------------------------------------------------------------------------- store


class Disk(Protocol):
    """A flat set of preallocated files on the data partition. All calls may block; the writer alone makes them.

    Raises OSError (EIO, ENOSPC, ENOENT). A name is ``[a-z0-9./-]+``, fixed at provisioning. Bytes handed to
    ``write`` are
    believed only after ``sync`` of that file (or ``write_durable``) returned.
    """

    def names(self) -> list[str]: ...
    def size(self, name: str) -> int: ...
    def create(self, name: str, size_bytes: int) -> None:
        """Preallocate, fill with zeros, sync the file and its directory entry. Provisioning only, never in a hot
        path."""

    def read(self, name: str, offset: int, length: int) -> bytes: ...
    def write(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None: ...
    def sync(self, name: str) -> None: ...
    def write_durable(self, name: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        """One synchronous write (O_DSYNC, O_DIRECT where it can be had): returns when the data is on the medium."""


class ErasableMemory(Protocol):
    """Two 32-byte slots that can be destroyed in place (FRAM, EEPROM, RTC SRAM; a file where there is none: degraded).

    Raises OSError when the part does not answer. Every write is read back by the caller.
    """

    kind: str
    """One of ``file`` (degraded), ``at24``, ``ds3232``, ``mcp794xx``, ``sim``: sealed into the key table at
    provisioning."""

    def read(self) -> bytes:
        """64 bytes: slot 0, slot 1, straight from the part."""

    def write_slot(self, slot: int, data: bytes) -> None: ...
    def zero_slot(self, slot: int) -> None: ...


# --------------------------------------------------------------------------------------------------------- stick


class Stick(Protocol):
    """The file system of one plugged-in stick. Every path is relative, made by the device, ASCII, no '..'. May
    block; raises
    OSError when the stick was pulled, is full or lies. Never follows a link, never opens what is not a regular file."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The file's bytes; None when there is none. OSError when it is not a regular file or is longer than
        ``limit``."""

    def write(self, path: str, chunks: Iterator[bytes] | Sequence[bytes]) -> None:
        """Create a new file (parents too), write and sync it. Refuses to replace one: FileExistsError."""

    def reread(self, path: str) -> Iterator[bytes]:
        """Read back from the medium (caches dropped or remounted where the adapter can)."""

    def exists(self, path: str) -> bool: ...
    def sync(self) -> None: ...
