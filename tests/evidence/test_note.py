"""The signed note: any bytes are read to a note or a sentence, and no text is accepted that nobody signed."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.evidence.note import (
    NOTE_BYTES_MAX,
    NOTE_LINES_MAX,
    BadSignature,
    NoteError,
    add_signature,
    compose,
    key_hash,
    parse,
    seal,
    signed_by,
)
from firmware.store.ciphers import REAL
from tests.evidence.rig import CUSTODIAN, ESCROW, STRANGER, SUPERVISOR, Signer

PUBLISHED_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
PUBLISHED_KEY = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]

LINES = st.lists(
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=40), min_size=1, max_size=8
)


def is_signed_by(data: bytes, person: Signer) -> bool:
    name, public_key, _ = person.line()
    return signed_by(parse(data), name, public_key, REAL.verify)


def test_the_published_vector_of_the_format_verifies() -> None:
    """The example of golang.org/x/mod/sumdb/note, from which C2SP signed-note was written down."""
    note = parse(PUBLISHED_NOTE)
    assert key_hash("PeterNeumann", PUBLISHED_KEY).hex() == "c74f20a3"
    assert signed_by(note, "PeterNeumann", PUBLISHED_KEY, REAL.verify)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_note_or_a_note_error(data: bytes) -> None:
    with suppress(NoteError):
        note = parse(data)
        assert note.signatures
        assert note.text.endswith(b"\n")


@given(st.binary(max_size=100))
def test_any_text_above_a_signature_is_a_note_or_a_note_error(text: bytes) -> None:
    with suppress(NoteError):
        assert parse(text + b"\n\n\xe2\x80\x94 a AAAAAAA=\n").lines


@given(LINES)
def test_what_is_sealed_is_read_back_and_verifies(lines: list[str]) -> None:
    data = seal(compose(lines), [CUSTODIAN.line(), SUPERVISOR.line()])
    assert parse(data).lines == lines
    assert is_signed_by(data, CUSTODIAN)
    assert is_signed_by(data, SUPERVISOR)
    assert not is_signed_by(data, STRANGER)


@given(LINES, st.data())
def test_no_changed_note_is_accepted(lines: list[str], draw: st.DataObject) -> None:
    """Whatever one byte becomes: refused, or not signed by anybody."""
    data = bytearray(seal(compose(lines), [CUSTODIAN.line()]))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    try:
        accepted = is_signed_by(bytes(data), CUSTODIAN)
    except NoteError:
        accepted = False
    assert not accepted


@given(LINES, LINES)
def test_a_signature_does_not_fit_another_text(one: list[str], other: list[str]) -> None:
    if one == other:
        return
    signature = seal(compose(one), [CUSTODIAN.line()]).rpartition(b"\n\n")[2]
    with pytest.raises(BadSignature):
        is_signed_by(compose(other) + b"\n" + signature, CUSTODIAN)


def test_a_second_person_adds_a_signature_and_changes_nothing_else() -> None:
    data = seal(compose(["a"]), [CUSTODIAN.line()])
    both = add_signature(data, *ESCROW.line())
    assert both.startswith(data)
    assert is_signed_by(both, CUSTODIAN)
    assert is_signed_by(both, ESCROW)


def test_a_wrong_signature_in_a_known_name_spoils_the_note_beside_a_good_one() -> None:
    data = seal(compose(["a"]), [CUSTODIAN.line()])
    name, public_key, _ = CUSTODIAN.line()
    wrong = add_signature(data, name, public_key, lambda text: bytes(64))
    with pytest.raises(BadSignature):
        is_signed_by(wrong, CUSTODIAN)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 200])
def test_a_signature_of_another_length_is_wrong(length: int) -> None:
    name, public_key, _ = CUSTODIAN.line()
    with pytest.raises(NoteError):
        is_signed_by(seal(compose(["a"]), [(name, public_key, lambda text: bytes(length))]), CUSTODIAN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\n\n",
        b"a\n",
        b"a\n\n",
        b"a\r\n\r\n\xe2\x80\x94 k AAAAAAA=\r\n",
        b"a\x00\n\n\xe2\x80\x94 k AAAAAAA=\n",
        b"a\x7f\n\n\xe2\x80\x94 k AAAAAAA=\n",
        b"\xff\n\n\xe2\x80\x94 k AAAAAAA=\n",
        b"a\n\n- k AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94 k+k AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94  AAAAAAA=\n",
        b"a\n\n\xe2\x80\x94 k AAAAAAA\n",
        b"a\n\n\xe2\x80\x94 k AAAAAAB=\n",
        b"a\n\n\xe2\x80\x94 k AAAA\n",
        b"a\n\n\xe2\x80\x94 k AAAAAAA=",
        b"a\n" * NOTE_LINES_MAX + b"\n\xe2\x80\x94 k AAAAAAA=\n",
        b"a" * NOTE_BYTES_MAX + b"\n\n\xe2\x80\x94 k AAAAAAA=\n",
        b"a\n\n" + b"\xe2\x80\x94 k AAAAAAA=\n" * 17,
    ],
)
def test_what_is_out_of_form_or_bounds_is_no_note(data: bytes) -> None:
    with pytest.raises(NoteError):
        parse(data)
