"""Caller-ID: the number, or why there is none; and never a wrong one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.dsp import clip_message
from firmware.dsp.callerid import read_whole
from firmware.dsp.ear import Ear
from firmware.policy.events import Absence, CallerIdHeard
from tests.dsp.hearing import ALL, CALL, IDLE, hear, only
from tools.dsp_train import signals
from tools.dsp_train.signals import BELL202_HZ, V23_HZ, Wave

NUMBER = b"02079460123"
DATE = b"11240655"
UK_CALL = signals.message([(0x11, b"\x01"), (0x01, DATE), (0x02, NUMBER), (0x07, b"O'NEILL")])


def burst(
    data: bytes,
    hz: tuple[float, float] = V23_HZ,
    *,
    snr_db: float = 20.0,
    dbm0: float = -20.0,
    seizure: int = 300,
    mark: int = 80,
    extra: int = 0,
    seed: int = 1,
    **how: float,
) -> Wave:
    rng = np.random.default_rng(seed)
    x = signals.caller_id_burst(signals.fsk_bits(data, seizure, mark, rng, extra), hz, dbm0, **how)
    return signals.add_snr(x, signals.rms(dbm0) ** 2, snr_db, rng)


def read(x: Wave, **how: str) -> list[CallerIdHeard]:
    return only(hear(x, IDLE, ear=Ear(1, **how)), CallerIdHeard)  # type: ignore[arg-type]


def test_a_bt_call_gives_every_field() -> None:
    (heard,) = read(burst(UK_CALL))
    assert (heard.number, heard.number_absence) == ("02079460123", None)
    assert (heard.name, heard.date, heard.call_type) == ("O'NEILL", "11240655", "voice")
    assert (heard.standard, heard.repaired) == ("v23", False)
    assert heard.snr_db is not None
    assert 10.0 < heard.snr_db < 30.0


def test_the_number_is_never_shown_by_repr() -> None:
    (heard,) = read(burst(UK_CALL))
    assert "9460" not in repr(heard)
    (reading,) = read_whole(signals.to_pcm(burst(UK_CALL)))
    assert "9460" not in repr(reading)
    assert "9460" not in repr(reading.message)


@pytest.mark.parametrize(("letter", "absence"), [(b"P", Absence.WITHHELD), (b"O", Absence.UNAVAILABLE)])
def test_withheld_and_unavailable_are_told_apart(letter: bytes, absence: Absence) -> None:
    data = signals.message([(0x11, b"\x01"), (0x01, DATE), (0x04, letter)])
    (heard,) = read(burst(data))
    assert (heard.number, heard.number_absence) == (None, absence)


def test_bell_202_in_both_its_forms_is_read() -> None:
    (multiple,) = read(burst(signals.message([(0x01, DATE), (0x02, NUMBER)]), BELL202_HZ, mark=180))
    assert (multiple.number, multiple.standard) == ("02079460123", "bell202")
    (single,) = read(burst(signals.single_data_message(DATE, NUMBER), BELL202_HZ, mark=180))
    assert (single.number, single.date) == ("02079460123", "11240655")
    (withheld,) = read(burst(signals.single_data_message(DATE, b"P"), BELL202_HZ, mark=180))
    assert withheld.number_absence is Absence.WITHHELD


def test_call_waiting_without_seizure_and_cable_without_alert_tone_are_read() -> None:
    (heard,) = read(burst(UK_CALL, seizure=0, mark=60))
    assert heard.number == "02079460123"


@pytest.mark.parametrize(
    "how",
    [
        {"dbm0": 3.0},
        {"dbm0": -50.0},
        {"baud": 1164.0},
        {"baud": 1176.0},
        {"baud": 1236.0},
        {"twist_db": 10.0},
        {"twist_db": -10.0},
        {"extra": 10},
        {"snr_db": 5.0},
    ],
    ids=str,
)
def test_a_bad_line_still_gives_the_number(how: dict[str, float]) -> None:
    (heard,) = read(burst(UK_CALL, **how))  # type: ignore[arg-type]
    assert heard.number == "02079460123"


@pytest.mark.parametrize("scale", [0.95, 1.05])
def test_carriers_five_per_cent_off_are_followed(scale: float) -> None:
    (heard,) = read(burst(UK_CALL, (V23_HZ[0] * scale, V23_HZ[1] * scale)))
    assert heard.number == "02079460123"


def test_hum_ten_times_the_signal_and_coding_do_no_harm() -> None:
    x = burst(UK_CALL, dbm0=-28.0)
    x = x + signals.hum(len(x), -18.0, np.random.default_rng(3))
    (heard,) = read(signals.a_law(x))
    assert heard.number == "02079460123"


def test_noise_never_makes_a_wrong_number() -> None:
    """Around the threshold messages are lost or repaired; a number that is given is the right one."""
    for seed in range(12):
        for heard in read(burst(UK_CALL, snr_db=0.5, seed=seed)):
            assert heard.number in (None, "02079460123")


def test_a_damaged_message_is_unreadable_and_not_an_exception() -> None:
    data = bytearray(UK_CALL)
    data[18] ^= 0x11
    data[22] ^= 0x22
    (heard,) = read(burst(bytes(data)))
    assert (heard.number, heard.number_absence) == (None, Absence.UNREADABLE)


def test_message_waiting_is_not_a_call() -> None:
    assert read(burst(signals.message([(0x0B, b"\xff")], 0x82))) == []


def test_the_signalling_of_the_site_is_kept_to() -> None:
    assert read(burst(UK_CALL), cid_signalling="bell") == []
    assert len(read(burst(UK_CALL), cid_signalling="v23")) == 1
    assert read(burst(UK_CALL), cid_signalling="dtmf") == []


def test_a_line_in_a_call_is_not_searched_for_caller_id() -> None:
    assert only(hear(burst(UK_CALL), CALL), CallerIdHeard) == []


@pytest.mark.parametrize(
    ("keys", "number", "absence"),
    [
        ("A02079460123C", "02079460123", None),
        ("A02079460123D0B00C", "02079460123", None),
        ("D1#", None, Absence.WITHHELD),
        ("D3#", None, Absence.UNAVAILABLE),
        ("B10C", None, Absence.WITHHELD),
        ("D02079460123C", "02079460123", None),
    ],
)
def test_keyed_caller_id_is_read_on_an_idle_line(keys: str, number: str | None, absence: Absence | None) -> None:
    rng = np.random.default_rng(5)
    (heard,) = read(signals.add_snr(signals.keyed(keys, rng)[0], 1e6, 20.0, rng))
    assert (heard.number, heard.number_absence, heard.standard) == (number, absence, "dtmf")


def test_what_a_caller_keys_is_never_taken_for_a_number() -> None:
    """People key a number and # to machines: only a site that says so hears it as caller-ID, on an idle line."""
    x = signals.keyed("02079460123#", np.random.default_rng(6))[0]
    assert read(x) == []
    for listening in (CALL, ALL):
        assert only(hear(x, listening, ear=Ear(1, cid_signalling="dtmf")), CallerIdHeard) == []
    assert [heard.number for heard in read(x, cid_signalling="dtmf")] == ["02079460123"]


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_junk_bytes_are_no_message_and_no_exception(data: bytes) -> None:
    parsed = clip_message.parse(data)
    if parsed is not None:
        assert sum(data) & 0xFF == 0
        assert len(data) == data[1] + 3


@given(
    st.sampled_from([0x80, 0x82, 0x04, 0x06]),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), max_size=6),
)
@settings(max_examples=300, deadline=None)
def test_any_fields_give_a_valid_number_or_none(kind: int, fields: list[tuple[int, bytes]]) -> None:
    parsed = clip_message.parse(signals.message(fields, kind)) if sum(2 + len(v) for _, v in fields) < 256 else None
    if parsed is not None and parsed.number is not None:
        assert 1 <= len(parsed.number) <= 24
        assert set(parsed.number) <= set("0123456789+*#")
    if parsed is not None:
        assert parsed.absence in (None, "P", "O")


@given(st.integers(0, 2**32), st.floats(0.0, 1.0), st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_random_audio_gives_no_number_and_no_exception(seed: int, tone: float, kind: int) -> None:
    rng = np.random.default_rng(seed)
    n = 8000
    x = rng.standard_normal(n) * 3000.0 * tone
    if kind % 3 == 1:
        bits = rng.integers(0, 2, 900)
        fsk = signals.decimate(signals.fsk(bits, V23_HZ, -10.0))[:n]
        x[: len(fsk)] += fsk
    if kind % 3 == 2:
        x = rng.choice([-32768.0, 32767.0], size=n)
    assert [heard for heard in read(x) if heard.number is not None] == []
