"""Taking the answers on a stick into the home: pin, copy, verify the copy, index, follow erasures and holds.

The copy is verified, not the stick: what was checked is what is kept. Nothing that does not match the pinned identity
is taken in; what is merely damaged is named and the rest stays usable.
"""

import os
import re
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from tools.desk import retention
from tools.desk.bundle import (
    DEVICE_DIRECTORY,
    LOG_BYTES_MAX,
    SMALL_BYTES_MAX,
    Bundle,
    enrolled_genesis,
    find_bundles,
    read_bundle,
)
from tools.desk.desk import Desk
from tools.desk.errors import MediumFailed, NotFound, NotVerified, Refused
from tools.desk.files import PRIVATE_FILE, make_directory, read_if_there
from tools.desk.findings import Finding, Severity
from tools.desk.home import Device
from tools.desk.indexing import Imported, index_answer
from tools.desk.keychain import AUDIT_LOG, genesis_of

_PART_OF_ANSWER = re.compile(
    r"bagit\.txt|bag-info\.txt|(tag)?manifest-sha512\.txt|REPLY\.txt|data/order\.txt|data/audit\.log"
    r"|data/certificates\.txt|data/health\.txt|data/site\.toml|data/[0-9]{1,6}\.(tcf|key)|data/index/[0-9]{1,6}\.key"
)
FILES_MAX = 100_000


def import_stick(desk: Desk, stick: Path) -> Imported:
    """Raises NotFound (nothing of a recorder there), NotVerified (another identity than the pinned one),
    MediumFailed."""
    if not (stick / "TACET").is_dir():
        raise NotFound(f"There is nothing of a recorder on {stick} (no directory TACET).")
    result = Imported()
    _pin_all(desk, stick, result)
    _read_replies(desk, stick, result)
    known = desk.library.answers()
    fresh = []
    for directory in find_bundles(stick):
        if directory.name in known:
            result.skipped += 1
        elif (directory / "tagmanifest-sha512.txt").exists():
            fresh.append(_take(desk, directory))
        elif desk.library.first_sight(sha256(directory.name.encode()).hexdigest()):
            what = "the recorder did not finish this answer; write a new order"
            result.findings.append(Finding(Severity.DAMAGED, f"answer {directory.name}", what))
    for bundle in sorted(fresh, key=lambda bundle: bundle.last_seq):
        index_answer(desk, bundle, result)
    return result


# ------------------------------------------------------------------------------------------------------- identity


def _pin_all(desk: Desk, stick: Path, result: Imported) -> None:
    for directory in sorted((stick / "TACET").iterdir()):
        if DEVICE_DIRECTORY.fullmatch(directory.name) and directory.is_dir() and directory.name != "PROVISION":
            _pin(desk, stick, directory.name, result)


def _pin(desk: Desk, stick: Path, device_id: str, result: Imported) -> None:
    """The first sight of a recorder pins its first signing key; a different one later is refused."""
    genesis = enrolled_genesis(stick, device_id) or _genesis_in_logs(stick, device_id)
    known = {device.device_id: device for device in desk.home.devices()}
    device = known.get(device_id)
    if genesis is None:
        return
    fingerprint = sha256(genesis).digest()
    if device is not None and device.fingerprint is not None:
        if device.fingerprint != fingerprint:
            raise NotVerified(
                f"{device_id} on this stick has another fingerprint than the one this home pinned; nothing was taken "
                "in. It is another recorder or a forgery: compare the label."
            )
        return
    if device is None:
        device = Device(device_id, device_id.startswith("SIM-"), desk.home.device_directory(device_id))
    pinned = replace(device, fingerprint=fingerprint, genesis_public=genesis)
    desk.home.save_device(pinned)
    desk.home.log.append("PIN", desk.now_utc_ms, {"device": device_id, "fingerprint": fingerprint.hex()})
    result.pinned.append(pinned)


def _genesis_in_logs(stick: Path, device_id: str) -> bytes | None:
    """Where ENROL.txt was lost: a log that reaches back to line 1 names the key too."""
    for directory in find_bundles(stick):
        if directory.parent.name == device_id:
            genesis = genesis_of(read_if_there(directory / AUDIT_LOG, LOG_BYTES_MAX) or b"")
            if genesis is not None:
                return genesis
    return None


def _read_replies(desk: Desk, stick: Path, result: Imported) -> None:
    """Those that this home has not read before: a stick keeps its old ones."""
    paths = [*sorted((stick / "TACET").glob("REPLY*.txt")), *sorted((stick / "TACET").glob("*/*/REPLY*.txt"))]
    for path in paths:
        data = read_if_there(path, SMALL_BYTES_MAX) if not path.is_symlink() else None
        text = (data or b"").decode("utf-8", "replace").replace("\r\n", "\n").strip()
        if text and desk.library.first_sight(sha256(text.encode()).hexdigest()):
            result.replies.append("".join(c for c in text if c.isprintable() or c == "\n"))
            result.refused = result.refused or text.startswith(("REFUSED", "FAILED"))


# ----------------------------------------------------------------------------------------------------- the copy


def _take(desk: Desk, directory: Path) -> Bundle:
    """The copy, verified. Raises NotVerified when it is not of the pinned recorder; the copy is then removed."""
    device_id = directory.parent.name
    target = retention.bag_directory(desk.home, device_id, directory.name)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    for name in _listed(directory):
        _copy(directory / name, part / name)
    part.rename(target)
    device = {device.device_id: device for device in desk.home.devices()}.get(device_id)
    pinned = device.fingerprint if device is not None else None
    genesis = device.genesis_public if device is not None else None
    bundle = read_bundle(target, genesis, pinned, desk.library.trusted_line(device_id))
    if pinned is not None and not bundle.chain.anchored:
        shutil.rmtree(target, ignore_errors=True)
        raise NotVerified(f"The answer {directory.name} is not of the recorder {device_id}; it was not taken in.")
    return bundle


def _listed(directory: Path) -> list[str]:
    names = []
    for root, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not (Path(root) / name).is_symlink()]
        for file in files:
            name = (Path(root) / file).relative_to(directory).as_posix()
            if _PART_OF_ANSWER.fullmatch(name):
                names.append(name)
        if len(names) > FILES_MAX:
            raise Refused(f"The answer {directory.name} has more files than any recorder writes; it was not taken in.")
    return sorted(names)


def _copy(source: Path, target: Path) -> None:
    make_directory(target.parent)
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), PRIVATE_FILE)
        with os.fdopen(made, "wb") as writing, os.fdopen(os.open(source, flags), "rb") as reading:
            shutil.copyfileobj(reading, writing, 1024 * 1024)
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as error:
        raise MediumFailed(f"{source} could not be copied: {error.strerror}; import the stick again.") from None
