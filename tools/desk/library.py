"""The search index: every call this home knows, in SQLite, sealed on disk under the person's key.

On disk it is one sealed file; opened, it is a database in memory. So no telephone number lies in clear on the PC, and
a row that is deleted is gone with the next save. The row key grows with the time of the answer: newest-first needs no
sort. Numbers are searched by any part through an FTS5 trigram index.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tools.desk.errors import NotFound

SCHEMA_VERSION = 2
ADDED_SINCE_1 = "ALTER TABLE call ADD COLUMN hold_refused TEXT; PRAGMA user_version = 2;"
KEY_SHIFT = 20
"""Row key = start in ms · 2^20 + 20 bits of the call id: unique in practice, and in order of time."""

FOUND_MAX = 1000
NUMBER_PART_MIN = 3
"""A trigram index finds nothing shorter than three characters; shorter parts are compared row by row."""


@dataclass(frozen=True, repr=False)
class CallRow:
    """What the desk knows of a call without opening it. ``gaps``: (first sample, samples, reason)."""

    call_id: str
    device: str
    line: int
    line_name: str
    outcome: str
    started_utc_ms: int
    ended_utc_ms: int
    limit_utc_ms: int
    direction: str | None = None
    number: str | None = None
    number_absence: str | None = None
    caller_name: str | None = None
    samples: int = 0
    rate_hz: int = 8000
    held: bool = False
    provisional: bool = False
    review_utc_ms: int | None = None
    hold_refused: str | None = None
    """Why the last hold that was asked for did not come about, in the words of the recorder's log."""
    gaps: tuple[tuple[int, int, str], ...] = ()
    bag: str | None = None
    """The order id of the answer in which its audio came; None: known from an index alone."""
    file_number: int | None = None
    sound: bool = True
    """False when the import found something wrong with it."""
    disclosed: bool = False
    """An evidence bag with it has left the house."""
    meta: dict[str, Any] = field(default_factory=dict)
    """The rest of the sealed META, as FORMAT.md names it."""

    @property
    def duration_s(self) -> float:
        if self.samples:
            return self.samples / self.rate_hz
        return max(self.ended_utc_ms - self.started_utc_ms, 0) / 1000


@dataclass(frozen=True)
class Query:
    """All conditions hold together. Times in UTC ms; ``number``: any part of it."""

    number: str | None = None
    from_utc_ms: int | None = None
    to_utc_ms: int | None = None
    line: str | None = None
    outcome: str | None = None
    device: str | None = None
    held: bool | None = None
    with_audio: bool | None = None
    duration_min_s: float | None = None
    limit: int = FOUND_MAX


_DETAILS = ("gaps", "meta")
"""Kept in a table of their own, so that a search that finds nothing walks over narrow rows."""

_COLUMNS = tuple(column.name for column in fields(CallRow) if column.name not in _DETAILS)
_SELECT = f"SELECT {', '.join(f'call.{name}' for name in _COLUMNS)}, detail.gaps, detail.meta"
_JOINED = "call JOIN detail ON detail.key = call.key"
_SCHEMA = f"""
CREATE TABLE call (
    key INTEGER PRIMARY KEY, call_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, line INTEGER NOT NULL,
    line_name TEXT NOT NULL, outcome TEXT NOT NULL, started_utc_ms INTEGER NOT NULL, ended_utc_ms INTEGER NOT NULL,
    limit_utc_ms INTEGER NOT NULL, direction TEXT, number TEXT, number_absence TEXT, caller_name TEXT,
    samples INTEGER NOT NULL, rate_hz INTEGER NOT NULL, held INTEGER NOT NULL, provisional INTEGER NOT NULL,
    review_utc_ms INTEGER, hold_refused TEXT, bag TEXT, file_number INTEGER,
    sound INTEGER NOT NULL, disclosed INTEGER NOT NULL);
CREATE TABLE detail (key INTEGER PRIMARY KEY, gaps TEXT NOT NULL, meta TEXT NOT NULL);
CREATE INDEX call_device ON call (device, key);
CREATE INDEX call_line ON call (line_name, key);
CREATE INDEX call_outcome ON call (outcome, key);
CREATE INDEX call_held ON call (key) WHERE held;
CREATE INDEX call_limit ON call (limit_utc_ms);
CREATE INDEX call_audio ON call (key) WHERE bag IS NOT NULL;
CREATE VIRTUAL TABLE number_part USING fts5(digits, tokenize = 'trigram');
CREATE TABLE device (device TEXT PRIMARY KEY, state_seq INTEGER NOT NULL);
CREATE TABLE erased (call_id TEXT PRIMARY KEY);
CREATE TABLE trusted (device TEXT PRIMARY KEY, seq INTEGER NOT NULL, hash BLOB NOT NULL);
CREATE TABLE signing_key (device TEXT NOT NULL, epoch INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (device, epoch));
CREATE TABLE reply (sha256 TEXT PRIMARY KEY);
CREATE TABLE answer (bag TEXT PRIMARY KEY, device TEXT NOT NULL, imported_utc_ms INTEGER NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class Library:
    """Not for several threads at once: the caller has a lock. Raises ValueError for an image of another version."""

    def __init__(self, image: bytes | None = None) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA secure_delete = ON")
        self.changed = image is None
        self._forgotten = False
        if image is None:
            self._db.executescript(_SCHEMA)
        else:
            self._db.deserialize(image)
            if self._version() == 1:
                self._db.executescript(ADDED_SINCE_1)
            if self._version() != SCHEMA_VERSION:
                raise ValueError("an index of another version")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def image(self) -> bytes:
        """Deleted numbers are gone from it: pages are zeroed, and the trigram index is rebuilt without them."""
        if self._forgotten:
            self._db.execute("INSERT INTO number_part (number_part) VALUES ('optimize')")
            self._forgotten = False
        self._db.commit()
        return self._db.serialize()

    def close(self) -> None:
        self._db.close()

    # -------------------------------------------------------------------------------------------------- writing

    def put(self, rows: Iterable[CallRow]) -> None:
        """Insert, or replace what is known under the same call id."""
        for row in rows:
            self.changed = True
            self._delete_key(row.call_id)
            key = self._free_key(row)
            values = [_to_sql(getattr(row, name)) for name in _COLUMNS]
            marks = ", ".join("?" * (len(_COLUMNS) + 1))
            self._db.execute(f"INSERT INTO call (key, {', '.join(_COLUMNS)}) VALUES ({marks})", [key, *values])
            details = [json.dumps(getattr(row, name), separators=(",", ":")) for name in _DETAILS]
            self._db.execute("INSERT INTO detail VALUES (?, ?, ?)", [key, *details])
            if row.number is not None:
                self._db.execute("INSERT INTO number_part (rowid, digits) VALUES (?, ?)", [key, searchable(row.number)])

    def delete(self, call_id: str) -> None:
        self.changed = self._forgotten = True
        self._delete_key(call_id)

    def _delete_key(self, call_id: str) -> None:
        found = self._db.execute("SELECT key FROM call WHERE call_id = ?", [call_id]).fetchone()
        if found is not None:
            self._db.execute("DELETE FROM number_part WHERE rowid = ?", [found["key"]])
            self._db.execute("DELETE FROM detail WHERE key = ?", [found["key"]])
            self._db.execute("DELETE FROM call WHERE key = ?", [found["key"]])

    def _free_key(self, row: CallRow) -> int:
        key = (row.started_utc_ms << KEY_SHIFT) + int(row.call_id[:5], 16)
        while self._db.execute("SELECT 1 FROM call WHERE key = ?", [key]).fetchone() is not None:
            key += 1
        return key

    def update(self, call_id: str, **changes: Any) -> None:
        self.put([replace(self.get(call_id), **changes)])

    # -------------------------------------------------------------------------------------------------- reading

    def get(self, call_id: str) -> CallRow:
        """By its id or the unique beginning of it. Raises NotFound."""
        text = call_id.lower()
        if not text or any(c not in "0123456789abcdef" for c in text):
            raise NotFound("A call is named by the hex digits of its id, or by enough of the first ones.")
        found = self._db.execute(
            f"{_SELECT} FROM {_JOINED} WHERE call_id >= ? AND call_id < ? LIMIT 2", [text, text + "g"]
        ).fetchall()
        if len(found) != 1:
            raise NotFound("Several calls begin like that." if found else "This home has no such call.")
        return _from_sql(found[0])

    def has(self, call_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM call WHERE call_id = ?", [call_id]).fetchone() is not None

    def find(self, query: Query) -> list[CallRow]:
        """Newest first, at most ``query.limit``."""
        conditions, values = _conditions(query)
        source = _JOINED
        if query.number is not None:
            digits = searchable(query.number)
            if len(digits) >= NUMBER_PART_MIN:
                source = f"number_part JOIN call ON call.key = number_part.rowid {_JOINED.removeprefix('call ')}"
                conditions.append("number_part MATCH ?")
                values.append(f'"{digits}"')
            else:
                conditions.append("number LIKE ?")
                values.append(f"%{digits}%")
        order = "call.key" if source == _JOINED else "number_part.rowid"
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        sql = f"{_SELECT} FROM {source} {where} ORDER BY {order} DESC LIMIT ?"
        return [_from_sql(row) for row in self._db.execute(sql, [*values, query.limit])]

    def count(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM call").fetchone()[0])

    def line_names(self) -> list[str]:
        """Found by jumps along the index, not by a walk over all rows."""
        names: list[str] = []
        while True:
            sql = "SELECT MIN(line_name) FROM call WHERE line_name > ?"
            found = self._db.execute(sql, [names[-1] if names else ""]).fetchone()[0]
            if found is None:
                return names
            names.append(str(found))

    def due(self, now_utc_ms: int) -> list[CallRow]:
        """Calls at their limit that neither a hold nor a disclosure keeps."""
        sql = f"{_SELECT} FROM {_JOINED} WHERE limit_utc_ms <= ? AND NOT held AND NOT disclosed"
        return [_from_sql(row) for row in self._db.execute(sql, [now_utc_ms])]

    def copies(self) -> set[tuple[str, str, int]]:
        """(device, answer, number of its files) of every call whose sealed copy is kept."""
        sql = "SELECT device, bag, file_number FROM call WHERE bag IS NOT NULL"
        return {(str(device), str(bag), int(number)) for device, bag, number in self._db.execute(sql)}

    # ------------------------------------------------------------------------------------- devices and answers

    def state_seq(self, device: str) -> int:
        """Up to which line of the recorder's audit log this home has followed holds and erasures."""
        found = self._db.execute("SELECT state_seq FROM device WHERE device = ?", [device]).fetchone()
        return int(found[0]) if found is not None else 0

    def set_state_seq(self, device: str, seq: int) -> None:
        self.changed = True
        self._db.execute("INSERT OR REPLACE INTO device VALUES (?, ?)", [device, seq])

    def remember_erased(self, call_id: str) -> None:
        """The recorder destroyed it on demand: an older stick that is imported later must not bring it back."""
        self.changed = True
        self._db.execute("INSERT OR IGNORE INTO erased VALUES (?)", [call_id])

    def was_erased(self, call_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM erased WHERE call_id = ?", [call_id]).fetchone() is not None

    def trusted_line(self, device: str) -> tuple[int, bytes] | None:
        """The newest line of the recorder's log whose signature was verified here."""
        found = self._db.execute("SELECT seq, hash FROM trusted WHERE device = ?", [device]).fetchone()
        return None if found is None else (int(found[0]), bytes(found[1]))

    def remember_line(self, device: str, seq: int, line_hash: bytes) -> None:
        known = self.trusted_line(device)
        if known is None or known[0] < seq:
            self.changed = True
            self._db.execute("INSERT OR REPLACE INTO trusted VALUES (?, ?, ?)", [device, seq, line_hash])

    def signing_keys(self, device: str) -> dict[int, bytes]:
        """The recorder's signing key of each epoch, as verified along its log."""
        sql = "SELECT epoch, key FROM signing_key WHERE device = ?"
        return {int(epoch): bytes(key) for epoch, key in self._db.execute(sql, [device])}

    def remember_keys(self, device: str, keys: dict[int, bytes]) -> None:
        self.changed = True
        rows = [(device, epoch, key) for epoch, key in keys.items()]
        self._db.executemany("INSERT OR IGNORE INTO signing_key VALUES (?, ?, ?)", rows)

    def first_sight(self, reply_sha256: str) -> bool:
        """Whether a reply was not read before; it is from now on."""
        before = self._db.total_changes
        self._db.execute("INSERT OR IGNORE INTO reply VALUES (?)", [reply_sha256])
        fresh = self._db.total_changes > before
        self.changed = self.changed or fresh
        return fresh

    def answers(self) -> set[str]:
        return {str(row[0]) for row in self._db.execute("SELECT bag FROM answer")}

    def add_answer(self, bag: str, device: str, imported_utc_ms: int) -> None:
        self.changed = True
        self._db.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", [bag, device, imported_utc_ms])


def searchable(number: str) -> str:
    """Digits only, in the national form: +44 20… and 020… are found alike."""
    digits = "".join(c for c in number if c.isascii() and c.isdigit())
    if number.strip().startswith("+44") or digits.startswith("0044"):
        digits = "0" + digits.removeprefix("0044").removeprefix("44")
    return digits


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    pairs: Sequence[tuple[str, Any]] = (
        ("call.key >= ?", None if query.from_utc_ms is None else query.from_utc_ms << KEY_SHIFT),
        ("call.key < ?", None if query.to_utc_ms is None else query.to_utc_ms << KEY_SHIFT),
        ("line_name = ?", query.line),
        ("outcome = ?", query.outcome),
        ("device = ?", query.device),
        ("ended_utc_ms - started_utc_ms >= ?", None if query.duration_min_s is None else query.duration_min_s * 1000),
    )
    conditions = [sql for sql, value in pairs if value is not None]
    values = [value for _, value in pairs if value is not None]
    if query.held is not None:
        conditions.append("held" if query.held else "NOT held")
    if query.with_audio is not None:
        conditions.append(f"bag IS {'NOT ' if query.with_audio else ''}NULL")
    return conditions, values


def _to_sql(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _from_sql(row: sqlite3.Row) -> CallRow:
    values = {name: row[name] for name in (*_COLUMNS, *_DETAILS)}
    values["gaps"] = tuple((first, samples, reason) for first, samples, reason in json.loads(values["gaps"]))
    values["meta"] = json.loads(values["meta"])
    for name in ("held", "provisional", "sound", "disclosed"):
        values[name] = bool(values[name])
    return CallRow(**values)
