"""One contract for the port ``ErasableMemory``: nvmem parts (as files here), the degraded file, the simulated part."""

import errno
import os
from pathlib import Path

import pytest

from firmware.ports import ErasableMemory
from hw.nvmem import PARTS, FileMemory, NvmemMemory
from hw.sim.memory import SLOT_BYTES, Failure, SimMemory, SlotWrite, torn

SIZES = {"at24": 32768, "ds3232": 236, "mcp794xx": 64}


def _part(root: Path, size: int) -> Path:
    (root / "part0").mkdir()
    path = root / "part0" / "nvmem"
    path.write_bytes(bytes(size))
    return path


@pytest.fixture(params=[*SIZES, "file", "sim"])
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> ErasableMemory:
    if request.param == "sim":
        return SimMemory()
    if request.param == "file":
        return FileMemory(tmp_path / "memory", create=True)
    _part(tmp_path, SIZES[request.param])
    return NvmemMemory("part0", request.param, root=tmp_path)


def test_a_fresh_memory_reads_sixty_four_zeros(memory: ErasableMemory) -> None:
    assert memory.read() == bytes(64)


def test_slots_are_written_and_zeroed_apart_from_each_other(memory: ErasableMemory) -> None:
    one, other = bytes(range(32)), bytes(range(100, 132))
    memory.write_slot(0, one)
    memory.write_slot(1, other)
    assert memory.read() == one + other
    memory.zero_slot(0)
    assert memory.read() == bytes(32) + other
    memory.write_slot(0, one)
    memory.zero_slot(1)
    assert memory.read() == one + bytes(32)


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    FileMemory(tmp_path / "memory", create=True).write_slot(1, b"r" * 32)
    assert FileMemory(tmp_path / "memory", create=True).read() == bytes(32) + b"r" * 32
    _part(tmp_path, 64)
    NvmemMemory("part0", "mcp794xx", root=tmp_path).write_slot(0, b"r" * 32)
    assert NvmemMemory("part0", "mcp794xx", root=tmp_path).read() == b"r" * 32 + bytes(32)


def test_the_slots_of_an_eeprom_lie_in_different_pages(tmp_path: Path) -> None:
    path = _part(tmp_path, 32768)
    memory = NvmemMemory("part0", "at24", root=tmp_path)
    memory.write_slot(0, b"a" * 32)
    memory.write_slot(1, b"b" * 32)
    assert abs(path.read_bytes().index(b"b") - path.read_bytes().index(b"a")) >= 256


@pytest.mark.parametrize(("kind", "size"), [("ds3232", 56), ("mcp794xx", 56), ("at24", 256), ("ds3232", 0)])
def test_a_part_that_is_too_small_is_refused_a_ds1307_too(tmp_path: Path, kind: str, size: int) -> None:
    _part(tmp_path, size)
    with pytest.raises(OSError, match=str(PARTS[kind].size_bytes_min)):
        NvmemMemory("part0", kind, root=tmp_path)


def test_a_part_that_is_not_there_is_an_error_never_a_file_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NvmemMemory("part0", "at24", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "kind"), [("part0", "file"), ("part0", "ds1307"), ("../part0", "at24"), ("", "at24")])
def test_an_unknown_kind_or_a_path_for_a_name_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    with pytest.raises(OSError, match=r".") as refused:
        NvmemMemory(name, kind, root=tmp_path)
    assert refused.value.errno == errno.EINVAL


def test_a_part_that_does_not_take_a_write_is_found_by_reading_back(tmp_path: Path) -> None:
    """/dev/zero takes every write and reads as zeros: a write-protected EEPROM does the same."""
    _part(tmp_path, 64)
    memory = NvmemMemory("part0", "mcp794xx", root=tmp_path)
    path = tmp_path / "part0" / "nvmem"
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="did not take"):
        memory.write_slot(0, b"r" * 32)
    memory.zero_slot(0)


def test_a_part_that_was_pulled_is_an_error_at_the_next_call(tmp_path: Path) -> None:
    path = _part(tmp_path, 64)
    memory = NvmemMemory("part0", "mcp794xx", root=tmp_path)
    path.unlink()
    for act in (memory.read, lambda: memory.zero_slot(0)):
        with pytest.raises(FileNotFoundError):
            act()


def test_the_file_memory_is_private_and_follows_no_link(tmp_path: Path) -> None:
    FileMemory(tmp_path / "memory", create=True)
    assert os.stat(tmp_path / "memory").st_mode & 0o777 == 0o600
    (tmp_path / "target").write_bytes(bytes(64))
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match=r"."):
        FileMemory(tmp_path / "link").read()


def test_a_file_memory_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "memory").write_bytes(bytes(63))
    with pytest.raises(OSError, match="63"):
        FileMemory(tmp_path / "memory", create=True)


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    assert FileMemory(tmp_path / "memory", create=True).kind == "file"
    assert SimMemory().kind == "sim"


# -------------------------------------------------------------------------------------------- the simulated part


def test_a_cut_may_leave_any_number_of_bytes_of_a_slot() -> None:
    memory = SimMemory(b"o" * 64)
    before = memory.content
    memory.write_slot(1, b"n" * 32)
    (write,) = memory.history
    images = {torn(before, write, done) for done in range(SLOT_BYTES + 1)}
    assert len(images) == SLOT_BYTES + 1
    assert {before, memory.content} <= images


def test_a_failing_write_leaves_what_was_done_and_raises() -> None:
    memory = SimMemory()
    memory.hook = lambda number, kind, slot: Failure(bytes_done=5) if number == 0 else None
    with pytest.raises(OSError, match="does not answer"):
        memory.write_slot(0, b"n" * 32)
    assert memory.read() == b"n" * 5 + bytes(59)
    assert memory.history == [SlotWrite(0, bytes(32), b"n" * 5 + bytes(27))]


def test_an_unplugged_part_answers_nothing_and_changes_nothing() -> None:
    memory = SimMemory(b"r" * 64)
    memory.unplugged = True
    for act in (memory.read, lambda: memory.zero_slot(0), lambda: memory.write_slot(1, bytes(32))):
        with pytest.raises(OSError, match="does not answer"):
            act()
    assert memory.content == b"r" * 64
