"""The subject access pack: the caller's copy holds nothing of what was removed, and proves the rest."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import bagit
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.desk.rig import ESCROW_PASSPHRASE, PASSPHRASE, Ran, Rig, noise
from tests.store.world import meta, row
from tools import ringread
from tools.desk import keys
from tools.desk.access import outside
from tools.desk.spans import Span, joined

REMOVED = ("0.5-0.9", "4.2-4.3")
FIRST, END = 4_000, 7_200
"""The first stretch in samples at 8 kHz."""


class World:
    """One call with a third party in it, and its access pack."""

    def __init__(self, root: Path) -> None:
        self.rig = Rig(root)
        self.call_id, self.axis = self._call()
        self.rig.export()
        assert self.rig.take_in().code == 0
        self.frames = next((self.rig.home / "bags").rglob("1.tcf"))
        self.before = self.frames.read_bytes()
        self.pack = root / "copy"
        made = self.make(self.pack, *REMOVED)
        assert made.code == 0, made.err

    def _call(self) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.int16]]]:
        """12 s in frames of 2 s, so that some frames are touched by a removal and some are not."""
        vault, clock = self.rig.recorder.vault, self.rig.recorder.world.clock
        axis = noise(96_000, 5)
        opened = vault.now_utc_ms()
        call_id = vault.open_call(0, opened, meta=meta(None, opened))
        for first in range(0, 96_000, 800):
            vault.append_audio(call_id, first, 800, axis[None, first : first + 800])
        vault.flush(call_id)
        clock.advance_ms(12_000)
        ended = vault.now_utc_ms()
        vault.close_call(
            call_id, meta("02079460123", opened, ended_utc_ms=ended, samples=96_000), row(0, opened, ended)
        )
        return call_id.hex(), axis

    def make(self, out: Path, *stretches: str) -> Ran:
        words = [word for stretch in stretches for word in ("--remove", stretch)]
        return self.rig.desk("access-pack", self.call_id, "--out", out, "--authoriser", "A. Custodian", *words)

    def check(self, pack: Path, out: Path) -> int:
        fingerprint = self.rig.recorder.vault.fingerprint.hex()
        return ringread.main([str(pack), "--opened", "--fingerprint", fingerprint, "--out", str(out)])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TACET_PASSPHRASE", PASSPHRASE)
        patch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
        patch.setattr(keys, "MEMORY_KIB", 64)
        patch.setattr(keys, "PASSES", 1)
        yield World(tmp_path_factory.mktemp("access"))


def test_what_was_removed_is_silence_and_the_rest_is_the_call_sample_for_sample(world: World) -> None:
    expected = world.axis.copy()
    expected[FIRST:END] = 0
    expected[33_600:34_400] = 0
    for name in ("call.wav", "call.flac"):
        sound, _ = soundfile.read(world.pack / "data" / name, dtype="int16")
        assert np.array_equal(sound, expected)
    table = (world.pack / "data/removed.csv").read_text().splitlines()[1:]
    assert table == ["4000,3200,0.500000,0.900000", "33600,800,4.200000,4.300000"]


_SPANS = st.lists(st.tuples(st.integers(0, 90), st.integers(1, 20)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(silent=_SPANS, cuts=_SPANS)
def test_the_reasons_left_are_those_outside_the_removed_stretches(
    silent: list[tuple[int, int]], cuts: list[tuple[int, int]]
) -> None:
    """Sample by sample: where something was removed nothing else is told, elsewhere nothing is lost."""
    spans = joined(sorted(Span(first, samples, "payment") for first, samples in silent))
    removed = joined(sorted(Span(first, samples, "removed") for first, samples in cuts))
    left = outside(spans, removed)
    told, cut, before = (
        {at for span in group for at in range(span.first, span.end)} for group in (left, removed, spans)
    )
    assert told == before - cut
    assert all(span.samples > 0 for span in left)


def test_nothing_in_the_pack_opens_what_was_removed(world: World) -> None:
    """No key of the call, and no frame that a removed stretch touches."""
    names = {path.name for path in world.pack.rglob("*")}
    assert names.isdisjoint({"1.keys", "1.tcf"})
    assert world.rig.desk("bag", world.call_id, "--out", world.rig.root / "whole", "--recipient", "police", "--basis",
                          "law-enforcement", "--purpose", "fraud", "--authoriser", "B").code == 0  # fmt: skip
    secret = (world.rig.root / "whole/data/1.keys").read_text().split("dek: ")[1][:64]
    for path in world.pack.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert secret.encode() not in data
            assert bytes.fromhex(secret) not in data


def test_the_verifier_opens_every_untouched_frame_without_a_key(world: World, tmp_path: Path) -> None:
    assert world.check(world.pack, tmp_path / "out") == 0
    report = (tmp_path / "out/report.txt").read_text()
    assert "2 not given out" in report
    folder = tmp_path / "out" / world.call_id
    opened = 0
    for line in folder.joinpath("pieces.csv").read_text().splitlines()[1:]:
        name, first, samples, *_ = line.split(",")
        sound, _ = soundfile.read(folder / name, dtype="int16")
        assert np.array_equal(sound, world.axis[int(first) : int(first) + int(samples)])
        assert not (int(first) < END and int(first) + int(samples) > FIRST), "a touched frame was given out"
        opened += int(samples)
    assert opened >= 48_000


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_a_changed_byte_of_an_opened_frame_is_noticed_though_the_manifests_are_remade(
    world: World, tmp_path: Path, at: float
) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(world.pack, pack)
    path = pack / "data/1.opened"
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)
    bagit.Bag(str(pack)).save(manifests=True)
    assert world.check(pack, tmp_path / "out") in (6, 7)


def test_the_original_is_untouched_and_the_pack_is_tied_to_it_by_hashes(world: World) -> None:
    assert world.frames.read_bytes() == world.before
    original = json.loads((world.pack / "data/original.json").read_text())
    assert original["frames_sha256"] == hashlib.sha256(world.before).hexdigest()
    assert original["key_file_sha256"] == hashlib.sha256((world.pack / "data/1.key").read_bytes()).hexdigest()


def test_the_pack_tells_nothing_of_other_calls(world: World) -> None:
    text = (world.pack / "data/keys.log").read_text()
    assert "|CALL|" not in text
    assert "|DISCLOSE|" not in text
    assert not (world.pack / "data/audit.log").exists()


def test_the_pack_is_a_bag_with_a_page_that_says_what_was_removed(world: World) -> None:
    assert bagit.Bag(str(world.pack)).is_valid()
    page = (world.pack / "index.html").read_text()
    assert "2 stretches were removed" in page
    assert page.count("<strong>Removed.</strong>") == 2


@pytest.mark.parametrize("stretch", ["4-3", "1-1", "x", "1", "-1-2", "13-14", "1e3-2e3", "1-2-3"])
def test_a_stretch_that_makes_no_sense_is_refused_and_nothing_leaves(
    world: World, tmp_path: Path, stretch: str
) -> None:
    words = ("access-pack", world.call_id, "--out", tmp_path / "p", "--authoriser", "A", f"--remove={stretch}")
    made = world.rig.desk(*words)
    assert made.code == 5
    assert not (tmp_path / "p").exists()
