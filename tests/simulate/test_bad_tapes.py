"""Whatever a tape says, it is played or refused with one sentence before anything of the recorder is touched."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware.__main__ import TAPE
from firmware.__main__ import main as firmware
from hw.sim.tape import MAY, NEEDS, TapeError, read_tape
from tests.simulate.kit import Kit
from tests.simulate.test_bad_input import EVENT, LINE, said

GOOD: dict[str, str] = {
    "line": '"line1"',
    "key": '"payment"',
    "dir": '"."',
    "for": "1.5",
    "to": "2026-03-02T10:00:00Z",
    "times": "3",
    "every": "0.01",
}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=300)
scalars = st.one_of(
    texts.map(json.dumps).map(lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16")),
    st.integers().map(str),
    st.sampled_from(["9" * 400, "-" + "9" * 400, "9" * 5000, "0x" + "f" * 300]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr).map(lambda number: number.replace("e", ".0e", 1)
                                                                   if "e" in number and "." not in number else number),
    st.sampled_from(["nan", "inf", "-inf", "-0.0", "1e308", "5e-324", "true", "false", '""', '"line1"', '"ring"']),
    st.sampled_from(["2026-03-02", "09:00:00", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]),
    st.datetimes().map(lambda moment: moment.isoformat()),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda entries: f"[{', '.join(entries)}]"),
        st.dictionaries(st.sampled_from(["a", "line", "at"]), inner, max_size=2).map(
            lambda entries: "{" + ", ".join(f"{key} = {value}" for key, value in entries.items()) + "}"
        ),
    ),
    max_leaves=4,
)
"""Values as TOML writes them."""


def read(text: str, folder: Path) -> None:
    """Played, or refused with one sentence."""
    path = folder / "tape.toml"
    path.write_text(text, encoding="utf-8")
    try:
        tape = read_tape(path)
    except TapeError as error:
        sentence = str(error)
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence[0].isupper(), sentence
        assert sentence.endswith("."), sentence
        return
    assert [line.name for line in tape.lines] == ["line1"]
    assert all(event.at_us >= 0 for event in tape.events)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tapes")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(NEEDS)), st.data())
def test_no_value_of_an_event_is_worse_than_refused(folder: Path, do: str, data: st.DataObject) -> None:
    fields = {"at": "1", "do": json.dumps(do), **{key: GOOD[key] for key in (*NEEDS[do], *MAY.get(do, ()))}}
    fields[data.draw(st.sampled_from([*fields, "other"]))] = data.draw(values)
    read(EVENT + "\n".join(f"{key} = {value}" for key, value in fields.items()) + "\n", folder)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["start", "line", "event", "name", "audio", "other"]), values)
@example("start", "[" * 5000)
@example("name", "9" * 5000)
def test_no_value_of_a_tape_or_line_is_worse_than_refused(folder: Path, key: str, value: str) -> None:
    fields = {"start": "2026-03-02T09:00:00Z", "name": '"line1"', "audio": None, "line": None, "event": None}
    fields[key] = value
    head = [f"{name} = {fields[name]}" for name in ("start", "line", "event", "other") if fields.get(name)]
    line = [] if fields["line"] else ["[[line]]", *(f"{name} = {fields[name]}" for name in ("name", "audio")
                                                    if fields[name])]  # fmt: skip
    read("\n".join([*head, *line]) + "\n", folder)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (EVENT + "at=1\ndo=['ring']\n", "`do`"),
        (EVENT + "at=true\ndo='ring'\nline='line1'\n", "`at`"),
        (EVENT + "at=nan\ndo='ring'\nline='line1'\n", "`at`"),
        (EVENT + "at=1\ndo='ring'\nline=['line1']\n", "`line`"),
        (EVENT + "at=1\ndo='card_full'\nfor=true\n", "`for`"),
        (EVENT + "at=1\ndo='card_stall'\nfor=inf\n", "`for`"),
        (EVENT + "at=1\ndo='clock_set'\nto=2026-03-02\n", "Event 1 (clock_set): `to`"),
        (EVENT + "at=1\ndo='clock_set'\nto=0001-01-01T00:00:00+23:00\n", "`to`"),
        (EVENT + "at=1\ndo='stick_in'\ndir=''\n", "`dir`"),
        (LINE + "[[line]]\nname='line1'\n", "one name"),
        (LINE + "audio=''\n", "audio"),
        ("start = 2026-03-02T09:00:00Z\n[[line]]\nname=''\n", "name"),
        ("start = 1026-03-02T09:00:00Z\n[[line]]\nname='line1'\n", "start"),
    ],
)
def test_a_tape_that_is_refused_names_what_is_wrong_and_leaves_nothing(
    text: str, word: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = kit.root / "bad.toml"
    tape.write_text(text)
    assert firmware(["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)]) == TAPE
    sentence = said(capsys)
    assert word in sentence
    assert "Nothing was played" in sentence
    assert not kit.state.exists()


@pytest.mark.parametrize(
    ("rate_hz", "channels", "subtype", "word"),
    [(44_100, 1, "PCM_16", "44100 Hz"), (8000, 2, "PCM_16", "2 channel"), (8000, 1, "FLOAT", "FLOAT")],
)
def test_sound_that_no_line_carries_is_refused_with_what_is_wrong_with_the_file(
    rate_hz: int, channels: int, subtype: str, word: str, kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(kit.root / "line1.wav", np.zeros((rate_hz, channels), np.int16), rate_hz, subtype=subtype)
    tape = kit.root / "bad.toml"
    tape.write_text(LINE + "audio='line1.wav'\n")
    assert firmware(["simulate", str(tape), "--state", str(kit.state), "--provision", str(kit.pack)]) == TAPE
    sentence = said(capsys)
    assert "line1.wav" in sentence
    assert word in sentence
    assert not kit.state.exists()


@pytest.mark.parametrize("name", ["none.toml", ".", "x" * 300, "line\n1.toml"])
def test_a_tape_that_is_not_there_is_one_sentence(name: str, kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", str(kit.root / name), "--state", str(kit.state), "--provision", str(kit.pack)]
    assert firmware(words) == TAPE
    assert "Errno" not in said(capsys)
    assert not kit.state.exists()


def test_every_event_with_good_values_is_read(folder: Path) -> None:
    rows = []
    for do, needs in NEEDS.items():
        rows += ["[[event]]", "at = 1", f"do = '{do}'"]
        rows += [f"{key} = {GOOD[key]}" for key in (*needs, *MAY.get(do, ()))]
    path = folder / "good.toml"
    path.write_text(LINE + "\n".join(rows) + "\n")
    assert [event.do for event in read_tape(path).events] == list(NEEDS)
