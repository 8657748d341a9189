"""Bytes that are almost right are refused by name, and nothing secret is shown."""

import struct
from zlib import crc32

import pytest

from firmware.policy.records import AudioCodec, GapReason
from firmware.store import meta as metas
from firmware.store.ciphers import REAL
from firmware.store.errors import BadSeal, Malformed
from firmware.store.frame import HEADER_BYTES, Piece, Sealer, Stamp, decode_pieces, open_frame, parse_header, reach_ms
from firmware.store.identity import PRODUCTION, Identity
from tests.store.world import World, meta


def header_with(**changes: int) -> bytes:
    fields = {"length": 192, "flags": 0, "ct_len": 4096 - 192, "zero": 0} | changes
    head = struct.pack(">4sHH16sII", b"TCF1", fields["length"], fields["flags"], bytes(16), 0, fields["ct_len"])
    head += struct.pack(">QII", 0, 0, 0) + bytes(64) + struct.pack(">II", 0, fields["zero"]) + bytes(64) + bytes(4)
    return head + struct.pack(">I", crc32(head))


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"length": 191}, "header"),
        ({"flags": 2}, "header"),
        ({"zero": 1}, "header"),
        ({"ct_len": 100}, "length"),
        ({"ct_len": 33 * 4096 - 192}, "length"),
    ],
)
def test_a_header_with_a_good_crc_and_bad_fields_is_refused(changes: dict[str, int], failure: str) -> None:
    assert parse_header(header_with()).blocks == 1
    with pytest.raises(Malformed, match=failure):
        parse_header(header_with(**changes))


def test_how_far_a_frame_reaches_is_told_to_its_days_seed_alone() -> None:
    seed, piece = bytes(range(32)), Piece(8000 * 600, 4001, GapReason.PAYMENT, AudioCodec.FLAC, 1, 8000)
    sealers = [Sealer(REAL, bytes([number] * 16), bytearray(32), b"open") for number in range(2)]
    headers = [parse_header(bytes(x.seal([piece], Stamp("d", 0, 0, seed), last=False))) for x in sealers]
    assert [reach_ms(REAL, header, seed) for header in headers] == [600_501, 600_501]
    assert len({header.reach for header in headers} | {600_501}) == 3
    assert reach_ms(REAL, headers[0], bytes(32)) != 600_501
    earlier_firmware = parse_header(header_with())
    assert reach_ms(REAL, earlier_firmware, seed) is None


def test_a_commitment_that_does_not_hold_is_refused() -> None:
    dek = bytes(range(32))
    sealer = Sealer(REAL, bytes(16), bytearray(dek), b"open")
    frame = bytes(sealer.seal([], Stamp("d", 0, 0, bytes(32)), last=True))
    header = parse_header(frame)
    assert open_frame(REAL, dek, header, frame[HEADER_BYTES:])
    other = Sealer(REAL, bytes(16), bytearray(dek), b"open")
    piece = Piece(0, 1, None, AudioCodec.PCMU, 1, 8000, b"x")
    tampered = bytes(other.seal([piece], Stamp("d", 0, 0, bytes(32)), last=True))
    forged = parse_header(tampered)
    wrong = forged.__class__(**{**forged.__dict__, "commitment": header.commitment})
    with pytest.raises(BadSeal):
        open_frame(REAL, dek, wrong, tampered[HEADER_BYTES:])


def test_pieces_that_fill_their_text_to_the_last_byte() -> None:
    text = b"\1\0\2\1" + struct.pack(">HQII", 8000, 0, 3, 3) + b"abc"
    assert [bytes(piece.payload) for piece in decode_pieces(text)] == [b"abc"]


def test_identity_of_another_mark_is_malformed() -> None:
    world = World()
    record = world.vault._core.identity.encode()
    at = record.index(bytes([2]), 8)
    body = record[:at] + bytes([PRODUCTION + 8]) + record[at + 1 : -4]
    with pytest.raises(Malformed, match="mark"):
        Identity.decode(body + struct.pack(">I", crc32(body)))


def test_meta_that_is_no_meta_is_malformed() -> None:
    for text in (b"", b"{}", b"\xff", b"[]", metas.encode(meta()).replace(b"inbound", b"sideways")):
        with pytest.raises(Malformed):
            metas.decode(text)
    assert metas.decode(metas.encode(meta(number=None))) == meta(number=None)


def test_nothing_secret_is_shown_by_repr() -> None:
    world = World()
    core = world.vault._core
    shown = repr(core.table) + repr(list(core.table.bags.values())) + repr(core.time)
    assert core.table.seed.hex() not in shown
    assert repr(core.table.seed) not in shown
    for row_ in core.table.bags.values():
        assert repr(row_.key) not in shown
