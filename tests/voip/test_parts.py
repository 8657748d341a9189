"""What waits to be cut: the words of a call do not depend on when it is cut."""

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from firmware.voip.parts import Parts, Run
from firmware.voip.rtp import PCMA

Packet = tuple[int, int]
"""First sample and samples."""

END = 400
PACKETS = st.lists(st.tuples(st.integers(0, END), st.integers(1, 150)), max_size=8)


def payload(number: int, samples: int) -> bytes:
    """Each packet speaks its own bytes, none of them twice in a row."""
    return bytes((16 * number + sample) % 251 for sample in range(samples))


def heard(runs: list[Run]) -> dict[int, int]:
    spoken = [(run.start + index, byte) for run in runs for index, byte in enumerate(run.data)]
    assert len(dict(spoken)) == len(spoken), "a sample was given out twice"
    return dict(spoken)


@hypothesis_settings(deadline=None)
@given(rounds=st.lists(st.tuples(PACKETS, st.integers(1, 100)), min_size=1, max_size=6))
def test_cuts_in_between_lose_no_word_and_change_none(rounds: list[tuple[list[Packet], int]]) -> None:
    """Property: packets that overlap, come late and reach over cuts are heard as if all had been cut at the end."""
    parts, whole = Parts(1000), Parts(1000)
    heard_so_far: dict[int, int] = {}
    number = 0
    for packets, step in rounds:
        for first, samples in packets:
            if first + samples > parts.cut:
                late = max(0, parts.cut - first)
                parts.put(first, samples, PCMA, payload(number, samples))
                whole.put(first + late, samples - late, PCMA, payload(number, samples)[late:])
                number += 1
        heard_so_far |= heard(parts.runs(parts.cut, parts.cut + step))
    heard_so_far |= heard(parts.runs(parts.cut, 2 * END))
    assert heard_so_far == heard(whole.runs(0, 2 * END))
