"""Coverage-guided fuzzing of everything that a stick may say: orders, packs, sealed calls. With atheris, where it is
installed.

    python -m tests.longrun.fuzz_orders [-max_total_time=3600] [CORPUS]

Whatever the bytes are, they are refused by the class of error that the parser names, or parsed; nothing else may
happen.
"""

import importlib
import importlib.util
import sys

from firmware.evidence import note, order, pack
from firmware.evidence.fields import FieldError
from firmware.store.ciphers import REAL
from firmware.store.errors import Malformed
from tests.longrun.fuzz_voip import functions
from tests.store import reader


def one_input(data: bytes) -> None:
    try:
        found = note.parse(data)
        order.parse(found.lines)
        pack.parse_text(found, REAL.verify)
    except (note.NoteError, FieldError):
        pass
    try:
        reader.parse_key_file(data)
        reader.split_frames(data)
        reader.parse_index(data)
    except Malformed:
        pass


def main() -> int:
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: nothing was fuzzed. `pip install atheris` and start again.")
        return 0
    atheris = importlib.import_module("atheris")
    for package in ("firmware.evidence", "firmware.store"):
        for function in functions(package):
            atheris.instrument_func(function)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
