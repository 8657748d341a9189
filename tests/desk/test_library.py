"""The search index: found by any part of the number, forgotten wholly, sealed on disk."""

import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.desk.errors import NotFound
from tools.desk.library import CallRow, Library, Query, searchable

NUMBERS = st.integers(0, 999).map(lambda n: f"02079460{n:03d}")


def call(number: str | None, at: int = 0, **changes: object) -> CallRow:
    row = CallRow(
        call_id=f"{at:05x}{'0' * 27}",
        device="SIM-TEST01",
        line=0,
        line_name="line1",
        outcome="recorded",
        started_utc_ms=1_772_442_000_000 + at * 1000,
        ended_utc_ms=1_772_442_060_000 + at * 1000,
        limit_utc_ms=1_777_000_000_000,
        number=number,
    )
    return replace(row, **changes)


@settings(max_examples=40)
@given(st.lists(NUMBERS, min_size=1, max_size=30), NUMBERS, st.integers(0, 10), st.integers(1, 11))
def test_any_part_of_a_number_finds_exactly_the_calls_that_have_it(
    numbers: list[str], wanted: str, start: int, length: int
) -> None:
    part = wanted[start : start + length]
    library = Library()
    library.put(call(number, at) for at, number in enumerate(numbers))
    found = [row.number for row in library.find(Query(number=part))]
    assert found == [number for number in reversed(numbers) if part in number]


def test_international_and_national_spelling_find_each_other() -> None:
    library = Library()
    library.put([call("+44 20 7946 0123", 1), call("02079460123", 2), call("00442079460123", 3)])
    for part in ("02079460123", "+442079460123", "7946 0123", "0044 20 7946"):
        assert len(library.find(Query(number=part))) == 3, part
    assert searchable("+44 20 7946 0123") == "02079460123"


def test_what_is_deleted_is_in_no_byte_of_the_saved_image() -> None:
    library = Library()
    library.put([call("02079460777", 1), call("02079460123", 2)])
    image = library.image()
    assert b"02079460777" in image
    library = Library(image)
    library.delete(call(None, 1).call_id)
    image = library.image()
    assert b"0777" not in image
    assert Library(image).find(Query(number="60777")) == []
    assert len(Library(image).find(Query(number="60123"))) == 1


def test_a_call_is_named_by_enough_of_its_id_and_never_by_a_guess() -> None:
    library = Library()
    library.put([call(None, 0x12345), call(None, 0x12399)])
    assert library.get("12345").call_id.startswith("12345")
    for name in ("123", "99", "", "%", "'; DROP TABLE call; --"):
        with pytest.raises(NotFound):
            library.get(name)


def test_no_word_of_a_search_is_taken_for_a_command() -> None:
    library = Library()
    library.put([call("02079460123", 1)])
    for text in ('"', "* OR number_part", "' OR 1=1 --", "NEAR(", "%_"):
        assert isinstance(library.find(Query(number=text, line=text, outcome=text, device=text)), list)


def test_newest_first_and_no_more_than_asked_for() -> None:
    library = Library()
    library.put(call("02079460123", at) for at in (3, 1, 2))
    assert [row.started_utc_ms % 10_000 // 1000 for row in library.find(Query(limit=2))] == [3, 2]
    assert len(library.find(Query(number="7946", limit=2))) == 2


def test_calls_are_due_at_their_limit_unless_held_or_disclosed() -> None:
    library = Library()
    limit = call(None).limit_utc_ms
    library.put([call(None, 1), call(None, 2, held=True), call(None, 3, disclosed=True)])
    assert library.due(limit - 1) == []
    assert [row.call_id for row in library.due(limit)] == [call(None, 1).call_id]


def test_an_index_of_the_first_version_still_opens() -> None:
    library = Library()
    library.put([call("02079460123", 1)])
    image = library.image()
    with sqlite3.connect(":memory:") as old:
        old.deserialize(image)
        old.executescript("ALTER TABLE call DROP COLUMN hold_refused; PRAGMA user_version = 1;")
        image = old.serialize()
    (row,) = Library(image).find(Query(number="60123"))
    assert row.hold_refused is None
    (row,) = Library(Library(image).image()).find(Query())
    assert row.number == "02079460123"
