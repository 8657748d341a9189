"""The drawings of hw/WIRING.md: `python -m hw.electronics.draw` writes the SVG files beside this one.

Values come from ``frontend.lib``, so a drawing cannot say something else than what is simulated.
"""

import re
from pathlib import Path

# schemdraw finds its methods at run time; its types know neither the lengths nor the elements.
# mypy: disable-error-code="no-untyped-call, call-arg, no-any-return"
import schemdraw
import schemdraw.elements as elm

HERE = Path(__file__).resolve().parent
UNITS = {"k": " kΩ", "meg": " MΩ", "n": " nF", "u": " µF", "": " Ω"}


def values(netlist: str) -> dict[str, str]:
    """``RINGDETECT.R1`` to ``10 kΩ`` for every resistor and capacitor of the sections."""
    found: dict[str, str] = {}
    section = ""
    for line in netlist.splitlines():
        words = line.partition(";")[0].split()
        if words and words[0] == ".subckt":
            section = words[1]
        elif words and words[0] == ".ends":
            section = ""
        elif section and len(words) >= 4 and words[0][0] in "RC":
            match = re.fullmatch(r"([0-9.]+)(meg|[knu]?)", words[3])
            if match:
                found[f"{section}.{words[0]}"] = match[1] + UNITS[match[2]]
    return found


def detectors(part: dict[str, str]) -> schemdraw.Drawing:
    """Ring detector across the wires and loop detector in wire A, to the Pi's inputs."""
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=11, unit=2.4)
        elm.Dot(open=True).label("LA", "left")
        elm.Line().right(1)
        ring = elm.Dot()
        elm.Line().right(5)
        loop = elm.Dot()
        elm.Resistor().right().label(f"R1 {part['LOOPDETECT.R1']}")
        joined = elm.Dot()
        elm.Line().right(1)
        elm.Dot(open=True).label("PA", "right")
        elm.Resistor().at(loop.center).up().label(f"R2 {part['LOOPDETECT.R2']}")
        coupler = elm.LED().right().label("LTV-814\n(two LEDs)", "top")
        elm.Line().to(joined.center)
        elm.Line().at(coupler.end).right(0.2)
        elm.Capacitor().at(ring.center).down(1.4).label(f"C1 {part['RINGDETECT.C1']}", "bottom")
        elm.Resistor().down(1.6).label(f"R1 {part['RINGDETECT.R1']}", "bottom")
        elm.Zener().down(1.4).label("27 V", "bottom")
        elm.Zener().down(1.4).reverse().label("27 V", "bottom")
        elm.LED().down(1.4).label("LTV-814\n(two LEDs)", "bottom")
        low = elm.Dot()
        elm.Line().at(low.center).left(1)
        elm.Dot(open=True).label("LB", "left")
        elm.Line().at(low.center).right(9.4)
        elm.Dot(open=True).label("PB", "right")
    return drawing


def coupling(part: dict[str, str]) -> schemdraw.Drawing:
    """Receive and transmit: two transformers between the line and the codec."""
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=11, unit=2.4)
        _branch("T1", part["RECEIVE.C1"], part["RECEIVE.R1"], part["RECEIVE.R2"], 0.0)
        secondary = elm.Resistor().at((10.2, 0)).down(3).label(part["RECEIVE.R3"], "bottom")
        elm.Line().at((8.2, 0)).to(secondary.start)
        elm.Line().at((8.2, -3)).to(secondary.end)
        elm.Line().at(secondary.start).right(1.6)
        clamp = elm.Diode().down(1.5)
        elm.Diode().down(1.5)
        elm.Line().left(1.6)
        elm.Line().at(clamp.start).right(1)
        second = elm.Diode().down(1.5).reverse().label("4 x BAV99", "bottom")
        elm.Diode().down(1.5).reverse()
        elm.Line().left(1)
        elm.Line().at(second.start).right(0.6)
        elm.Resistor().right().label(part["RECEIVE.R4"])
        elm.Dot(open=True).label("CIN", "right")
        _branch("T2", part["TRANSMIT.C1"], part["TRANSMIT.R1"], part["TRANSMIT.R2"], -5.0)
        amplifier = elm.Opamp().at((11.0, -6.5)).left().flip().label("LM4871", "center", fontsize=8)
        elm.Line().at((8.2, -5)).right(0.4)
        elm.Line().down(1.5)
        elm.Line().to(amplifier.out)
        elm.Line().at((8.2, -8)).right(0.4)
        elm.Ground()
        elm.Line().at(amplifier.in1).right(1)
        elm.Dot(open=True).label("COUT", "right")
    return drawing


def _branch(name: str, capacitor: str, upper: str, lower: str, top: float) -> None:
    elm.Dot(open=True).at((0, top)).label("PA", "left")
    elm.Capacitor().right().label(capacitor)
    elm.Resistor().right().label(upper)
    elm.Line().right(1.4)
    core = (
        elm.Transformer(t1=5, t2=5)
        .at((6.4, top - 0.4))
        .anchor("p1")
        .label(f"{name}\n600:600", "center", ofst=(0, -1.9), fontsize=9)
    )
    elm.Line().at((6.2, top)).to(core.p1)
    elm.Line().at(core.p2).to((6.2, top - 3))
    elm.Resistor().at((6.2, top - 3)).left().label(lower)
    elm.Line().left(3.8)
    elm.Dot(open=True).label("PB", "left")
    elm.Line().at(core.s1).to((8.2, top))
    elm.Line().at(core.s2).to((8.2, top - 3))


def relays(part: dict[str, str]) -> schemdraw.Drawing:
    """Both relays drawn released: what the telephone sees without power."""
    with schemdraw.Drawing(show=False) as drawing:
        drawing.config(fontsize=11, unit=2.4)
        elm.Dot(open=True).label("5 V", "left")
        elm.Line().right(1)
        top = elm.Dot()
        coil = elm.Inductor2(loops=3).down().label("K1, K2", "top")
        driver = elm.NFet().anchor("drain").at(coil.end).theta(0).label("2N7002", "left")
        elm.Ground().at(driver.source)
        elm.Line().at(driver.gate).right(0.3)
        elm.RBox().right(2.4).label("MCP100", "bottom")
        elm.Dot(open=True).label("5 V", "right")
        elm.Line().at(top.center).right(2)
        elm.Zener().down(1.2).reverse().label("12 V", "bottom")
        elm.Diode().down(1.2).reverse().label("1N4148", "bottom")
        elm.Line().to(coil.end)
        elm.Dot(open=True).at((6, 0)).label("LA", "left")
        elm.Button(nc=True).right(3).label("K1 closed without power")
        elm.Dot(open=True).label("PA", "right")
        elm.Dot(open=True).at((6, -2)).label("CIN", "left")
        elm.Button(nc=True).right(3).label("K2 closed without power")
        elm.Ground()
    return drawing


DRAWINGS = {"detectors": detectors, "coupling": coupling, "relays": relays}


def main() -> None:
    schemdraw.use("svg")
    part = values((HERE / "frontend.lib").read_text(encoding="utf-8"))
    for name, draw in DRAWINGS.items():
        path = HERE / f"{name}.svg"
        path.write_bytes(draw(part).get_imagedata("svg"))
        print(path)


if __name__ == "__main__":
    main()
