"""The log cannot be shortened, reordered or rewritten, ends where it was acknowledged, forgets after twelve months."""

from dataclasses import replace
from itertools import count

import pytest

from firmware.store import rotate
from firmware.store.audit import Signer, compose, parse_line, verify_line
from firmware.store.auditlog import AuditDamaged
from firmware.store.ciphers import REAL
from firmware.store.errors import Malformed
from firmware.store.identity import Geometry
from firmware.store.vault import Vault
from hw.sim.disk import SimDisk
from tests.store import reader
from tests.store.listening import trusted
from tests.store.world import DAY_MS, SMALL, World

SEED = bytes(range(32))


def test_every_line_of_three_months_verifies_from_the_genesis_key_alone() -> None:
    world = World()
    for _ in range(90):
        world.vault.log("ORDER", {"op": "index", "order": b"\x01\x02", "calls": 3})
        world.sleep(DAY_MS, DAY_MS)
    trust = trusted(world.vault)
    assert trust.problems == []
    assert len(trust.keys) == 91
    assert [line.seq for line in trust.lines] == list(range(trust.lines[0].seq, trust.lines[-1].seq + 1))


def test_a_full_log_wraps_and_the_epochs_still_verify() -> None:
    world = World()
    for _ in range(20):
        for _ in range(30):
            world.vault.log("ORDER", {"op": "index"})
        world.sleep(DAY_MS, DAY_MS)
    lines = [parse_line(raw) for raw in world.vault.audit_lines()]
    assert lines[0].event == "DAYEND"
    trust = trusted(world.vault)
    assert trust.problems == []
    assert trust.lines[0].seq > 50
    world.cut()
    assert trusted(world.vault).problems == []
    assert trusted(world.vault).lines[-1].seq == trust.lines[-1].seq + 1
    read_only = Vault.read_ledger(world.disk)
    assert read_only == world.vault.ledger_rows()


def test_lines_older_than_twelve_months_are_zeroed_and_dayends_kept() -> None:
    world = World(geometry=Geometry(**{**SMALL.__dict__, "audit_segments": 64}))
    secret = b"\xab\xcd\xef" * 5
    world.vault.log("ORDER", {"order": secret})
    for _ in range(410):
        world.sleep(DAY_MS, DAY_MS)
    assert secret.hex().encode() not in world.disk.read("audit.a", 0, world.disk.size("audit.a"))
    assert secret.hex().encode() not in world.disk.read("audit.b", 0, world.disk.size("audit.b"))
    trust = trusted(world.vault)
    assert trust.problems == []
    oldest = next(world.vault._core.log.lines())
    assert world.now() - 400 * DAY_MS < oldest.utc_ms < world.now() - 365 * DAY_MS
    assert len(trust.keys) == SMALL.epochs


def test_the_last_epoch_key_stays_when_the_epochs_are_used_up() -> None:
    world = World(geometry=Geometry(**{**SMALL.__dict__, "epochs": 3}))
    for _ in range(6):
        world.sleep(DAY_MS, DAY_MS)
        world.call(seconds=0.2)
    world.cut()
    trust = trusted(world.vault)
    assert trust.problems == []
    assert max(trust.keys) == 2


def test_from_seq_on() -> None:
    world = World()
    seq = world.vault.log("ORDER", {})
    world.vault.log("ORDER", {})
    assert [parse_line(raw).seq for raw in world.vault.audit_lines(seq)] == [seq, seq + 1]


@pytest.mark.parametrize("mirror", ["a", "b"])
def test_a_flipped_bit_anywhere_in_one_copy_of_the_log_is_healed_or_read_around(mirror: str) -> None:
    world = World()
    for _ in range(40):
        world.vault.log("ORDER", {"op": "index"})
    world.sleep(2 * DAY_MS, DAY_MS)
    world.vault.log("ORDER", {"op": "index"})
    expected = list(world.vault.audit_lines())
    image, memory = world.disk.freeze(), world.memory.content
    used = world.vault._core.log.cursor.position
    for at in range(7, used, 397):
        world.disk, world.memory.content = world.disk.__class__(image), memory
        old = world.disk.read(f"audit.{mirror}", at, 1)[0]
        world.disk.corrupt(f"audit.{mirror}", at, bytes([old ^ (1 << at % 8)]))
        world.boot()
        assert list(world.vault.audit_lines())[: len(expected)] == expected


def test_both_copies_damaged_is_said_not_hidden() -> None:
    world = World()
    for _ in range(30):
        world.vault.log("ORDER", {"op": "index"})
    for mirror in "ab":
        world.disk.corrupt(f"audit.{mirror}", 700, b"!!!!")
    with pytest.raises(AuditDamaged) as caught:
        list(world.vault.audit_lines())
    assert caught.value.code == "AUDIT_DAMAGED"


def test_both_copies_of_a_kept_dayend_damaged_is_said() -> None:
    world = World()
    for _ in range(20):
        for _ in range(30):
            world.vault.log("ORDER", {"op": "index"})
        world.sleep(DAY_MS, DAY_MS)
    world.disk.corrupt("epochs.a", 10, b"!")
    assert trusted(world.vault).problems == []
    world.disk.corrupt("epochs.b", 10, b"!")
    with pytest.raises(AuditDamaged):
        list(world.vault.audit_lines())


def test_a_torn_append_is_ended_and_the_log_goes_on() -> None:
    world = World()
    expected = list(world.vault.audit_lines())
    position = world.vault._core.log.cursor.position
    world.disk.corrupt("audit.a", position, b"99|garbage without an end")
    world.boot()
    assert list(world.vault.audit_lines())[: len(expected)] == expected
    world.cut()
    assert trusted(world.vault).problems == []


class PowerCut(BaseException):
    """Not an error that anything may catch."""


@pytest.mark.parametrize("spoilt", ["a", "b"])
def test_a_cut_while_one_copy_is_healed_spoils_no_line_of_the_other(spoilt: str) -> None:
    """The sector that was being written at the cut is garbage: it may not be one whose other copy is garbage, too."""
    number = 0
    while True:
        world = World()
        for _ in range(3):
            world.vault.log("ORDER", {"op": "index"})
        expected = list(world.vault.audit_lines())
        sector = world.vault._core.log.cursor.position // 512 * 512
        world.disk.corrupt(f"audit.{spoilt}", sector, b"\xa7" * 512)
        with pytest.MonkeyPatch.context() as patch:
            _tear(patch, world.disk, number)
            try:
                world.boot()
                break
            except PowerCut:
                pass
        world.boot()
        assert list(world.vault.audit_lines())[: len(expected)] == expected, number
        number += 1
    assert number > 3


def _tear(patch: pytest.MonkeyPatch, disk: SimDisk, number: int) -> None:
    """The power fails in this write to the log, which leaves garbage in the first sector of it."""
    real, writes = disk.write_durable, count()

    def write(name: str, offset: int, data: bytes) -> None:
        if name.startswith("audit") and next(writes) == number:
            disk.corrupt(name, offset // 512 * 512, b"\x5c" * 512)
            raise PowerCut
        real(name, offset, data)

    patch.setattr(disk, "write_durable", write)


def test_free_text_never_gets_into_the_log() -> None:
    world = World()
    for fields in ({"op": "Mr Smith"}, {"op": "020 7946"}, {"Op": 1}, {"op": "x|y"}):
        with pytest.raises(AssertionError):
            world.vault.log("ORDER", fields)
    with pytest.raises(AssertionError):
        world.vault.log("order", {})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"1|2|EVENT||" + b"0" * 64,
        b"0|2|EVENT||" + b"0" * 64 + b"|" + b"0" * 128,
        b"1|2|EVENT|a|" + b"0" * 64 + b"|" + b"0" * 128,
        b"1|2|EVENT|a=b;c|" + b"0" * 64 + b"|" + b"0" * 128,
        b"1|2|EVENT|=b|" + b"0" * 64 + b"|" + b"0" * 128,
        b"1|2|event||" + b"0" * 64 + b"|" + b"0" * 128,
        b"1|2|EVENT||" + b"0" * 63 + b"|" + b"0" * 128,
        b"1|2|EVENT|a=b-|" + b"0" * 64 + b"|" + b"0" * 128,
    ],
)
def test_malformed_lines_are_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_line(raw)


def test_a_field_that_is_no_integer_is_malformed() -> None:
    raw = compose(1, 2, "EVENT", {"a": "word"}, bytes(32), Signer(REAL, "d", SEED))
    line = parse_line(raw)
    for key in ("a", "b"):
        with pytest.raises(Malformed):
            line.integer(key)
    assert parse_line(compose(1, 2, "EVENT", {"a": -5}, bytes(32), Signer(REAL, "d", SEED))).integer("a") == -5


def test_a_line_belongs_to_its_device_and_its_key() -> None:
    raw = compose(1, 2, "EVENT", {}, bytes(32), Signer(REAL, "device", SEED))
    key = REAL.public_key(SEED)
    assert verify_line(REAL, "device", parse_line(raw), key)
    assert not verify_line(REAL, "other", parse_line(raw), key)
    assert not verify_line(REAL, "device", parse_line(raw), REAL.public_key(bytes(32)))


# -------------------------------------------------------------------------------------------------- against a forger


@pytest.fixture(scope="module")
def days() -> tuple[World, list[bytes]]:
    world = World()
    for _ in range(5):
        for _ in range(3):
            world.vault.log("ORDER", {"op": "index"})
        world.sleep(DAY_MS, DAY_MS)
    return world, list(world.vault.audit_lines())


def problems(world: World, lines: list[bytes]) -> list[str]:
    return reader.trust(world.vault.device_id, world.vault.genesis_public_key, lines).problems


def test_dropping_any_line_but_the_first_or_last_is_noticed(days: tuple[World, list[bytes]]) -> None:
    world, lines = days
    assert problems(world, lines) == []
    for number in range(1, len(lines) - 1):
        assert problems(world, lines[:number] + lines[number + 1 :]), number


def test_swapping_repeating_or_changing_any_line_is_noticed(days: tuple[World, list[bytes]]) -> None:
    world, lines = days
    for number in range(len(lines) - 1):
        swapped = [*lines[:number], lines[number + 1], lines[number], *lines[number + 2 :]]
        assert problems(world, swapped), number
        assert problems(world, [*lines[: number + 1], lines[number], *lines[number + 1 :]]), number
        changed = lines[number].replace(b"op=index", b"op=erase").replace(b"lines=", b"lines=1")
        if changed != lines[number]:
            assert problems(world, [*lines[:number], changed, *lines[number + 1 :]]), number


def test_a_later_key_cannot_sign_an_earlier_day(days: tuple[World, list[bytes]]) -> None:
    world, lines = days
    later = world.vault._core.table.seed
    for number, raw in enumerate(lines):
        line = parse_line(raw)
        if line.event != "ORDER":
            continue
        forged = compose(line.seq, line.utc_ms, "ORDER", {"op": "none"}, line.prev, Signer(REAL, "tacet-0001", later))
        assert problems(world, [*lines[:number], forged])


def test_another_devices_log_and_another_genesis_key_are_refused(days: tuple[World, list[bytes]]) -> None:
    world, lines = days
    assert reader.trust("other", world.vault.genesis_public_key, lines).problems
    assert reader.trust(world.vault.device_id, REAL.public_key(SEED), lines).problems
    assert reader.split_lines(b"\n".join(lines) + b"\n") == lines


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"epoch": 1, "lines": 2, "next": bytes(32)}, "epoch"),
        ({"epoch": 0, "lines": 3, "next": bytes(32)}, "count"),
        ({"epoch": 0, "lines": 2, "next": bytes(31)}, "malformed"),
        ({"epoch": 0, "lines": 2, "next": "nonsense"}, "malformed"),
        ({"epoch": 0, "lines": 2}, "malformed"),
    ],
)
def test_a_day_end_that_lies_is_refused(fields: dict[str, object], problem: str) -> None:
    signer = Signer(REAL, "d", SEED)
    first = compose(1, 5, "PROVISIONED", {}, bytes(32), signer)
    dayend = compose(2, 6, "DAYEND", fields, parse_line(first).hash, signer)  # type: ignore[arg-type]
    found = reader.trust("d", REAL.public_key(SEED), [first, dayend]).problems
    assert len(found) == 1
    assert problem in found[0]


def alarms(world: World) -> set[str]:
    return {alarm.code for alarm in world.vault.tick() if alarm.active}


def test_the_log_heals_a_recent_line_in_either_copy_without_touching_the_next() -> None:
    for mirror in "ab":
        world = World()
        start = world.vault._core.log.cursor.position
        for _ in range(4):
            world.vault.log("ORDER", {"op": "index"})
        lines = list(world.vault.audit_lines())
        world.disk.corrupt(f"audit.{mirror}", start + 400, b"\xff")
        world.boot()
        assert list(world.vault.audit_lines())[: len(lines)] == lines
        assert "MIRROR_HEALED" in alarms(world)
        end = world.vault._core.log.cursor.position
        copies = [world.disk.read(f"audit.{other}", 0, end) for other in "ab"]
        assert copies[0] == copies[1]


def test_a_log_that_ends_exactly_at_the_end_of_a_segment_survives_a_boot() -> None:
    world = World()
    log = world.vault._core.log
    while True:
        before = log.cursor.position
        world.vault.log("ORDER", {"op": "index"})
        room = -log.cursor.position % 8192
        length = log.cursor.position - before
        if length <= room < 900:
            break
    world.vault.log("ORDER", {"op": "index", "x": "a" * (room - length - 3)} if room > length + 3 else {"op": "index"})
    end = log.cursor.position % 8192
    lines = list(world.vault.audit_lines())
    world.boot()
    assert list(world.vault.audit_lines())[: len(lines)] == lines
    assert end == 0


def test_lines_logged_while_the_log_is_handed_out_are_left_for_the_next_time() -> None:
    world = World()
    for _ in range(60):
        world.vault.log("ORDER", {"op": "index"})
    there = list(world.vault.audit_lines())
    handed_out = world.vault.audit_lines()
    first = next(handed_out)
    world.vault.log("ORDER", {"op": "index"})
    assert [first, *handed_out] == there


def test_a_segment_lost_in_both_copies_is_said() -> None:
    world = World()
    for _ in range(90):
        world.vault.log("ORDER", {"op": "index"})
    for mirror in "ab":
        world.disk.corrupt(f"audit.{mirror}", 8192, bytes(8192))
    with pytest.raises(AuditDamaged):
        list(world.vault.audit_lines())


def test_the_log_before_the_table_spoilt_in_both_copies_neither_stops_a_boot_nor_is_hidden() -> None:
    world = World()
    world.vault.log("ORDER", {"op": "index"})
    rotate.plain(world.vault._core)
    world.disk.corrupt("audit.a", 30, b"!")
    world.disk.corrupt("audit.b", 40, b"!")
    world.boot()
    with pytest.raises(AuditDamaged):
        list(world.vault.audit_lines())


def test_all_epochs_used_up_and_older_than_the_log() -> None:
    world = World(geometry=replace(SMALL, epochs=3))
    world.sleep(5 * DAY_MS, DAY_MS)
    for _ in range(700):
        world.vault.log("ORDER", {"op": "index"})
    events = [parse_line(raw).event for raw in world.vault.audit_lines()]
    assert events[:2] == ["DAYEND", "DAYEND"]
    assert set(events[2:]) == {"ORDER"}
    assert trusted(world.vault).problems == []
