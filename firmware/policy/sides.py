"""Is a call heard as it should be, while it is going on: both of its sides, or on two wires anybody at all?

One second in, an alarm or none out. On two wires both sides are one sound and nobody can tell who speaks: there a dead
channel, and a call in which nobody is heard from its beginning on, are all that can be noticed.
"""

from dataclasses import dataclass, field

DEAD_S = 5
"""Digital silence this long in a call: no line with a telephone on it is that quiet."""

NOBODY_S = 30
"""Not one voice from the end of the notice on: a wire of the tap is off, what is left is its noise."""

STUCK_S, OTHER_SPOKE_S = 20, 8
"""One side is digital silence this long and the other spoke so much of it; a mute key makes shorter ones."""

UNHEARD_S, CALLER_SPOKE_S = 60, 20
"""No word of the agent for a minute in which the caller spoke so much. The other way round is a queue or a notice."""


@dataclass(frozen=True)
class Second:
    """What one side, or one pair of wires, gave in one second."""

    zero: bool
    """Digital silence."""
    voice: bool


@dataclass
class WiresHeard:
    """One call on two wires."""

    _zero_s: int = 0
    _s: int = 0
    _heard: bool = False

    def dead(self, second: Second) -> bool:
        """After this second: DEAD_CHANNEL."""
        self._s += 1
        self._heard = self._heard or second.voice
        self._zero_s = self._zero_s + 1 if second.zero else 0
        return self._zero_s >= DEAD_S or (not self._heard and self._s >= NOBODY_S)


@dataclass
class _Side:
    zero_s: int = 0
    other_in_zero_s: int = 0
    unheard_s: int = 0
    other_in_unheard_s: int = 0

    def add(self, own: Second, other: Second) -> None:
        self.zero_s, self.other_in_zero_s = _run(own.zero, other.voice, self.zero_s, self.other_in_zero_s)
        self.unheard_s, self.other_in_unheard_s = _run(
            not own.voice, other.voice, self.unheard_s, self.other_in_unheard_s
        )

    @property
    def stuck(self) -> bool:
        return self.zero_s >= STUCK_S and self.other_in_zero_s >= OTHER_SPOKE_S


def _run(goes_on: bool, other_spoke: bool, length_s: int, other_s: int) -> tuple[int, int]:
    return (length_s + 1, other_s + other_spoke) if goes_on else (0, 0)


@dataclass
class SidesHeard:
    """One call of two channels."""

    _caller: _Side = field(default_factory=_Side)
    _agent: _Side = field(default_factory=_Side)

    def add(self, caller: Second, agent: Second) -> None:
        self._caller.add(caller, agent)
        self._agent.add(agent, caller)

    @property
    def dead(self) -> bool:
        """DEAD_CHANNEL: neither side is there."""
        return min(self._caller.zero_s, self._agent.zero_s) >= DEAD_S

    @property
    def one_sided(self) -> bool:
        """ONE_SIDED."""
        agent = self._agent
        unheard = agent.unheard_s >= UNHEARD_S and agent.other_in_unheard_s >= CALLER_SPOKE_S
        return self._caller.stuck or agent.stuck or unheard
