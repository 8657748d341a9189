"""One SIP dialog as seen from the wire between its two parties (RFC 3261 12 to 15, RFC 3264, 3311, 3262, 3515).

Pure: messages in, steps out; what was agreed is read from the attributes. Retransmissions change nothing. A proxy
before us may try several telephones, at once or one after the other, with INVITEs that differ in their branch only
(RFC 3261 16.6, 16.7): the attempt is over when the last of them is refused. What answers is a ``Leg``; the first leg
that is ACKed is the call.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from firmware.policy.events import Port
from firmware.voip.sdp import Media, Session, agreed_audio, first_audio, parse_sdp
from firmware.voip.sip import SipMessage, address_uri, percent_decoded, uri_user

LEGS_MAX = 16
BRANCHES_MAX = 64
"""INVITEs of one call attempt that are remembered; the oldest is forgotten first."""

RETRY_STATUSES = (401, 407, 421, 422, 428, 494)
"""Refusals after which the same caller tries again at once with the same Call-ID: not the end of the call attempt."""


class Phase(StrEnum):
    PROCEEDING = "proceeding"
    CHALLENGED = "challenged"
    ANSWERED = "answered"
    REFUSED = "refused"
    ENDED = "ended"


class Step(StrEnum):
    """What a message changed."""

    EARLY = "early"
    RINGING = "ringing"
    ANSWERED = "answered"
    ACKED = "acked"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    ENDED = "ended"
    MEDIA = "media"
    """The agreement, or a pending offer, is another one than before."""
    TRANSFER = "transfer"
    """A REFER was accepted."""
    TRANSFER_FAILED = "transfer_failed"
    REFRESHED = "refreshed"
    KEYED = "keyed"
    """A keyed digit in an INFO (its value is not read)."""


@dataclass(frozen=True)
class Agreement:
    """The audio line of both sides after offer and answer, by the side that wrote it: media to ``trunk`` is what the
    agent says."""

    trunk: Media
    inside: Media

    @property
    def held(self) -> bool:
        return self.trunk.held or self.inside.held


@dataclass
class Leg:
    """One fork: its answer, and what became of it."""

    agreement: Agreement | None = None
    answered: bool = False
    acked: bool = False
    ended: bool = False
    no_audio: bool = False
    """Offer and answer are complete and leave no audio line open."""


@dataclass(frozen=True, repr=False)
class Refer:
    """Where the other side was sent. ``replaces``: Call-ID of the dialog to be replaced, '' for a blind transfer."""

    side: Port
    target_user: str
    replaces: str
    cseq: int
    accepted_mono_us: int | None = None


@dataclass(frozen=True)
class _Offer:
    side: Port
    session: Session
    method: str
    cseq: int
    in_response: bool

    def is_answered_by(self, message: SipMessage, side: Port) -> bool:
        """An answer stands in the response to the request that made the offer; an offer in a response is answered in
        its ACK or PRACK (RFC 3261 13.2.1, RFC 3262 5, RFC 3311 5.1)."""
        if side is self.side:
            return False
        if self.in_response:
            return message.method == "PRACK" or (message.method == "ACK" and message.cseq == self.cseq)
        return not message.is_request and (message.method, message.cseq) == (self.method, self.cseq)


class Dialog:
    """``branches``: INVITE transactions of the same Call-ID and From tag that are over."""

    def __init__(self, invite: SipMessage, initiator: Port, at_mono_us: int, branches: Iterable[int] = ()) -> None:
        self.call_id = invite.call_id
        self.from_tag = invite.from_tag
        self.initiator = initiator
        self.phase = Phase.PROCEEDING
        self.heard_mono_us = at_mono_us
        self.legs: dict[str, Leg] = {}
        self.chosen = ""
        self.refer: Refer | None = None
        self.expires_s: int | None = None
        """Session interval (RFC 4028) of the last refresh."""
        self.invite_cseq = invite.cseq
        self.branches = dict.fromkeys(branches)
        """INVITE transactions that were heard, oldest first."""
        self._ringing: dict[int, _Offer | None] = {}
        """Those without a final answer, and their offer."""
        self._cancelled: set[int] = set()
        self.crossed = False
        """The answer met a CANCEL on its way: the caller had hung up (RFC 3261 9.1, 15)."""
        self._first_offer: _Offer | None = None
        self._pending: _Offer | None = None
        self._finished: dict[tuple[str, Port, str], int] = {}
        """Of a leg, the side that asked and the method: the highest CSeq that has its final answer. Each leg is a
        dialog of its own, with a count for either side (RFC 3261 12.1)."""

    # ----------------------------------------------------------------------------------------------- what is so now

    @property
    def leg(self) -> Leg:
        return self.legs.get(self.chosen) or Leg()

    @property
    def agreement(self) -> Agreement | None:
        return self.leg.agreement

    @property
    def held(self) -> bool:
        """A hold is believed when it is offered, its end only when it is agreed: whichever records less."""
        if self.leg.no_audio or (self.agreement is not None and self.agreement.held):
            return True
        if self._pending is None or self.phase is not Phase.ANSWERED:
            return False
        media = first_audio(self._pending.session)
        return media is None or media.held

    @property
    def pending_media(self) -> tuple[Port, Media] | None:
        """The audio line of an offer that waits for its answer: its address may be used from now on."""
        offer = self._pending or (None if self.phase is Phase.ANSWERED else self._first_offer)
        media = first_audio(offer.session) if offer is not None else None
        return (offer.side, media) if offer is not None and media is not None else None

    # --------------------------------------------------------------------------------------------------- messages in

    def hear(self, message: SipMessage, side: Port, at_mono_us: int) -> list[Step]:
        self.heard_mono_us = at_mono_us
        steps = self._request(message, side) if message.is_request else self._response(message, side, at_mono_us)
        if not message.is_request or message.method in ("INVITE", "UPDATE"):
            self._read_session_timer(message)
        return steps

    def _request(self, message: SipMessage, side: Port) -> list[Step]:
        method = message.method
        if method == "INVITE" and not message.to_tag:
            return self._initial_invite(message, side)
        if method == "ACK":
            return self._ack(message, side)
        if method == "BYE":
            return self._bye(message)
        if method == "CANCEL":
            return self._cancel(message, side)
        if self._is_finished(message, side):
            return []
        if method in ("INVITE", "UPDATE", "PRACK"):
            return self._sdp(message, side)
        if method == "REFER":
            return self._read_refer(message, side)
        if method == "NOTIFY":
            return self._notify(message)
        if method == "INFO":
            kind = message.first("content-type").split(";")[0].strip().lower()
            self._finish(message, side)
            return [Step.KEYED] if kind in ("application/dtmf-relay", "application/dtmf") else []
        return []

    def _initial_invite(self, message: SipMessage, side: Port) -> list[Step]:
        if side is not self.initiator or self.phase not in (Phase.PROCEEDING, Phase.CHALLENGED):
            return []
        if message.cseq > self.invite_cseq:
            self._begin_again(message.cseq)
        branch = message.transaction
        if message.cseq != self.invite_cseq or branch in self.branches:
            return []
        session = _session(message)
        offer = _Offer(side, session, "INVITE", message.cseq, False) if session is not None else None
        self.phase = Phase.PROCEEDING
        for known, value in ((self.branches, None), (self._ringing, offer)):
            known[branch] = value
            if len(known) > BRANCHES_MAX:
                del known[next(iter(known))]
        if offer is None:
            return []
        self._first_offer = self._pending = offer
        return [Step.MEDIA]

    def _begin_again(self, cseq: int) -> None:
        """The caller tries again with the next CSeq (RFC 3261 8.1.3.5, 22.2): what answered the last try is over."""
        self.invite_cseq = cseq
        self.legs.clear()
        self.chosen = ""
        self._ringing.clear()
        self._first_offer = self._pending = None

    def _ack(self, message: SipMessage, side: Port) -> list[Step]:
        leg = self.legs.get(self._remote_tag(message))
        if leg is None or not leg.answered:
            return []
        steps = self._sdp(message, side)
        if leg.acked or side is not self.initiator or message.cseq != self.invite_cseq:
            return steps
        leg.acked = True
        if not self.leg.acked or self.leg.ended:
            self.chosen = self._remote_tag(message)
            steps.append(Step.MEDIA)
        return [*steps, Step.ACKED]

    def _cancel(self, message: SipMessage, side: Port) -> list[Step]:
        if self.phase is not Phase.PROCEEDING or side is not self.initiator:
            return []
        if message.transaction in self._ringing:
            self._cancelled = {message.transaction, *(self._cancelled & self._ringing.keys())}
        return [Step.CANCELLED]

    def _bye(self, message: SipMessage) -> list[Step]:
        leg = self.legs.get(self._remote_tag(message))
        if leg is None or self.phase is not Phase.ANSWERED or leg.ended:
            return []
        leg.ended = True
        if leg is not self.leg:
            return []
        for tag, other in self.legs.items():
            if other.acked and not other.ended:
                self.chosen = tag
                return [Step.MEDIA]
        self.phase = Phase.ENDED
        return [Step.ENDED]

    def _response(self, message: SipMessage, side: Port, at_mono_us: int) -> list[Step]:
        method = message.method
        if method == "INVITE" and side is not self.initiator and message.cseq == self.invite_cseq:
            return self._initial_response(message, side)
        if method == "REFER":
            return self._refer_answered(message, side, at_mono_us)
        if method not in ("INVITE", "UPDATE", "PRACK") or message.status < 200:
            return []
        asked = Port.INSIDE if side is Port.TRUNK else Port.TRUNK
        if self._is_finished(message, asked):
            return []
        self._finish(message, asked)
        if message.status >= 300:
            return self._offer_refused(message, asked)
        steps = self._sdp(message, side)
        if method in ("INVITE", "UPDATE"):
            steps.append(Step.REFRESHED)
        return steps

    def _initial_response(self, message: SipMessage, side: Port) -> list[Step]:
        if message.status == 100 or self.phase in (Phase.REFUSED, Phase.ENDED):
            return []
        if message.status >= 300:
            return self._refused(message)
        tag = self._remote_tag(message)
        if tag not in self.legs and len(self.legs) >= LEGS_MAX:
            return []
        leg = self.legs.setdefault(tag, Leg())
        if leg.answered:
            return []
        steps = self._sdp(message, side)
        if message.status < 200:
            self.chosen = self.chosen or tag
            return [*steps, Step.RINGING if message.status == 180 else Step.EARLY]
        leg.answered = True
        if self._pending is self._first_offer:
            self._pending = None
        if self.phase is Phase.ANSWERED:
            return steps
        self.phase = Phase.ANSWERED
        self.chosen = tag
        self.crossed = message.transaction in self._cancelled
        return [*steps, Step.ANSWERED]

    def _refused(self, message: SipMessage) -> list[Step]:
        branch = message.transaction
        if branch not in self.branches and len(self._ringing) == 1:
            branch = next(iter(self._ringing))  # a telephone that does not give the Via back as it was
        if self.phase is not Phase.PROCEEDING or branch not in self._ringing:
            return []
        del self._ringing[branch]
        if self._ringing:
            return []
        if message.status in RETRY_STATUSES:
            self.phase = Phase.CHALLENGED
            return []
        self.phase = Phase.REFUSED
        return [Step.REFUSED]

    # ------------------------------------------------------------------------------------------------- offer, answer

    def _sdp(self, message: SipMessage, side: Port) -> list[Step]:
        session = _session(message)
        if session is None:
            return []
        tag = self._remote_tag(message)
        pending = self._pending
        if not message.is_request and message.method == "INVITE" and message.cseq == self.invite_cseq:
            pending = self._ringing.get(message.transaction) or self._first_offer or pending
        if pending is not None and pending.is_answered_by(message, side):
            return self._answer(pending, session, side, tag, final=message.is_request or message.status >= 200)
        if message.is_request and message.method == "ACK":
            return []
        offer = _Offer(side, session, message.method, message.cseq, not message.is_request)
        changed = self._pending is None or self._pending.session != session
        self._pending = offer
        return [Step.MEDIA] if changed else []

    def _answer(self, offer: _Offer, session: Session, side: Port, tag: str, *, final: bool) -> list[Step]:
        if final and self._pending is offer:
            self._pending = None
        leg = self.legs.get(tag)
        if leg is None:
            return []
        pair = agreed_audio(offer.session, session)
        leg.no_audio = pair is None
        if pair is None:
            return [Step.MEDIA]
        offered, answered = pair
        agreement = Agreement(offered, answered) if offer.side is Port.TRUNK else Agreement(answered, offered)
        leg.agreement = agreement
        return [Step.MEDIA]

    def _offer_refused(self, message: SipMessage, asked: Port) -> list[Step]:
        pending = self._pending
        if pending is None or pending.side is not asked or pending.cseq != message.cseq:
            return []
        self._pending = None
        return [Step.MEDIA]

    # ------------------------------------------------------------------------------------------------------ transfer

    def _read_refer(self, message: SipMessage, side: Port) -> list[Step]:
        uri = address_uri(message.first("refer-to"))
        self.refer = Refer(side, uri_user(uri), _embedded_replaces(uri), message.cseq)
        return []

    def _refer_answered(self, message: SipMessage, side: Port, at_mono_us: int) -> list[Step]:
        refer = self.refer
        if refer is None or refer.side is side or refer.cseq != message.cseq or message.status < 200:
            return []
        if message.status >= 300:
            self.refer = None
            return [Step.TRANSFER_FAILED]
        if refer.accepted_mono_us is not None:
            return []
        self.refer = Refer(refer.side, refer.target_user, refer.replaces, refer.cseq, at_mono_us)
        return [Step.TRANSFER]

    def _notify(self, message: SipMessage) -> list[Step]:
        """The fragment tells how the transfer went (RFC 3515 2.4.5): a final failure means that it did not."""
        if self.refer is None or not message.first("event").lower().startswith("refer"):
            return []
        words = message.body[:64].split()
        if len(words) >= 2 and words[0] == b"SIP/2.0" and words[1][:1] in (b"3", b"4", b"5", b"6"):
            self.refer = None
            return [Step.TRANSFER_FAILED]
        return []

    # -------------------------------------------------------------------------------------------------------- helpers

    def _is_finished(self, message: SipMessage, asked: Port) -> bool:
        """A repetition of a request that has its final answer, or of that answer (RFC 3261 13.3.1.4: a 2xx is sent
        again until its ACK comes): it says nothing new, whatever came since. A side counts its requests up
        (RFC 3261 12.2.1.1)."""
        return message.cseq <= self._finished.get(self._count_of(message, asked), -1)

    def _finish(self, message: SipMessage, asked: Port) -> None:
        self._finished[self._count_of(message, asked)] = message.cseq

    def _count_of(self, message: SipMessage, asked: Port) -> tuple[str, Port, str]:
        tag = self._remote_tag(message)
        return (tag if tag in self.legs else "", asked, message.method)

    def _remote_tag(self, message: SipMessage) -> str:
        """The tag of the side that was called, whichever way this message goes."""
        return message.to_tag if message.from_tag == self.from_tag else message.from_tag

    def _read_session_timer(self, message: SipMessage) -> None:
        value = message.first("session-expires").split(";")[0].strip()
        if value.isascii() and value.isdigit() and len(value) < 7:
            self.expires_s = int(value)


def _session(message: SipMessage) -> Session | None:
    body = message.sdp()
    return parse_sdp(body) if body is not None else None


def _embedded_replaces(uri: str) -> str:
    """Call-ID of a Replaces header inside a Refer-To URI (RFC 3891 4)."""
    for part in uri.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        if name.lower() == "replaces":
            return replaces_call_id(percent_decoded(value))
    return ""


def replaces_call_id(value: str) -> str:
    """Call-ID of a Replaces header value, '' where there is none."""
    return value.split(";", 1)[0].strip()
