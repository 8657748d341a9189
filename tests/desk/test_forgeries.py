"""The verifier's adversary: hundreds of answers that were spliced, cut, reordered, back-dated or flipped, with their
manifests made right again. Desk and offline reader must find every one; what is sound must stay usable."""

import hashlib
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import soundfile

from tests.desk.rig import ESCROW_PASSPHRASE, PASSPHRASE, Rig, run
from tools import ringread
from tools.desk import keys

FRAME_ALIGN = 4096


@dataclass(frozen=True)
class Genuine:
    """One answer with two calls of four frames each, and an earlier one of the same recorder; never changed."""

    home: Path
    stick: Path
    answer: Path
    earlier: Path
    fingerprint: bytes
    calls: tuple[str, str]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TACET_PASSPHRASE", PASSPHRASE)
        patch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
        patch.setattr(keys, "MEMORY_KIB", 64)
        patch.setattr(keys, "PASSES", 1)
        rig = Rig(tmp_path_factory.mktemp("genuine"))
        first, _ = rig.recorder.call(seed=1)
        rig.order("report")
        rig.recorder.plug(rig.stick)
        (earlier,) = rig.answers()
        second, _ = rig.recorder.call("02079460555", seed=2)
        rig.export()
        (answer,) = [path for path in rig.answers() if path != earlier]
        rig.take_in()
        return Genuine(rig.home, rig.stick, answer, earlier, rig.recorder.vault.fingerprint, (first, second))


# ------------------------------------------------------------------------------------------------------- the forger


def remake_manifests(bag: Path) -> None:
    """A forger knows how to hash."""
    payload = sorted(path for path in (bag / "data").rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha512(path.read_bytes()).hexdigest()}  {path.relative_to(bag).as_posix()}\n" for path in payload
    ]
    (bag / "manifest-sha512.txt").write_text("".join(lines))
    info = bag / "bag-info.txt"
    oxum = f"Payload-Oxum: {sum(path.stat().st_size for path in payload)}.{len(payload)}"
    info.write_text(re.sub(r"(?m)^Payload-Oxum: .*$", oxum, info.read_text()))
    tags = ["bagit.txt", "bag-info.txt", "manifest-sha512.txt"]
    lines = [f"{hashlib.sha512((bag / name).read_bytes()).hexdigest()}  {name}\n" for name in tags]
    (bag / "tagmanifest-sha512.txt").write_text("".join(lines))


def split(data: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(data):
        length = 192 + struct.unpack_from(">I", data, at + 28)[0]
        frames.append(data[at : at + length])
        at += length
    return frames


def records(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(data):
        kind, length = struct.unpack_from(">BI", data, at)
        found[kind] = data[at + 5 : at + 5 + length]
        at += 5 + length
    return found


def joined(found: dict[int, bytes]) -> bytes:
    return b"".join(struct.pack(">BI", kind, len(body)) + body for kind, body in found.items())


Forge = Callable[[Path, Path], None]
"""(the answer to be forged, the earlier genuine one)."""


def on_frames(change: Callable[[list[bytes]], list[bytes]]) -> Forge:
    def forge(bag: Path, earlier: Path) -> None:
        path = bag / "data/1.tcf"
        path.write_bytes(b"".join(change(split(path.read_bytes()))))

    return forge


def on_bytes(name: str, share: float, mask: int) -> Forge:
    def forge(bag: Path, earlier: Path) -> None:
        path = bag / "data" / name
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= mask
        path.write_bytes(data)

    return forge


def on_header(offset: int) -> Forge:
    """A byte of the second frame's header, with its CRC made right again."""

    def change(frames: list[bytes]) -> list[bytes]:
        header = bytearray(frames[1][:192])
        header[offset] ^= 0x40
        header[188:] = struct.pack(">I", crc32(header[:188]))
        return [frames[0], bytes(header) + frames[1][192:], *frames[2:]]

    return on_frames(change)


def on_records(change: Callable[[dict[int, bytes], dict[int, bytes]], dict[int, bytes]]) -> Forge:
    """(records of the first call, of the second) -> records of the first."""

    def forge(bag: Path, earlier: Path) -> None:
        one, two = (records((bag / f"data/{number}.key").read_bytes()) for number in (1, 2))
        (bag / "data/1.key").write_bytes(joined(change(one, two)))

    return forge


def on_log(change: Callable[[list[bytes]], list[bytes]]) -> Forge:
    def forge(bag: Path, earlier: Path) -> None:
        path = bag / "data/audit.log"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return forge


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _swap_calls(bag: Path, earlier: Path) -> None:
    one, two = bag / "data/1.tcf", bag / "data/2.tcf"
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


def _remove_call(bag: Path, earlier: Path) -> None:
    (bag / "data/2.tcf").unlink()
    (bag / "data/2.key").unlink()


def _add_call(bag: Path, earlier: Path) -> None:
    for kind in ("tcf", "key"):
        shutil.copy(bag / f"data/1.{kind}", bag / f"data/3.{kind}")


def _old_log(bag: Path, earlier: Path) -> None:
    shutil.copy(earlier / "data/audit.log", bag / "data/audit.log")


def _frame_of_the_other_call(bag: Path, earlier: Path) -> None:
    one, two = (split((bag / f"data/{number}.tcf").read_bytes()) for number in (1, 2))
    (bag / "data/1.tcf").write_bytes(b"".join([one[0], two[1], *one[2:]]))


def _other_order(bag: Path, earlier: Path) -> None:
    shutil.copy(earlier / "data/order.txt", bag / "data/order.txt")


def _made_up_certificate(bag: Path, earlier: Path) -> None:
    (bag / "data/certificates.txt").write_bytes(b"1|1|DESTROYED|op=erase|" + b"0" * 64 + b"|" + b"0" * 128 + b"\n")


FORGERIES: dict[str, Forge] = {
    "frames swapped": on_frames(lambda f: [f[1], f[0], *f[2:]]),
    "frames reversed": on_frames(lambda f: f[::-1]),
    "a frame twice": on_frames(lambda f: [f[0], f[0], *f[1:]]),
    "last frame twice": on_frames(lambda f: [*f, f[-1]]),
    "no frames": on_frames(lambda f: []),
    "a block of zeros between frames": on_frames(lambda f: [f[0], bytes(FRAME_ALIGN), *f[1:]]),
    "a block of noise at the end": on_frames(lambda f: [*f, b"\xa5" * FRAME_ALIGN]),
    "a frame cut in half": on_frames(lambda f: [*f[:-1], f[-1][:2000]]),
    "frames of the other call": _swap_calls,
    "one frame of the other call": _frame_of_the_other_call,
    "a call removed": _remove_call,
    "a call added": _add_call,
    "an older log": _old_log,
    "the log without its first line": on_log(lambda lines: lines[1:]),
    "the log cut before the disclosures": on_log(lambda lines: lines[:-3]),
    "two lines of the log swapped": on_log(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]),
    "an empty log": on_log(lambda lines: []),
    "a line of the log twice": on_log(lambda lines: [*lines, lines[-1]]),
    "the log's last line without its end": on_log(lambda lines: [*lines[:-1], lines[-1][:-20]]),
    "META of the other call": on_records(lambda one, two: one | {4: two[4]}),
    "META removed": on_records(lambda one, two: {kind: body for kind, body in one.items() if kind != 4}),
    "CLOSE of the other call": on_records(lambda one, two: one | {2: two[2]}),
    "CLOSE removed": on_records(lambda one, two: {kind: body for kind, body in one.items() if kind != 2}),
    "OPEN of the other call": on_records(lambda one, two: one | {1: two[1]}),
    "the sealed key of the other call": on_records(lambda one, two: one | {1: one[1][:38] + two[1][38:]}),
    "another order": _other_order,
    "a made-up certificate": _made_up_certificate,
}
FORGERIES |= {f"without frame {n}": on_frames(lambda f, n=n: f[:n] + f[n + 1 :]) for n in range(3)}  # type: ignore[misc]
FORGERIES |= {f"cut after frame {n}": on_frames(lambda f, n=n: f[:n]) for n in range(1, 3)}  # type: ignore[misc]
FORGERIES |= {f"header byte {at} with a right CRC": on_header(at) for at in range(8, 184, 4)}
FORGERIES |= {
    f"bit {n} of OPEN": on_records(lambda one, two, n=n: one | {1: flipped(one[1], n)})  # type: ignore[misc]
    for n in range(0, 200, 9)
}
FORGERIES |= {
    f"bit {n} of CLOSE": on_records(lambda one, two, n=n: one | {2: flipped(one[2], n)})  # type: ignore[misc]
    for n in range(0, 200, 9)
}
FORGERIES |= {
    f"bit {n} of META": on_records(lambda one, two, n=n: one | {4: flipped(one[4], n)})  # type: ignore[misc]
    for n in range(0, 400, 31)
}
FORGERIES |= {
    f"{name} at {n}/50": on_bytes(name, n / 50, 1 << n % 8) for name in ("1.tcf", "audit.log") for n in range(51)
}
DESK_ALONE = {"another order", "a made-up certificate"}
"""ringread reads calls and the log; index, order and certificates are the desk's."""


def forged(genuine: Genuine, forge: Forge, tmp_path: Path) -> Path:
    stick = tmp_path / "stick"
    shutil.copytree(genuine.stick, stick)
    bag = stick / genuine.answer.relative_to(genuine.stick)
    forge(bag, stick / genuine.earlier.relative_to(genuine.stick))
    remake_manifests(bag)
    return stick


def test_there_are_hundreds_of_forgeries() -> None:
    assert len(FORGERIES) >= 200


def test_what_nobody_forged_is_found_sound(genuine: Genuine, tmp_path: Path) -> None:
    stick = forged(genuine, lambda bag, earlier: None, tmp_path)
    assert run("verify", stick, "--home", genuine.home).code == 0


PLAIN = [name for name in FORGERIES if not re.search("bit|byte|at ", name)]
FINE = [name for name in FORGERIES if name not in PLAIN]
SAMPLE = PLAIN + FINE[::8]
"""Every kind of forgery, and one in eight of the many single bits; all of them in `make proof`."""


def found_by_the_desk(genuine: Genuine, name: str, tmp_path: Path) -> None:
    stick = forged(genuine, FORGERIES[name], tmp_path)
    checked = run("verify", stick, "--fingerprint", genuine.fingerprint.hex())
    assert checked.code in (6, 7), checked.out
    assert "Traceback" not in checked.err


def found_by_the_reader(genuine: Genuine, name: str, tmp_path: Path) -> None:
    stick = forged(genuine, FORGERIES[name], tmp_path)
    words = [str(stick), "--key", str(genuine.home / "custodian.key"), "--fingerprint", genuine.fingerprint.hex()]
    assert ringread.main([*words, "--out", str(tmp_path / "out")]) in (6, 7)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_desk_finds_the_forgery(genuine: Genuine, name: str, tmp_path: Path) -> None:
    found_by_the_desk(genuine, name, tmp_path)


@pytest.mark.parametrize("name", [name for name in SAMPLE if name not in DESK_ALONE])
def test_the_offline_reader_finds_the_forgery(genuine: Genuine, name: str, tmp_path: Path) -> None:
    found_by_the_reader(genuine, name, tmp_path)


@pytest.mark.proof
@pytest.mark.parametrize("name", list(FORGERIES))
def test_every_forgery_is_found(genuine: Genuine, name: str, tmp_path: Path) -> None:
    found_by_the_desk(genuine, name, tmp_path)
    if name not in DESK_ALONE:
        found_by_the_reader(genuine, name, tmp_path / "reader")


@pytest.mark.parametrize("keep_bytes", [None, 0, 150])
def test_an_answer_that_the_recorder_did_not_finish_is_not_called_verified(
    genuine: Genuine, keep_bytes: int | None, tmp_path: Path
) -> None:
    stick = forged(genuine, lambda bag, earlier: None, tmp_path)
    (manifest,) = stick.glob(f"TACET/*/{genuine.answer.name}/tagmanifest-sha512.txt")
    whole = manifest.read_bytes()
    manifest.unlink()
    if keep_bytes is not None:
        manifest.write_bytes(whole[:keep_bytes])
    checked = run("verify", stick, "--home", genuine.home)
    assert checked.code == 6, checked.out
    assert all(len(line) <= 160 for line in (checked.out + checked.err).splitlines())


@pytest.mark.parametrize("share", [n / 12 for n in range(13)])
def test_a_forged_index_is_found_or_changes_nothing(genuine: Genuine, share: float, tmp_path: Path) -> None:
    """A flag that no signature covers (held) must not be believed."""
    stick = forged(genuine, on_bytes("index/1.key", share, 1), tmp_path)
    home = tmp_path / "home"
    shutil.copytree(genuine.home, home)
    (home / "index.sealed").unlink()
    taken = run("import", "--home", home, "--stick", stick, "--now", "2026-03-02T09:30Z")
    listed = [run("list", "--json", "--home", path, "--now", "2026-03-02T09:30Z").out for path in (home, genuine.home)]
    assert taken.code in (6, 7) or listed[0] == listed[1]


def test_what_is_sound_of_a_damaged_answer_stays_usable(genuine: Genuine, tmp_path: Path) -> None:
    """One frame of the first call is ruined: the other call is whole, and of the first all else is heard."""
    stick = forged(genuine, on_frames(lambda f: [f[0], f[1][:300] + b"\xff" + f[1][301:], *f[2:]]), tmp_path)
    home = tmp_path / "home"
    shutil.copytree(genuine.home, home)
    (home / "index.sealed").unlink()
    taken = run("import", "--home", home, "--stick", stick, "--now", "2026-03-02T09:30Z")
    assert taken.code == 6
    assert f"call {genuine.calls[0]} frame 1: its ciphertext was changed" in taken.err
    out = {}
    for number, call_id in enumerate(genuine.calls):
        path = tmp_path / f"{number}.flac"
        words = ("--home", home, "--flac", path, "--now", "2026-03-02T09:30Z")
        out[number] = run("extract", call_id, *words).code
    assert out == {0: 6, 1: 0}
    ruined, _ = soundfile.read(tmp_path / "0.flac", dtype="int16")
    assert len(ruined) == 48_000
    assert np.count_nonzero(ruined[:8_000]) > 7_000, "the first frame is heard"
    assert np.count_nonzero(ruined[32_000:40_000]) > 7_000, "the last frame is heard"


def test_a_whole_forged_identity_is_unmasked_by_the_label(genuine: Genuine, tmp_path: Path) -> None:
    """Everything signed anew by another recorder is consistent in itself; only the fingerprint tells."""
    other = Rig(tmp_path, seed=2)
    other.recorder.call()
    other.export()
    assert "identity not checked" in run("verify", other.stick).out
    assert run("verify", other.stick, "--fingerprint", genuine.fingerprint.hex()).code == 7
    assert run("import", "--home", genuine.home, "--stick", genuine.stick).code == 0
