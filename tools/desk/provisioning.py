"""Writing the provisioning pack onto a stick, and knowing the recorder it makes."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from firmware.evidence.fields import is_device_id
from firmware.evidence.judge import key_name
from firmware.evidence.note import compose, seal
from firmware.evidence.notice import check_notice
from firmware.evidence.pack import (
    NOTICE_FILE,
    PACK_FILE,
    SIMULATION_CONSENT,
    SITE_FILE,
    PackText,
    compose_pack,
)
from firmware.evidence.site import NOTICE_BYTES_MAX
from tools.desk.errors import AlreadyThere, Refused
from tools.desk.files import make_directory, read_file, write_file
from tools.desk.home import Device, Home
from tools.desk.keys import Unlocked
from tools.desk.site import DEFAULT_NOTICE, site_facts, site_file

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without 0, 1, I, L, O and U: the id is read off a label and typed."""


@dataclass(frozen=True)
class Wishes:
    """What `provision` was asked for. Without ``consent`` the pack is a simulation's."""

    site: Path | None = None
    notice: Path | None = None
    consent: str | None = None
    device_id: str | None = None


def new_device_id(simulation: bool) -> str:
    letters = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(8))
    return ("SIM-" if simulation else "TACET-") + letters


def provision(home: Home, unlocked: Unlocked, stick: Path, wishes: Wishes, now_utc_ms: int) -> Device:
    """Raises Refused (settings, notice, consent, id), AlreadyThere (a pack is on the stick), MediumFailed."""
    simulation = wishes.consent is None or wishes.consent == SIMULATION_CONSENT
    device_id = (wishes.device_id or new_device_id(simulation)).upper()
    if not is_device_id(device_id):
        raise Refused("A device id has 4 to 24 of the letters A-Z, the digits and inner hyphens.")
    if any(device.device_id == device_id for device in home.devices()):
        raise AlreadyThere(f"This home has provisioned {device_id} before; a recorder's id is never used twice.")
    site_toml = site_file(wishes.site)
    site_facts(site_toml.decode("utf-8"))
    notice_wav = read_file(wishes.notice or DEFAULT_NOTICE, NOTICE_BYTES_MAX)
    try:
        check_notice(notice_wav)
    except ValueError as error:
        raise Refused(str(error)) from None
    note = _note(home, unlocked, device_id, wishes.consent or SIMULATION_CONSENT, site_toml, notice_wav, now_utc_ms)
    if (stick / PACK_FILE).exists():
        raise AlreadyThere(f"{stick} holds a provisioning pack already; use another stick or delete TACET/PROVISION.")
    make_directory(stick)
    write_file(stick / SITE_FILE, site_toml, replace=True)
    write_file(stick / NOTICE_FILE, notice_wav, replace=True)
    write_file(stick / PACK_FILE, note)
    device = Device(device_id, simulation, home.device_directory(device_id))
    home.add_device(device, {"PACK.txt": note, "SITE.toml": site_toml, "NOTICE.wav": notice_wav})
    home.log.append("PROVISION", now_utc_ms, {"device": device_id})
    return device


def _note(
    home: Home,
    unlocked: Unlocked,
    device_id: str,
    consent: str,
    site_toml: bytes,
    notice_wav: bytes,
    now_utc_ms: int,
) -> bytes:
    persons = home.persons()
    text = PackText(
        device=device_id,
        created_utc_ms=now_utc_ms // 1000 * 1000,
        simulation=consent == SIMULATION_CONSENT,
        consent=consent,
        site_sha256=hashlib.sha256(site_toml).digest(),
        notice_sha256=hashlib.sha256(notice_wav).digest(),
        recipients=tuple(person.recipient() for person in persons),
        request_keys=tuple(person.request_key() for person in persons),
    )
    key = unlocked.person.request_key()
    return seal(compose(compose_pack(text)), [(key_name(key), key.public_key, unlocked.sign)])
