"""The panel on a terminal: lamps, level and state of each line while a tape plays at its own pace, and keys to
press."""

from collections.abc import Callable
from textwrap import shorten
from typing import Protocol

from firmware import columns
from firmware.appliance import Appliance
from firmware.policy.events import Lamp, Signal
from firmware.simulate import World
from firmware.units import US_PER_S

HOLD_US = {"r": US_PER_S * 16 // 10, "o": US_PER_S * 11 // 10}
"""A little longer than the holds that count: 1.5 s to resume, 1 s to opt out."""
TAP_US = US_PER_S // 5

KEYS = {"p": Signal.PAYMENT, "r": Signal.PAYMENT, "o": Signal.OPT_OUT, "k": Signal.KEEP}
HELP = "p payment   r resume (held)   o opt-out (held)   k keep   q quit"
BAR_CELLS = 8
"""A row is at most 100 characters wide, so that a terminal does not wrap it."""
FLOOR_DBM0 = -60.0


class Terminal(Protocol):
    def read_key(self) -> str | None: ...
    def show(self, text: str) -> None: ...


class LivePanel:
    """Implements ``simulate.Watcher``. Keys act on the first line."""

    def __init__(
        self,
        terminal: Terminal,
        press: Callable[[int, Signal, bool], None],
        lit: Callable[[], dict[tuple[int, Lamp], bool]],
    ) -> None:
        self._terminal = terminal
        self._press = press
        self._lit = lit
        self._release: list[tuple[int, Signal]] = []

    def look(self, appliance: Appliance | None, world: World) -> bool:
        for at_us, signal in tuple(self._release):
            if world.tape_us >= at_us:
                self._press(0, signal, False)
                self._release.remove((at_us, signal))
        key = self._terminal.read_key()
        if key in KEYS and not self._release:
            self._press(0, KEYS[key], True)
            self._release.append((world.tape_us + HOLD_US.get(key, TAP_US), KEYS[key]))
        self._terminal.show(draw(appliance, world.tape_us, self._lit()))
        return key != "q"


def draw(appliance: Appliance | None, tape_us: int, lit: dict[tuple[int, Lamp], bool]) -> str:
    minutes, seconds = divmod(tape_us // US_PER_S, 60)
    rows = [f"Tacet  {minutes:02d}:{seconds:02d}"]
    if appliance is None:
        rows.append("  no power")
    else:
        for line, facts in zip(appliance.loop.lines, appliance.site.lines, strict=True):
            lamps = "  ".join(_lamp(lamp, lit.get((line.line, lamp), False)) for lamp in Lamp)
            level = _bar(appliance.loop.panel.lines[line.line].level_dbm0)
            rows.append(f"  {facts.name:<10.10} {line.state:<12} {level}  {lamps}")
        faults = ", ".join(sorted(appliance.loop.panel.faults()))
        rows.append("  " + shorten(f"faults: {faults or 'none'}", columns.WIDTH - 2, placeholder=" …"))
    rows.append(HELP)
    return "\n".join(rows)


def _lamp(lamp: Lamp, on: bool) -> str:
    name = lamp.value.replace("_", "-")
    return f"[{name.upper()}]" if on else f" {name} "


def _bar(level_dbm0: float) -> str:
    cells = round(BAR_CELLS * min(1.0, max(0.0, 1 - level_dbm0 / FLOOR_DBM0)))
    return f"{'#' * cells:<{BAR_CELLS}} {max(level_dbm0, -96.0):4.0f} dBm0"
