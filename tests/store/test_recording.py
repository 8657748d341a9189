"""From the answer to the on-hook: what goes in comes out, sample for sample, and nothing is acknowledged too early."""

import numpy as np
import pytest

from firmware.policy.records import AudioCodec, Ended, GapReason, Outcome
from firmware.store.errors import BadSeal, Refused
from firmware.store.frame import FRAME_BYTES_MAX, parse_header
from hw.flac import FlacEncoder
from tests.store import reader
from tests.store.listening import KEY_ID, SECRET, audio, exported, heard, told
from tests.store.world import START_UTC_MS, RawEncoder, World, meta, row


def noise(world: World, samples: int, channels: int = 1) -> np.ndarray:
    return np.frombuffer(world.rng.randbytes(2 * samples * channels), np.int16).reshape(channels, samples)


def test_every_sample_of_a_call_comes_back() -> None:
    world = World()
    call_id = world.open()
    spoken = [noise(world, 800) for _ in range(73)]
    for number, block in enumerate(spoken):
        world.vault.append_audio(call_id, number * 800, 800, block)
    world.close(call_id)
    assert np.array_equal(audio(heard(world.vault, call_id)), np.concatenate(spoken, axis=1)[0])


def test_real_flac_frames_decode_to_the_same_samples(tmp_path) -> None:  # type: ignore[no-untyped-def]
    import io

    import soundfile

    world = World()
    world.vault._core.parts = world.vault._core.parts.__class__(
        **{**world.vault._core.parts.__dict__, "encoder": FlacEncoder()}
    )
    call_id = world.vault.open_call(0, world.now(), AudioCodec.FLAC, 2, 16000, meta())
    spoken = noise(world, 16000 * 3, 2)
    for at in range(0, spoken.shape[1], 1600):
        world.vault.append_audio(call_id, at, 1600, spoken[:, at : at + 1600])
    world.close(call_id)
    decoded = [soundfile.read(io.BytesIO(piece.payload), dtype="int16") for piece in heard(world.vault, call_id)]
    assert {rate for _, rate in decoded} == {16000}
    assert np.array_equal(np.concatenate([samples for samples, _ in decoded]).T, spoken)


def test_a_gap_keeps_its_place_its_length_and_its_reason() -> None:
    world = World()
    call_id = world.open()
    at = world.speak(call_id, 1.0)
    at = world.gap(call_id, at, 12_345, GapReason.PAYMENT)
    at = world.gap(call_id, at, 55, GapReason.PAYMENT)
    at = world.gap(call_id, at, 160, GapReason.KEYED_DIGITS)
    world.speak(call_id, 1.0, at)
    world.close(call_id)
    pieces = [(piece.first_sample, piece.samples, piece.reason) for piece in heard(world.vault, call_id)]
    assert pieces == [
        (0, 8000, None),
        (8000, 12_345, GapReason.PAYMENT),
        (20_345, 55, GapReason.PAYMENT),
        (20_400, 160, GapReason.KEYED_DIGITS),
        (20_560, 8000, None),
    ]


def test_a_hole_without_reason_is_not_papered_over() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 0.5)
    world.speak(call_id, 0.5, 100_000)
    world.close(call_id)
    assert [(piece.first_sample, piece.samples) for piece in heard(world.vault, call_id)] == [
        (0, 4000),
        (100_000, 4000),
    ]


def test_codec_bytes_of_a_voip_call_are_kept_as_they_came() -> None:
    world = World()
    call_id = world.vault.open_call(0, world.now(), AudioCodec.PCMA, 1, 8000, meta())
    sent = world.rng.randbytes(16_000 * 2)
    for at in range(0, len(sent), 160):
        world.vault.append_audio(call_id, at, 160, sent[at : at + 160])
    world.close(call_id)
    pieces = heard(world.vault, call_id)
    assert b"".join(bytes(piece.payload) for piece in pieces) == sent
    assert {piece.codec for piece in pieces} == {AudioCodec.PCMA}


def test_no_frame_spans_more_than_two_seconds_and_the_loss_after_a_cut_stays_below() -> None:
    world = World()
    call_id = world.open()
    durable = 0
    for number in range(100):
        sealed = world.vault.append_audio(call_id, number * 800, 800, noise(world, 800))
        durable = sealed or durable
        assert (number + 1) * 800 - durable < 2 * 8000
    world.close(call_id)
    for raw in world.vault.sealed(call_id).frames():
        assert len(raw) <= FRAME_BYTES_MAX
        assert parse_header(raw).blocks * 4096 == len(raw)
    pieces = heard(world.vault, call_id)
    assert max(piece.samples for piece in pieces) <= 2 * 8000


def test_ragged_pieces_are_sealed_before_they_would_span_more_than_two_seconds() -> None:
    world = World()
    call_id = world.open()
    at = 0
    for samples in (11_000, 15_000, 3000, 16_000, 100, 11_200, 1):
        world.vault.append_audio(call_id, at, samples, noise(world, samples))
        at += samples
    world.close(call_id)
    pieces = heard(world.vault, call_id)
    assert max(piece.samples for piece in pieces) <= 2 * 8000
    assert sum(piece.samples for piece in pieces) == at


def test_what_is_known_of_the_caller_is_readable_by_the_custodian_only() -> None:
    world = World()
    call_id = world.call(number="02079460555")
    assert told(world.vault, call_id).number == "02079460555"
    assert told(world.vault, call_id).ended is Ended.ON_HOOK
    written = b"".join(event.data for event in world.disk.history if hasattr(event, "data"))
    assert b"02079460555" not in written
    call = reader.parse_key_file(exported(world.vault, call_id)[0])
    for device_id, private_key in ((world.vault.device_id, bytes(31) + b"\1"), ("another-device", SECRET)):
        with pytest.raises(BadSeal):
            reader.open_dek(device_id, call, KEY_ID, private_key)


def test_one_row_per_call_and_no_more() -> None:
    world = World()
    call_id = world.call()
    world.vault.write_row(row(1, START_UTC_MS, START_UTC_MS + 1, Outcome.UNANSWERED))
    rows = world.vault.ledger_rows()
    assert [(entry.outcome, entry.call_id) for _, entry in rows] == [
        (Outcome.RECORDED, call_id),
        (Outcome.UNANSWERED, None),
    ]
    world.cut()
    assert world.vault.ledger_rows() == rows


def test_audio_for_a_closed_or_unknown_call_is_refused() -> None:
    world = World()
    call_id = world.call()
    with pytest.raises(Refused) as caught:
        world.speak(call_id, 0.1)
    assert caught.value.code == "not_kept"
    with pytest.raises(Refused):
        world.vault.close_call(bytes(16), meta(), row(0, 0, 0))


def test_pieces_out_of_order_stop_the_recorder() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 0.5, 8000)
    with pytest.raises(AssertionError):
        world.speak(call_id, 0.5, 8000)


def test_flush_makes_half_a_frame_durable() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 0.3)
    assert world.vault.flush(call_id) == 2400
    assert world.vault.flush(call_id) is None


def test_an_encoder_that_fails_leaves_a_gap_and_an_alarm_not_a_dead_recorder() -> None:
    class Failing(RawEncoder):
        def encode(self, samples: object, rate_hz: int) -> bytes:
            raise OSError("no more")

    world = World()
    core = world.vault._core
    core.parts = core.parts.__class__(**{**core.parts.__dict__, "encoder": Failing()})
    call_id = world.open()
    world.speak(call_id, 2.0)
    world.close(call_id)
    pieces = heard(world.vault, call_id)
    assert {piece.reason for piece in pieces} == {GapReason.FAULT}
    assert sum(piece.samples for piece in pieces) == 16_000
    alarms = {alarm.code for alarm in world.vault.tick() if alarm.active}
    assert "INTERNAL" in alarms


def test_many_calls_of_a_day_overflow_into_further_bags() -> None:
    world = World()
    calls = [world.call(seconds=0.2, line=number % 2) for number in range(40)]
    assert len({world.vault._core.calls[call_id].day_bag for call_id in calls}) > 1
    world.cut()
    assert [entry.call_id for entry in world.vault.calls()] == calls
    for call_id in calls:
        assert sum(piece.samples for piece in heard(world.vault, call_id)) == 1600


def test_two_lines_at_once_do_not_mix() -> None:
    world = World()
    first, second = world.open(0), world.open(1)
    at = 0
    for _ in range(10):
        world.speak(first, 1.0, at)
        world.gap(second, at, 8000, GapReason.ON_HOLD)
        at += 8000
    world.close(first, 0)
    world.close(second, 1)
    assert {piece.reason for piece in heard(world.vault, first)} == {None}
    assert {piece.reason for piece in heard(world.vault, second)} == {GapReason.ON_HOLD}


def test_no_new_call_on_a_line_that_opted_out() -> None:
    world = World()
    world.vault.latch_opt_out(0, True)
    with pytest.raises(Refused) as caught:
        world.open(0)
    assert caught.value.code == "opted_out"
    world.cut()
    assert world.vault.opted_out(0)
    world.vault.latch_opt_out(0, False)
    world.vault.latch_opt_out(0, False)
    assert world.open(0)


def test_long_texts_of_a_call_are_cut_and_never_outgrow_the_bag() -> None:
    world = World()
    call_id = world.open()
    world.speak(call_id, 0.2)
    now = world.now()
    long = meta(
        caller_name="n" * 5000,
        evidence=tuple(("ring", n) for n in range(500)),
        payment_presses_ms=tuple(range(500)),
        caller_id={"standard": "v" * 999},
    )
    world.vault.close_call(call_id, long, row(0, now, now))
    found = told(world.vault, call_id)
    assert len(found.caller_name or "") == 200
    assert found.payment_presses_ms == tuple(range(64))


def test_a_piece_may_have_another_codec_than_its_call() -> None:
    world = World()
    call_id = world.vault.open_call(0, world.now(), AudioCodec.PCMA, 1, 8000)
    world.vault.append_audio(call_id, 0, 800, bytes(800))
    world.vault.append_audio(call_id, 800, 800, bytes(800), AudioCodec.PCMU)
    world.vault.append_gap(call_id, 1600, 800, GapReason.PAYMENT)
    world.vault.append_audio(call_id, 2400, 800, np.zeros((1, 800), np.int16), AudioCodec.FLAC)
    world.close(call_id)
    pieces = heard(world.vault, call_id)
    assert [(piece.codec, piece.reason) for piece in pieces] == [
        (AudioCodec.PCMA, None),
        (AudioCodec.PCMU, None),
        (AudioCodec.PCMA, GapReason.PAYMENT),
        (AudioCodec.FLAC, None),
    ]
