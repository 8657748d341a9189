"""An update is taken whole from the right hand, for this machine, forwards only, or not at all."""

import io
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from boot import update
from boot.update import UpdateFailed, UpdateRefused

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
CONTENT = {"root.squashfs": b"root" * 1000, "vmlinuz": b"kernel" * 77, "initrd": b"initial" * 33}


def bundle(folder: Path, key: Ed25519PrivateKey = KEY, version: int = 4, machine: str = "aarch64") -> bytes:
    files = {}
    for name, data in CONTENT.items():
        files[name] = folder / name
        files[name].write_bytes(data)
    out = io.BytesIO()
    update.make(out, files, key, version=version, machine=machine)
    return out.getvalue()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return bundle(tmp_path_factory.mktemp("release"))


def check(data: bytes, version: int = 3) -> update.Manifest:
    return update.check(io.BytesIO(data), KEY.public_key(), running_version=version, machine="aarch64")


def test_a_good_update_is_accepted(good: bytes) -> None:
    assert check(good).version == 4


def test_an_update_signed_by_a_stranger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpdateRefused, match="not signed with the key"):
        check(bundle(tmp_path, key=STRANGER))


@pytest.mark.parametrize("running", [4, 5])
def test_the_same_or_an_older_version_is_refused(good: bytes, running: int) -> None:
    with pytest.raises(UpdateRefused, match="is running"):
        check(good, version=running)


def test_an_update_for_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpdateRefused, match="x86_64"):
        check(bundle(tmp_path, machine="x86_64"))


@given(st.data())
def test_one_flipped_bit_anywhere_is_refused(good: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, len(good) * 8 - 1))
    changed = bytearray(good)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UpdateRefused):
        check(bytes(changed))


@given(st.data())
def test_a_cut_or_a_tail_is_refused(good: bytes, data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        changed = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        changed = good + data.draw(st.binary(min_size=1, max_size=9))
    with pytest.raises(UpdateRefused):
        check(changed)


def test_files_swapped_in_the_bundle_are_refused(good: bytes) -> None:
    start = good.index(CONTENT["root.squashfs"])
    body = good[start:]
    size = len(CONTENT["root.squashfs"])
    with pytest.raises(UpdateRefused, match="damaged"):
        check(good[:start] + body[size:] + body[:size])


@pytest.mark.parametrize(
    "text",
    [
        "version 4\nmachine aarch64\n",
        "version 4\nmachine aarch64\nfile ../root 1 " + "0" * 64 + "\n",
        "version 04\nmachine aarch64\nfile initrd 1 " + "0" * 64 + "\n",
        "version 4\nmachine aarch64\nfile initrd 1 " + "0" * 64 + "\n",
        "version 4\nmachine aarch64\n" + "".join(f"file {n} 9999999999 {'0' * 64}\n" for n in update.LIMITS),
        "version 4\nmachine aarch64\n" + "".join(f"file initrd 1 {'0' * 64}\n" for _ in range(3)),
    ],
)
def test_a_signed_but_impossible_list_is_refused(text: str) -> None:
    encoded = text.encode()
    head = update.MAGIC + len(encoded).to_bytes(4, "big") + encoded + KEY.sign(update.DOMAIN + encoded)
    with pytest.raises(UpdateRefused):
        check(head + bytes(100))


def test_the_other_slot_gets_exactly_the_files(good: bytes, tmp_path: Path) -> None:
    slot = tmp_path / "partition"
    slot.write_bytes(b"\xff" * 10_000)
    targets = {"root.squashfs": slot, "vmlinuz": tmp_path / "vmlinuz", "initrd": tmp_path / "initrd"}
    stream = io.BytesIO(good)
    manifest = update.check(stream, KEY.public_key(), running_version=3, machine="aarch64")
    update.write_slot(stream, manifest, targets)
    assert slot.read_bytes()[: len(CONTENT["root.squashfs"])] == CONTENT["root.squashfs"]
    assert slot.stat().st_size == 10_000
    assert targets["vmlinuz"].read_bytes() == CONTENT["vmlinuz"]


def test_a_stick_that_tells_two_stories_is_caught_while_copying(good: bytes, tmp_path: Path) -> None:
    manifest = check(good)
    lying = bytearray(good)
    lying[good.index(CONTENT["vmlinuz"])] ^= 1
    stream = io.BytesIO(bytes(lying))
    stream.seek(good.index(CONTENT["root.squashfs"]))
    targets = {name: tmp_path / name for name in CONTENT}
    with pytest.raises(UpdateRefused, match="vmlinuz"):
        update.write_slot(stream, manifest, targets)


def test_a_card_that_reads_back_something_else_is_told(
    good: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO(good)
    manifest = update.check(stream, KEY.public_key(), running_version=3, machine="aarch64")
    monkeypatch.setattr(update, "_digest", lambda file, size: "0" * 64)
    with pytest.raises(UpdateFailed, match="old slot goes on running"):
        update.write_slot(stream, manifest, {name: tmp_path / name for name in CONTENT})


def test_made_and_checked_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    (tmp_path / "key").write_bytes(private)
    (tmp_path / "pub").write_bytes(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    for name, data in CONTENT.items():
        (tmp_path / name).write_bytes(data)
    files = [str(tmp_path / name) for name in CONTENT]
    options = ["--version", "9", "--machine", "aarch64"]
    assert update.main(["make", str(tmp_path / "out"), *files, "--key", str(tmp_path / "key"), *options]) == 0
    running = ["--version", "8", "--machine", "aarch64"]
    assert update.main(["check", str(tmp_path / "out"), "--key", str(tmp_path / "pub"), *running]) == 0
    assert "version 9" in capsys.readouterr().out
    assert update.main(["check", str(tmp_path / "out"), "--key", str(tmp_path / "pub"), *options]) == 1
    assert "nothing was changed" in capsys.readouterr().err
