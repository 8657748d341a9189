"""First start: a verified provisioning pack makes a blank card somebody's recorder. Nothing is recorded before this
is whole.

The vault is formatted last-thing-first inside ``Vault.provision`` (its identity is written last), so a cut in the
middle leaves a blank card, which may be provisioned again. The site's settings are written last of all: a vault
without them is not yet a recorder, and the same pack completes it.
"""

from dataclasses import replace

from firmware.evidence.note import Verify
from firmware.evidence.pack import Pack, PackError, ReadFile, enrol_path, read_pack
from firmware.evidence.site import NOTICE_DOCUMENT, SITE_DOCUMENT, ReadSite
from firmware.evidence.visit import enrolment
from firmware.ports import Stick
from firmware.store.errors import AlreadyProvisioned
from firmware.store.vault import Charter, Vault, VaultParts


def provision(
    parts: VaultParts, read: ReadFile, read_site: ReadSite, *, simulation: bool, ring_bytes: int, hold_bytes: int
) -> Pack:
    """Raises PackError, ConfigError, VaultError, OSError. Refuses a simulation's pack for production and the
    reverse."""
    pack = fitting_pack(read, read_site, parts.ciphers.verify, simulation=simulation)
    charter = Charter(
        device_id=pack.text.device,
        simulation=simulation,
        recipients=pack.text.recipients,
        request_keys=pack.text.request_keys,
        ring_bytes=ring_bytes,
        hold_bytes=hold_bytes,
        retention_months=pack.site.retention_months,
        lines=len(pack.site.line_names),
        retention_days=pack.site.retention_days,
    )
    vault = _formatted(parts, charter)
    vault.put_document(NOTICE_DOCUMENT, pack.notice_wav)
    vault.put_document(SITE_DOCUMENT, pack.site_toml)
    return pack


def fitting_pack(read: ReadFile, read_site: ReadSite, verify: Verify, *, simulation: bool) -> Pack:
    """Raises PackError, OSError."""
    pack = read_pack(read, read_site, verify)
    if pack.text.simulation != simulation:
        raise PackError(
            "The provisioning pack is for a simulation; nothing was changed. Make one with the controller's consent."
            if pack.text.simulation
            else "The provisioning pack is for a real recorder; nothing was changed. Make one for a simulation."
        )
    return pack


def _formatted(parts: VaultParts, charter: Charter) -> Vault:
    """A new vault, or the one whose provisioning with the same keys and settings was cut off before its site settings
    were written. Raises AlreadyProvisioned: anything else is the custodian's to change, by an order."""
    try:
        Vault.provision(parts, charter)
    except AlreadyProvisioned:
        vault = Vault.open(parts, simulation=charter.simulation)
        formatted = replace(vault.charter, ring_bytes=charter.ring_bytes, hold_bytes=charter.hold_bytes)
        if formatted != charter or vault.names_document(SITE_DOCUMENT):
            raise
        return vault
    return Vault.open(parts, simulation=charter.simulation)


def enrol(vault: Vault, stick: Stick) -> None:
    """Leave the recorder's fingerprint on the stick, for the label and for the desk to pin. Raises OSError."""
    path = enrol_path(vault.device_id)
    if not stick.exists(path):
        stick.write(path, [enrolment(vault)])
        stick.sync()
