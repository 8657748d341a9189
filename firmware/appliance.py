"""A recorder put together: the vault opened, the site's settings read, the loop wired to its devices. No device is
named here.

The same class runs on a Pi, on virtual time and in the tests; what differs is handed in by ``__main__``.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware.config import Site, parse_site
from firmware.dsp.ear import Ear
from firmware.dsp.tone_plan import PLANS
from firmware.evidence.courier import Courier
from firmware.evidence.site import NOTICE_DOCUMENT, NOTICE_VERSION_DOCUMENT, SITE_DOCUMENT, SiteFacts
from firmware.evidence.visit import job
from firmware.lookback import LookBack
from firmware.loop import Loop, Rig, Settings
from firmware.policy.faults import Pattern
from firmware.policy.line import LineSettings, NoticeSource
from firmware.ports import Clock, Codec, PacketSource, Pins, Samples, Stick, Watchdog
from firmware.recording import NoticeUsed
from firmware.store.commands import DocumentChanged, Report, StickReport
from firmware.store.errors import NotProvisioned
from firmware.store.vault import Vault, VaultParts
from firmware.store.writer import Writer
from firmware.units import US_PER_S

if TYPE_CHECKING:
    from firmware.voip.settings import TrunkSettings
    from firmware.voipfeed import VoipWiring


@dataclass(frozen=True)
class Attached:
    """One codec and the names of the lines on its channels."""

    codec: Codec
    lines: tuple[str, ...]


@dataclass(frozen=True)
class SipPorts:
    """Where signalling is listened for: in clear, and encrypted (which is told, not read)."""

    clear: tuple[int, ...] = (5060,)
    tls: tuple[int, ...] = (5061,)


@dataclass(frozen=True)
class Devices:
    clock: Clock
    codecs: Sequence[Attached]
    pins: Pins
    watchdog: Watchdog
    read_notice: Callable[[bytes], Samples]
    courier: Courier
    packets: PacketSource | None = None
    """Between trunk and telephones, where the site has VoIP lines."""
    sip_ports: SipPorts = SipPorts()


class WiringError(ValueError):
    """The machine's settings and the site's settings do not fit together; one sentence."""


STICK_LAMP = {"working": Pattern.SLOW, "done": Pattern.STEADY, "refused": Pattern.FAST, "failed": Pattern.FAST}


def read_site_facts(text: str) -> SiteFacts:
    """What the evidence code asks of the settings. Raises ConfigError (a ValueError)."""
    site = parse_site(text)
    days = site.of("retention", "days")
    return SiteFacts(
        line_names=tuple(line.name for line in site.lines),
        retention_months=0 if days else site.of("retention", "months"),
        supervisor_may_export=site.of("desk", "supervisor_may_export"),
        notice_version=site.of("notice", "version"),
        retention_days=days,
        timezone=site.of("site", "timezone"),
    )


def line_settings(site: Site) -> tuple[LineSettings, ...]:
    common = {
        "look_back_us": site.of("gate", "look_back_s") * US_PER_S,
        "ring_latch_us": site.of("direction", "ring_latch_s") * US_PER_S,
        "notice_source": NoticeSource(site.of("notice", "source")),
        "notice_delay_us": site.of("notice", "delay_ms") * 1000,
        "upstream_claim_suffices": site.of("notice", "upstream_claim_suffices"),
        "payment_latching": site.of("payment", "key") == "latching",
    }
    return tuple(LineSettings(sense=line.sense, voip=line.kind == "voip", **common) for line in site.lines)


def trunk_settings(site: Site, ports: SipPorts) -> "TrunkSettings":
    """A line without numbers of its own has the site's list."""
    from firmware.voip.settings import LineSlot, OnTransfer, TrunkSettings

    shared = tuple(site.of("voip", "ddi_list"))
    return TrunkSettings(
        lines=tuple(LineSlot(line.ddi or shared, line.agents) for line in site.lines if line.kind == "voip"),
        peers=tuple(site.of("voip", "peers")),
        on_transfer=OnTransfer(site.of("direction", "on_transfer")),
        sip_ports=ports.clear,
        tls_ports=ports.tls,
        opt_out_digit=site.of("opt_out", "caller_key") or None,
    )


def check_wiring(site: Site, wired: Sequence[str], *, trunk: bool) -> None:
    """``wired``: the line of each codec channel; ``trunk``: there are packets to listen to. Raises WiringError."""
    names = [line.name for line in site.lines if line.kind == "analogue"]
    for name in names:
        if wired.count(name) != 1:
            raise WiringError(
                f"The site's line {name} must be on exactly one codec channel; it is on {wired.count(name)}."
            )
    for name in wired:
        if name not in names:
            raise WiringError(f"A codec channel is for the line {name}, which the site's settings do not have.")
    voip = len(names) < len(site.lines)
    if voip and not trunk:
        raise WiringError(
            "The site has VoIP lines, and there is no trunk to listen to: name trunk_interface and inside_interface, "
            "or replay a capture."
        )
    if trunk and not voip:
        raise WiringError("There is a trunk to listen to, and the site's settings have no VoIP line.")


class Appliance:
    """Opens the vault (and with it recovers from whatever happened), then the devices, then records.

    Raises VaultError, WiringError, and what ``open_devices`` raises.
    """

    def __init__(
        self, parts: VaultParts, open_devices: Callable[[], Devices], *, simulation: bool, threaded: bool
    ) -> None:
        self.vault = Vault.open(parts, simulation=simulation)
        self.site = self._read_site()
        self._devices = devices = open_devices()
        wired = [name for attached in devices.codecs for name in attached.lines]
        check_wiring(self.site, wired, trunk=devices.packets is not None)
        cut_off = [i for i in range(len(self.site.lines)) if self.vault.interrupted_call(i) is not None]
        self.writer = Writer(self.vault, threaded=threaded, lines=len(self.site.lines))
        self.loop = Loop(
            self._settings(),
            devices.clock,
            self._rigs(),
            devices.pins,
            self.writer,
            devices.watchdog,
            self.writer.utc_ms,
            self._told,
            self._voip(),
        )
        for number in cut_off:
            if self.site.lines[number].kind == "voip":
                self.loop.lines[number].interrupted()
        lost = self.vault.document(SITE_DOCUMENT) is None
        self.loop.panel.set_fault("SETTINGS_LOST", None, lost)
        self.stick_state: StickReport | None = None

    @property
    def look_back_us(self) -> int:
        return int(self.site.of("gate", "look_back_s")) * US_PER_S

    @property
    def to_be_opened_anew(self) -> bool:
        """The card has refused writes, and nobody is on a line: only a start reads everything anew, and after it the
        card may be written again."""
        return "CARD_FAILED" in self.loop.panel.faults() and not any(line.calls for line in self.loop.lines)

    def step(self) -> None:
        self.loop.step()

    def stick_in(self, stick: Stick) -> None:
        self.stick_state = StickReport("working")
        self.writer.submit_job("visit", job(stick, read_site_facts, self._devices.courier))

    @property
    def stick_at_work(self) -> bool:
        return self.stick_state is not None and self.stick_state.state == "working"

    def close(self) -> None:
        self.writer.close()

    # --------------------------------------------------------------------------------------------- within

    def _told(self, report: Report) -> None:
        """What the vault tells and the loop itself does not follow."""
        if isinstance(report, StickReport):
            self.stick_state = report
            self.loop.panel.stick = STICK_LAMP[report.state]
            self.loop.panel.set_fault("STICK_REFUSED", None, report.state in ("refused", "failed"))
        elif isinstance(report, DocumentChanged) and report.name == NOTICE_DOCUMENT:
            settings = self._settings()
            self.loop.set_notice(settings.notice, settings.notice_used)

    def _read_site(self) -> Site:
        """The defaults where the settings are damaged in both copies: enough to be reached by a SETTINGS order, not to
        record by (SETTINGS_LOST)."""
        if not self.vault.names_document(SITE_DOCUMENT):
            raise NotProvisioned
        document = self.vault.document(SITE_DOCUMENT)
        return parse_site("" if document is None else document.decode("utf-8"))

    def _settings(self) -> Settings:
        notice = self.vault.document(NOTICE_DOCUMENT)
        ordered = self.vault.document(NOTICE_VERSION_DOCUMENT)
        version = ordered.decode("utf-8") if ordered is not None else self.site.of("notice", "version")
        return Settings(
            lines=line_settings(self.site),
            remind_us=self.site.of("payment", "remind_s") * US_PER_S,
            unknown_share_max_percent=self.site.of("direction", "unknown_share_max_percent"),
            flash_min_ms=self.site.of("direction", "flash_min_ms"),
            flash_max_ms=self.site.of("direction", "flash_max_ms"),
            notice=None if notice is None else self._devices.read_notice(notice),
            notice_used=NoticeUsed(version, hashlib.sha256(notice or b"").digest()),
        )

    def _rigs(self) -> list[Rig]:
        names = [line.name for line in self.site.lines if line.kind == "analogue"]
        return [self._rig(attached, names) for attached in self._devices.codecs]

    def _voip(self) -> "VoipWiring | None":
        lines = tuple(i for i, line in enumerate(self.site.lines) if line.kind == "voip")
        port = self._devices.packets
        if port is None:
            return None
        from firmware.voip.trunk import Trunk
        from firmware.voipear import CallEar
        from firmware.voipfeed import VoipWiring

        trunk = Trunk(trunk_settings(self.site, self._devices.sip_ports))
        return VoipWiring(port, trunk, lines, lambda: CallEar(self._ear(2, False)))

    def _rig(self, attached: Attached, names: list[str]) -> Rig:
        if len(attached.lines) != attached.codec.channels:
            raise WiringError(f"A codec has {attached.codec.channels} channels and {len(attached.lines)} lines.")
        every = [line.name for line in self.site.lines]
        lines = tuple(every.index(name) for name in attached.lines)
        by_sound = any(not line.sense for line in self.site.lines if line.name in attached.lines)
        return Rig(attached.codec, lines, self._ear(len(lines), by_sound), LookBack(self.look_back_us))

    def _ear(self, channels: int, audio_only: bool) -> Ear:
        upstream = self.vault.document(NOTICE_DOCUMENT) if self.site.of("notice", "source") == "upstream" else None
        return Ear(
            channels,
            tone_plan=PLANS[self.site.of("tones", "plan")],
            cid_signalling=self.site.of("caller_id", "signalling"),
            opt_out_digit=self.site.of("opt_out", "caller_key") or None,
            upstream_notice=None if upstream is None else self._devices.read_notice(upstream),
            audio_only=audio_only,
        )
