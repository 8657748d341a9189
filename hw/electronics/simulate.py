"""What the line front end does, simulated: one function per question, each builds a deck on ``frontend.lib`` and asks
ngspice. Volts, amperes, hertz, seconds; decibels are named so.

The line of the benches: 50 V behind 2 x 200 ohm for the direct current; ringing 25 Hz on top of it; 600 ohm on both
ends for speech. The isolation between line and Pi is not simulated: both have node 0 as their ground. Sources:
ITU-T Q.552 (600 ohm), ES 203 021-2 (TBR 21's successor: ringing, on-hook resistance), BS 6305 (UK ringing 25 Hz, 40 to
75 V RMS at the terminal) [G: figures from memory, to be checked with the standards' text].
"""

import math
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).with_name("frontend.lib")
CODEC_LIMIT_V = 2.0
"""Peak at the codec's line input: its coupling capacitor leads to a stage biased at half of 5 V that takes +-2.5 V."""
CODEC_FULL_SCALE_V = 1.41
"""Peak of a 1 V RMS line input."""
DIGITAL_LOW_V, DIGITAL_HIGH_V = 0.8, 2.0
"""Input levels that a 3.3 V input is sure to read (BCM2711 and 74LVC data sheets)."""


class SpiceError(Exception):
    """ngspice did not finish; its own words."""


@dataclass(frozen=True)
class Tolerances:
    """``zener_v``: BZX84-B27 is 26.5 to 27.5 V. ``inductance_h``: the least a transformer of this kind has at 25 Hz."""

    zener_v: float = 27.0
    inductance_h: float = 1.5


NOMINAL = Tolerances()
CORNERS = (NOMINAL, Tolerances(26.5, 1.5), Tolerances(27.5, 1.5), Tolerances(27.0, 8.0))


def measure(body: str, commands: str, tolerances: Tolerances = NOMINAL) -> dict[str, float]:
    """``commands``: lines of an ngspice control block with ``meas``; the results by name."""
    parameters = f".param vz={tolerances.zener_v} lm={tolerances.inductance_h}\n"
    library = LIBRARY.read_text()
    deck = f"* bench\n.options method=gear\n{parameters}{library}\n{body}\n.control\n{commands}\nquit\n.endc\n.end\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.cir"
        path.write_text(deck)
        done = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True, check=False, timeout=120)
    found = re.findall(r"^(\w+)\s*=\s*([-+0-9.eE]+)", done.stdout, re.M)
    if not found or "Error" in done.stderr or "failed" in done.stdout:
        raise SpiceError(done.stdout[-2000:] + done.stderr[-2000:])
    return {name: float(value) for name, value in found}


# ------------------------------------------------------------------------------------------------------- the line

TAP = "VDD vdd 0 3.3\nXT la pa lb vdd cin cout ringx loopx ringn loopn TAP\nVOUT cout 0 0\n"


def _ringing(volts_rms: float, bells: int = 1) -> str:
    """Exchange: 50 V direct current and ringing in series (the voltage is that at the terminals); bells of REN 1
    (7 kohm and 1.8 uF) at the telephone. One burst of 400 ms from 20 ms on."""
    return (
        f"{TAP}VL l1 l2 DC 50\n"
        f"BR l2 0 V={{{volts_rms * 1.41421}*sin(157.08*(time-0.02))*(u(time-0.02)-u(time-0.42))}}\n"
        f"RA l1 la 10\nRB lb 0 10\nCB pa nb {1.8 * bells}u\nRBELL nb lb {7000 / bells}\n"
    )


def ringing(volts_rms: float, tolerances: Tolerances = NOMINAL, bells: int = 1) -> dict[str, float]:
    """A burst of 400 ms and the pause after it. ``codec``: peak at the codec's input. ``ringx``: the highest level of
    RINGX from 100 ms into the burst to its end. ``loopn``: the lowest of LOOPN at any time."""
    found = measure(
        _ringing(volts_rms, bells),
        "tran 100u 800m\n"
        "meas tran high MAX v(cin)\nmeas tran low MIN v(cin)\n"
        "meas tran ringx MAX v(ringx) from=120m to=420m\nmeas tran loopn MIN v(loopn)",
        tolerances,
    )
    return {"codec": max(found["high"], -found["low"]), "ringx": found["ringx"], "loopn": found["loopn"]}


def ring_detect_time(volts_rms: float, tolerances: Tolerances = NOMINAL) -> float:
    """From the first cycle until RINGX is a sure low."""
    found = measure(
        _ringing(volts_rms),
        f"tran 100u 600m\nmeas tran fired WHEN v(ringx)={DIGITAL_LOW_V} FALL=1",
        tolerances,
    )
    return found["fired"] - 0.020


def dialling(tolerances: Tolerances = NOMINAL) -> float:
    """Lowest level of RINGX while ten loop-disconnect pulses (10 per second, 67 % break) are dialled."""
    body = (
        f"{TAP}VL l1 0 50\nRA l1 la 200\nRB lb 0 200\n"
        "S1 pa pb ctl 0 HOOK\nRT pb lb 200\nVC ctl 0 PULSE(1 0 50m 1m 1m 67m 100m)\n"
        ".model HOOK SW(RON=1 ROFF=10meg VT=0.5 VH=0.1)\n"
    )
    return measure(body, "tran 100u 1.1\nmeas tran ringx MIN v(ringx)", tolerances)["ringx"]


def noise(volts_rms: float, hertz: float, tolerances: Tolerances = NOMINAL) -> float:
    """Lowest level of RINGX with a tone of this size across an on-hook line."""
    body = f"{TAP}VL l1 0 DC 50 SIN(50 {volts_rms * 1.41421} {hertz})\nRA l1 la 300\nRB lb 0 300\n"
    return measure(body, "tran 100u 400m\nmeas tran ringx MIN v(ringx)", tolerances)["ringx"]


def loop(milliamperes: float, *, reverse: bool = False) -> float:
    """LOOPX with this direct current through the telephone."""
    sign = -1 if reverse else 1
    body = f"{TAP}IL la 0 DC {-sign * milliamperes}m\nRB lb 0 1m\nRT pa lb 300\n"
    return measure(body, "tran 1m 500m\nmeas tran loopx FIND v(loopx) AT=499m")["loopx"]


def answer_time() -> float:
    """From the handset lifted in a ring pause until LOOPX is a sure low."""
    body = (
        f"{TAP}VL l1 0 50\nRA l1 la 200\nRB lb 0 200\nS1 pa pb ctl 0 HOOK\nRT pb lb 300\n"
        "VC ctl 0 PULSE(0 1 100m 1m 1m 5 10)\n.model HOOK SW(RON=1 ROFF=10meg VT=0.5 VH=0.1)\n"
    )
    found = measure(body, f"tran 100u 800m\nmeas tran fired WHEN v(loopx)={DIGITAL_LOW_V} FALL=1")
    return found["fired"] - 0.100


def leakage(volts: float = 50) -> float:
    """Direct current that the tap draws from an on-hook line, after its capacitors are charged."""
    body = f"{TAP}VL l1 0 {volts}\nRA l1 la 200\nRB lb 0 200\n"
    return abs(measure(body, "op\nlet leak = -i(vl)\nprint leak")["leak"])


# ------------------------------------------------------------------------------------------------------- speech


def _speech(source: str, load_ohms: float = 600) -> str:
    """600 ohm at both ends; 25 mA through the loop detector, as in a call."""
    return (
        f"VDD vdd 0 3.3\nXT la pa lb vdd cin cout ringx loopx ringn loopn TAP\n{source}"
        f"RA l1 la 600\nRB lb 0 1m\nRT pa pt {load_ohms}\nCT pt lb 1000u\nIDC pa lb 25m\nIDC2 0 la 25m\n"
    )


def receive_response(tolerances: Tolerances = NOMINAL) -> dict[int, float]:
    """Line to codec in dB relative to 1 kHz, at the band's edges and between."""
    return _response("VL l1 0 DC 0 AC 2\nVOUT cout 0 0\n", "cin", tolerances)


def transmit_response(tolerances: Tolerances = NOMINAL) -> dict[int, float]:
    """Notice amplifier to the line, likewise."""
    return _response("VL l1 0 0\nVOUT cout 0 DC 0 AC 3\n", "pa", tolerances)


FREQUENCIES_HZ = (300, 500, 1000, 2000, 3400)


def _response(source: str, node: str, tolerances: Tolerances) -> dict[int, float]:
    finds = "\n".join(f"meas ac g{hertz} FIND level AT={hertz}" for hertz in FREQUENCIES_HZ)
    found = measure(_speech(source), f"ac dec 200 100 10000\nlet level = vdb({node})\n{finds}", tolerances)
    return {hertz: found[f"g{hertz}"] - found["g1000"] for hertz in FREQUENCIES_HZ}


def levels() -> dict[str, float]:
    """In dB at 1 kHz. ``receive``: codec relative to its full scale for 0 dBm on the line. ``notice``: dBm on the line
    at the amplifier's full output. ``bridging``: loss that the tap adds to a call."""
    ac = "ac dec 200 100 10000\n"
    heard = measure(
        _speech("VL l1 0 DC 0 AC 2\nVOUT cout 0 0\n"),
        ac + "meas ac x FIND vdb(cin) AT=1000\nmeas ac y FIND vdb(pa) AT=1000",
    )
    sent = measure(_speech("VL l1 0 0\nVOUT cout 0 DC 0 AC 3\n"), ac + "meas ac x FIND vdb(pa) AT=1000")
    zero_dbm_v_rms = 0.7746
    return {
        "receive": heard["x"] - heard["y"] + _db(zero_dbm_v_rms) - _db(CODEC_FULL_SCALE_V / 1.41421),
        "notice": sent["x"] - _db(zero_dbm_v_rms),
        "bridging": -heard["y"],
    }


def _db(volts: float) -> float:
    return 20 * math.log10(volts)


# ------------------------------------------------------------------------------------------------------- relays


def relay_release_time(rail_farads: float = 1000e-6, load_amperes: float = 0.1) -> float:
    """From the supply's failure until the coil's current is below its drop-out value, when 1000 uF of the 5 V rail feed
    ``load_amperes`` (an idle board draws the least and drops out last).

    Coil of an Omron G6K-2P-Y DC5: 237 ohm, 21 mA, must release at 10 % (2.1 mA); 0.25 H [G]. A supervisor (4.38 V)
    opens the driver; the coil's energy goes into 1N4148 and a 12 V Zener.
    """
    body = (
        f"VS s 0 PULSE(5 0 20m 1u 1u 10 20)\nDS s rail DIDEAL\nCR rail 0 {rail_farads} IC=5\nIR rail 0 {load_amperes}\n"
        "S1 coil2 0 rail 0 SUPERVISOR\nL1 rail c1 0.25 IC=21m\nR1 c1 coil2 237\n"
        "D1 coil2 z DSIG\nD2 rail z DZ12\n"
        ".model DIDEAL D(IS=1e-6 N=0.1 RS=0.01)\n.model SUPERVISOR SW(RON=2 ROFF=10meg VT=4.38 VH=0.02)\n"
    )
    found = measure(body, "tran 10u 200m uic\nmeas tran released WHEN i(l1)=2.1m FALL=1")
    return found["released"] - 0.020
