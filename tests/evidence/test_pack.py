"""The provisioning pack: applied whole or not at all, and only what its custodian signed."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.appliance import read_site_facts
from firmware.evidence.note import compose, seal
from firmware.evidence.pack import NOTICE_FILE, PACK_FILE, SITE_FILE, PackError, PackText, compose_pack, read_pack
from firmware.store.ciphers import REAL
from firmware.store.keys import Recipient
from tests.evidence.rig import CUSTODIAN, ESCROW, SITE, STRANGER, SUPERVISOR, Signer, wav
from tests.store.world import RECIPIENTS, START_UTC_MS

NOTICE = wav()
TEXT = PackText(
    device="SIM-TEST01",
    created_utc_ms=START_UTC_MS,
    simulation=True,
    consent="simulation",
    site_sha256=hashlib.sha256(SITE.encode()).digest(),
    notice_sha256=hashlib.sha256(NOTICE).digest(),
    recipients=RECIPIENTS,
    request_keys=(CUSTODIAN.key, ESCROW.key),
)


def files(text: PackText = TEXT, *signers: Signer) -> dict[str, bytes]:
    note = seal(compose(compose_pack(text)), [person.line() for person in signers or (CUSTODIAN,)])
    return {PACK_FILE: note, SITE_FILE: SITE.encode(), NOTICE_FILE: NOTICE}


def reader(there: dict[str, bytes]) -> Callable[[str, int], bytes | None]:
    return lambda path, limit: there.get(path)


def read(there: dict[str, bytes]) -> PackText:
    return read_pack(reader(there), read_site_facts, REAL.verify).text


def test_a_pack_is_read_as_it_was_written() -> None:
    assert read(files()) == TEXT


@pytest.mark.parametrize("missing", [PACK_FILE, SITE_FILE, NOTICE_FILE])
def test_an_incomplete_pack_is_refused(missing: str) -> None:
    there = files()
    del there[missing]
    with pytest.raises(PackError):
        read(there)


@pytest.mark.parametrize("changed", [SITE_FILE, NOTICE_FILE])
def test_a_file_changed_after_signing_is_refused(changed: str) -> None:
    there = files()
    there[changed] += b" "
    with pytest.raises(PackError, match="changed after it was signed"):
        read(there)


@given(st.data())
def test_no_changed_pack_is_applied(draw: st.DataObject) -> None:
    there = files()
    data = bytearray(there[PACK_FILE])
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= draw.draw(st.integers(1, 255))
    there[PACK_FILE] = bytes(data)
    with pytest.raises(PackError):
        read(there)


@pytest.mark.parametrize(
    "text",
    [
        replace(TEXT, recipients=RECIPIENTS[:1]),
        replace(TEXT, recipients=(RECIPIENTS[0], RECIPIENTS[0])),
        replace(TEXT, recipients=(RECIPIENTS[0], Recipient(b"\0" * 8, 1, RECIPIENTS[1].public_key))),
        replace(TEXT, recipients=(RECIPIENTS[0], replace(RECIPIENTS[1], suite=2))),
        replace(TEXT, request_keys=(SUPERVISOR.key,)),
        replace(TEXT, consent="J Smith, head of service"),
        replace(TEXT, simulation=False),
    ],
)
def test_a_pack_without_a_safe_set_of_keys_or_true_consent_is_refused(text: PackText) -> None:
    with pytest.raises(PackError):
        read(files(text, CUSTODIAN, SUPERVISOR))


def test_a_pack_must_be_signed_by_a_custodian_it_names() -> None:
    with pytest.raises(PackError, match="custodian has not signed"):
        read(files(TEXT, STRANGER))


def test_settings_that_would_keep_calls_longer_are_refused_at_provisioning() -> None:
    site = SITE + "[retention]\nmonths = 3\n"
    there = files(replace(TEXT, site_sha256=hashlib.sha256(site.encode()).digest()))
    there[SITE_FILE] = site.encode()
    with pytest.raises(PackError, match="retention"):
        read(there)
