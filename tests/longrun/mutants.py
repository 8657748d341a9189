# ruff: noqa: E501 (lines of the store are quoted whole)
"""The tests are tested: known protocol bugs, put into the production store one at a time, and every one found.

    python -m tests.longrun.mutants            all of them, one process each; the table of MUTANTS.md
    python -m tests.longrun.mutants NAME...    only these

A mutant is a replacement of source text that must occur exactly once, made in memory while the module is imported in a
process of its own; the tree is not touched. ``equivalent`` names why a mutant cannot be told from the original, which
MUTANTS.md argues in writing; such a mutant must *survive*, or the argument is wrong. The unchanged store is hunted first,
with all of them: what finds it finds nothing.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType

SUMMARY = Path(__file__).with_name("mutants.txt")
"""The last line of the last whole run, for FIGURES.md."""
SURVIVED, KILLED, BROKEN = 0, 7, 9
"""Exit codes of a mutant's process; BROKEN: the text to replace is not there (any more)."""


@dataclass(frozen=True)
class Edit:
    module: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]
    hunt: tuple[str, ...]
    """Workloads of the explorer, ``years``, or the path of a test file, in the order in which they are tried."""
    equivalent: str = ""


def _one(name: str, module: str, old: str, new: str, *hunt: str, equivalent: str = "") -> Mutant:
    return Mutant(name, (Edit(f"firmware.{module}", old, new),), hunt, equivalent)


_TABLE_FIRST = Edit(
    "firmware.store.rotate",
    "    for mirror in MIRRORS:\n        name = tables.file_of(table.gen, mirror)",
    "    erasable.write_confirmed(core.parts.memory, table.gen & 1, erasable.encode_slot(table.gen, root))\n"
    "    for mirror in MIRRORS:\n        name = tables.file_of(table.gen, mirror)",
)
_NEWEST_ONLY = Edit("firmware.store.recover", "for gen, index, root in valid:", "for gen, index, root in valid[:1]:")

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "in-place slot write",
        (
            Edit(
                "firmware.store.rotate",
                "write_confirmed(memory, gen & 1, prepared.slot)",
                "write_confirmed(memory, 0, prepared.slot)",
            ),
            Edit("firmware.store.rotate", "    erasable.zero_confirmed(memory, (gen - 1) & 1)\n", ""),
            Edit("firmware.store.recover", "found is not None and index == gen & 1", "found is not None"),
        ),
        ("opt-outs",),
    ),
    _one("single table file", "store.table", 'f"kt{gen & 1}.{mirror}"', 'f"kt0.{mirror}"', "everyday", "opt-outs"),
    _one(
        "no slot CRC",
        "store.erasable",
        'if gen == 0 or crc32(b"slot1" + body) != check:',
        "if gen == 0:",
        "everyday",
        "opt-outs",
        "interrupted",
        equivalent="trial decryption of the table refuses a torn root",
    ),
    Mutant(
        "slot before table",
        (_TABLE_FIRST,),
        ("everyday", "opt-outs", "interrupted"),
        "recovery tries both slots",
    ),
    Mutant(
        "newest slot only",
        (_NEWEST_ONLY,),
        ("everyday", "opt-outs", "interrupted"),
        "the table is durable before its slot",
    ),
    Mutant("slot before table and newest slot only", (_TABLE_FIRST, _NEWEST_ONLY), ("opt-outs",)),
    _one(
        "recovery does not zero the other slot",
        "store.recover",
        "if any(other):",
        "if False:",
        "opt-outs",
        equivalent="each boot ends in a ROTATE that overwrites that slot",
    ),
    _one(
        "recovery zeroes only a valid other slot",
        "store.recover",
        "if any(other):",
        "if erasable.decode_slot(other) is not None:",
        "opt-outs",
        equivalent="each boot ends in a ROTATE that overwrites that slot",
    ),
    _one(
        "table not synced",
        "store.rotate",
        "        core.card.disk.write(name, 0, used)\n        core.card.disk.sync(name)\n",
        "        core.card.disk.write(name, 0, used)\n",
        "opt-outs",
        "everyday",
    ),
    _one(
        "only one copy of the table written",
        "store.rotate",
        "    for mirror in MIRRORS:\n        name = tables.file_of(table.gen, mirror)",
        '    for mirror in ("a",):\n        name = tables.file_of(table.gen, mirror)',
        "everyday",
        "opt-outs",
        "holds",
    ),
    _one(
        "old slot not zeroed",
        "store.rotate",
        "    erasable.zero_confirmed(memory, (gen - 1) & 1)\n",
        "",
        "opt-outs",
    ),
    _one(
        "bag append not synced",
        "store.bag",
        "            self._card.mirrored(STEM, bag.row.bag_id * self.slot_bytes + start, image)\n",
        '            for m in "ab":\n                self._card.disk.write(f"{STEM}.{m}", bag.row.bag_id * self.slot_bytes + start, image)\n',
        "everyday",
    ),
    _one(
        "erasure under the same bag key",
        "store.rotate",
        "row = BagRow(slot, kind, day, core.parts.random(32), 0)",
        "row = BagRow(slot, kind, day, next((r.key for r in rows.values() if r.type is kind and r.day == day),"
        " core.parts.random(32)), 0)",
        "opt-outs",
    ),
    _one(
        "expiry without rotation",
        "store.expiry",
        "    midnight(core, change)\n    rotate.commit(core, change)\n",
        "    midnight(core, change)\n    core.drop_bags(change.drop)\n    core.drop_orphans()\n",
        "expiry",
    ),
    _one(
        "bag not synced",
        "store.bag",
        "            self._card.disk.write(name, row.bag_id * self.slot_bytes, image)\n            self._card.disk.sync(name)\n",
        "            self._card.disk.write(name, row.bag_id * self.slot_bytes, image)\n",
        "opt-outs",
        "everyday",
    ),
    _one(
        "new root derived from the old",
        "store.rotate",
        "root = core.parts.random(erasable.ROOT_BYTES)",
        'root = core.ciphers.expand(erasable.split(core.parts.memory.read())[core.table.gen & 1][4:28], b"next")[:24]',
        "everyday",
        "expiry",
    ),
    _one(
        "hold bag not re-keyed",
        "store.rotate",
        "row = BagRow(slot, kind, day, core.parts.random(32), 0)",
        "row = BagRow(slot, kind, day, next((r.key for r in rows.values() if r.type is kind and r.type is BagType.HOLD),"
        " core.parts.random(32)), 0)",
        "opt-outs",
        "holds",
        "erasures",
    ),
    _one(
        "hold bag not re-keyed at midnight",
        "store.expiry",
        "        holding.rekey(core, change)\n",
        "",
        "holds",
        equivalent="each hold and release re-keys the bag already",
    ),
    _one(
        "hold dropped by expiry",
        "store.destroy",
        "if bag.row.type is not BagType.DAY or bag.row.day not in wanted:",
        "if not wanted or (bag.row.type is BagType.DAY and bag.row.day not in wanted):",
        "holds",
    ),
    _one(
        "going on after a read-back error in R3",
        "store.rotate",
        "    erasable.write_confirmed(memory, gen & 1, prepared.slot)\n",
        "    try:\n        erasable.write_confirmed(memory, gen & 1, prepared.slot)\n"
        "    except Exception:\n        core.unfinished = None\n        raise\n",
        "quiet memory",
        "years",
    ),
    _one(
        "both mirrors written before either is synced",
        "store.card",
        '            self.durable(f"{stem}.{mirror}", offset, data)\n',
        '            self.disk.write(f"{stem}.{mirror}", offset, data)\n        for mirror in MIRRORS:\n'
        '            self.disk.sync(f"{stem}.{mirror}")\n',
        "everyday",
        "opt-outs",
    ),
    _one(
        "empty slots taken for a fresh card",
        "store.recover",
        '    if not valid:\n        raise NoRoot("the memory holds no key")\n',
        "    if not valid:\n        erasable.write_confirmed(parts.memory, 0, erasable.encode_slot(2, parts.random(24)))\n"
        '        raise NoRoot("the memory holds no key")\n',
        "tests/longrun/test_no_root.py",
    ),
    _one(
        "DAYEND written before its ROTATE",
        "store.expiry",
        "    change.table.dayend = core.log.compose(",
        '    core.log.append(core.now_utc_ms(), "DAYEND", fields, table.seed)\n    change.table.dayend = core.log.compose(',
        "everyday",
    ),
    _one(
        "healing a line of the log writes the sound copy too",
        "store.auditlog",
        "            for mirror in without:\n",
        "            for mirror in MIRRORS if without else ():\n",
        "tests/store/test_audit.py",
    ),
    _one(
        "lines owed by a ROTATE are not written at boot",
        "store.recover",
        "    rotate.owe(core, core.log, min(len(recovered.lines), owed))\n",
        "",
        "everyday",
        "opt-outs",
    ),
    _one(
        "overwriting forgotten at a cut (R5)",
        "store.destroy",
        "    for todo in todo_of(core, call):\n        add_todo(core, change, todo)\n",
        "",
        "opt-outs",
    ),
    _one(
        "the clock's budget is not drawn",
        "policy.trusted_time",
        "budget_ms=self.budget_ms - gap_ms,",
        "budget_ms=self.budget_ms,",
        "bad clock",
        "tests/policy/test_trusted_time.py",
    ),
    _one(
        "a dead clock records for ever",
        "policy.trusted_time",
        "        return not (lagging and self.suspect_ms > RECORD_WHILE_SUSPECT_MS)\n",
        "        return True\n",
        "tests/policy/test_trusted_time.py",
    ),
    Mutant(
        "META sealed under the DEK",
        (
            Edit("firmware.store.keys", "KEY_ID_BYTES = 8\n", "KEY_ID_BYTES = 8\n_LAST: list[bytes] = []\n"),
            Edit(
                "firmware.store.keys",
                '    parts = [struct.pack(">B", len(recipients))]\n',
                '    parts = [struct.pack(">B", len(recipients))]\n'
                '    if purpose.domain == b"tacet/dek/1":\n        _LAST.append(bytes(key))\n',
            ),
            Edit("firmware.store.keys", "key = bytearray(random(KEY_BYTES))", "key = bytearray(_LAST[-1])"),
        ),
        ("everyday",),
    ),
    _one(
        "opt-out leaves the provisional hold",
        "store.destroy",
        "    for bag_id in (call.day_bag, call.hold_bag):\n",
        "    for bag_id in (call.day_bag,):\n",
        "opt-outs",
    ),
    _one(
        "CLOSE of an interrupted call only in memory",
        "store.recover",
        "        close_with(core, call, [], close)\n",
        "        call.close = close\n",
        "interrupted",
    ),
    _one(
        "the scan stops at a hole",
        "store.ring",
        "            if found is None or not signed(found.header):\n                at += 1\n                continue\n",
        "            if found is None or not signed(found.header):\n                break\n",
        "bad block",
        "everyday",
    ),
    _one(
        "the scan does not move the head",
        "store.recover",
        "    core.ring.head, _ = core.ring.scan(",
        "    _ = core.ring.scan(",
        "interrupted",
        "everyday",
    ),
    _one(
        "bags are not healed",
        "store.bag",
        "                damaged = True\n",
        "                continue\n",
        "everyday",
        "opt-outs",
        "holds",
    ),
    _one(
        "writing past the scan window",
        "store.ring",
        "        return end > table_head + self.reserve\n",
        "        return False\n",
        "everyday",
        "interrupted",
        "long call",
    ),
    _one(
        "writing over retained zones",
        "store.ring",
        "        return end > self.zone_start(table_tail) + self.blocks\n",
        "        return False\n",
        "full ring",
        "years",
    ),
    _one("intents to destroy ignored at boot", "store.recover", "    _destroy_intended(core)\n", "", "opt-outs"),
    _one("intents to hold ignored at boot", "store.recover", "    _hold_intended(core)\n", "", "interrupted", "holds"),
    _one(
        "a hold refused at the call's end is not logged",
        "store.holding",
        "        change.table.certificates.append(refused_hold(intent.op, call.call_id, Refusal.QUOTA_FULL))\n",
        "        pass\n",
        "no room",
    ),
    _one(
        "a refused hold is logged after its ROTATE",
        "store.holding",
        "        change.table.certificates.append(refused_hold(intent.op, call.call_id, Refusal.QUOTA_FULL))\n"
        "    rotate.commit(core, change)\n",
        "        pass\n    rotate.commit(core, change)\n    if extents is None:\n"
        "        core.log.append(core.now_utc_ms(), HOLD_REFUSED, {'op': 'keep', 'call': call.call_id}, core.table.seed)\n",
        "no room",
    ),
    _one(
        "a KEEP that comes to nothing with its call is not logged",
        "store.destroy",
        "    if call.wanted_hold is not None:\n",
        "    if False:\n",
        "no room",
    ),
    _one("opt-out does not latch its line", "store.destroy", "    state.opted_out = True\n", "", "opt-outs"),
    _one(
        "no certificate for an erased call",
        "store.destroy",
        "    change.table.certificates.append(Certificate(op, call.call_id, 0, 1, digest(call.call_id)))\n\n\ndef without",
        "\n\ndef without",
        "opt-outs",
    ),
    _one(
        "one nonce for all entries of a bag",
        "store.bag",
        "random(NONCE_BYTES)",
        "bytes(NONCE_BYTES)",
        "everyday",
    ),
    _one("frame nonce does not count", "store.frame", "        self.seq += 1\n", "", "everyday"),
    _one(
        "expiry believes a suspected clock",
        "store.expiry",
        "    return expired_days(days, core.now_utc_ms(), core.table.period)",
        "    return expired_days(days, core.time.export_utc_ms, core.table.period)",
        "bad clock",
    ),
    _one(
        "a hold copies nothing",
        "store.holding",
        "        core.hold_area.write(first_block, raw)\n",
        "",
        "holds",
    ),
    _one("T is not persisted", "store.rotate", "    table.clock = core.time.record()\n", "", "bad clock", "everyday"),
    _one(
        "a frame's header is zeroed first",
        "store.ring",
        "        self._card.zero(FILE, start + SECTOR_BYTES, end - start - SECTOR_BYTES)\n",
        "        self._card.zero(FILE, start, HEADER_BYTES)\n"
        "        self._card.zero(FILE, start + SECTOR_BYTES, end - start - SECTOR_BYTES)\n",
        "large opt-out",
    ),
    _one(
        "a frame's header is zeroed with the rest of its block",
        "store.ring",
        "        self._card.zero(FILE, start + SECTOR_BYTES, end - start - SECTOR_BYTES)\n"
        "        self._card.zero(FILE, start + HEADER_BYTES, SECTOR_BYTES - HEADER_BYTES)\n"
        "        self._card.zero(FILE, start, HEADER_BYTES)\n",
        "        self.zero(found.position + 1, found.position + found.header.blocks)\n"
        "        self.zero(found.position, found.position + 1)\n",
        "large opt-out",
    ),
    _one(
        "a document points to bytes that were not synced",
        "store.documents",
        "    core.card.mirrored(STEM, first * BLOCK_BYTES, data)\n",
        '    for m in "ab":\n        core.card.disk.write(f"{STEM}.{m}", first * BLOCK_BYTES, data)\n',
        "erasures",
    ),
    _one(
        "a promised ledger row is not paid at boot",
        "store.recover",
        '    _write_promised_rows(core, {line.fields.get("call", "") for line in rows})\n',
        "",
        "everyday",
    ),
    _one(
        "the limit is a day late",
        "policy.retention",
        "    return tuple(day for day in sorted(days) if now_utc_ms >= limit_day(day, period) * MS_PER_DAY)",
        "    return tuple(day for day in sorted(days) if now_utc_ms >= (1 + limit_day(day, period)) * MS_PER_DAY)",
        "expiry",
    ),
)

ORIGINAL = Mutant(
    "the original, unchanged",
    (),
    tuple(dict.fromkeys(prey for mutant in MUTANTS for prey in mutant.hunt)),
    "whatever finds it would find every mutant",
)


# ------------------------------------------------------------------------------------------------ in the child process


def edited(source: str, edits: Sequence[Edit]) -> str:
    """Raises LookupError where a text to replace is not there exactly once."""
    for edit in edits:
        if source.count(edit.old) != 1:
            raise LookupError(f"{source.count(edit.old)} times there: {edit.old!r}")
        source = source.replace(edit.old, edit.new)
    return source


class _Loader(importlib.machinery.SourceFileLoader):
    """Imports a module with its source changed in memory."""

    def __init__(self, name: str, path: str, edits: Sequence[Edit]) -> None:
        super().__init__(name, path)
        self._edits = edits

    def get_code(self, fullname: str) -> object:
        source = self.get_data(self.get_filename(fullname)).decode("utf-8")
        try:
            changed = edited(source, self._edits)
        except LookupError as error:
            print(f"broken: {fullname}: {error}")
            sys.exit(BROKEN)
        return compile(changed, self.get_filename(fullname), "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, edits: Sequence[Edit]) -> None:
        self._edits = edits

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        edits = [edit for edit in self._edits if edit.module == fullname]
        if not edits:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert found is not None
        assert found.origin is not None
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=_Loader(fullname, found.origin, edits)
        )


def _hunt(mutant: Mutant) -> int:
    """In a process of its own, with the mutant in force."""
    sys.meta_path.insert(0, _Finder(mutant.edits))
    for prey in mutant.hunt:
        found = _search(prey)
        if found:
            print(f"{prey}: {found}")
            return KILLED
    return SURVIVED


def _search(prey: str) -> str:
    """What gave the mutant away; empty when nothing did."""
    if prey.endswith(".py"):
        import pytest

        return f"{prey} failed" if pytest.main(["-q", "-x", "-p", "no:cacheprovider", prey]) else ""
    from tests.longrun.campaign import explore_workload
    from tests.longrun.years import live_years

    try:
        if prey == "years":
            return "".join(live_years(3, 1).violations[:1])
        return "".join(explore_workload(prey, 1).violations[:1])
    except Exception as error:  # noqa: BLE001 any failure of a mutant is a find, whatever its kind
        return f"{type(error).__name__}: {error}"


# ----------------------------------------------------------------------------------------------- in the parent process


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    code: int
    found: str
    seconds: float

    @property
    def as_it_should(self) -> bool:
        return self.code == (SURVIVED if self.mutant.equivalent else KILLED)


def try_mutant(mutant: Mutant) -> Verdict:
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.longrun.mutants", "--hunt", mutant.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return Verdict(mutant, done.returncode, lines[-1] if lines else "", time.monotonic() - started)


def _tried(mutant: Mutant) -> Verdict:
    verdict = try_mutant(mutant)
    word = {KILLED: "killed", SURVIVED: "survived"}.get(verdict.code, "broken")
    mark = "" if verdict.as_it_should else "   <-- NOT AS IT SHOULD BE"
    print(f"{word:8} {verdict.seconds:5.1f} s  {mutant.name}: {verdict.found[:140]}{mark}", flush=True)
    return verdict


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--hunt"]:
        return _hunt(next(mutant for mutant in (ORIGINAL, *MUTANTS) if mutant.name == arguments[1]))
    originals = [] if arguments else [_tried(ORIGINAL)]
    verdicts = [_tried(mutant) for mutant in MUTANTS if not arguments or mutant.name in arguments]
    killed = sum(verdict.code == KILLED for verdict in verdicts)
    equivalent = sum(bool(verdict.mutant.equivalent) for verdict in verdicts)
    wrong = sum(not verdict.as_it_should for verdict in (*originals, *verdicts))
    summary = f"mutants={len(verdicts)} killed={killed} equivalent={equivalent} wrong={wrong}"
    print(summary)
    if not arguments:
        SUMMARY.write_text(f"{summary} {date.today()}\n", encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
