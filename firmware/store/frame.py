"""One sealed frame: pieces of audio and gaps under one key, one signature, one chain (FORMAT.md 7)."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

from firmware.policy.records import AudioCodec, GapReason
from firmware.store.ciphers import TAG_BYTES, Ciphers
from firmware.store.errors import BadSeal, Malformed
from firmware.store.keys import wipe
from firmware.store.layout import BLOCK_BYTES, FRAME, FRAME_ENC, FRAME_REACH, FRAME_SALT, Cursor, bound, digest
from firmware.units import MS_PER_S

HEADER_BYTES = 192
HASHED_BYTES = 184
SIGNED_BYTES = 120
AAD_BYTES = 112
FRAME_BYTES_MAX = 128 * 1024
PIECE_HEADER_BYTES = 22
FLAG_LAST = 1
SEQ_MAX = 2**32 - 1
REACH_MS_MAX = 2**32 - 1
NOT_TOLD = 0
"""Reach of a frame that was written before frames said it."""
MAGIC = b"TCF1"


@dataclass(frozen=True)
class Piece:
    """``reason`` None: audio. ``payload``: one FLAC stream or codec bytes; empty for a gap."""

    first_sample: int
    samples: int
    reason: GapReason | None
    codec: AudioCodec
    channels: int
    rate_hz: int
    payload: bytes | bytearray | memoryview = b""


@dataclass(frozen=True)
class Header:
    flags: int
    call_id: bytes
    seq: int
    ct_len: int
    ring_seq: int
    sign_epoch: int
    reach: int
    """``reach_ms``, under a mask; or ``NOT_TOLD``."""
    commitment: bytes
    previous: bytes
    ct_crc: int
    signature: bytes
    raw: bytes
    """The 192 bytes."""

    @property
    def blocks(self) -> int:
        return (HEADER_BYTES + self.ct_len) // BLOCK_BYTES

    @property
    def link(self) -> bytes:
        """What the next frame's ``previous`` and CLOSE must say."""
        return digest(self.raw[:HASHED_BYTES])


@dataclass(frozen=True)
class Stamp:
    """What the ring and the day give to a frame."""

    device_id: str
    ring_seq: int
    sign_epoch: int
    seed: bytes | bytearray


class Sealer:
    """The keys of one running call and its chain. The DEK itself is forgotten once these are made."""

    def __init__(self, ciphers: Ciphers, call_id: bytes, dek: bytearray, open_body: bytes) -> None:
        self._ciphers = ciphers
        self.call_id = call_id
        self._key = bytearray(ciphers.expand(dek, FRAME_ENC))
        self._salt = bytearray(ciphers.expand(dek, FRAME_SALT))
        self.seq = 0
        self.link = digest(open_body)

    def seal(self, pieces: Sequence[Piece], stamp: Stamp, *, last: bool) -> bytearray:
        """One frame, a whole number of blocks. Each call uses the next nonce: never call it twice for one frame."""
        assert self.seq <= SEQ_MAX
        plaintext = encode_pieces(pieces)
        frame = bytearray(HEADER_BYTES + len(plaintext) + TAG_BYTES)
        assert len(frame) % BLOCK_BYTES == 0
        assert len(frame) <= FRAME_BYTES_MAX
        salt = self._ciphers.mac(self._salt, struct.pack(">I", self.seq))
        head = struct.pack(
            ">4sHH16sIIQII32s32s",
            MAGIC,
            HEADER_BYTES,
            FLAG_LAST if last else 0,
            self.call_id,
            self.seq,
            len(frame) - HEADER_BYTES,
            stamp.ring_seq,
            stamp.sign_epoch,
            _end_ms(pieces) ^ _mask(self._ciphers, stamp.seed, self.call_id, self.seq),
            digest(salt + plaintext),
            self.link,
        )
        ciphertext = memoryview(frame)[HEADER_BYTES:]
        self._ciphers.seal_into(self._key, nonce_of(self.seq), plaintext, head, ciphertext)
        wipe(plaintext)
        head += struct.pack(">II", crc32(ciphertext), 0)
        head += self._ciphers.sign(stamp.seed, frame_message(stamp.device_id, head)) + bytes(4)
        frame[:HEADER_BYTES] = head + struct.pack(">I", crc32(head))
        self.link = digest(head[:HASHED_BYTES])
        self.seq += 1
        return frame

    def forget(self) -> None:
        wipe(self._key)
        wipe(self._salt)


def reach_ms(ciphers: Ciphers, header: Header, seed: bytes | bytearray) -> int | None:
    """Milliseconds from the answer to the end of what the frame holds, for the boot after a power cut. ``seed``: of the
    epoch that the frame names; nobody else can tell. None where the frame does not say it."""
    if header.reach == NOT_TOLD:
        return None
    return header.reach ^ _mask(ciphers, seed, header.call_id, header.seq)


def _mask(ciphers: Ciphers, seed: bytes | bytearray, call_id: bytes, seq: int) -> int:
    """In clear the ends of the frames would tell whoever takes the card where the pauses of a call are."""
    pad = ciphers.mac(ciphers.expand(seed, FRAME_REACH), call_id + struct.pack(">I", seq))
    return int.from_bytes(pad[:4], "big")


def _end_ms(pieces: Sequence[Piece]) -> int:
    """At most 49 days."""
    ends = [-(-(piece.first_sample + piece.samples) * MS_PER_S // piece.rate_hz) for piece in pieces]
    return min(max(ends, default=0), REACH_MS_MAX)


def nonce_of(seq: int) -> bytes:
    return struct.pack(">QI", 0, seq)


def frame_message(device_id: str, head: bytes) -> bytes:
    return bound(FRAME, device_id, head[:SIGNED_BYTES])


def encoded_bytes(payload_lengths: Sequence[int]) -> int:
    """Length in bytes of the frame that holds pieces of these payloads."""
    used = HEADER_BYTES + TAG_BYTES + sum(PIECE_HEADER_BYTES + length for length in payload_lengths)
    return -(-used // BLOCK_BYTES) * BLOCK_BYTES


def spare_bytes(payload_lengths: Sequence[int]) -> int:
    """How much of that frame would be padding."""
    used = HEADER_BYTES + TAG_BYTES + sum(PIECE_HEADER_BYTES + length for length in payload_lengths)
    return encoded_bytes(payload_lengths) - used


def encode_pieces(pieces: Sequence[Piece]) -> bytearray:
    """The plaintext, zero-padded so that header, text and tag fill whole blocks."""
    size = encoded_bytes([len(piece.payload) for piece in pieces]) - HEADER_BYTES - TAG_BYTES
    text = bytearray(size)
    at = 0
    for piece in pieces:
        struct.pack_into(
            ">BBBBHQII",
            text,
            at,
            1 if piece.reason is None else 2,
            0 if piece.reason is None else piece.reason,
            piece.codec,
            piece.channels,
            piece.rate_hz,
            piece.first_sample,
            piece.samples,
            len(piece.payload),
        )
        at += PIECE_HEADER_BYTES
        text[at : at + len(piece.payload)] = piece.payload
        at += len(piece.payload)
    return text


def decode_pieces(text: bytes) -> Iterator[Piece]:
    """Raises Malformed."""
    at = Cursor(text)
    while at.at < len(text):
        kind = at.u8()
        if kind == 0:
            break
        reason, codec, channels, rate, first, samples, length = at.unpack("BBBHQII")
        if kind > 2 or (kind == 1) != (reason == 0):
            raise Malformed("piece kind")
        try:
            cause = None if kind == 1 else GapReason(reason)
            coding = AudioCodec(codec)
        except ValueError:
            raise Malformed("piece") from None
        yield Piece(first, samples, cause, coding, channels, rate, at.take(length))
    if any(text[at.at :]):
        raise Malformed("padding")


def parse_header(raw: bytes) -> Header:
    """The first 192 bytes of a frame; CRC and lengths are checked, the signature is not. Raises Malformed."""
    if len(raw) < HEADER_BYTES:
        raise Malformed("truncated")
    raw = raw[:HEADER_BYTES]
    if raw[:4] != MAGIC:
        raise Malformed("magic")
    if struct.unpack(">I", raw[188:])[0] != crc32(raw[:188]):
        raise Malformed("header crc")
    fields = struct.unpack(">HH16sIIQII32s32sII64sI", raw[4:188])
    length, flags, call_id, seq, ct_len, ring_seq, epoch, reach, commitment, previous, crc, zero_a, sig, zero_b = fields
    size = HEADER_BYTES + ct_len
    if length != HEADER_BYTES or flags > FLAG_LAST or zero_a or zero_b:
        raise Malformed("header")
    if size % BLOCK_BYTES or not BLOCK_BYTES <= size <= FRAME_BYTES_MAX:
        raise Malformed("length")
    return Header(flags, call_id, seq, ct_len, ring_seq, epoch, reach, commitment, previous, crc, sig, raw)


def ciphertext_sound(header: Header, ciphertext: bytes | memoryview) -> bool:
    """The scrub's check: no key is needed."""
    return len(ciphertext) == header.ct_len and crc32(ciphertext) == header.ct_crc


def verify_signature(ciphers: Ciphers, device_id: str, header: Header, public_key: bytes) -> bool:
    return ciphers.verify(public_key, frame_message(device_id, header.raw), header.signature)


def open_frame(ciphers: Ciphers, dek: bytes, header: Header, ciphertext: bytes) -> bytes:
    """The plaintext, padding included, its commitment checked. Raises BadSeal."""
    key = ciphers.expand(dek, FRAME_ENC)
    plaintext = ciphers.open(key, nonce_of(header.seq), ciphertext, header.raw[:AAD_BYTES])
    salt = ciphers.mac(ciphers.expand(dek, FRAME_SALT), struct.pack(">I", header.seq))
    if digest(salt + plaintext) != header.commitment:
        raise BadSeal
    return plaintext
