"""The last green run of the emulated machine, as a file in the repository (why: firmware/DECISIONS.md).

``green.txt`` beside this file holds a digest of everything that the run depends on. A whole green run of
``make test-appliance`` writes it; it is committed with the change it proves.
"""

import hashlib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDERS = ("boot", "hw", "firmware/store")
STAMP = Path(__file__).with_name("green.txt")


def state(repository: Path = REPOSITORY) -> str:
    """Of the files' contents, not of a commit: the run comes before the commit that it proves."""
    digest = hashlib.sha256()
    for folder in FOLDERS:
        for path in sorted((repository / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                data = path.read_bytes()
                digest.update(f"{path.relative_to(repository)}\n{len(data)}\n".encode() + data)
    return digest.hexdigest()


def proven() -> bool:
    return STAMP.is_file() and STAMP.read_text().strip() == state()


def write() -> None:
    STAMP.write_text(state() + "\n")
