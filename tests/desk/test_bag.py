"""The evidence bag, as its recipient sees it: whole, openable without our software, and saying only what it may."""

import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import bagit
import numpy as np
import pyrage
import pytest
import soundfile
from numpy.typing import NDArray

from firmware.evidence.order import Basis, Purpose, RecipientKind
from tests.desk.rig import ESCROW_PASSPHRASE, NOW, PASSPHRASE, Ran, Rig, run
from tools import ringread
from tools.desk import keys
from tools.desk.bag import Disclosure, check_disclosure
from tools.desk.errors import Refused

NUMBER = "02079460123"
ZIP_PASSPHRASE = "eighteen yellow bricks"
WHY = ("--recipient", "police", "--basis", "law-enforcement", "--purpose", "threats", "--authoriser", "A. Custodian")
EXPECTED = {
    "1.tcf", "1.key", "1.keys", "call.wav", "call.flac", "call.json", "gaps.csv", "audit.log", "health.txt",
    "disclosure.log", "order.txt", "disclosure.json", "ENROL.txt", "ringread.py", "FORMAT.md",
}  # fmt: skip


class World:
    """Two imported calls and a bag of the first; made once, read by many tests."""

    def __init__(self, root: Path) -> None:
        self.rig = Rig(root)
        self.call_id, self.axis = self.rig.recorder.call(NUMBER)
        self.other_id, _ = self.rig.recorder.call("02079460777", seed=9)
        assert self.rig.export().state == "done"
        assert self.rig.take_in().code == 0
        self.bag = root / "bag"
        made = self.make(self.bag)
        assert made.code == 0, made.err
        self.fingerprint = self.rig.recorder.vault.fingerprint.hex()

    def make(self, out: Path, *words: str, call_id: str = "") -> Ran:
        return self.rig.desk("bag", call_id or self.call_id, "--out", out, *WHY, *words)

    def check(self, bag: Path, out: Path, call_keys: Path | None = None) -> int:
        words = ["--call-keys", str(call_keys or bag / "data/1.keys"), "--fingerprint", self.fingerprint]
        return ringread.main([str(bag), *words, "--out", str(out)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TACET_PASSPHRASE", PASSPHRASE)
        patch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
        patch.setattr(keys, "MEMORY_KIB", 64)
        patch.setattr(keys, "PASSES", 1)
        yield World(tmp_path_factory.mktemp("bag"))


def copied(world: World, to: Path) -> Path:
    subprocess.run(["cp", "-r", str(world.bag), str(to)], check=True)
    return to


# ------------------------------------------------------------------------------------------------------- whole


def test_a_bag_validates_and_holds_everything_the_recipient_needs(world: World) -> None:
    bag = bagit.Bag(str(world.bag))
    assert bag.is_valid()
    assert bag.version_info == (1, 0)
    assert bag.algorithms == ["sha512"]
    assert {path.name for path in (world.bag / "data").iterdir()} == EXPECTED
    tagged = (world.bag / "tagmanifest-sha512.txt").read_text()
    assert {"index.html", "VERIFY.txt", "bagit.txt", "bag-info.txt", "manifest-sha512.txt"} == set(
        re.findall(r"(?m)  (\S+)$", tagged)
    )


def test_plain_sha512sum_checks_both_manifests(world: World) -> None:
    for name in ("tagmanifest-sha512.txt", "manifest-sha512.txt"):
        words = ["sha512sum", "--check", "--strict", "--quiet", name]
        checked = subprocess.run(words, cwd=world.bag, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_frames_and_keys_are_the_bytes_that_the_recorder_wrote(world: World) -> None:
    answer = world.rig.answers()[0]
    number = next(path for path in answer.glob("data/*.key") if bytes.fromhex(world.call_id) in path.read_bytes()[:40])
    for suffix in (".key", ".tcf"):
        assert (world.bag / f"data/1{suffix}").read_bytes() == number.with_suffix(suffix).read_bytes()


def test_the_shipped_verifier_finds_it_sound_by_the_pinned_fingerprint_alone(world: World, tmp_path: Path) -> None:
    words = ["data/ringread.py", ".", "--call-keys", "data/1.keys", "--fingerprint", world.fingerprint]
    done = subprocess.run(
        [sys.executable, *words, "--out", str(tmp_path / "out")],
        cwd=world.bag,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 damaged, 0 not verified" in done.stdout
    meta = json.loads((tmp_path / "out" / world.call_id / "meta.json").read_text())
    assert meta["number"] == NUMBER == json.loads((world.bag / "data/call.json").read_text())["number"]


def test_what_the_verifier_opens_is_what_the_copies_say_sample_for_sample(world: World, tmp_path: Path) -> None:
    assert world.check(world.bag, tmp_path / "out") == 0
    heard: NDArray[np.int16] = np.zeros(48_000, np.int16)
    folder = tmp_path / "out" / world.call_id
    for line in folder.joinpath("pieces.csv").read_text().splitlines()[1:]:
        name, first, samples, *_ = line.split(",")
        sound, _ = soundfile.read(io.BytesIO((folder / name).read_bytes()), dtype="int16")
        heard[int(first) : int(first) + int(samples)] = sound
    for name in ("call.wav", "call.flac"):
        sound, rate = soundfile.read(world.bag / "data" / name, dtype="int16")
        assert rate == 8000
        assert np.array_equal(sound, heard)
        assert np.array_equal(sound, world.axis)


def test_every_stretch_of_silence_is_named(world: World) -> None:
    assert (world.bag / "data/gaps.csv").read_text().splitlines()[1:] == [
        "16000,16000,2.000000,4.000000,payment",
        "40000,8000,5.000000,6.000000,not_kept",
    ]
    page = (world.bag / "index.html").read_text()
    assert 'data-start="16000" data-samples="16000"' in page
    assert "<strong>Payment.</strong>" in page


# -------------------------------------------------------------------------------------------------------- bext


def chunk(data: bytes, name: bytes) -> bytes:
    at = 12
    while data[at : at + 4] != name:
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    return data[at + 8 : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")]


def test_the_wav_says_which_recorder_made_it_and_when(world: World) -> None:
    """Field positions of EBU Tech 3285 clause 2.3."""
    bext = chunk((world.bag / "data/call.wav").read_bytes(), b"bext")
    assert bext[256:288].rstrip(b"\0").decode() == world.rig.device
    assert bext[288:320].decode() == world.call_id
    assert bext[320:330] == b"2026-03-02"
    assert bext[330:338].startswith(b"09:00:0")
    answered = json.loads((world.bag / "data/call.json").read_text())["answered_utc"]
    hours, minutes, seconds = answered[11:-1].split(":")
    since_midnight = (int(hours) * 3600 + int(minutes) * 60 + float(seconds)) * 8000
    assert int.from_bytes(bext[338:346], "little") == round(since_midnight)
    assert int.from_bytes(bext[346:348], "little") == 1


def test_the_number_is_in_no_name_and_in_no_sound_file(world: World) -> None:
    digits = NUMBER[-6:].encode()
    for path in world.bag.rglob("*"):
        assert digits.decode() not in path.name
        if path.suffix in (".wav", ".flac", ".log", ".txt", ".tcf", ".key", ".keys"):
            assert digits not in path.read_bytes(), path.name


# ---------------------------------------------------------------------------------------------------- tampering


@pytest.mark.parametrize(
    "name",
    [
        "1.tcf",
        "1.key",
        "call.wav",
        "call.json",
        "audit.log",
        "disclosure.json",
        "gaps.csv",
        "ringread.py",
        "../VERIFY.txt",
    ],
)
def test_one_changed_byte_is_noticed(world: World, tmp_path: Path, name: str) -> None:
    bag = copied(world, tmp_path / "bag")
    path = bag / "data" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not bagit.Bag(str(bag)).is_valid()
    assert world.check(bag, tmp_path / "out", world.bag / "data/1.keys") != 0


def test_a_forger_who_remakes_the_manifests_is_still_noticed(world: World, tmp_path: Path) -> None:
    bag = copied(world, tmp_path / "bag")
    for name in ("1.tcf", "1.key", "audit.log", "disclosure.log"):
        path = bag / "data" / name
        original = path.read_bytes()
        data = bytearray(original)
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        bagit.Bag(str(bag)).save(manifests=True)
        assert bagit.Bag(str(bag)).is_valid()
        assert world.check(bag, tmp_path / name) in (6, 7), name
        path.write_bytes(original)


def test_the_keys_of_one_call_open_no_other(world: World, tmp_path: Path) -> None:
    assert world.make(tmp_path / "other", call_id=world.other_id).code == 0
    assert (tmp_path / "other/data/1.keys").read_text() != (world.bag / "data/1.keys").read_text()
    assert world.check(tmp_path / "other", tmp_path / "out", world.bag / "data/1.keys") == 6
    forged = (world.bag / "data/1.keys").read_text().replace(world.call_id, world.other_id)
    (tmp_path / "forged.keys").write_text(forged)
    assert world.check(tmp_path / "other", tmp_path / "out", tmp_path / "forged.keys") == 6


def test_no_private_key_is_in_the_bag(world: World) -> None:
    private = keys.unlock(world.rig.home / "custodian.key", PASSPHRASE)
    secrets = (private.seal.private_bytes_raw(), private.request.private_bytes_raw())
    for path in world.bag.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(secret in data or secret.hex().encode() in data for secret in secrets)


def test_a_damaged_frame_is_named_and_the_rest_leaves_as_evidence(rig: Rig, tmp_path: Path) -> None:
    call_id, axis = rig.recorder.call()
    rig.export()
    rig.take_in()
    frames = next((rig.home / "bags").rglob("1.tcf"))
    data = bytearray(frames.read_bytes())
    data[-5] ^= 1
    frames.write_bytes(data)
    made = rig.desk("bag", call_id, "--out", tmp_path / "bag", *WHY)
    assert made.code == 6
    assert "its ciphertext was changed" in made.err
    page = (tmp_path / "bag/index.html").read_text()
    assert "Not everything is sound" in page
    assert "its ciphertext was changed" in page
    sound, _ = soundfile.read(tmp_path / "bag/data/call.wav", dtype="int16")
    assert np.array_equal(sound[:16_000], axis[:16_000])
    assert not sound[32_000:40_000].any()
    assert "damaged" in (tmp_path / "bag/data/gaps.csv").read_text()


# -------------------------------------------------------------------------------------------------------- sealing


def test_the_zip_opens_in_7_zip_with_its_passphrase_and_with_no_other(world: World, tmp_path: Path) -> None:
    secret = tmp_path / "zip-passphrase"
    secret.write_text(ZIP_PASSPHRASE + "\n")
    out = tmp_path / "bag.zip"
    assert world.make(out, "--zip-passphrase-file", str(secret)).code == 0
    listed = subprocess.run(["7z", "l", "-slt", str(out)], capture_output=True, text=True, check=True).stdout
    files = [block for block in listed.split("\n\n") if "Path = tacet-evidence" in block]
    assert len(files) == len(EXPECTED) + 6
    assert all("AES-256" in block for block in files)
    assert NUMBER not in listed
    wrong = subprocess.run(["7z", "t", "-pwrong passphrase", str(out)], capture_output=True, text=True, check=False)
    assert wrong.returncode != 0
    opened = ["7z", "x", f"-p{ZIP_PASSPHRASE}", f"-o{tmp_path / 'opened'}", str(out)]
    assert subprocess.run(opened, capture_output=True, check=False).returncode == 0
    (bag,) = (tmp_path / "opened").iterdir()
    assert bagit.Bag(str(bag)).is_valid()
    assert world.check(bag, tmp_path / "out") == 0
    sound, _ = soundfile.read(bag / "data/call.wav", dtype="int16")
    assert np.array_equal(sound, world.axis)


def test_an_age_recipient_and_nobody_else_opens_the_bag(world: World, tmp_path: Path) -> None:
    identity = pyrage.x25519.Identity.generate()
    out = tmp_path / "bag.age"
    assert world.make(out, "--age", str(identity.to_public())).code == 0
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(out.read_bytes(), [pyrage.x25519.Identity.generate()])
    with zipfile.ZipFile(io.BytesIO(pyrage.decrypt(out.read_bytes(), [identity]))) as archive:
        archive.extractall(tmp_path / "opened")
    (bag,) = (tmp_path / "opened").iterdir()
    assert bagit.Bag(str(bag)).is_valid()


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("bag.zip", ()),
        ("bag.zip", ("--zip-passphrase-file", "SHORT")),
        ("bag.age", ()),
        ("bag.age", ("--age", "age1nonsense")),
        ("bag", ("--zip-passphrase-file", "LONG")),
        ("bag", ("--age", "age1nonsense")),
    ],
)
def test_a_sealing_that_does_not_fit_leaves_nothing_behind(
    world: World, tmp_path: Path, out: str, words: tuple[str, ...]
) -> None:
    for name, text in (("SHORT", "short"), ("LONG", ZIP_PASSPHRASE)):
        (tmp_path / name).write_text(text)
    before = (world.rig.home / "desk.log").read_bytes()
    named = [str(tmp_path / word) if word in ("SHORT", "LONG") else word for word in words]
    made = world.make(tmp_path / out, *named)
    assert made.code == 5
    assert "nothing left the house" in made.err
    assert not (tmp_path / out).exists()
    assert (world.rig.home / "desk.log").read_bytes() == before


# ------------------------------------------------------------------------------------------------ log and limits


def test_the_disclosure_is_logged_before_the_first_byte_and_its_end_too(world: World) -> None:
    lines = [line for line in run("log", "--home", world.rig.home).out.splitlines() if world.call_id in line]
    intent, made = (next(line for line in lines if f"\t{event}\t" in line) for event in ("BAG", "BAG_MADE"))
    assert lines.index(intent) < lines.index(made)
    assert "recipient=police basis=law-enforcement purpose=threats" in intent
    assert "Custodian" not in intent, "free text has no place in the log"


def test_the_bag_is_named_in_the_log_by_the_hash_that_covers_it(world: World) -> None:
    digest = hashlib.sha256((world.bag / "tagmanifest-sha512.txt").read_bytes()).hexdigest()
    assert digest in run("log", "--home", world.rig.home).out


def test_nothing_left_the_house_when_the_log_cannot_be_written(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    log = rig.home / "desk.log"
    log.write_bytes(log.read_bytes().replace(b"PROVISION", b"PROVISIAN"))
    made = rig.desk("bag", call_id, "--out", tmp_path / "bag", *WHY)
    assert made.code == 6
    assert not (tmp_path / "bag").exists()


def test_a_call_past_its_limit_leaves_no_more(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    made = rig.desk("bag", call_id, "--out", tmp_path / "bag", *WHY, now="2026-05-02T00:00Z")
    assert made.code == 8
    assert not (tmp_path / "bag").exists()


def test_a_disclosed_call_stays_at_the_desk_past_its_limit_and_no_other_does(rig: Rig, tmp_path: Path) -> None:
    given, _ = rig.recorder.call()
    rig.recorder.call(seed=7)
    rig.export()
    rig.take_in()
    assert rig.desk("bag", given, "--out", tmp_path / "bag", *WHY).code == 0
    assert [call["id"] for call in rig.listed(now="2026-05-02T00:00Z")] == [given]


def test_no_opened_audio_stays_in_the_home(world: World) -> None:
    assert {path.name for path in world.rig.home.rglob("*.wav")} == {"NOTICE.wav"}
    assert not list(world.rig.home.rglob("*.flac"))
    assert not (world.rig.home / "work").exists()


def test_what_an_interrupted_run_left_is_destroyed_by_the_next(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.export()
    rig.take_in()
    left = rig.home / "work" / "tacet-evidence-x" / "data"
    left.mkdir(parents=True)
    (left / "call.wav").write_bytes(b"RIFF")
    assert rig.desk("bag", call_id, "--out", tmp_path / "bag", *WHY).code == 0
    assert not (rig.home / "work").exists()


@pytest.mark.parametrize("recipient", list(RecipientKind))
@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_supervisor_gives_out_for_quality_and_training_inside_the_house_only(
    recipient: RecipientKind, purpose: Purpose
) -> None:
    wish = Disclosure(recipient, Basis.LEGITIMATE_INTERESTS, purpose, "A. Supervisor")
    check_disclosure(wish, "custodian")
    if recipient.value == "internal" and purpose.value in ("quality", "training"):
        check_disclosure(wish, "supervisor")
    else:
        with pytest.raises(Refused, match="ask the custodian"):
            check_disclosure(wish, "supervisor")


def test_a_bag_is_never_written_over(world: World) -> None:
    again = world.make(world.bag)
    assert again.code == 9
    assert bagit.Bag(str(world.bag)).is_valid()


# --------------------------------------------------------------------------------------------------------- the page


def test_the_page_needs_no_network_and_runs_nothing_that_is_not_its_own(world: World) -> None:
    page = (world.bag / "index.html").read_text()
    assert "default-src 'none'" in page
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    named = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    assert named == {"data:,", "data/call.wav", "data/call.flac", "VERIFY.txt"}
    assert not re.search(r"\son[a-z]+=", page)


def test_no_text_of_a_person_becomes_markup(world: World, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    words = [word if word != "A. Custodian" else evil for word in WHY]
    made = world.rig.desk("bag", world.call_id, "--out", tmp_path / "bag", *words, "--case", evil)
    assert made.code == 0, made.err
    page = (tmp_path / "bag/index.html").read_text()
    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2


# ------------------------------------------------------------------------------------------------------- the slice


def test_a_bag_of_a_later_day_proves_its_keys_from_the_first_one(rig: Rig, tmp_path: Path) -> None:
    """The log of a week, of which the bag carries the hand-overs and one day."""
    world = rig.recorder.world
    for day in range(4):
        rig.recorder.call(f"0207946010{day}", seed=day + 2)
        world.clock.advance_ms(24 * 3_600_000)
        rig.recorder.vault.tick()
    call_id, _ = rig.recorder.call(NUMBER)
    now = "2026-03-06T09:30Z"
    window = ("--from", "2026-03-02T00:00Z", "--to", "2026-03-07T00:00Z")
    rig.order("export", *window, "--purpose", "quality", "--basis", "legitimate-interests", now=now)
    assert rig.recorder.plug(rig.stick).state == "done"
    assert rig.take_in(now=now).code == 0
    made = rig.desk("bag", call_id, "--out", tmp_path / "bag", *WHY, now=now)
    assert made.code == 0, made.err
    log = (tmp_path / "bag/data/audit.log").read_text()
    assert log.count("|DAYEND|") >= 4
    assert log.count("|CALL|") < 3, "calls of other days are nobody's business here"
    words = ["--call-keys", str(tmp_path / "bag/data/1.keys"), "--fingerprint", rig.recorder.vault.fingerprint.hex()]
    assert ringread.main([str(tmp_path / "bag"), *words, "--out", str(tmp_path / "out")]) == 0


def test_a_call_known_from_an_index_alone_cannot_leave(rig: Rig, tmp_path: Path) -> None:
    call_id, _ = rig.recorder.call()
    rig.order("index")
    rig.recorder.plug(rig.stick)
    rig.take_in()
    made = run("bag", call_id, "--home", rig.home, "--now", NOW, "--out", tmp_path / "bag", *WHY)
    assert made.code == 4
    assert "export order" in made.err
