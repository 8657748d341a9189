"""The recorder's command line.

python -m firmware run --config tacet.toml
python -m firmware simulate TAPE.toml --state DIR [--provision P] [--realtime]
python -m firmware ledger --state DIR [--json]
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from firmware import selftest
from firmware.appliance import Appliance, WiringError
from firmware.config import MACHINE_KEYS, ConfigError, Machine, parse_machine
from firmware.evidence.pack import PackError
from firmware.housekeeping import Housekeeper
from firmware.store.errors import CardFailed, ErasureUnconfirmed, NoRoot, NotProvisioned, VaultError, WrongKind
from firmware.units import MS_PER_S, STEP_MS, US_PER_S
from firmware.wiring import Real
from hw.codec import CodecMissing, CodecRefused
from hw.gpio import PinsMissing

OK, INTERNAL, USAGE, SETTINGS, UNPROVISIONED, WRONG_KIND, NO_ROOT, CARD, DEVICE, TAPE = range(10)
"""Exit codes; the README's table is this line."""

SIMULATED_RING_MIB = 64
FINISH_S = 3.0
"""Beyond the look-back: how long the last pieces of a call that has ended may take (loop, voipfeed)."""
RETRY_S = 10.0
"""How often a recorder that cannot start looks again."""
STEP_S = STEP_MS / MS_PER_S
"""How often the loop of a real appliance comes round, and so how late a lamp may answer its key."""


def main(argv: list[str] | None = None) -> int:
    given = _arguments().parse_args(argv)
    try:
        code: int = given.command(given)
    except NotProvisioned as error:
        return _fail(error, UNPROVISIONED)
    except WrongKind as error:
        return _fail(error, WRONG_KIND)
    except NoRoot as error:
        return _fail(error, NO_ROOT)
    except (ConfigError, WiringError) as error:
        return _fail(f"Settings: {error} Nothing was started.", SETTINGS)
    except PackError as error:
        return _fail(error, UNPROVISIONED)
    except (CodecMissing, CodecRefused, PinsMissing) as error:
        return _fail(error, DEVICE)
    except BlockingIOError:
        return _fail("Another recorder uses this state directory; nothing was started. Stop that one first.", CARD)
    except VaultError as error:
        return _fail(error, CARD)
    except OSError as error:
        return _fail(f"{error.strerror or error}; nothing stored was lost. Check the card and its space.", CARD)
    return code


def _fail(error: Exception | str, code: int) -> int:
    print(str(error), file=sys.stderr)
    return code


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m firmware", description="Tacet, the call recorder.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="record on this machine's devices")
    run.add_argument("--config", type=Path, required=True, metavar="TOML")
    run.set_defaults(command=_run)
    simulate = commands.add_parser("simulate", help="play a tape through the production loop on virtual time")
    simulate.add_argument("tape", type=Path, metavar="TAPE.toml")
    simulate.add_argument("--state", type=Path, required=True, metavar="DIR")
    simulate.add_argument("--provision", type=Path, metavar="DIR", help="the stick with the pack, at the first start")
    simulate.add_argument("--realtime", action="store_true", help="at its own pace, with keys and a live panel")
    simulate.add_argument("--ring-mib", type=mebibytes, default=SIMULATED_RING_MIB)
    simulate.set_defaults(command=_simulate)
    capture = commands.add_parser("replay", help="play a capture file of a VoIP trunk through the production loop")
    capture.add_argument("capture", type=Path, metavar="FILE.pcapng")
    capture.add_argument("--state", type=Path, required=True, metavar="DIR")
    capture.add_argument("--provision", type=Path, metavar="DIR", help="the stick with the pack, at the first start")
    capture.add_argument(
        "--trunk-mac", type=hardware_address, metavar="MAC", help="for a capture whose interfaces have no names"
    )
    capture.add_argument("--ring-mib", type=mebibytes, default=SIMULATED_RING_MIB)
    capture.set_defaults(command=_replay)
    test = commands.add_parser("selftest", help="check every device; a table and an exit code")
    test.add_argument("--config", type=Path, required=True, metavar="TOML")
    test.add_argument("--lamps", action="store_true", help="light each lamp in turn, for somebody to watch")
    test.set_defaults(command=_selftest)
    ledger = commands.add_parser("ledger", help="one row per call event")
    ledger.add_argument("--state", type=Path, required=True, metavar="DIR")
    ledger.add_argument("--json", action="store_true")
    ledger.set_defaults(command=_ledger)
    return parser


# ------------------------------------------------------------------------------------ a recorder that only plays
# Imported in place: the tape, the capture reader and the panel on a terminal are nothing that a recorder waits for.


def _simulate(given: argparse.Namespace) -> int:
    from firmware.rehearsal import NAME_THE_PACK, TapeError, simulate

    try:
        simulate(given.tape, given.state, given.provision, given.ring_mib << 20, realtime=given.realtime)
    except TapeError as error:
        return _fail(error, TAPE)
    except NotProvisioned:
        return _fail(NotProvisioned(NAME_THE_PACK), UNPROVISIONED)
    return OK


def _replay(given: argparse.Namespace) -> int:
    from firmware.rehearsal import NAME_THE_PACK, CaptureDamaged, open_capture, replay_capture

    try:
        with closing(open_capture(given.capture, given.trunk_mac)) as capture:
            replay_capture(capture, given.state, given.provision, given.ring_mib << 20)
            if capture.left_out:
                print(f"Packets left out, from neither the trunk nor the inside: {capture.left_out}.", file=sys.stderr)
    except CaptureDamaged as error:
        return _fail(error, TAPE)
    except NotProvisioned:
        return _fail(NotProvisioned(NAME_THE_PACK), UNPROVISIONED)
    return OK


def hardware_address(text: str) -> bytes:
    from hw.pcap import parse_mac

    return parse_mac(text)


def mebibytes(text: str) -> int:
    """As ``ring_mib`` of tacet.toml."""
    [key] = [key for key in MACHINE_KEYS["appliance"] if key.name == "ring_mib"]
    value: int = key.read(int(text), "simulation")
    return value


def _ledger(given: argparse.Namespace) -> int:
    from firmware.rehearsal import ledger_of

    print(ledger_of(given.state, as_json=given.json))
    return OK


# ----------------------------------------------------------------------------------------------------------- run


def _run(given: argparse.Namespace) -> int:
    """Records until told to stop. What hinders it (no keys yet, no root) is shown on the panel and tried again. A card
    that refused a write ends it once nobody is on a line: systemd starts it anew, and a start looks at everything."""
    stopped = _on_signals()
    real = Real(_machine(given.config))
    try:
        appliance = _start(real, stopped)
        if appliance is None:
            return OK
        housekeeper = Housekeeper(real.clock, real.metrics_path, real.examine)
        real.watchdog.ready()
        while not stopped():
            began = time.monotonic()
            housekeeper.look(appliance)
            stick = real.new_stick()
            if stick is not None:
                appliance.stick_in(stick)
            appliance.step()
            if appliance.to_be_opened_anew:
                appliance.close()
                raise CardFailed
            time.sleep(max(0.0, STEP_S - (time.monotonic() - began)))
        _finish_calls(appliance)
    finally:
        real.close()
    return OK


def _finish_calls(appliance: Appliance) -> None:
    """Told to stop: a call that has just ended still gets its row, once its look-back has passed."""
    end = time.monotonic() + appliance.look_back_us / US_PER_S + FINISH_S
    while appliance.loop.finishing and time.monotonic() < end:
        appliance.step()
        time.sleep(STEP_S)
    appliance.close()


def _selftest(given: argparse.Namespace) -> int:
    """Beside a running recorder its devices are taken: stop the service first."""
    real = Real(_machine(given.config))
    try:
        utc_ms, health = real.vault_facts()
        findings = selftest.run(real.equipment(utc_ms, health), show_lamps=given.lamps)
    finally:
        real.close()
    print(selftest.table(findings), end="")
    return selftest.exit_code(findings)


def _start(real: Real, stopped: Callable[[], bool]) -> Appliance | None:
    """None when told to stop before it could start. Without a panel nobody could see why it waits: then it ends."""
    told = ""
    while not stopped():
        try:
            return Appliance(real.parts, real.devices, simulation=False, threaded=True)
        except (NotProvisioned, NoRoot, ErasureUnconfirmed, CardFailed) as error:
            if isinstance(error, NotProvisioned) and real.provision_from_stick():
                continue
            if not real.has_panel:
                raise
            if str(error) != told:
                told = str(error)
                print(told, file=sys.stderr, flush=True)
            real.show_fault(RETRY_S, stopped)
            while isinstance(error, NotProvisioned) and not stopped() and not real.provision_from_stick():
                real.show_fault(RETRY_S, stopped)
    return None


def _machine(config: Path) -> Machine:
    try:
        return parse_machine(config.read_text(encoding="utf-8"), config.name)
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"The file {config.name} cannot be read.") from None


def _on_signals() -> Callable[[], bool]:
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda which, _frame: caught.append(which))
    return lambda: bool(caught)


if __name__ == "__main__":
    sys.exit(main())
