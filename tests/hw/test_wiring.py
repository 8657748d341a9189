"""What an installer solders is what the program reads: the page, the drawings and the code agree."""

import re
from pathlib import Path

from hw.electronics import draw
from hw.pinmap import DEFAULT_PINS, FREE_PINS

HW = Path(draw.__file__).resolve().parent.parent
ROW = re.compile(r"^\| (\d+) \| (\d+) \| (in|out) \| ([\d, ]+) \| (\w+) \|$", re.M)
HEADER_PIN = {
    2: 3, 3: 5, 4: 7, 14: 8, 15: 10, 17: 11, 18: 12, 27: 13, 22: 15, 23: 16, 24: 18, 10: 19, 9: 21, 25: 22, 11: 23,
    8: 24, 7: 26, 0: 27, 1: 28, 5: 29, 6: 31, 12: 32, 13: 33, 19: 35, 16: 36, 26: 37, 20: 38, 21: 40,
}  # fmt: skip
"""BCM number to pin of the 40-pin header (Raspberry Pi documentation, GPIO and the 40-pin header)."""


def documented() -> list[tuple[int, int, str, tuple[int, ...], str]]:
    rows = ROW.findall((HW / "WIRING.md").read_text())
    return [(int(b), int(p), d, tuple(int(line) - 1 for line in lines.split(", ")), s) for b, p, d, lines, s in rows]


def test_the_pin_table_is_the_one_the_program_uses() -> None:
    inputs = {(pin.bcm, "in", (pin.line,), pin.signal.value) for pin in DEFAULT_PINS.inputs}
    outputs = {
        (pin.bcm, "out", pin.lines, pin.lamp.value if pin.lamp is not None else "sounder")
        for pin in DEFAULT_PINS.outputs
    }
    assert {(bcm, direction, lines, signal) for bcm, _, direction, lines, signal in documented()} == inputs | outputs


def test_every_number_of_the_header_is_right() -> None:
    assert {bcm: pin for bcm, pin, *_ in documented()} == {bcm: HEADER_PIN[bcm] for bcm in FREE_PINS}


def test_every_default_input_is_active_low_and_every_output_active_high_as_the_page_says() -> None:
    assert all(pin.active_low for pin in DEFAULT_PINS.inputs)
    assert not any(pin.active_low for pin in DEFAULT_PINS.outputs)


def test_the_drawings_are_there_and_show_the_simulated_values() -> None:
    part = draw.values((HW / "electronics/frontend.lib").read_text())
    for name in draw.DRAWINGS:
        assert f"electronics/{name}.svg" in (HW / "WIRING.md").read_text()
    shown = (HW / "electronics/coupling.svg").read_text()
    assert part["RECEIVE.R1"] == "2.2 kΩ"
    for value in ("RECEIVE.C1", "RECEIVE.R1", "TRANSMIT.R1"):
        assert part[value] in shown


def test_every_part_that_the_bill_names_is_in_the_netlist() -> None:
    netlist = (HW / "electronics/frontend.lib").read_text()
    sections = {"XR": "RINGDETECT", "XL": "LOOPDETECT", "XI": "RECEIVE", "XO": "TRANSMIT"}
    names = re.findall(r"\b(X[RLIO])\.([A-Z]\d)", (HW / "electronics/BOM.md").read_text())
    assert names
    for section, part in names:
        body = netlist.partition(f".subckt {sections[section]} ")[2].partition(".ends")[0]
        assert re.search(rf"^{part} ", body, re.M), f"{section}.{part}"
