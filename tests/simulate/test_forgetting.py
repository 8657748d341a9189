"""Opt-out and the two months, against somebody who copied every file at every step and has every key there is."""

from pathlib import Path

import pytest

from firmware.appliance import Appliance
from firmware.policy.events import Lamp
from firmware.rehearsal import Simulated
from firmware.simulate import World, play
from hw.sim.stage import Stage
from hw.sim.tape import read_tape
from tests.simulate.adversary import Adversary
from tests.simulate.kit import PASSPHRASE, Kit, Tape, noise
from tools.desk import keys


class Onlooker:
    """Copies what changes, and the erasable memory at the moment the OPT-OUT lamp was solid for a second."""

    def __init__(self, stage: Stage, adversary: Adversary, state: Path) -> None:
        self._stage, self._adversary, self._state = stage, adversary, state
        self._solid_steps = 0
        self.before: bytes | None = None
        self.at_solid: bytes | None = None

    def look(self, appliance: Appliance | None, world: World) -> bool:
        self._adversary.copy()
        if world.tape_us == 45_000_000:
            self.before = (self._state / "memory").read_bytes()
        self._solid_steps = self._solid_steps + 1 if self._stage.lit().get((0, Lamp.OPT_OUT)) else 0
        if self._solid_steps == 10 and self.at_solid is None:
            self.at_solid = (self._state / "memory").read_bytes()
        return True


def test_after_the_opt_out_lamp_is_solid_nobody_can_open_the_call_with_all_there_ever_was(kit: Kit) -> None:
    tape = Tape(kit.root / "tape", audio={"line1": noise(70.0)})
    tape.call(2.0, 6.0, 65.0).press(50.0, "opt_out", for_s=1.2)
    stage = Stage(read_tape(tape.save()), kit.state)
    simulated = Simulated(stage)
    simulated.provision(kit.pack, 64 << 20)
    adversary = Adversary(kit.state)
    onlooker = Onlooker(stage, adversary, kit.state)
    play(stage, lambda: Appliance(simulated.parts, simulated.devices, simulation=True, threaded=False), onlooker)
    custodian = keys.unlock(kit.home / "custodian.key", PASSPHRASE)
    assert onlooker.before is not None
    assert onlooker.at_solid is not None
    assert len(adversary.opens(onlooker.before, custodian)) == 1, "the attack itself must work on a call that is kept"
    assert adversary.opens(onlooker.at_solid, custodian) == set()


def day(kit: Kit, name: str, start: str, seconds: float = 60.0) -> Tape:
    return Tape(kit.root / name, start=start, audio={"line1": noise(seconds)}).call(2.0, 6.0, seconds - 20)


def test_a_recorder_that_runs_for_months_keeps_a_call_to_its_last_day_and_not_longer(
    kit: Kit, capsys: pytest.CaptureFixture[str]
) -> None:
    """31 December + 2 months ends with February: gone on the 28th, there on the 27th."""
    tape = day(kit, "tape", "2025-12-31T09:00:00Z")
    last_day = 59 * 86_400 - 9 * 3600 - 3600
    eve = kit.new_stick(*_everything("2026-02-27T00:00Z"), name="eve")
    after = kit.new_stick(*_everything("2026-02-28T00:00Z"), name="after")
    tape.stick(last_day, eve).event(last_day + 600, "stick_out", None).stick(last_day + 2 * 3600, after)
    kit.simulate(tape)
    assert _calls_on(eve) == 1
    assert _calls_on(after) == 0


def _everything(not_before: str) -> tuple[str, ...]:
    window = ("--from", "2025-12-01T00:00Z", "--to", "2026-03-31T00:00Z", "--not-before", not_before)
    return ("export", *window, "--purpose", "quality", "--basis", "legitimate-interests")


def _calls_on(stick: Path) -> int:
    assert list(stick.rglob("REPLY.txt")), "the stick was not answered"
    return len(list(stick.rglob("data/*.tcf")))


def test_nothing_past_its_limit_leaves_a_recorder_that_was_switched_off_over_the_limit(kit: Kit) -> None:
    kit.simulate(day(kit, "first", "2026-03-02T09:00:00Z"))
    late = kit.new_stick(*_everything("2026-05-02T00:00Z"), name="late")
    kit.simulate(Tape(kit.root / "later", start="2026-05-02T00:00:30Z").stick(5.0, late))
    assert _calls_on(late) == 0


def test_what_was_past_its_limit_is_destroyed_after_three_powered_days(kit: Kit) -> None:
    kit.simulate(day(kit, "first", "2026-03-02T09:00:00Z"))
    before = (kit.state / "memory").read_bytes()
    adversary = Adversary(kit.state)
    adversary.copy()
    custodian = keys.unlock(kit.home / "custodian.key", PASSPHRASE)
    assert len(adversary.opens(before, custodian)) == 1
    kit.simulate(Tape(kit.root / "later", start="2026-05-02T00:00:30Z").event(75 * 3600.0, "reversal"))
    adversary.copy()
    assert adversary.opens((kit.state / "memory").read_bytes(), custodian) == set()
    assert not any((kit.state / "ring").read_bytes()), "the blocks were overwritten, as the notice says"


def test_a_second_start_the_same_day_destroys_nothing(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    kit.simulate(day(kit, "first", "2026-03-02T09:00:00Z"))
    stick = kit.new_stick()
    kit.simulate(Tape(kit.root / "later", start="2026-03-02T10:00:00Z").stick(5.0, stick))
    assert _calls_on(stick) == 1


def test_a_clock_set_years_ahead_wipes_no_evidence(kit: Kit) -> None:
    kit.simulate(day(kit, "first", "2026-03-02T09:00:00Z"))
    ahead = Tape(kit.root / "ahead", start="2026-03-02T10:00:00Z")
    ahead.event(1.0, "clock_set", None, to="2031-01-01T00:00:00Z").event(2.0, "power_cut", None)
    ahead.event(4.0, "power_on", None).event(3600.0, "clock_set", None, to="2026-03-02T11:00:05Z")
    ahead.events = [
        row.replace('"2031-01-01T00:00:00Z"', "2031-01-01T00:00:00Z").replace(
            '"2026-03-02T11:00:05Z"', "2026-03-02T11:00:05Z"
        )
        for row in ahead.events
    ]
    kit.simulate(ahead)
    stick = kit.new_stick()
    kit.simulate(Tape(kit.root / "later", start="2026-03-02T13:00:00Z").stick(5.0, stick))
    assert _calls_on(stick) == 1


def test_a_shorter_period_that_the_site_chose_is_kept_to(tmp_path: Path) -> None:
    kit = Kit(tmp_path / "kit", "[retention]\ndays = 3\n[[line]]\nname = 'line1'\n")
    tape = day(kit, "tape", "2026-03-02T09:00:00Z")
    eve = kit.new_stick(name="eve")
    after = kit.new_stick(name="after")
    two_days = 2 * 86_400 - 9 * 3600 + 23 * 3600
    tape.stick(two_days, eve).event(two_days + 600, "stick_out", None).stick(two_days + 2 * 3600, after)
    kit.simulate(tape)
    assert _calls_on(eve) == 1
    assert _calls_on(after) == 0
