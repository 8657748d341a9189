"""What cannot be recorded is a row and an alarm, never a silent file: encrypted media, codecs nobody here speaks."""

from typing import Any

import pytest

from firmware.policy.events import Port
from firmware.voip.output import Encrypted, MediaMissing, NotRecordableCodec
from tests.voip.plain import assert_kept_whole, established, plain_call, spoken
from tests.voip.sink import run
from tests.voip.wire import (
    Dialogue,
    Voice,
    Wire,
    settings,
    talk,
)


def assert_encrypted(wire: Wire) -> None:
    kept = run(settings(), wire.packets).only
    assert kept.row == ("not_recordable_encrypted", "trunk_invite_ddi")
    assert kept.audio_samples() == 0
    assert sum(isinstance(told, Encrypted) for told in kept.told) == 1


def test_an_encrypted_call_leaves_a_row_and_never_a_silent_file() -> None:
    cases: tuple[dict[str, Any], ...] = (
        {"profile": "RTP/SAVP"},
        {"profile": "UDP/TLS/RTP/SAVPF"},
        {"extra": "a=crypto:1 X inline:Y"},
        {"extra": "a=zrtp-hash:1.10 ab"},
    )
    for media in cases:
        wire = Wire()
        plain_call(wire, **media)
        assert_encrypted(wire)


def test_srtp_offered_and_declined_is_an_ordinary_call() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.invite(extra="a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x")
    wire.wait(100)
    call.ok()
    call.ack()
    caller, agent = spoken(call, 400)
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def test_dtls_on_the_media_port_is_encrypted_whatever_was_agreed() -> None:
    wire, call, caller, _ = established()
    for _ in range(20):
        caller.put(b"\x16\xfe\xff" + bytes(40))
        wire.wait(20)
    call.bye()
    assert_encrypted(wire)


@pytest.mark.parametrize("word", ["Commit  ", "DHPart1 ", "Confirm2"])
def test_zrtp_on_the_media_port_is_never_kept_as_noise(word: str) -> None:
    wire, call, caller, agent = established()
    for _ in range(10):
        caller.put(zrtp(word))
        wire.wait(20)
    talk(wire, 400, caller, agent)
    call.bye()
    assert_encrypted(wire)


@pytest.mark.parametrize("spoken_ms", [20, 60, 140])
def test_noise_that_follows_a_handshake_at_once_is_not_kept_either(spoken_ms: int) -> None:
    """Both are in one burst: from the packet that turned on, nothing is sound."""
    wire, call, caller, agent = established()
    caller.put(zrtp("DHPart1 "))
    talk(wire, spoken_ms, caller, agent)
    call.bye()
    assert_encrypted(wire)


def test_a_telephone_that_asks_for_zrtp_in_vain_is_kept() -> None:
    wire, call, caller, agent = established()
    for _ in range(20):
        caller.put(zrtp("Hello   "))
        talk(wire, 20, caller, agent)
    call.bye()
    assert_kept_whole(run(settings(), wire.packets).only, caller, agent)


def zrtp(word: str) -> bytes:
    """RFC 6189 5: preamble, cookie, SSRC, then a message with its type; the rest does not matter here."""
    return b"\x10\x00\x00\x01ZRTP\x00\x00\x00\x01PZ\x00\x1d" + word.encode() + bytes(60)


def test_a_codec_that_cannot_be_recorded_is_told() -> None:
    for formats, word in (("18", "g729"), ("96", "opus"), ("3", "gsm")):
        wire = Wire()
        plain_call(wire, formats=formats)
        kept = run(settings(), wire.packets).only
        assert kept.row == ("fault", "trunk_invite_ddi")
        assert [told.codec for told in kept.told if isinstance(told, NotRecordableCodec)] == [word]
        assert kept.audio_samples() == 0


@pytest.mark.parametrize(
    ("media", "row"),
    [
        ({"formats": "18"}, ("fault", "trunk_invite_ddi")),
        ({"formats": "96"}, ("fault", "trunk_invite_ddi")),
        ({"profile": "RTP/SAVP"}, ("not_recordable_encrypted", "trunk_invite_ddi")),
    ],
)
def test_a_long_call_that_cannot_be_recorded_is_one_row_to_its_end(media: dict[str, Any], row: tuple[str, str]) -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.establish(**media)
    kind = int(media.get("formats", "8"))
    talk(wire, 90_000, Voice(call, Port.TRUNK, 1, kind, ssrc=1), Voice(call, Port.INSIDE, 2, kind, ssrc=2))
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == row
    assert kept.end.samples == 90 * 8000 + 160
    assert not any(isinstance(told, MediaMissing) for told in kept.told)


def test_a_codec_that_was_offered_and_is_not_spoken_does_not_matter() -> None:
    wire = Wire()
    caller, agent = plain_call(wire, formats="18 8 101")
    kept = run(settings(), wire.packets).only
    assert_kept_whole(kept, caller, agent)
    assert not any(isinstance(told, NotRecordableCodec) for told in kept.told)
