"""Evidence bags and access packs by the page: made as a sealed ZIP, handed to the browser, and gone from the home."""

from collections.abc import Mapping
from pathlib import Path

from firmware.evidence.order import Basis, Purpose, RecipientKind
from tools.desk.access import make_access_pack
from tools.desk.bag import Disclosure, Made, make_bag
from tools.desk.bag_seal import Sealing, check_sealing
from tools.desk.errors import Refused
from tools.desk.files import read_file
from tools.desk.retention import destroy_file
from tools.desk.web_session import Service, token

Form = Mapping[str, str]
LEAVING_DIRECTORY = "leaving"
ZIP_BYTES_MAX = 2 * 1024**3


def bag(service: Service, call_id: str, form: Form) -> tuple[str, bytes]:
    """(file name, ZIP). Raises DeskError."""
    try:
        kinds = RecipientKind(form.get("recipient", "")), Basis(form.get("basis", "")), Purpose(form.get("purpose", ""))
    except ValueError:
        raise Refused("Recipient, basis and purpose must be chosen; nothing left the house.") from None
    disclosure = Disclosure(*kinds, form.get("authoriser", "").strip(), form.get("case", "").strip() or None)
    out, sealing = _place(service, form)
    with service.desk() as desk:
        made = make_bag(desk, call_id, disclosure, out, sealing)
    return _taken(made)


def access(service: Service, call_id: str, form: Form) -> tuple[str, bytes]:
    """(file name, ZIP). Raises DeskError."""
    disclosure = Disclosure(
        RecipientKind.CALLER,
        Basis.LEGAL_OBLIGATION,
        Purpose.SUBJECT_ACCESS,
        form.get("authoriser", "").strip(),
        form.get("case", "").strip() or None,
    )
    stretches = [part.strip() for part in form.get("stretches", "").split(",") if part.strip()]
    out, sealing = _place(service, form)
    with service.desk() as desk:
        made = make_access_pack(desk, call_id, stretches, disclosure, out, sealing)
    return _taken(made)


def _place(service: Service, form: Form) -> tuple[Path, Sealing]:
    leaving = service.home.path / LEAVING_DIRECTORY
    for left in leaving.glob("*.zip*"):  # of a run that was interrupted
        destroy_file(left)
    out = leaving / f"{token()[:16]}.zip"
    sealing = Sealing(passphrase=form.get("passphrase", ""))
    check_sealing(out, sealing)
    return out, sealing


def _taken(made: Made) -> tuple[str, bytes]:
    data = read_file(made.path, ZIP_BYTES_MAX)
    destroy_file(made.path)
    return f"{made.name}.zip", data
