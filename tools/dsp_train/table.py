"""Put the benchmark's results beside those of other programs and beside the goals: writes ``tools/dsp_table.md``.

    python -m tools.dsp_train.table OTHERS.json OURS.json [MORE_OF_OURS.json ...] > tools/dsp_table.md

The files come from ``dspbench``'s run.py (``--out``) with one seed; sizes may differ and are printed. The later of two
results for the same condition and program counts.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

OURS = "tacet"
NOT_STICKY = "tacet, not sticky"
OTHERS = ("spandsp", "multimon", "minimodem")
Record = dict[str, Any]
Key = tuple[Any, ...]


def key(record: Record) -> Key:
    return tuple(record.get(part) for part in ("suite", "group", "label", "style", "kind", "noise", "snr"))


def load(paths: Iterable[str]) -> dict[Key, dict[str, tuple[int, Record]]]:
    """Condition to program to (number of trials or minutes, counts)."""
    out: dict[Key, dict[str, tuple[int, Record]]] = {}
    for path in paths:
        for record in json.loads(Path(path).read_text())["results"]:
            size = record["minutes"] if record["suite"] == "talkoff" else record["n"]
            for name, counts in record["det"].items():
                out.setdefault(key(record), {})[name] = (size, counts)
    return out


def rows(
    results: dict[Key, dict[str, tuple[int, Record]]], suite: str
) -> list[tuple[Key, dict[str, tuple[int, Record]]]]:
    return [(k, v) for k, v in results.items() if k[0] == suite and (OURS in v or NOT_STICKY in v)]


def percent(part: float, whole: float) -> str:
    value = 100.0 * part / whole if whole else 0.0
    return f"{value:.0f}" if value in (0.0, 100.0) else f"{value:.1f}"


def markdown(head: list[str], body: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)]) + "\n"


def by_program(
    found: dict[str, tuple[int, Record]], names: Iterable[str], cell: Callable[[int, Record], str]
) -> list[str]:
    return [cell(*found[name]) if name in found else "" for name in names]


def caller_id(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(n: int, c: Record) -> str:
        return percent(c["num"], n) + (f" !{c['wrong']}" if c["wrong"] else "")

    body = []
    for k, found in rows(results, "cid"):
        style = {"uk": "V.23", "us_mdmf": "B202", "us_sdmf": "B202 SDMF"}[k[3]]
        body.append([f"{k[1]}: {k[2]}", style, str(found[OURS][0]), *by_program(found, (OURS, *OTHERS), cell)])
    return markdown(["condition", "standard", "n (ours)", OURS, *OTHERS], body)


def digits(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(n: int, c: Record) -> str:
        extra = 1000.0 * c["extra"] / n
        return percent(c["hit"], n) + (f" +{extra:.0f}" if extra >= 0.5 else "")

    names = (OURS, "spandsp", "spandsp+dtf", "multimon")
    body = [[f"{k[1]}: {k[2]}", str(v[OURS][0]), *by_program(v, names, cell)] for k, v in rows(results, "dtmf")]
    return markdown(["condition", "digits (ours)", *names], body)


def edges(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    body = []
    for k, found in rows(results, "dtmf"):
        c = found[OURS][1]
        if "t0_ms" in c and k[1] in ("clean", "snr 50/50", "tone ms (pause 60)"):
            cells = [" / ".join(str(v) for v in c[q]) for q in ("t0_ms", "t1_ms")]
            body.append([f"{k[1]}: {k[2]}", *cells])
    return markdown(["condition", "onset error ms: median / least / most", "end error ms"], body)


def masks(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(n: int, c: Record) -> str:
        return f"{percent(c['leak'], n)} / {c['left_ms']:.1f} / {c['lost_ms']:.1f}"

    names = (OURS, NOT_STICKY, "spandsp")
    body = [[str(k[2]), *by_program(v, names, cell)] for k, v in rows(results, "mask")]
    return markdown(["condition", *names], body)


def tones(results: dict[Key, dict[str, tuple[int, Record]]], name: str) -> str:
    kinds = ("dial", "ringing", "busy", "congestion", "nu", "dtas")
    found: dict[tuple[str, str], dict[str, str]] = {}
    for k, programs in rows(results, "tones"):
        if name in programs:
            n, c = programs[name]
            other = f" ~{percent(c['confused'], n)}" if c["confused"] else ""
            delay = f" @{c['t0_med']:.2f}s" if c["t0_med"] is not None and k[2] == "-10" else ""
            found.setdefault((k[1], k[2]), {})[k[4]] = percent(c["hit"], n) + other + delay
    body = [[f"{group}: {label}", *(row.get(kind, "") for kind in kinds)] for (group, label), row in found.items()]
    return markdown(["condition", *kinds], body)


def voice(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(_n: int, c: Record) -> str:
        return f"{100 * c['miss']:.1f} / {100 * c['false']:.1f}"

    names = (OURS, "webrtcvad", "energy256")
    body = [[str(k[5]), str(k[6]), *by_program(v, names, cell)] for k, v in rows(results, "vad")]
    return markdown(["noise", "SNR dB", *names], body)


def calls(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(n: int, c: Record) -> str:
        parts = [f"{c['found']}/{c['truth']}", f"extra {c['extra']} in {n}"]
        if c["truth"]:
            parts += [f"direction {c['dirok']}", f"number {c['numok']}/{c['numtruth']}"]
            parts += [f"begin {c['begin']}", f"end {c['end']}"]
        return ", ".join(parts)

    body = [[str(k[4]), *by_program(v, (OURS, "naive-calls"), cell)] for k, v in rows(results, "calls")]
    return markdown(["scenario", OURS, "spandsp + webrtc, naive"], body)


def talk_off(results: dict[Key, dict[str, tuple[int, Record]]]) -> str:
    def cell(minutes: int, c: Record) -> str:
        cpu, parts = c["cpu"], []
        if "detect_dtmf" in cpu:
            parts.append(f"digits {c['dtmf']}")
        if "decode_cid" in cpu:
            parts.append(f"caller-ID {c['cid']}")
        if "detect_tones" in cpu:
            parts.append(f"tones {sum(c['tones'].values())} {c['tones'] or ''}".strip())
        if "mask_dtmf" in cpu:
            parts.append(f"blanked {c['mask_ms'] / 1000:.1f} s")
        return ", ".join(parts) + f" in {minutes} min"

    names = (OURS, NOT_STICKY, *OTHERS)
    body = [[str(k[4]), *by_program(v, names, cell)] for k, v in rows(results, "talkoff")]
    return markdown(["corpus", *names], body)


SECTIONS: tuple[tuple[str, Callable[[dict[Key, dict[str, tuple[int, Record]]]], str]], ...] = (
    ("Caller-ID: % right number or reason for absence; `!k`: k wrong numbers believed", caller_id),
    (
        "Keyed digits: % found; `+k`: k extra per 1000 sent (what is to be refused should be 0)",
        digits,
    ),
    ("Keyed digits: places, ours", edges),
    ("Masking: % an attacker still reads / ms of tone left / ms of other audio lost, per digit", masks),
    ("Tones, ours: % found; `~k`: k % gave another tone too; `@`: time to decide", lambda r: tones(r, OURS)),
    ("Tones, spandsp", lambda r: tones(r, "spandsp")),
    ("Voice: % missed / % false of 10 ms frames", voice),
    ("Calls by sound alone", calls),
    ("False events on material that carries no signalling", talk_off),
)


def main(paths: list[str]) -> int:
    if len(paths) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    results = load(paths)
    for title, section in SECTIONS:
        print(f"## {title}\n")
        print(section(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
