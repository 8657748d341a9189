"""The self-test: one check per device, asked through the ports, judged here, told as a plain table.

``run`` never writes into the ring, never touches the erasable slots and plays its tone only onto lines that are idle.
It is run by the installer and after every change of wiring; ``passive`` is its part for every night, beside the loop.
Every figure that decides is a constant with its source beside it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from firmware.policy.events import Edge, Lamp, Signal
from firmware.ports import Clock, Codec, CodecState, Disk, ErasableMemory, Pins, Rtc, Samples
from firmware.units import BLOCK_MS, MS_PER_S, SAMPLE_RATE_HZ, US_PER_S

TONE_HZ = 1004
"""The usual test frequency of telephone lines: 4 Hz off 1 kHz, so that it is not a divisor of the sampling rate
(ITU-T O.6 recommends 1004 to 1025 Hz)."""
TONE_DBFS = -16.0
"""About -13 dBm0: the level at which lines are tested without disturbing neighbours (ITU-T O.6: -10 dBm0)."""
LISTEN_MS = 1500
TONE_CONTRAST_DB_MIN = 10.0
"""The tone must stand this far above what was at its frequency before it was played."""
SAMPLES_SHARE_MIN = 0.98
"""Delivered against the clock. One block of 100 ms in the 1.5 s may still be on its way: it is waited for."""
CARD_WRITES = 16
CARD_WRITE_BYTES = 4096
CARD_SLOW_MS = 2000
"""From here on the recorder raises CARD_SLOW (product.md 2)."""
CARD_FAILED_MS = 10_000
"""The default look-back: a card slower than this would make a power cut cost more than promised."""
CARD_FILE = "selftest"
RTC_DIFFERENCE_S_MAX = 300
FREE_DAYS_MIN = 7
"""The forecast warns a week ahead (product.md 11)."""
WATCHDOG_S_MAX = 60


class Result(StrEnum):
    OK = "ok"
    LOOK = "look"
    """A person has to look: a lamp cannot be measured."""
    WARNING = "warning"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Finding:
    """``subject`` names the device as the settings do. ``action`` is empty where there is nothing to do."""

    check: str
    subject: str
    result: Result
    happened: str
    action: str = ""


@dataclass(frozen=True)
class CodecUnderTest:
    """``lines`` by channel; ``busy`` channels have a call: they are listened to, but nothing is played."""

    name: str
    codec: Codec
    lines: Sequence[str]
    busy: frozenset[int] = frozenset()


@dataclass(frozen=True)
class UsbPlace:
    """Where a sound adapter is plugged in, as the kernel tells (sysfs ``speed``, the hub's ``bDeviceProtocol``).

    ``hub``: path of the high-speed hub above it, empty at a root port. ``hub_translators`` is 1 for a hub with a single
    transaction translator, which all its full-speed devices share.
    """

    codec: str
    hub: str
    speed_mbit_s: int
    hub_translators: int


@dataclass(frozen=True)
class BoardFacts:
    """What the operating system says of itself; read by the caller."""

    watchdog_timeout_s: int | None = None
    """Of the hardware watchdog that systemd feeds; None where there is none or nobody feeds it."""
    service_watchdog: bool = False
    swap_bytes: int = 0
    core_limit_bytes: int = 0
    usb: Sequence[UsbPlace] = ()


@dataclass(frozen=True)
class Equipment:
    """Everything that is tested. ``wait`` lets ``ms`` milliseconds pass (in a simulation: moves its clock).

    ``utc_ms`` is trusted time now, None before provisioning. ``health`` is the vault's, empty before provisioning.
    """

    clock: Clock
    wait: Callable[[int], None]
    codecs: Sequence[CodecUnderTest]
    pins: Pins
    lines: Sequence[str]
    memory: ErasableMemory
    rtc: Rtc
    disk: Disk
    utc_ms: int | None
    health: Mapping[str, int | str]
    board: BoardFacts


def run(equipment: Equipment, *, show_lamps: bool = False) -> list[Finding]:
    """All checks; about 4 s. It takes audio and edges from the ports: not beside a running loop (see ``passive``).

    ``show_lamps``: light each lamp in turn for a person to watch (2 s per lamp).
    """
    findings = [finding for codec in equipment.codecs for finding in check_codec(equipment, codec)]
    if not equipment.codecs:
        findings.append(Finding("codec", "-", Result.WARNING, "no sound adapter is configured", "Add a [[codec]]."))
    findings += check_inputs(equipment)
    if show_lamps:
        findings += light_lamps(equipment)
    return findings + passive(equipment)


def passive(equipment: Equipment) -> list[Finding]:
    """The checks that disturb nothing: for the nightly run on the writer's thread while the loop goes on."""
    return [
        check_memory(equipment.memory, provisioned=equipment.utc_ms is not None),
        check_rtc(equipment.rtc, equipment.utc_ms),
        check_card(equipment.disk, equipment.clock),
        check_free_days(equipment.health),
        *check_board(equipment.board),
        *check_usb(equipment.board.usb),
    ]


def exit_code(findings: Sequence[Finding]) -> int:
    """0: fit to record. 1: at least one check failed. Warnings and lamps to look at do not change it."""
    return 1 if any(finding.result is Result.FAILED for finding in findings) else 0


def table(findings: Sequence[Finding]) -> str:
    """One line per finding, aligned, the worst last so that it is still on the screen; then one sentence."""
    order = list(Result)
    rows = sorted(findings, key=lambda finding: order.index(finding.result))
    widths = [max((len(part) for part in column), default=0) for column in zip(*map(_cells, rows), strict=True)][:3]
    lines = []
    for row in rows:
        cells = _cells(row)
        head = "  ".join(cell.ljust(width) for cell, width in zip(cells[:3], widths, strict=True))
        lines.append(f"{head}  {cells[3]}".rstrip())
    failed = sum(finding.result is Result.FAILED for finding in findings)
    lines.append("")
    lines.append(
        f"{failed} of {len(findings)} checks failed: do not put this into service." if failed else "Fit to record."
    )
    return "\n".join(lines) + "\n"


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    words = f"{finding.happened}. {finding.action}" if finding.action else finding.happened
    return finding.result.value, finding.check, finding.subject, words


# ---------------------------------------------------------------------------------------------------------- sound


def check_codec(equipment: Equipment, unit: CodecUnderTest) -> list[Finding]:
    """Listens, plays a tone onto every idle line, listens again: delivery, silence and the way out and back."""
    quiet, share = _listen(equipment, unit.codec)
    if unit.codec.state() is not CodecState.LIVE or quiet is None:
        return [Finding("codec", unit.name, Result.FAILED, "delivers no audio", "Push its plug home or change it.")]
    findings = [_delivery(unit.name, share)]
    for channel in range(unit.codec.channels):
        if channel not in unit.busy:
            unit.codec.play(channel, tone(LISTEN_MS + 1000))
    loud, _ = _listen(equipment, unit.codec)
    for channel, line in enumerate(unit.lines):
        unit.codec.stop(channel)
        if loud is None:
            findings.append(
                Finding("tone", line, Result.FAILED, "the adapter stopped while a tone was played", "Change it.")
            )
        elif channel in unit.busy:
            findings.append(Finding("tone", line, Result.LOOK, "a call is going on; not tested", "Run it again later."))
        else:
            findings.append(_tone_heard(line, quiet[channel], loud[channel]))
    return findings


def tone(length_ms: int) -> Samples:
    """int16 [n] at SAMPLE_RATE_HZ: ``TONE_HZ`` at ``TONE_DBFS``."""
    n = SAMPLE_RATE_HZ * length_ms // MS_PER_S
    amplitude = 32767 * 10 ** (TONE_DBFS / 20)
    return np.round(amplitude * np.sin(2 * np.pi * TONE_HZ * np.arange(n) / SAMPLE_RATE_HZ)).astype(np.int16)


def tone_level_db(samples: Samples) -> float:
    """Level at ``TONE_HZ`` of int16 [n], dB relative to full scale; the floor of -120 dB stands for digital silence."""
    spectrum = np.exp(-2j * np.pi * TONE_HZ * np.arange(samples.size) / SAMPLE_RATE_HZ)
    amplitude = 2 * abs(np.vdot(spectrum.conj(), samples.astype(float))) / max(1, samples.size) / 32767
    return float(20 * np.log10(max(amplitude, 1e-6)))


def _listen(equipment: Equipment, codec: Codec) -> tuple[Samples | None, float]:
    """Audio [channels, n] of ``LISTEN_MS`` and the share of samples that came; None when nothing came."""
    codec.drain(10_000)
    began = equipment.clock.mono_us()
    blocks = []
    for _ in range(LISTEN_MS // BLOCK_MS):
        equipment.wait(BLOCK_MS)
        blocks += codec.drain(10_000)
    if not blocks:
        return None, 0.0
    audio = np.concatenate([block.samples for block in blocks], axis=1)
    asked = (equipment.clock.mono_us() - began) * SAMPLE_RATE_HZ // US_PER_S - SAMPLE_RATE_HZ * BLOCK_MS // MS_PER_S
    return audio, audio.shape[1] / max(1, asked)


def _delivery(name: str, share: float) -> Finding:
    if share < SAMPLES_SHARE_MIN:
        happened = f"delivers only {share:.0%} of its samples"
        return Finding("codec", name, Result.FAILED, happened, "Give it a USB socket of its own, or change it.")
    return Finding("codec", name, Result.OK, "delivers every sample")


def _tone_heard(line: str, quiet: Samples, loud: Samples) -> Finding:
    if not np.any(quiet) and not np.any(loud):
        return Finding(
            "tone", line, Result.FAILED, "hears digital silence only", "Check the input's plug and its mute."
        )
    contrast = tone_level_db(loud[loud.size // 3 :]) - tone_level_db(quiet)
    if contrast < TONE_CONTRAST_DB_MIN:
        happened = f"the test tone is not heard back ({contrast:.0f} dB)"
        action = "Check the line transformer, the mute relay and the output's plug."
        return Finding("tone", line, Result.FAILED, happened, action)
    return Finding("tone", line, Result.OK, f"the test tone is heard back, {contrast:.0f} dB above the line")


# ------------------------------------------------------------------------------------------------ keys, line, lamps


def check_inputs(equipment: Equipment) -> list[Finding]:
    """At rest no key is down and no line rings. A line that is off-hook is told, not failed: it may be in use."""
    levels = _levels(equipment.pins.read())
    findings = []
    for number, line in enumerate(equipment.lines):
        stuck = [signal.value for signal in KEYS if levels.get((number, signal))]
        if stuck:
            happened = f"{', '.join(stuck)} reads as pressed"
            findings.append(Finding("keys", line, Result.FAILED, happened, "Check the key and its wire to ground."))
        else:
            findings.append(Finding("keys", line, Result.OK, "no key is down"))
        findings.append(
            _sense(line, levels.get((number, Signal.RING), False), levels.get((number, Signal.LOOP), False))
        )
    return findings


KEYS = (Signal.PAYMENT, Signal.OPT_OUT, Signal.KEEP)


def _levels(edges: Sequence[Edge]) -> dict[tuple[int, Signal], bool]:
    """The last edge of each input: an input that is active at the start is told as an edge (ports.Pins)."""
    return {(edge.line, edge.signal): edge.active for edge in edges}


def _sense(line: str, ring: bool, loop: bool) -> Finding:
    if ring and loop:
        happened = "ring and loop are sensed together, which no line does"
        return Finding("line sense", line, Result.FAILED, happened, "Check the sense board's supply and plug.")
    if ring:
        return Finding(
            "line sense", line, Result.WARNING, "the line is ringing, or its detector is stuck", "Run it again."
        )
    return Finding("line sense", line, Result.OK, "off-hook" if loop else "on-hook, no ringing")


def light_lamps(equipment: Equipment) -> list[Finding]:
    findings = []
    for number, line in enumerate(equipment.lines):
        for lamp in Lamp:
            equipment.pins.show({(number, lamp): True}, False)
            equipment.wait(2 * MS_PER_S)
            findings.append(Finding("lamps", line, Result.LOOK, f"{lamp.value} was lit for 2 s", "Was it seen?"))
    equipment.pins.show({}, True)
    equipment.wait(MS_PER_S)
    equipment.pins.show({}, False)
    findings.append(Finding("sounder", "panel", Result.LOOK, "it sounded for 1 s", "Was it heard?"))
    return findings


# ---------------------------------------------------------------------------------------- memory, clock, card, space


def check_memory(memory: ErasableMemory, *, provisioned: bool) -> Finding:
    """Read twice, never written. Provisioned: exactly one slot is non-zero (invariant I4)."""
    try:
        first, second = memory.read(), memory.read()
    except OSError as error:
        happened = f"does not answer ({error.strerror or 'no reason given'})"
        return Finding("erasable memory", memory.kind, Result.FAILED, happened, "Check the memory board's plug.")
    if first != second or len(first) != 64:
        return Finding(
            "erasable memory", memory.kind, Result.FAILED, "reads differ", "Check its wires; change the part."
        )
    used = sum(any(first[i : i + 32]) for i in (0, 32))
    if provisioned and used != 1:
        happened = f"{used} slots hold a key, one is right"
        return Finding("erasable memory", memory.kind, Result.FAILED, happened, "Restart once; then ask the custodian.")
    if memory.kind == "file":
        action = "Fit FRAM or a clock with SRAM for real use."
        return Finding(
            "erasable memory", memory.kind, Result.WARNING, "a file stands in: erasure is not proven", action
        )
    return Finding("erasable memory", memory.kind, Result.OK, "answers, reads the same twice")


def check_rtc(rtc: Rtc, utc_ms: int | None) -> Finding:
    reading = rtc.read()
    if reading.utc_ms is None:
        return Finding("clock", "rtc", Result.FAILED, "does not answer", "Check the clock board's plug.")
    if reading.stopped:
        return Finding("clock", "rtc", Result.FAILED, "stopped while there was no power", "Change its battery.")
    if utc_ms is not None and abs(reading.utc_ms - utc_ms) > RTC_DIFFERENCE_S_MAX * MS_PER_S:
        difference = (reading.utc_ms - utc_ms) // MS_PER_S
        return Finding(
            "clock", "rtc", Result.WARNING, f"differs by {difference} s from trusted time", "Bring a TIME order."
        )
    return Finding("clock", "rtc", Result.OK, "runs" + (", set by the network" if reading.synchronised else ""))


def check_card(disk: Disk, clock: Clock) -> Finding:
    """Sixteen durable writes of 4 KiB into a file of its own."""
    slowest_ms = 0
    try:
        if CARD_FILE not in disk.names():
            disk.create(CARD_FILE, CARD_WRITES * CARD_WRITE_BYTES)
        for i in range(CARD_WRITES):
            pattern = bytes([i + 1]) * CARD_WRITE_BYTES
            began = clock.mono_us()
            disk.write_durable(CARD_FILE, i * CARD_WRITE_BYTES, pattern)
            slowest_ms = max(slowest_ms, (clock.mono_us() - began) // 1000)
            if disk.read(CARD_FILE, i * CARD_WRITE_BYTES, CARD_WRITE_BYTES) != pattern:
                return Finding("card", "data", Result.FAILED, "reads back something else", "Change the card.")
    except OSError as error:
        happened = f"refuses writes ({error.strerror or 'no reason given'})"
        return Finding("card", "data", Result.FAILED, happened, "Export what is held, then change the card.")
    told = f"slowest of {CARD_WRITES} synced writes {slowest_ms} ms"
    if slowest_ms >= CARD_FAILED_MS:
        return Finding("card", "data", Result.FAILED, told, "Change the card.")
    if slowest_ms >= CARD_SLOW_MS:
        return Finding("card", "data", Result.WARNING, told, "Change the card if it happens again.")
    return Finding("card", "data", Result.OK, told)


def check_free_days(health: Mapping[str, int | str]) -> Finding:
    days = health.get("free_days")
    if not isinstance(days, int):
        return Finding("space", "ring", Result.OK, "no forecast yet: the ring has not been used for a day")
    if days < FREE_DAYS_MIN:
        happened = f"enough for {days} more days before the oldest day must go early"
        return Finding("space", "ring", Result.WARNING, happened, "Fit a larger card or shorten the retention.")
    return Finding("space", "ring", Result.OK, f"enough for {days} more days")


# ---------------------------------------------------------------------------------------------------------- board


def check_board(board: BoardFacts) -> list[Finding]:
    findings = []
    if board.watchdog_timeout_s is None:
        action = "Enable it (dtparam=watchdog=on) and install system.conf.d/tacet.conf."
        findings.append(Finding("watchdog", "board", Result.FAILED, "the hardware watchdog is not fed", action))
    elif board.watchdog_timeout_s > WATCHDOG_S_MAX:
        happened = f"bites only after {board.watchdog_timeout_s} s"
        findings.append(Finding("watchdog", "board", Result.WARNING, happened, "Set RuntimeWatchdogSec=14s."))
    else:
        happened = f"fed, bites after {board.watchdog_timeout_s} s"
        findings.append(Finding("watchdog", "board", Result.OK, happened))
    if not board.service_watchdog:
        action = "Start it as a service: systemctl start tacet-recorder."
        findings.append(Finding("watchdog", "service", Result.WARNING, "systemd does not watch this process", action))
    if board.swap_bytes:
        happened = "swap is in use: audio could reach the card in clear"
        findings.append(Finding("swap", "board", Result.FAILED, happened, "Remove the swap file or partition."))
    if board.core_limit_bytes:
        happened = "core dumps are allowed: audio could reach the card in clear"
        findings.append(Finding("core dumps", "board", Result.FAILED, happened, "Start it by its own unit."))
    return findings


def check_usb(places: Sequence[UsbPlace]) -> list[Finding]:
    """Full-speed adapters (12 Mbit/s) behind one transaction translator share its 1 ms slots: two of them lose samples
    under load on many hubs. Named as a risk, for the shared hub may well do."""
    by_hub: dict[str, list[str]] = {}
    for place in places:
        if place.speed_mbit_s == 12 and place.hub and place.hub_translators <= 1:
            by_hub.setdefault(place.hub, []).append(place.codec)
    crowded = {hub: names for hub, names in by_hub.items() if len(names) > 1}
    action = "Plug them into sockets of different hubs, or use a hub with several translators."
    findings = [
        Finding("usb", ", ".join(names), Result.WARNING, f"share one transaction translator (hub {hub})", action)
        for hub, names in sorted(crowded.items())
    ]
    if places and not findings:
        findings.append(Finding("usb", "adapters", Result.OK, "no two share a transaction translator"))
    return findings
