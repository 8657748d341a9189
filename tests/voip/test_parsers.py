"""SIP, SDP, numbers: what providers and telephones write, and what they should not."""

import pytest

from firmware.policy.events import Absence
from firmware.voip.number import caller_identity, comparable, split_list
from firmware.voip.sdp import Flow, agreed_audio, is_encrypted, parse_sdp
from firmware.voip.sip import SipMessage, address_uri, display_name, parameter, parse_sip, uri_host, uri_user
from tests.voip.wire import sdp


def sip(text: str) -> SipMessage:
    message = parse_sip(text.replace("\n", "\r\n").encode())
    assert message is not None
    return message


def test_compact_names_case_and_folding_are_read_as_the_long_ones() -> None:
    message = sip('INVITE sip:a@b SIP/2.0\nV: SIP/2.0/UDP x\ni: 1@x\nFROM: "A"\n <sip:1@x>\n ;tag=77\nt: <sip:2@x>\n\n')
    assert message.call_id == "1@x"
    assert message.from_tag == "77"
    assert message.first("via") == "SIP/2.0/UDP x"
    assert message.to_tag == ""


def test_the_body_ends_where_content_length_says() -> None:
    assert sip("OPTIONS sip:a SIP/2.0\nl: 3\n\nabcdef").body == b"abc"
    assert sip("OPTIONS sip:a SIP/2.0\nl: 30\n\nabcdef").body == b"abcdef"
    assert sip("OPTIONS sip:a SIP/2.0\nl: x\n\nabcdef").body == b"abcdef"


def test_a_response_needs_its_cseq() -> None:
    assert sip("SIP/2.0 180 Ringing\nCSeq: 7 INVITE\n\n").method == "INVITE"
    assert parse_sip(b"SIP/2.0 180 Ringing\r\n\r\n") is None
    assert parse_sip(b"SIP/2.0 999 x\r\nCSeq: 1 INVITE\r\n\r\n") is None


@pytest.mark.parametrize("junk", [b"", b"\r\n\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"INVITE\r\n\r\n",
                                  b"INVITE sip:a SIP/2.0\r\nno colon\r\n\r\n", b"\xff" * 2000])  # fmt: skip
def test_what_is_not_sip_is_none(junk: bytes) -> None:
    assert parse_sip(junk) is None


def test_addresses_with_quotes_brackets_and_parameters() -> None:
    value = '"Doe, \\"J\\" <x>" <sip:+442079460999;npdi@Host.Example:5060;user=phone>;tag=a;x="y;tag=z"'
    assert address_uri(value) == "sip:+442079460999;npdi@Host.Example:5060;user=phone"
    assert display_name(value) == 'Doe, "J" <x>'
    assert parameter(value, "tag") == "a"
    assert uri_user(address_uri(value)) == "+442079460999"
    assert uri_host(address_uri(value)) == "host.example"
    assert uri_host("sip:x@[2001:db8::1]:5060;a") == "2001:db8::1"
    assert uri_user("tel:+44-20-7946-0999;phone-context=x") == "+44-20-7946-0999"
    assert uri_user("sip:%2B442079460999@x") == "+442079460999"
    assert split_list('"a,b" <sip:1@x>, <sip:2,3@x>,tel:4') == ['"a,b" <sip:1@x>', "<sip:2,3@x>", "tel:4"]


def test_sdp_inside_multipart_is_found_whatever_stands_before_it() -> None:
    parts = ["Content-Type: application/pidf+xml\n\n<a/>", f"Content-Type: application/sdp\n\n{sdp('192.0.2.1', 9)}"]
    body = "".join(f"--x\n{part}\n" for part in parts) + "--x--"
    message = sip(f"INVITE sip:a SIP/2.0\nContent-Type: multipart/mixed; boundary=x\n\n{body}")
    found = message.sdp()
    assert found is not None
    session = parse_sdp(found)
    assert session is not None
    assert session.media[0].port == 9


def invite(extra: str, origin: str = "<sip:+442079460999@x>") -> SipMessage:
    return sip(f"INVITE sip:a@b SIP/2.0\nFrom: {origin};tag=1\nTo: <sip:b>\nCall-ID: 1\nCSeq: 1 INVITE\n{extra}\n")


@pytest.mark.parametrize(
    ("extra", "origin", "number", "absence"),
    [
        ("", "<sip:+442079460999@x>", "+442079460999", None),
        ("", "<sip:020 7946-0999@x>", "02079460999", None),
        ("P-Asserted-Identity: <sip:+442079460888@x>\n", "<sip:1@x>", "+442079460888", None),
        ("P-Asserted-Identity: <tel:+442079460888>\nPrivacy: none\n", "<sip:1@x>", "+442079460888", None),
        ("P-Asserted-Identity: <tel:+442079460888>\nPrivacy: id\n", "<sip:1@x>", None, Absence.WITHHELD),
        (
            "P-Asserted-Identity: <tel:+442079460888>\nPrivacy: header;id;critical\n",
            "<sip:1@x>",
            None,
            Absence.WITHHELD,
        ),
        ("P-Asserted-Identity: <tel:+442079460888>\n", "<sip:anonymous@anonymous.invalid>", "+442079460888", None),
        ("Remote-Party-ID: <sip:+442079460888@x>;party=calling;privacy=off\n", "<sip:1@x>", "+442079460888", None),
        ("Remote-Party-ID: <sip:+442079460888@x>;privacy=full\n", "<sip:1@x>", None, Absence.WITHHELD),
        ("", "<sip:anonymous@anonymous.invalid>", None, Absence.WITHHELD),
        ("", "<sip:Restricted@192.0.2.1>", None, Absence.WITHHELD),
        ("", "<sip:unavailable@x>", None, Absence.UNAVAILABLE),
        ("", "<sip:192.0.2.1>", None, Absence.UNAVAILABLE),
        ("", "<sip:alice@x>", None, Absence.UNREADABLE),
        ("", "<sip:" + "9" * 60 + "@x>", None, Absence.UNREADABLE),
        ("", "<sip:+44\u0660@x>", None, Absence.UNREADABLE),
    ],
)
def test_the_callers_number(extra: str, origin: str, number: str | None, absence: Absence | None) -> None:
    identity = caller_identity(invite(extra, origin))
    assert (identity.number, identity.absence) == (number, absence)


def test_a_display_name_comes_without_control_and_direction_characters() -> None:
    identity = caller_identity(invite("", '"Ev\x00il\u202e<b>\x1b[31m' + "x" * 100 + '" <sip:+442079460999@x>'))
    assert identity.name is not None
    assert identity.name.isprintable()
    assert "\u202e" not in identity.name
    assert len(identity.name) <= 64


@pytest.mark.parametrize(
    "text", ["+44 20 7946 0100", "02079460100", "00442079460100", "442079460100", "(020) 7946-0100"]
)
def test_a_number_is_the_same_in_every_usual_form(text: str) -> None:
    assert comparable(text, "44") == "442079460100"


def test_session_and_media_level_attributes() -> None:
    text = (
        "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=inactive\r\n"
        "m=audio 4000 RTP/AVP 8 0 96\r\na=rtpmap:96 opus/48000/2\r\n"
        "m=audio 4002/2 RTP/AVP 9\r\nc=IN IP6 2001:db8::5\r\na=sendonly\r\n"
        "m=video 0 RTP/AVP 97\r\n"
    )
    session = parse_sdp(text.encode())
    assert session is not None
    first, second, third = session.media
    assert (first.flow, second.flow) == (Flow.INACTIVE, Flow.SENDONLY)
    assert (first.port, second.port, third.port) == (4000, 4002, 0)
    assert first.address == bytes([192, 0, 2, 1])
    assert second.address is not None
    assert len(second.address) == 16
    assert first.payloads[96] == ("opus", 48000, 2)
    assert second.payloads[9] == ("g722", 8000, 1)


def test_the_audio_line_that_both_left_open_counts() -> None:
    offer = parse_sdp((sdp("192.0.2.1", 4000, profile="RTP/SAVP") + "m=audio 4002 RTP/AVP 8\r\n").encode())
    answer = parse_sdp((sdp("192.0.2.2", 0, profile="RTP/SAVP") + "m=audio 5002 RTP/AVP 8\r\n").encode())
    assert offer is not None
    assert answer is not None
    pair = agreed_audio(offer, answer)
    assert pair is not None
    assert (pair[0].port, pair[1].port) == (4002, 5002)
    assert not is_encrypted(*pair)


@pytest.mark.parametrize("junk", [b"", b"x", b"v", b"m=audio", b"\x00\xff"])
def test_what_is_not_sdp_is_none(junk: bytes) -> None:
    assert parse_sdp(junk) is None


def test_a_media_line_of_nonsense_is_no_audio() -> None:
    session = parse_sdp(
        b"v=0\r\nm=\r\nm=audio x y z\r\nm=audio 99999999999 RTP/AVP 8\r\nc=IN IP4 nowhere\r\na=rtpmap:x\r\n"
    )
    assert session is not None
    assert [media.port for media in session.media] == [0, 0, 0]
