"""One contract for the port ``Disk``: the real card, the simulated one and the rude wrapper keep it alike."""

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.ports import Disk
from hw.disk import OPEN_FILES_MAX, DirectoryDisk
from hw.sim.disk import SECTOR_BYTES, RudeDisk, SimDisk

KIB = 1024


@pytest.fixture(params=["directory", "memory_file_system", "sim", "rude"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param in ("sim", "rude"):
        yield SimDisk() if request.param == "sim" else RudeDisk(SimDisk())
        return
    if request.param == "directory":
        yield DirectoryDisk(tmp_path)
        return
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("no /dev/shm here: a file system without O_DIRECT cannot be shown")
    folder = shared / f"tacet-{os.getpid()}-{random.getrandbits(32):08x}"
    folder.mkdir()
    yield DirectoryDisk(folder)
    _remove(folder)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()


def test_a_created_file_is_zeros_of_the_asked_size(disk: Disk) -> None:
    disk.create("ring", 3 * KIB * KIB + 512)
    assert disk.size("ring") == 3 * KIB * KIB + 512
    assert not any(disk.read("ring", 0, disk.size("ring")))


def test_names_are_sorted_and_reach_into_folders(disk: Disk) -> None:
    for name in ("ring", "bag/0002.a", "bag/0001.b", "empty"):
        disk.create(name, 0 if name == "empty" else 64)
    assert disk.names() == ["bag/0001.b", "bag/0002.a", "empty", "ring"]


def test_creating_what_is_there_is_refused_and_changes_nothing(disk: Disk) -> None:
    disk.create("ring", 100)
    disk.write("ring", 0, b"kept")
    with pytest.raises(FileExistsError):
        disk.create("ring", 200)
    assert disk.read("ring", 0, 4) == b"kept"
    assert disk.size("ring") == 100


def test_a_write_is_seen_before_and_after_its_sync(disk: Disk) -> None:
    disk.create("ring", 8 * KIB)
    disk.write("ring", 1000, b"x" * 1000)
    assert disk.read("ring", 999, 1002) == b"\0" + b"x" * 1000 + b"\0"
    disk.sync("ring")
    assert disk.read("ring", 999, 1002) == b"\0" + b"x" * 1000 + b"\0"


@pytest.mark.parametrize("offset", [0, 4096, 100])
@pytest.mark.parametrize("length", [4096, 131072, 5])
def test_a_durable_write_is_seen_by_reads_and_by_later_writes(disk: Disk, offset: int, length: int) -> None:
    disk.create("ring", 256 * KIB)
    data = random.Random(offset + length).randbytes(length)
    disk.write("ring", 0, b"before" * 20)
    disk.write_durable("ring", offset, bytearray(data))
    assert disk.read("ring", offset, length) == data
    disk.write("ring", offset, b"after")
    assert disk.read("ring", offset, 5) == b"after"
    disk.write_durable("ring", offset, memoryview(data))
    assert disk.read("ring", offset, length) == data


def test_a_file_that_is_not_there_is_enoent(disk: Disk) -> None:
    for act in (lambda: disk.size("none"), lambda: disk.read("none", 0, 1), lambda: disk.write("none", 0, b"x")):
        with pytest.raises(OSError, match="none") as missing:
            act()
        assert missing.value.errno == errno.ENOENT


def test_reading_or_writing_past_the_end_fails_and_never_grows_the_file(disk: Disk) -> None:
    disk.create("ring", 4096)
    for act in (
        lambda: disk.read("ring", 4095, 2),
        lambda: disk.write("ring", 4095, b"xx"),
        lambda: disk.write_durable("ring", 4096, bytes(4096)),
    ):
        with pytest.raises(OSError, match="ring") as failure:
            act()
        assert failure.value.errno == errno.EIO
    assert disk.size("ring") == 4096


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "durable", "sync"]), st.integers(0, 20000), st.binary(min_size=1, max_size=9000)
        ),
        max_size=12,
    )
)
def test_real_and_simulated_card_show_the_same_bytes_after_any_writes(story: list[tuple[str, int, bytes]]) -> None:
    shown = bytearray(32768)
    simulated = SimDisk()
    simulated.create("f", len(shown))
    for what, offset, data in story:
        if what == "sync":
            simulated.sync("f")
            continue
        act = simulated.write if what == "write" else simulated.write_durable
        act("f", offset, data)
        shown[offset : offset + len(data)] = data
    assert simulated.read("f", 0, len(shown)) == shown


# -------------------------------------------------------------------------------------------- the real one alone


def test_a_link_in_the_card_is_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret of another program")
    card = tmp_path / "card"
    (card / "bag").mkdir(parents=True)
    (card / "ring").symlink_to(outside)
    (card / "links").symlink_to(tmp_path, target_is_directory=True)
    disk = DirectoryDisk(card)
    for name in ("ring", "links/outside"):
        with pytest.raises(OSError, match=r".") as refused:
            disk.read(name, 0, 1)
        assert refused.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert disk.names() == []


def test_a_device_or_pipe_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ring")
    with pytest.raises(OSError, match="regular"):
        DirectoryDisk(tmp_path).read("ring", 0, 1)


def test_more_files_than_descriptors_are_kept_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    disk = DirectoryDisk(tmp_path)
    names = [f"bag/{number:04}" for number in range(OPEN_FILES_MAX + 40)]
    for name in names:
        disk.create(name, 64)
        disk.write(name, 0, name.encode())
        disk.sync(name)
    assert all(disk.read(name, 0, len(name)) == name.encode() for name in names)
    assert len(os.listdir("/proc/self/fd")) - before <= OPEN_FILES_MAX + 2
    disk.close()


def test_a_second_recorder_on_the_same_card_is_refused(tmp_path: Path) -> None:
    first = DirectoryDisk(tmp_path, exclusive=True)
    with pytest.raises(BlockingIOError):
        DirectoryDisk(tmp_path, exclusive=True)
    first.close()
    DirectoryDisk(tmp_path, exclusive=True).close()


def test_an_unfinished_creation_left_by_a_cut_is_no_file_and_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "ring~").write_bytes(b"half")
    disk = DirectoryDisk(tmp_path)
    assert disk.names() == []
    disk.create("ring", 4096)
    assert disk.read("ring", 0, 4096) == bytes(4096)


def test_durable_writes_of_whole_pages_bypass_the_cache_where_the_file_system_can(tmp_path: Path) -> None:
    disk = DirectoryDisk(tmp_path)
    disk.create("ring", 8192)
    disk.write_durable("ring", 4096, b"d" * 4096)
    assert (tmp_path / "ring").read_bytes()[4096:] == b"d" * 4096


# ------------------------------------------------------------------------------------------ the simulated one alone


def test_unsynced_sectors_vanish_and_tear_at_a_cut_and_synced_ones_never() -> None:
    seen = set()
    for seed in range(300):
        disk = SimDisk()
        disk.create("f", 4 * SECTOR_BYTES)
        disk.write("f", 0, b"a" * 2 * SECTOR_BYTES)
        disk.sync("f")
        disk.write("f", SECTOR_BYTES, b"b" * 2 * SECTOR_BYTES)
        disk.write_durable("f", 3 * SECTOR_BYTES, b"d" * SECTOR_BYTES)
        after = disk.cut(random.Random(seed)).read("f", 0, 4 * SECTOR_BYTES)
        assert after[:SECTOR_BYTES] == b"a" * SECTOR_BYTES
        assert after[3 * SECTOR_BYTES :] == b"d" * SECTOR_BYTES
        middle = after[SECTOR_BYTES : 3 * SECTOR_BYTES]
        seen.add((middle[:1] + middle[511:513] + middle[-1:]).decode("latin-1"))
    assert {"aa\0\0", "bbbb", "aabb", "bb\0\0"} <= seen, "lost, kept, reordered"
    assert len(seen) > 4, "and torn"


def test_each_version_since_the_last_sync_may_be_the_one_that_survives() -> None:
    survivors = set()
    for seed in range(100):
        disk = SimDisk()
        disk.create("f", SECTOR_BYTES)
        for version in b"123":
            disk.write("f", 0, bytes([version]) * SECTOR_BYTES)
        survivors.add(disk.cut(random.Random(seed), torn=False).read("f", 0, 1))
    assert survivors == {b"\0", b"1", b"2", b"3"}


def test_a_failed_sync_shows_the_data_until_the_cut_takes_it() -> None:
    def fail(number: int, kind: str, name: str) -> None:
        if kind == "sync":
            raise OSError(errno.EIO, "medium error", name)

    lost = 0
    for seed in range(40):
        disk = SimDisk(rng=random.Random(seed))
        disk.create("f", SECTOR_BYTES)
        disk.write("f", 0, b"x" * SECTOR_BYTES)
        disk.hook = fail
        with pytest.raises(OSError, match="medium error"):
            disk.sync("f")
        disk.hook = None
        disk.sync("f")
        assert disk.read("f", 0, 1) == b"x", "the page cache lies"
        lost += disk.cut(random.Random(0)).read("f", 0, 1) == b"\0"
    assert 0 < lost < 40


def test_the_kth_call_fails_for_every_k() -> None:
    def story(disk: SimDisk) -> None:
        disk.create("f", 4096)
        disk.write("f", 0, b"x")
        disk.sync("f")
        disk.write_durable("f", 5, b"y")
        disk.read("f", 0, 1)

    counted = SimDisk()
    story(counted)
    assert counted.calls == 5
    for k in range(counted.calls):

        def fail(number: int, kind: str, name: str, k: int = k) -> None:
            if number == k:
                raise OSError(errno.ENOSPC, "no room", name)

        disk = SimDisk()
        disk.hook = fail
        with pytest.raises(OSError, match="no room"):
            story(disk)
        assert disk.calls == k + 1


def test_the_adversary_sees_every_version_ever_written() -> None:
    disk = SimDisk()
    disk.create("f", 4096)
    disk.write("f", 0, b"secret")
    disk.write("f", 0, b"zeroes")
    disk.sync("f")
    written = b"".join(act.data for act in disk.history if hasattr(act, "data"))
    assert b"secret" in written
    assert b"zeroes" in written


def test_a_full_card_refuses_writes_and_still_reads(tmp_path: Path) -> None:
    disk = RudeDisk(DirectoryDisk(tmp_path))
    disk.create("f", 4096)
    disk.write_durable("f", 0, b"kept")
    disk.full = True
    with pytest.raises(OSError, match="no space") as full:
        disk.write("f", 0, b"lost")
    assert full.value.errno == errno.ENOSPC
    assert disk.read("f", 0, 4) == b"kept"


def test_a_stall_moves_time_before_the_write_returns() -> None:
    stalls: list[int] = []
    disk = RudeDisk(SimDisk())
    disk.create("f", 64)
    disk.stall = lambda: stalls.append(1)
    disk.write("f", 0, b"x")
    disk.sync("f")
    assert len(stalls) == 2
