"""Which folder may import what: one table, read from the source of every module."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDARD_PURE = {
    "dataclasses",
    "enum",
    "typing",
    "datetime",
    "collections",
    "itertools",
    "functools",
    "zoneinfo",
    "calendar",
    "math",
    "operator",
    "abc",
    "bisect",
    "re",
    "__future__",
}

ALLOWED = {
    "firmware/policy": {"firmware.policy", "firmware.units", *STANDARD_PURE},
    "firmware/dsp": {"firmware.dsp", "firmware.units", "firmware.policy.events", "numpy", *STANDARD_PURE},
    "firmware/voip": {
        "firmware.voip",
        "firmware.units",
        "firmware.ports",
        "firmware.policy",
        "numpy",
        "dpkt",
        "G722",
        "ipaddress",
        "struct",
        "hashlib",
        "socket",
        *STANDARD_PURE,
    },
    "firmware/store": {
        "firmware.store",
        "firmware.units",
        "firmware.ports",
        "firmware.policy",
        "numpy",
        "struct",
        "hashlib",
        "hmac",
        "json",
        "zlib",
        "queue",
        "threading",
        "cryptography",
        *STANDARD_PURE,
    },
    "firmware/evidence": {
        "firmware.evidence",
        "firmware.store",
        "firmware.units",
        "firmware.ports",
        "firmware.policy",
        "hashlib",
        "hmac",
        "base64",
        "binascii",
        "wave",
        "io",
        "struct",
        "queue",
        "threading",
        "unicodedata",
        *STANDARD_PURE,
    },
}

ONE_FILE_ONLY = {
    "cryptography": ("firmware", "firmware/store/ciphers.py"),
    "pyaudio": ("hw", "hw/portaudio.py"),
    "RPi": ("hw", "hw/gpio.py"),
    "soundfile": ("hw", None),
}

NEVER = {
    "firmware/policy": {"time", "os", "io", "logging", "threading", "random", "numpy"},
    "firmware/dsp": {"scipy", "time", "os"},
    "firmware/store": {"os", "time", "hw"},
}


def modules(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if ".venv" not in path.parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or name.startswith(entry + ".") for entry in allowed)


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_a_pure_folder_imports_nothing_beyond_its_row(folder: str) -> None:
    strangers = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(folder)
        for name in imports(path)
        if not within(name, ALLOWED[folder])
    }
    assert strangers == set()


@pytest.mark.parametrize("folder", sorted(NEVER))
def test_what_would_break_purity_is_named(folder: str) -> None:
    """The table above says what is allowed; this one guards the table itself."""
    assert not NEVER[folder] & ALLOWED[folder]


ROOTS = ("__main__.py", "wiring.py", "rehearsal.py")


def test_only_the_composition_roots_know_devices() -> None:
    guilty = {
        str(path.relative_to(ROOT))
        for path in modules("firmware")
        if path.name not in ("__main__.py", "wiring.py", "rehearsal.py")
        and any(within(name, {"hw"}) for name in imports(path))
    }
    assert guilty == set()


def test_no_adapter_knows_the_mind() -> None:
    allowed = {"firmware.ports", "firmware.units", "firmware.policy.events", "hw"}
    guilty = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules("hw")
        for name in imports(path)
        if name.startswith("firmware") and not within(name, allowed)
    }
    assert guilty == set()


@pytest.mark.parametrize("vendor", sorted(name for name, (_, only) in ONE_FILE_ONLY.items() if only))
def test_one_vendor_package_one_file(vendor: str) -> None:
    folder, only = ONE_FILE_ONLY[vendor]
    users = {str(path.relative_to(ROOT)) for path in modules(folder) if any(within(n, {vendor}) for n in imports(path))}
    assert users <= {only}


def test_the_offline_reader_stands_alone() -> None:
    allowed = {"cryptography"} | set(sys.stdlib_module_names)
    strangers = {name for name in imports(ROOT / "tools/ringread.py") if not within(name, allowed)}
    assert strangers == set()


def test_tools_do_not_reach_into_the_running_recorder() -> None:
    forbidden = {"firmware.loop", "firmware.appliance", "firmware.recording", "hw"}
    demonstration = {"tools/demo.py"}
    guilty = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules("tools")
        if str(path.relative_to(ROOT)) not in demonstration
        for name in imports(path)
        if within(name, forbidden)
    }
    assert guilty == set()
