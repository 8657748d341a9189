"""The reader against a forger who has the stick, the custodian's public keys and time: nothing forged is believed."""

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.store.ciphers import REAL
from firmware.store.entries import Close, close_message, decode_close
from firmware.store.errors import Malformed
from firmware.store.frame import HEADER_BYTES, Sealer, Stamp, parse_header
from firmware.store.layout import BLOCK_BYTES
from tests.store import reader
from tests.store.listening import exported, trusted
from tests.store.reader import CallRecords, Frame
from tests.store.world import DAY_MS, World


@dataclass
class Bundle:
    device_id: str
    keys: dict[int, bytes]
    call: CallRecords
    key_file: bytes
    tcf: bytes
    other: bytes
    """Frames of another call of the same day."""
    later: bytes
    later_seed: bytes

    def problems(self, tcf: bytes, call: CallRecords | None = None) -> list[str]:
        return reader.verify_call(self.device_id, call or self.call, tcf, self.keys).problems

    def frames(self, tcf: bytes | None = None) -> list[bytes]:
        found, _ = reader.split_frames(self.tcf if tcf is None else tcf)
        return [frame.header.raw + frame.ciphertext for frame in found]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    world = World()
    call_id = world.call(seconds=12)
    other = world.call(seconds=12)
    world.sleep(DAY_MS)
    later = world.call(seconds=12)
    key, tcf = exported(world.vault, call_id)
    trust = trusted(world.vault)
    return Bundle(
        world.vault.device_id,
        trust.keys,
        reader.parse_key_file(key),
        key,
        tcf,
        exported(world.vault, other)[1],
        exported(world.vault, later)[1],
        world.vault._core.table.seed,
    )


def test_what_the_device_made_is_believed(bundle: Bundle) -> None:
    assert bundle.problems(bundle.tcf) == []
    assert len(bundle.frames()) == 8


def test_two_hundred_forged_bundles_are_all_refused_with_a_reason(bundle: Bundle) -> None:
    rng = random.Random(20260302)
    frames, others, later = bundle.frames(), bundle.frames(bundle.other), bundle.frames(bundle.later)
    forgeries: list[tuple[str, list[bytes]]] = []
    count = len(frames)
    for number in range(count):
        rest = frames[:number] + frames[number + 1 :]
        forgeries.append((f"drop {number}", rest))
        forgeries.append((f"truncate at {number}", frames[:number]))
        for place in range(count - 1):
            if place != number:
                forgeries.append((f"move {number} to {place}", [*rest[:place], frames[number], *rest[place:]]))
        forgeries.append((f"repeat {number}", [*frames[: number + 1], frames[number], *frames[number + 1 :]]))
        forgeries.append((f"splice {number}", [*frames[:number], others[number], *frames[number + 1 :]]))
        forgeries.append((f"later day {number}", [*frames[:number], later[number], *frames[number + 1 :]]))
        for _ in range(20):
            damaged = bytearray(frames[number])
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            forgeries.append((f"flip in {number}", [*frames[:number], bytes(damaged), *frames[number + 1 :]]))
    forgeries.append(("empty", []))
    forgeries.append(("another call", others))
    assert len(forgeries) >= 200
    for name, forged in forgeries:
        assert bundle.problems(b"".join(forged)), name


def test_what_is_sound_stays_usable(bundle: Bundle) -> None:
    frames = bundle.frames()
    damaged = bytearray(frames[3])
    damaged[500] ^= 1
    forged = b"".join([*frames[:3], bytes(damaged), *frames[4:]])
    verified = reader.verify_call(bundle.device_id, bundle.call, forged, bundle.keys)
    assert verified.problems == ["frame 3: damaged", "frames 3 to 3: missing"]
    assert [frame.header.seq for frame in verified.frames] == [0, 1, 2, 4, 5, 6, 7]


def test_a_header_that_is_gone_costs_one_frame_and_is_named_once(bundle: Bundle) -> None:
    frames = bundle.frames()
    forged = frames[0] + bytes(len(frames[1])) + b"".join(frames[2:])
    verified = reader.verify_call(bundle.device_id, bundle.call, forged, bundle.keys)
    assert verified.problems == ["block 6: magic", "frames 1 to 1: missing"]


def test_a_torn_last_frame_is_named(bundle: Bundle) -> None:
    problems = bundle.problems(bundle.tcf[:-BLOCK_BYTES])
    assert problems[0].endswith("truncated")
    assert problems[-1] == "frames: 7 of 8"


def forge(bundle: Bundle, seed: bytes, epoch: int, device_id: str) -> bytes:
    """A first frame with the forger's own DEK, signed with a key that is not that day's."""
    header = parse_header(bundle.tcf)
    sealer = Sealer(REAL, header.call_id, bytearray(32), bundle.call.raw_open)
    return bytes(sealer.seal([], Stamp(device_id, header.ring_seq, epoch, seed), last=False))


def test_a_frame_signed_by_a_later_key_another_device_or_nobody_is_refused(bundle: Bundle) -> None:
    rest = b"".join(bundle.frames()[1:])
    epoch = parse_header(bundle.tcf).sign_epoch
    cases = [
        (bundle.later_seed, epoch, bundle.device_id, "frame 0: signature"),
        (bytes(32), epoch, bundle.device_id, "frame 0: signature"),
        (bundle.later_seed, epoch + 1, "tacet-0002", "frame 0: signature"),
        (bundle.later_seed, 99, bundle.device_id, "frame 0: its key is not known"),
    ]
    for seed, number, device_id, expected in cases:
        assert bundle.problems(forge(bundle, seed, number, device_id) + rest)[0] == expected


def test_a_back_dated_frame_by_the_later_key_breaks_the_chain(bundle: Bundle) -> None:
    """The day key of a later day signs for its own epoch: it is the device's signature, but the chain ends there."""
    epoch = parse_header(bundle.tcf).sign_epoch
    rest = b"".join(bundle.frames()[1:])
    problems = bundle.problems(forge(bundle, bundle.later_seed, epoch + 1, bundle.device_id) + rest)
    assert problems[0] == "frame 1: chain"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"frames": 6}, "close: signature"),
        ({"closed_utc_ms": 1}, "close: signature"),
        ({"last_hash": bytes(32)}, "close: signature"),
        ({"sign_epoch": 99}, "close: its key is not known"),
        ({"meta_hash": bytes(32)}, "close: signature"),
    ],
)
def test_a_changed_close_is_refused(bundle: Bundle, change: dict[str, object], problem: str) -> None:
    close = replace(bundle.call.close, **change)
    assert problem in bundle.problems(bundle.tcf, replace(bundle.call, close=close))


def test_a_close_of_the_right_key_with_a_wrong_hash_is_refused(bundle: Bundle) -> None:
    unsigned = Close(**{**bundle.call.close.__dict__, "last_hash": bytes(32), "sign_epoch": 1, "signature": b""})
    signature = REAL.sign(bundle.later_seed, close_message(bundle.device_id, unsigned.unsigned()))
    close = replace(unsigned, signature=signature)
    assert bundle.problems(bundle.tcf, replace(bundle.call, close=close)) == ["close: hash of the last frame"]
    assert decode_close(close.encode()) == close


def test_a_swapped_or_missing_meta_is_noticed(bundle: Bundle) -> None:
    for raw_meta in (None, b"another"):
        problems = bundle.problems(bundle.tcf, replace(bundle.call, raw_meta=raw_meta))
        assert problems == ["meta: not the one that was closed with"]


def key_records(bundle: Bundle) -> dict[int, bytes]:
    return dict(reader.records(bundle.key_file))


def test_a_key_file_of_the_wrong_shape_is_malformed(bundle: Bundle) -> None:
    found = key_records(bundle)
    one, two, four = (reader.record(kind, found[kind]) for kind in (1, 2, 4))
    stranger = bytearray(found[4])
    stranger[0] ^= 1
    closed = bytearray(found[2])
    closed[0] ^= 1
    for data in (
        b"",
        one,
        two,
        one + one + two,
        one + two + reader.record(5, b""),
        one + reader.record(2, bytes(closed)),
        one + reader.record(4, bytes(stranger)) + two,
        one + two[:-1],
    ):
        with pytest.raises(Malformed):
            reader.parse_key_file(data)
    assert reader.parse_key_file(one + two).meta is None
    assert reader.parse_key_file(one + four + two) == bundle.call


def index_entry(call_id: bytes, outcome: int = 1, held: int = 0) -> bytes:
    return call_id + b"\0" + bytes(16) + bytes([outcome, held])


def test_an_index_of_the_wrong_shape_is_malformed(bundle: Bundle) -> None:
    meta = key_records(bundle)[4]
    call_id = meta[:16]
    close = reader.record(2, key_records(bundle)[2])
    good = close + reader.record(16, index_entry(call_id))
    for data in (
        reader.record(4, meta),
        reader.record(4, meta) + reader.record(4, meta) + good,
        reader.record(4, meta) + close + reader.record(16, index_entry(bytes(16))),
        reader.record(4, meta) + reader.record(16, index_entry(call_id)),
        reader.record(1, key_records(bundle)[1]),
        close + reader.record(16, index_entry(call_id, outcome=0)),
        close + reader.record(16, index_entry(call_id, outcome=10)),
        close + reader.record(16, index_entry(call_id, held=2)),
        close + reader.record(16, index_entry(call_id) + b"\0"),
    ):
        with pytest.raises(Malformed):
            reader.parse_index(data)
    entries = reader.parse_index(good + reader.record(4, meta) + good)
    assert [found is not None for _, found in entries] == [False, True]


@given(st.binary(max_size=600))
@settings(max_examples=150, deadline=None)
def test_no_bytes_make_a_parser_do_anything_but_refuse(data: bytes) -> None:
    for parse in (reader.parse_key_file, reader.parse_index):
        try:
            parse(data)
        except Malformed:
            continue
    frames, problems = reader.split_frames(data)
    assert frames == []
    assert bool(problems) == bool(data)
    assert isinstance(reader.trust("d", bytes(32), reader.split_lines(data)).problems, list)


@given(st.binary(min_size=1, max_size=300), st.integers(0, 4000))
@settings(max_examples=100, deadline=None)
def test_bytes_of_a_stick_pasted_over_a_frame_are_never_believed(bundle: Bundle, data: bytes, at: int) -> None:
    forged = bundle.tcf[:at] + data + bundle.tcf[at + len(data) :]
    if forged != bundle.tcf:
        assert bundle.problems(forged)


def test_frames_hold_no_audio_in_clear_and_lengths_are_padded(bundle: Bundle) -> None:
    found, _ = reader.split_frames(bundle.tcf)
    assert all((HEADER_BYTES + len(frame.ciphertext)) % BLOCK_BYTES == 0 for frame in found)
    assert all(isinstance(frame, Frame) for frame in found)
    assert b"RAW:" not in bundle.tcf
