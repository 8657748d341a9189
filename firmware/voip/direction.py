"""Direction of a call from its initial INVITE: the port at which it arrived decides, then who sent it and for whom.

``From`` is never looked at here.
"""

import ipaddress
from dataclasses import dataclass

from firmware.policy.events import Port
from firmware.policy.records import Direction
from firmware.voip.number import comparable, is_public
from firmware.voip.output import Rule
from firmware.voip.settings import IpNetwork, TrunkSettings
from firmware.voip.sip import SipMessage, address_uri, uri_host, uri_user


@dataclass(frozen=True)
class Verdict:
    direction: Direction
    rule: Rule
    line: int
    evidence: tuple[str, ...]
    """Inputs in the order in which they were looked at."""


class DirectionJudge:
    """The site's peers and numbers, in comparable form."""

    def __init__(self, settings: TrunkSettings) -> None:
        self._peers: tuple[IpNetwork, ...] = settings.networks()
        self._country_code = settings.country_code
        self._numbers: dict[str, list[int]] = {}
        for line, slot in enumerate(settings.lines):
            for number in slot.ddi:
                key = comparable(number, settings.country_code)
                if key is None:
                    raise ValueError(f"line {line}: an entry of ddi is not a telephone number")
                self._numbers.setdefault(key, []).append(line)
        self._agents = [frozenset(agent.lower() for agent in slot.agents) for slot in settings.lines]

    def judge(self, invite: SipMessage, port: Port, source: bytes) -> Verdict:
        if port is Port.INSIDE:
            return Verdict(Direction.OUTBOUND, Rule.INSIDE_INVITE, self.line_of_agent(invite) or 0, ("inside_port",))
        if not self.is_peer(source):
            return Verdict(Direction.UNKNOWN, Rule.TRUNK_INVITE_OTHER_PEER, 0, ("trunk_port", "other_peer"))
        found = self._called(invite)
        if found is None:
            return Verdict(Direction.UNKNOWN, Rule.TRUNK_INVITE_OTHER_NUMBER, 0, ("trunk_port", "peer", "other_number"))
        lines, where = found
        evidence = ["trunk_port", "peer", where]
        if "diversion" in invite.headers or "history-info" in invite.headers:
            evidence.append("diverted")
        return Verdict(Direction.INBOUND, Rule.TRUNK_INVITE_DDI, lines[0], tuple(evidence))

    def is_peer(self, source: bytes) -> bool:
        address = ipaddress.ip_address(source)
        return any(address in network for network in self._peers if network.version == address.version)

    def _called(self, invite: SipMessage) -> tuple[list[int], str] | None:
        """The lines of the called number. A trunk that registers puts its account into the Request-URI; the number
        follows where the provider writes it (P-Called-Party-ID, RFC 7315 4.2), and last in To. To is the caller's and
        stays as it was through a diversion (RFC 3261 8.1.1.2, 16.6): it never overrides a telephone number that the
        provider named."""
        places = (
            ("ddi_request_uri", invite.uri),
            ("ddi_called_party", address_uri(invite.first("p-called-party-id"))),
            ("ddi_to", address_uri(invite.first("to"))),
        )
        named = False
        for where, uri in places:
            user = uri_user(uri)
            number = comparable(user, self._country_code)
            if number is not None and number in self._numbers and not (named and where == "ddi_to"):
                return self._numbers[number], where
            named = named or is_public(user, self._country_code)
        return None

    def line_of_agent(self, message: SipMessage, among: tuple[int, ...] | None = None) -> int | None:
        """The line whose agent sent this (Contact or From user, or their host); None where none is configured."""
        uris = [address_uri(message.first("contact")), address_uri(message.first("from"))]
        words = {word.lower() for uri in uris for word in (uri_user(uri), uri_host(uri)) if word}
        for line, agents in enumerate(self._agents):
            if agents & words and (among is None or line in among):
                return line
        return None

    def lines_sharing(self, line: int) -> tuple[int, ...]:
        """Every line that has a number in common with this one."""
        return tuple(sorted({other for lines in self._numbers.values() if line in lines for other in lines}))

    def line_of_answer(self, answer: SipMessage, line: int) -> int:
        """The line of the agent who answered, where several lines share the number; else the line as it was."""
        sharing = self.lines_sharing(line)
        if len(sharing) < 2:
            return line
        uris = (address_uri(answer.first("contact")), address_uri(answer.first("to")))
        words = {word.lower() for uri in uris for word in (uri_user(uri), uri_host(uri)) if word}
        for other in sharing:
            if self._agents[other] & words:
                return other
        return line
