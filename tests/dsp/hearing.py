"""Helpers: run a made signal through the recorder's ear, as the loop would."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from firmware.dsp.ear import Ear, Listening
from firmware.policy.events import Event
from firmware.units import BLOCK_SAMPLES, SAMPLE_RATE_HZ, SAMPLE_US
from tools.dsp_train import signals

ALL = Listening(digits=True, caller_id=True)
PAYMENT = Listening(digits=False, caller_id=False)
CALL = Listening(digits=True, caller_id=False)
IDLE = Listening(digits=False, caller_id=True)

Kind = TypeVar("Kind", bound=Event)


def hear(
    x: NDArray[np.float64],
    listening: Listening = ALL,
    *,
    ear: Ear | None = None,
    block: int = BLOCK_SAMPLES,
    tail_s: float = 2.0,
) -> list[Event]:
    """Events of one line; capture time 0 is the first sample."""
    ear = ear if ear is not None else Ear(1)
    pcm = signals.to_pcm(np.concatenate([x, np.zeros(round(tail_s * SAMPLE_RATE_HZ))]))
    events: list[Event] = []
    for at in range(0, len(pcm), block):
        events.extend(ear.hear(pcm[None, at : at + block], [at * SAMPLE_US], [listening]))
    return events


def only(events: Sequence[Event], kind: type[Kind]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]
