"""The device's Python packages for an image: wheels by the ordinary client, and PyAudio, which has none for Linux.

PyAudio is one C module. It is compiled for the device by this machine's own (cross) compiler against the device's own
headers and libraries, which are unpacked and never run: seconds, and the same for every architecture.
"""

import base64
import hashlib
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = "3.11"
"""Debian 12's, and so the device's."""
HEADERS = ("libc6-dev", f"libpython{PYTHON}-dev", "portaudio19-dev")
MANYLINUX = ("2014", "_2_17", "_2_27", "_2_28", "_2_31", "_2_34")
ZIP_DATE = (1980, 1, 1, 0, 0, 0)

Run = Callable[[list[str]], object]


def requirements() -> str:
    return (REPOSITORY / "requirements.txt").read_text()


def download(machine: str, folder: Path, run: Run) -> Path:
    """Every package of requirements.txt for ``machine`` (as uname tells it) into ``folder``; PyAudio's source."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    lines = [line for line in requirements().splitlines() if line and not line.startswith("#")]
    [sound] = [line for line in lines if line.lower().startswith("pyaudio")]
    ours = [line.partition(";")[0].strip() for line in lines if line != sound and _wanted_on(line, machine)]
    platforms = [part for level in MANYLINUX for part in ("--platform", f"manylinux{level}_{machine}")]
    version = PYTHON.replace(".", "")
    target = ["--only-binary=:all:", "--python-version", version, "--implementation", "cp", *platforms]
    run([*pip, *target, *ours])
    run([*pip, "--no-deps", "--no-binary=:all:", sound])
    [source] = folder.glob("[Pp]y[Aa]udio-*.tar.gz")
    return source


def _wanted_on(line: str, machine: str) -> bool:
    return "platform_machine" not in line or machine in line


def compile_sound(machine: str, source: Path, headers: Path, work: Path, run: Run) -> None:
    """``source``: PyAudio's; ``headers``: a tar of the device's (``HEADERS``). The wheel is put beside the source."""
    shutil.rmtree(work, ignore_errors=True)
    system = work / "system"
    system.mkdir(parents=True)
    run(["tar", "-xf", str(headers), "-C", str(system)])
    with tarfile.open(source) as archive:
        archive.extractall(work, filter="data")
    package = work / source.name.removesuffix(".tar.gz")
    code = package / "src/pyaudio"
    library = work / f"_portaudio.cpython-{PYTHON.replace('.', '')}-{machine}-linux-gnu.so"
    compiler = [f"{machine}-linux-gnu-gcc", f"--sysroot={system}", f"-ffile-prefix-map={work}=.", "-shared", "-fPIC"]
    flags = ["-O2", "-DNDEBUG", "-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro,-z,now", "-s"]
    include = ["-I", str(system / f"usr/include/python{PYTHON}")]
    sources = [str(path) for path in sorted(code.glob("*.c"))]
    run([*compiler, *flags, *include, *sources, "-lportaudio", "-o", str(library)])
    contents = {
        "pyaudio/__init__.py": (code / "__init__.py").read_bytes(),
        f"pyaudio/{library.name}": library.read_bytes(),
    }
    name, _, version = package.name.rpartition("-")
    write_wheel(source.parent, name, version, machine, contents, (package / "PKG-INFO").read_bytes())
    shutil.rmtree(work)


def write_wheel(
    folder: Path, name: str, version: str, machine: str, contents: Mapping[str, bytes], metadata: bytes
) -> Path:
    """A wheel as the packaging guide's "binary distribution format" has it; the same bytes for the same contents."""
    tag = f"cp{PYTHON.replace('.', '')}"
    about = f"{name}-{version}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: tacet\nRoot-Is-Purelib: false\nTag: {tag}-{tag}-linux_{machine}\n"
    files = {**contents, f"{about}/METADATA": metadata, f"{about}/WHEEL": wheel.encode()}
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in files.items())
    files[f"{about}/RECORD"] = f"{record}{about}/RECORD,,\n".encode()
    path = folder / f"{name}-{version}-{tag}-{tag}-linux_{machine}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, data in files.items():
            entry = zipfile.ZipInfo(inner, ZIP_DATE)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
