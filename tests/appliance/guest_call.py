"""The sound of a test call, from the script that plays it inside the machine: one source for both ends."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

_PATH = Path(__file__).with_name("guest") / "usr/lib/tacet-test/call.py"
_SPEC = importlib.util.spec_from_file_location("guest_call_script", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

sound: Callable[[int, float], bytes] = _MODULE.sound
