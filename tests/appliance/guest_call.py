"""The sound of a test call, from the script that plays it inside the machine: one source for both ends."""

import importlib.util
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tools.linesound import caller_id, silence

_PATH = Path(__file__).with_name("guest") / "usr/lib/tacet-test/call.py"
_SPEC = importlib.util.spec_from_file_location("guest_call_script", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

sound: Callable[[int, float], bytes] = _MODULE.sound

NUMBER = "02079460018"
"""Of Ofcom's numbers for drama."""


def caller_id_message() -> bytes:
    """int16 at 8 kHz: the caller's number as it is sent before the first ring."""
    quiet = silence(0.5).tobytes()
    return quiet + caller_id(NUMBER, datetime(2026, 3, 2, 9, 30, tzinfo=UTC)).tobytes() + quiet
