"""`make bench` calls every table alike; one that cannot be called so would end the whole run."""

import importlib
import inspect

import pytest

from tests.bench.__main__ import TABLES


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_there_and_takes_its_words(name: str) -> None:
    main = importlib.import_module(f"tests.bench.{name}").main
    assert list(inspect.signature(main).parameters) == ["argv"]
