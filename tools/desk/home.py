"""A desk home: the directory that belongs to one person in one role.

::

    custodian.key escrow.key   the key files of this home (KEYFILE.md); supervisor.key in a supervisor's home
    people/                    public halves of persons whose keys live elsewhere
    devices/<id>/              the pack as provisioned, settings, notice, the pinned identity
    orders/<id>.txt            every order written here
    bags/<device>/<order>/     answers as they came back, still sealed
    index.sealed               the search index, sealed under the person's key
    audio/                     WAV and FLAC files made by `extract` without a place of their own
    desk.log                   who did what, chained
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware.evidence.fields import is_device_id
from tools.desk.errors import AlreadyThere, Damaged, NotFound
from tools.desk.files import make_directory, read_file, write_file
from tools.desk.keys import ROLES, Person, read_person
from tools.desk.log import DeskLog

HOME_FILE = "home.json"
HOME_FORMAT = 1
JSON_BYTES_MAX = 64 * 1024


@dataclass(frozen=True)
class Device:
    """A recorder as this home knows it. ``fingerprint`` and ``genesis_public`` are None until its ENROL.txt was
    imported."""

    device_id: str
    simulation: bool
    directory: Path
    fingerprint: bytes | None = None
    genesis_public: bytes | None = None

    def site_text(self) -> str:
        return read_file(self.directory / "SITE.toml", JSON_BYTES_MAX).decode("utf-8")


class Home:
    def __init__(self, path: Path, role: str) -> None:
        self.path = path
        self.role = role
        self.log = DeskLog(path / "desk.log")

    @classmethod
    def create(cls, path: Path, role: str) -> "Home":
        if (path / HOME_FILE).exists():
            raise AlreadyThere(f"{path} is a desk home already and was left as it is.")
        make_directory(path)
        write_file(path / HOME_FILE, _json({"format": HOME_FORMAT, "role": role}))
        return cls(path, role)

    @classmethod
    def open(cls, path: Path) -> "Home":
        if not (path / HOME_FILE).exists():
            raise NotFound(f"{path} is not a desk home; make one with `python -m tools.desk init --home {path}`.")
        settings = _read_json(path / HOME_FILE)
        role = settings.get("role")
        if settings.get("format") != HOME_FORMAT or role not in ROLES:
            raise Damaged(f"{path / HOME_FILE} is not of a kind that this desk knows.")
        return cls(path, str(role))

    # ------------------------------------------------------------------------------------------------- people

    def key_file(self, role: str | None = None) -> Path:
        return self.path / f"{role or self.role}.key"

    def persons(self) -> list[Person]:
        """Everybody this home would enrol: its own key files in the order of the roles, then the invited."""
        own = [read_person(self.key_file(role)) for role in ROLES if self.key_file(role).exists()]
        return own + [read_person(path) for path in sorted((self.path / "people").glob("*.pub"))]

    # ------------------------------------------------------------------------------------------------ devices

    def add_device(self, device: Device, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            write_file(device.directory / name, data, replace=True)
        self.save_device(device)

    def save_device(self, device: Device) -> None:
        facts = {
            "simulation": device.simulation,
            "fingerprint": device.fingerprint.hex() if device.fingerprint else None,
            "genesis_public": device.genesis_public.hex() if device.genesis_public else None,
        }
        write_file(device.directory / "device.json", _json(facts), replace=True)

    def device_directory(self, device_id: str) -> Path:
        return self.path / "devices" / device_id

    def devices(self) -> list[Device]:
        return [self._device(path.parent) for path in sorted((self.path / "devices").glob("*/device.json"))]

    def find_device(self, device_id: str | None) -> Device:
        """The named one, or the only one. Raises NotFound."""
        known = self.devices()
        if device_id is not None:
            known = [device for device in known if device.device_id == device_id.upper()]
            if not known:
                raise NotFound(f"This home knows no recorder {device_id.upper()}.")
        if not known:
            raise NotFound("This home has provisioned no recorder yet.")
        if len(known) > 1:
            names = ", ".join(device.device_id for device in known)
            raise NotFound(f"This home knows several recorders; say which with --device: {names}.")
        return known[0]

    def _device(self, directory: Path) -> Device:
        facts = _read_json(directory / "device.json")
        if not is_device_id(directory.name):
            raise Damaged(f"{directory} does not have a recorder's name.")
        try:
            fingerprint, genesis = (
                bytes.fromhex(str(facts[name])) if facts.get(name) else None
                for name in ("fingerprint", "genesis_public")
            )
        except ValueError:
            raise Damaged(f"{directory / 'device.json'} is damaged.") from None
        return Device(directory.name, bool(facts.get("simulation")), directory, fingerprint, genesis)


def _json(value: Mapping[str, object] | Sequence[object]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode("utf-8")


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(read_file(path, JSON_BYTES_MAX))
    except ValueError:
        raise Damaged(f"{path} is damaged: it is not JSON.") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path} is damaged.")
    return value
