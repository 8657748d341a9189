"""Tone plans: which tones a network sends. Another network or adapter is another table, not other code."""

from dataclasses import dataclass

from firmware.policy.events import Tone

CADENCE_TOLERANCE = 0.12
"""Cadences are held to 10 % (SIN 350); 2 % more for our own measure."""

CADENCE_SLACK_S = 0.02


@dataclass(frozen=True)
class ToneSpec:
    """One supervisory tone. ``hz``: alternatives, each one or two frequencies; ``cadence_s``: on, off, on, off ...,
    empty for a continuous tone; ``heard_s``: length after which a continuous tone is recognised."""

    tone: Tone
    hz: tuple[tuple[float, ...], ...]
    cadence_s: tuple[float, ...] = ()
    heard_s: float = 0.0


@dataclass(frozen=True)
class TonePlan:
    """Frequencies are accepted within 5 % (SIN 350), cadences within 10 %."""

    name: str
    tones: tuple[ToneSpec, ...]
    call_waiting_s: tuple[float, float, float, float] = (0.08, 0.23, 1.8, 5.5)
    """Length of the call-waiting burst and of the pause after it: least and most. UK adapters send 0.1 s every 2 to
    5 s (vendors' UK profiles: 100/2000, 100/3000, 200/4000 ms)."""
    call_waiting_hz: tuple[float, ...] = (400.0,)


UK = TonePlan(
    "uk",
    (
        ToneSpec(Tone.DIAL, ((350.0, 440.0),), heard_s=0.56),
        ToneSpec(Tone.SPECIAL_DIAL, ((350.0, 440.0),), (0.75, 0.75)),
        ToneSpec(Tone.RINGING, ((400.0, 450.0), (375.0, 425.0), (383.0, 417.0)), (0.4, 0.2, 0.4, 2.0)),
        ToneSpec(Tone.BUSY, ((400.0,),), (0.375, 0.375)),
        ToneSpec(Tone.CONGESTION, ((400.0,),), (0.4, 0.35, 0.225, 0.525)),
        ToneSpec(Tone.NU, ((400.0,),), heard_s=1.15),
    ),
)
"""BT SIN 350 and ND 1210-type tables; POEEJ 1978 for the legacy ringing pairs."""

EUROPE = TonePlan(
    "europe",
    (
        ToneSpec(Tone.DIAL, ((425.0,),), heard_s=1.4),
        ToneSpec(Tone.RINGING, ((425.0,),), (1.0, 4.0)),
        ToneSpec(Tone.BUSY, ((425.0,),), (0.5, 0.5)),
        ToneSpec(Tone.CONGESTION, ((425.0,),), (0.25, 0.25)),
    ),
    call_waiting_hz=(425.0,),
)
"""ITU-T E.180 / ETSI TR 101 041-2: what many adapters and PBXs send by default."""

PLANS = {plan.name: plan for plan in (UK, EUROPE)}
