"""The two settings files, every key declared once: its type, unit, bounds and default. Nothing else reads TOML.

``Machine`` is ``tacet.toml``: devices, pins, paths; the installer's. ``Site`` is what the custodian signed in the
provisioning pack or a SETTINGS order: retention, notice, lines, policies; where both could speak, the site wins.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firmware.units import LOOK_BACK_S_DEFAULT, LOOK_BACK_S_MAX, LOOK_BACK_S_MIN, RETENTION_MONTHS_MAX


class ConfigError(ValueError):
    """One sentence: what is wrong, where, and what is allowed there."""


@dataclass(frozen=True)
class Key:
    """One setting. ``low``/``high`` bound numbers; ``words`` lists the allowed texts; ``pattern`` must match the
    whole text."""

    name: str
    kind: type
    default: Any
    unit: str = ""
    low: float | None = None
    high: float | None = None
    words: tuple[str, ...] = ()
    pattern: str = r"[^\x00-\x1f]{0,200}"

    def read(self, value: Any, where: str) -> Any:
        if self.kind is float and type(value) is int:
            value = float(value)
        if type(value) is not self.kind:
            raise ConfigError(f"{where}.{self.name} must be {_KIND_WORDS[self.kind]}.")
        if isinstance(value, int | float) and not self._within(value):
            raise ConfigError(f"{where}.{self.name} must be from {self.low} to {self.high} {self.unit}".rstrip() + ".")
        if self.words and value not in self.words:
            raise ConfigError(f"{where}.{self.name} must be one of: {', '.join(self.words)}.")
        if isinstance(value, str) and not re.fullmatch(self.pattern, value):
            raise ConfigError(f"{where}.{self.name} has characters that are not allowed there, or is too long.")
        return value

    def _within(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


_KIND_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}

LINE_NAME = r"[a-z0-9][a-z0-9_-]{0,31}"
LINES_MAX = 32
PORTS_MAX = 8
DDI = r"\+?[0-9]{2,20}"
LOOK_BACK_WITHOUT_SENSE_S_MIN = 8
"""By sound alone the end of a call is known 3.5 s late (dsp/audio_line), after an end tone 1.3 s more; and some
reserve."""

SHOWN_CHARACTERS_MAX = 40
"""Of a word of somebody's file, in a sentence of ours."""
SITE_WORDS = "the site's settings"

SITE_KEYS: dict[str, tuple[Key, ...]] = {
    "site": (
        Key("name", str, "Contact team"),
        Key("controller", str, ""),
        Key("timezone", str, "Europe/London", pattern=r"[A-Za-z_]+(/[A-Za-z_+-]+){0,2}|UTC"),
    ),
    "gate": (Key("look_back_s", int, LOOK_BACK_S_DEFAULT, "s", LOOK_BACK_S_MIN, LOOK_BACK_S_MAX),),
    "retention": (
        Key("months", int, RETENTION_MONTHS_MAX, "calendar months", 1, RETENTION_MONTHS_MAX),
        Key("days", int, 0, "days (0: by months)", 0, 58),
    ),
    "notice": (
        Key("source", str, "appliance", words=("appliance", "upstream")),
        Key("version", str, "tacet-notice-1", pattern=r"[A-Za-z0-9._-]{1,40}"),
        Key("text", str, "", pattern=r"[^\x00-\x08\x0b-\x1f]{0,2000}"),
        Key("delay_ms", int, 1000, "ms", 0, 5000),
        Key("upstream_claim_suffices", bool, False),
    ),
    "payment": (
        Key("key", str, "momentary", words=("momentary", "latching")),
        Key("remind_s", int, 120, "s", 10, 3600),
    ),
    "opt_out": (Key("caller_key", str, "", pattern=r"[0-9*#]?"),),
    "direction": (
        Key("ring_latch_s", int, 8, "s", 2, 30),
        Key("flash_min_ms", int, 50, "ms", 20, 200),
        Key("flash_max_ms", int, 400, "ms", 100, 1000),
        Key("on_transfer", str, "continue", words=("stop", "continue")),
        Key("unknown_share_max_percent", int, 10, "percent", 1, 100),
    ),
    "tones": (Key("plan", str, "uk", words=("uk", "europe")),),
    "caller_id": (Key("signalling", str, "auto", words=("auto", "v23", "bell", "dtmf")),),
    "voip": (
        Key("ddi_list", list, []),
        Key("peers", list, []),
    ),
    "desk": (Key("supervisor_may_export", bool, True),),
}

SITE_LINE_KEYS = (
    Key("name", str, "line1", pattern=LINE_NAME),
    Key("kind", str, "analogue", words=("analogue", "voip")),
    Key("sense", bool, True),
    Key("ddi", list, []),
    Key("agents", list, []),
)

MACHINE_KEYS: dict[str, tuple[Key, ...]] = {
    "appliance": (
        Key("state", str, "/var/lib/tacet", pattern=r"/[A-Za-z0-9._/-]{1,200}"),
        Key("memory", str, "file", words=("file", "at24", "ds3232", "mcp794xx")),
        Key("memory_name", str, "", pattern=r"[A-Za-z0-9._:-]{0,64}"),
        Key("rtc", str, "rtc0", pattern=r"rtc[0-9]{1,2}"),
        Key("ring_mib", int, 57_344, "MiB", 64, 2_000_000),
        Key("hold_mib", int, 4096, "MiB", 16, 200_000),
        Key("sticks", str, "/run/tacet/stick", pattern=r"/[A-Za-z0-9._/-]{1,200}"),
        Key("metrics", str, "", pattern=r"(/[A-Za-z0-9._/-]{1,200})?"),
    ),
    "panel": (
        Key("enabled", bool, True),
        Key("keys_active_low", bool, True),
        Key("lamps_active_low", bool, False),
    ),
    "voip": (
        Key("trunk_interface", str, "", pattern=r"[A-Za-z0-9._-]{0,15}"),
        Key("inside_interface", str, "", pattern=r"[A-Za-z0-9._-]{0,15}"),
        Key("trunk_mac", str, "", pattern=r"([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?"),
        Key("sip_ports", list, [5060]),
        Key("tls_ports", list, [5061]),
    ),
}

MACHINE_CODEC_KEYS = (
    Key("device", str, "", pattern=r"[A-Za-z0-9 .,:=_()/-]{1,100}"),
    Key("rate_hz", int, 48_000, "Hz", 8_000, 48_000),
    Key("lines", list, []),
)


@dataclass(frozen=True)
class SiteLine:
    name: str
    kind: str = "analogue"
    sense: bool = True
    ddi: tuple[str, ...] = ()
    """VoIP: the numbers that ring this line, and the telephones behind it where lines share a number."""
    agents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """Values by section and key, bounds checked; ``lines`` in the order of the file."""

    values: Mapping[str, Mapping[str, Any]]
    lines: tuple[SiteLine, ...]

    def of(self, section: str, key: str) -> Any:
        return self.values[section][key]


@dataclass(frozen=True)
class MachineCodec:
    device: str
    rate_hz: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    values: Mapping[str, Mapping[str, Any]]
    codecs: tuple[MachineCodec, ...] = field(default=())

    def of(self, section: str, key: str) -> Any:
        return self.values[section][key]


def parse_site(text: str) -> Site:
    """Raises ConfigError."""
    document = _toml(text, SITE_WORDS)
    lines = tuple(
        _site_line(_section(SITE_LINE_KEYS, entry, f"line {i + 1}"), f"line {i + 1}")
        for i, entry in enumerate(_tables(document.pop("line", [{}]), "line", LINES_MAX))
    )
    names = [line.name for line in lines]
    if len(set(names)) != len(names):
        raise ConfigError("Two lines of the site's settings have one name; each line needs its own.")
    site = Site(_sections(SITE_KEYS, document, SITE_WORDS, "line"), lines)
    _check_lists(site)
    if any(line.kind == "voip" for line in lines) and site.of("notice", "source") != "upstream":
        raise ConfigError('A VoIP line needs notice.source = "upstream": the telephone system plays the notice there.')
    if any(not line.sense for line in lines) and site.of("gate", "look_back_s") < LOOK_BACK_WITHOUT_SENSE_S_MIN:
        raise ConfigError(
            f"gate.look_back_s must be at least {LOOK_BACK_WITHOUT_SENSE_S_MIN} s where a line has no sense inputs: "
            "its hang-up is only heard some seconds later."
        )
    if site.of("direction", "flash_min_ms") >= site.of("direction", "flash_max_ms"):
        raise ConfigError("direction.flash_min_ms must be smaller than direction.flash_max_ms.")
    return site


def parse_machine(text: str, name: str = "tacet.toml") -> Machine:
    """``name``: of the file, for its sentences. Raises ConfigError."""
    document = _toml(text, name)
    codecs = []
    for i, entry in enumerate(_tables(document.pop("codec", []), "codec", LINES_MAX)):
        values = _section(MACHINE_CODEC_KEYS, entry, f"codec {i + 1}")
        if values["rate_hz"] not in (8_000, 16_000, 48_000):
            raise ConfigError(f"codec {i + 1}.rate_hz must be 8000, 16000 or 48000 Hz.")
        names = _names(values["lines"], f"codec {i + 1}.lines")
        codecs.append(MachineCodec(values["device"], values["rate_hz"], names))
    machine = Machine(_sections(MACHINE_KEYS, document, name, "codec"), tuple(codecs))
    _check_voip(machine)
    return machine


def _check_voip(machine: Machine) -> None:
    """Two ports of a bridge or a tap; or one mirror port and the hardware address of the trunk's router."""
    for key in ("sip_ports", "tls_ports"):
        ports = machine.of("voip", key)
        if not 0 < len(ports) <= PORTS_MAX or not all(type(port) is int and 0 < port < 65_536 for port in ports):
            raise ConfigError(f"voip.{key} must be a list of 1 to {PORTS_MAX} port numbers.")
    if set(machine.of("voip", "sip_ports")) & set(machine.of("voip", "tls_ports")):
        raise ConfigError("voip.sip_ports and voip.tls_ports must have no port in common.")
    trunk, inside = machine.of("voip", "trunk_interface"), machine.of("voip", "inside_interface")
    if bool(trunk) != bool(inside):
        raise ConfigError("voip.trunk_interface and voip.inside_interface must both be named, or neither.")
    if (trunk != "" and trunk == inside) != bool(machine.of("voip", "trunk_mac")):
        raise ConfigError(
            "voip.trunk_mac is for a mirror port: trunk_interface and inside_interface are then the same interface, and"
            " trunk_mac is the hardware address of the trunk's router; otherwise leave it out."
        )


def _site_line(values: dict[str, Any], where: str) -> SiteLine:
    for key, pattern in (("ddi", DDI), ("agents", r"[A-Za-z0-9.:_+-]{1,64}")):
        for entry in values[key]:
            if not isinstance(entry, str) or not re.fullmatch(pattern, entry):
                raise ConfigError(f"{where}.{key} has an entry that cannot be one.")
    return SiteLine(**{**values, "ddi": tuple(values["ddi"]), "agents": tuple(values["agents"])})


def default_site_text() -> str:
    """The settings of a pack that was made without any: one line with sense inputs; every other key has its default."""
    return '[[line]]\nname = "line1"\nkind = "analogue"\nsense = true\n'


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and lists within lists
        raise ConfigError(f"What stands in {what} is not TOML: {error}.") from None


def _sections(
    declared: Mapping[str, tuple[Key, ...]], document: Mapping[str, Any], what: str, repeated: str
) -> dict[str, dict[str, Any]]:
    unknown = sorted(set(document) - set(declared))
    if unknown:
        known = ", ".join([*(f"[{name}]" for name in declared), f"[[{repeated}]]"])
        raise ConfigError(f"{_as_written(unknown[0])} has no place in {what}; known there are: {known}.")
    return {name: _section(keys, document.get(name, {}), name) for name, keys in declared.items()}


def _section(keys: tuple[Key, ...], given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ConfigError(f"{where} must be a section of keys.")
    unknown = sorted(set(given) - {key.name for key in keys})
    if unknown:
        known = ", ".join(key.name for key in keys)
        raise ConfigError(f"{where}.{_as_written(unknown[0])} is not a known key; known are: {known}.")
    return {key.name: key.read(given.get(key.name, key.default), where) for key in keys}


def _as_written(key: str) -> str:
    """A key of somebody's file in a sentence of ours: on one line, and not all of it where it is long."""
    return key[:SHOWN_CHARACTERS_MAX].encode("unicode_escape").decode("ascii")


def _tables(given: Any, where: str, most: int) -> list[Any]:
    if not isinstance(given, list) or not 0 < len(given) <= most:
        if given == [] and where == "codec":
            return []
        raise ConfigError(f"[[{where}]] must stand 1 to {most} times.")
    return given


def _names(values: list[Any], where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not re.fullmatch(LINE_NAME, value):
            raise ConfigError(f"{where} must be a list of line names.")
    return tuple(values)


def _check_lists(site: Site) -> None:
    for key, pattern in (("ddi_list", DDI), ("peers", r"[0-9a-fA-F.:/]{2,50}")):
        for value in site.of("voip", key):
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                raise ConfigError(f"voip.{key} has an entry that cannot be one.")
