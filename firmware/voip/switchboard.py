"""From SIP messages with their port to calls: which dialog, which line, which direction, which transfer.

At most ``Limits.dialogs`` dialogs at a time; every call key gets one ``CallStarted`` and one ``CallEnded``.
"""

from collections import OrderedDict
from enum import IntEnum

from firmware.policy.events import CallerIdHeard, DigitHeard, Port
from firmware.policy.records import Direction, Ended
from firmware.voip.call import Call
from firmware.voip.dialog import Agreement, Dialog, Leg, Phase, Step, replaces_call_id
from firmware.voip.direction import DirectionJudge, Verdict
from firmware.voip.flows import FlowTable, Stray
from firmware.voip.lapse import lapsed
from firmware.voip.number import caller_identity, comparable
from firmware.voip.output import (
    CallAnswered,
    CallStarted,
    Channel,
    Encrypted,
    Heard,
    RtpWithoutDialog,
    Rule,
    Transferred,
    VoipOutput,
)
from firmware.voip.sdp import Media
from firmware.voip.settings import OnTransfer, TrunkSettings
from firmware.voip.sip import SipMessage, uri_user

BLIND_TRANSFER_US_MAX = 30_000_000
ENDED_US = 64_000_000
"""A retransmission of the INVITE of a call that is over is no new call (twice 64*T1, RFC 3261 17.1.1.2)."""

ENDED_MAX = 512
TLS_US_MAX = 3600 * 1_000_000
INFO_DIGIT_US = 250_000
"""SIP INFO tells of a key after it; the stretch that is not kept before and after (a usual length is 160 to 250)."""

OPT_OUT_EVENTS = {**{str(digit): digit for digit in range(10)}, "*": 10, "#": 11}

STRANGERS = (Rule.TRUNK_INVITE_OTHER_PEER, Rule.DIALOG_ALREADY_RUNNING)
"""Whoever reaches the trunk can make calls of these rules, as many as they like."""

DialogKey = tuple[str, str]


class Standing(IntEnum):
    """Which dialog goes first when there are too many."""

    STRANGER = 0
    """Of nobody we know; nothing of it is ever kept."""
    UNANSWERED = 1
    ANSWERED = 2
    """Never goes."""


class Switchboard:
    def __init__(self, settings: TrunkSettings, flows: FlowTable) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._flows = flows
        self._judge = DirectionJudge(settings)
        self._opt_out_event = OPT_OUT_EVENTS.get(settings.opt_out_digit or "")
        self._dialogs: dict[DialogKey, Dialog] = {}
        self._call_of: dict[int, Call] = {}
        """id(dialog) to its call; a dialog lives exactly as long as its entry in ``_dialogs``."""
        self.calls: dict[int, Call] = {}
        self._ended: OrderedDict[DialogKey, tuple[tuple[int, ...], int]] = OrderedDict()
        """Dialogs that are over: the INVITEs that were heard of them (``Dialog.branches``), and since when."""
        self._next_key = 1
        self._tls_mono_us: int | None = None

    # ------------------------------------------------------------------------------------------------------ messages

    def hear(self, message: SipMessage, port: Port, source: bytes, at_mono_us: int) -> list[VoipOutput]:
        if not message.call_id or not message.from_tag:
            return []
        dialog = self._find(message)
        if dialog is None:
            return self._unknown_dialog(message, port, source, at_mono_us)
        call = self._call_of[id(dialog)]
        out: list[VoipOutput] = []
        for step in dialog.hear(message, port, at_mono_us):
            out += self._step(step, call, dialog, message, port, at_mono_us)
        return out

    def _find(self, message: SipMessage) -> Dialog | None:
        found = self._dialogs.get((message.call_id, message.from_tag))
        return found or self._dialogs.get((message.call_id, message.to_tag))

    def _unknown_dialog(self, message: SipMessage, port: Port, source: bytes, at_mono_us: int) -> list[VoipOutput]:
        if not message.is_request or message.method not in ("INVITE", "UPDATE"):
            return []
        if message.method == "INVITE" and not message.to_tag:
            known = self._branches_over(message, at_mono_us)
            return [] if message.transaction in known else self._invite(message, port, source, at_mono_us, known)
        return self._running_dialog(message, port, at_mono_us) if message.to_tag else []

    def _invite(
        self, message: SipMessage, port: Port, source: bytes, at_mono_us: int, branches_over: tuple[int, ...]
    ) -> list[VoipOutput]:
        dialog = Dialog(message, port, at_mono_us, branches_over)
        verdict = self._judge.judge(message, port, source)
        out = self._make_room(verdict, at_mono_us)
        if len(self._dialogs) >= self._limits.dialogs:
            refused = self._open(None, Verdict(Direction.UNKNOWN, Rule.TOO_MANY_CALLS, 0, ()), at_mono_us, out)
            return out + self._close(refused, at_mono_us, Ended.FAULT)
        predecessor = None if verdict.rule in STRANGERS else self._predecessor(message, port, at_mono_us)
        if predecessor is not None and self._settings.on_transfer is OnTransfer.CONTINUE:
            self._keep(dialog, predecessor)
            predecessor.successor = dialog
            predecessor.successor_line = verdict.line if verdict.direction is Direction.INBOUND else predecessor.line
            predecessor.transferring = True
            predecessor.witness("transfer_invite", at_mono_us)
            call = predecessor
        else:
            if predecessor is not None and port is Port.TRUNK:
                predecessor.transferring = True
                verdict = Verdict(Direction.UNKNOWN, Rule.TRUNK_INVITE_TRANSFERRED, predecessor.line, verdict.evidence)
            call = self._open(dialog, verdict, at_mono_us, out)
            if call.inbound:
                out.append(Heard(call.key, _caller_id(message, call.line, at_mono_us)))
        for step in dialog.hear(message, port, at_mono_us):
            out += self._step(step, call, dialog, message, port, at_mono_us)
        return out

    def _open(self, dialog: Dialog | None, verdict: Verdict, at_mono_us: int, out: list[VoipOutput]) -> Call:
        waiting = any(
            call.inbound and call.answered_mono_us is not None and call.line == verdict.line
            for call in self.calls.values()
        )
        rule = verdict.rule
        if rule is Rule.INSIDE_INVITE and waiting:
            rule = Rule.INSIDE_INVITE_SECOND
        call = Call(self._next_key, verdict.line, verdict.direction, rule, at_mono_us, dialog, self._limits)
        self._next_key += 1
        for word in verdict.evidence:
            call.witness(word, at_mono_us)
        self.calls[call.key] = call
        if dialog is not None:
            self._keep(dialog, call)
        evidence = call.evidence_from(at_mono_us)
        out.append(
            CallStarted(call.key, call.line, at_mono_us, call.direction, rule, evidence, waiting and call.inbound)
        )
        return call

    def _keep(self, dialog: Dialog, call: Call) -> None:
        self._dialogs[dialog.call_id, dialog.from_tag] = dialog
        self._call_of[id(dialog)] = call

    def _forget(self, dialog: Dialog) -> None:
        key = (dialog.call_id, dialog.from_tag)
        if self._dialogs.pop(key, None) is not None:
            self._ended[key] = (tuple(dialog.branches), dialog.heard_mono_us)
            self._ended.move_to_end(key)
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        self._call_of.pop(id(dialog), None)

    def _branches_over(self, invite: SipMessage, at_mono_us: int) -> tuple[int, ...]:
        """INVITEs of this Call-ID and From tag that are over. One of them is a retransmission; any other is a new
        attempt, even with the same CSeq: a proxy that was refused or sent elsewhere (3xx) tries the next telephone
        (RFC 3261 16.7), and the call that is then answered has a row of its own."""
        branches, since = self._ended.get((invite.call_id, invite.from_tag), ((), at_mono_us))
        return branches if at_mono_us - since <= ENDED_US else ()

    def _make_room(self, newcomer: Verdict, at_mono_us: int) -> list[VoipOutput]:
        """At the limit the oldest dialog of the lowest standing makes room, but never for one that stands lower."""
        if len(self._dialogs) < self._limits.dialogs:
            return []
        calls = [self._call_of[id(dialog)] for dialog in self._dialogs.values()]
        lowest = min(calls, key=_standing, default=None)
        highest = Standing.STRANGER if newcomer.rule in STRANGERS else Standing.UNANSWERED
        if lowest is None or _standing(lowest) > highest:
            return []
        lowest.pushed_out = True
        return self._close(lowest, at_mono_us, Ended.FAULT)

    def _running_dialog(self, message: SipMessage, port: Port, at_mono_us: int) -> list[VoipOutput]:
        """A request inside a dialog that began before we listened: its media is not to be taken for a call of its
        own, and nothing of it is kept."""
        out: list[VoipOutput] = []
        if len(self._dialogs) >= self._limits.dialogs or message.sdp() is None:
            return []
        dialog = Dialog(message, port, at_mono_us)
        dialog.phase = Phase.ANSWERED
        dialog.chosen = message.to_tag
        dialog.legs[message.to_tag] = Leg(answered=True, acked=True)
        steps = dialog.hear(message, port, at_mono_us)
        known = self._bind_pending(0, dialog, yields=True)
        call = self.calls.get(known) if known is not None else None
        if call is None:
            verdict = Verdict(Direction.UNKNOWN, Rule.DIALOG_ALREADY_RUNNING, 0, ("in_dialog_request",))
            call = self._open(dialog, verdict, at_mono_us, out)
            out += self._answered(call, message, at_mono_us)
        else:
            call.dialog = dialog
            self._keep(dialog, call)
        self._flows.release(0, at_mono_us)
        for step in steps:
            out += self._step(step, call, dialog, message, port, at_mono_us)
        return out

    # --------------------------------------------------------------------------------------------------------- steps

    def _step(
        self, step: Step, call: Call, dialog: Dialog, message: SipMessage, port: Port, at_mono_us: int
    ) -> list[VoipOutput]:
        if call.key not in self.calls:
            return []
        if step is Step.ANSWERED:
            return self._dialog_answered(call, dialog, message, at_mono_us)
        if step is Step.MEDIA:
            return self._media(call, dialog, at_mono_us)
        if step is Step.ENDED:
            return self._dialog_ended(call, dialog, at_mono_us)
        if step is Step.REFUSED:
            return self._dialog_refused(call, dialog, at_mono_us)
        if step is Step.TRANSFER:
            call.transferring = dialog is call.dialog
        elif step is Step.TRANSFER_FAILED:
            call.transferring = False
        elif step is Step.KEYED:
            channel = Channel.CALLER if port is Port.TRUNK else Channel.AGENT
            event = DigitHeard(call.line, at_mono_us - INFO_DIGIT_US, at_mono_us + INFO_DIGIT_US, True)
            return [Heard(call.key, event, channel)] if call.inbound else []
        elif step is not Step.REFRESHED:
            call.witness(step.value, at_mono_us)
        return []

    def _dialog_answered(self, call: Call, dialog: Dialog, message: SipMessage, at_mono_us: int) -> list[VoipOutput]:
        if dialog is call.successor:
            if call.dialog is not None:
                self._forget(call.dialog)
            self._flows.release(call.key, at_mono_us)
            call.successor_line = self._judge.line_of_answer(message, call.successor_line)
            call.succeed(at_mono_us)
            out: list[VoipOutput] = []
            if call.axis is not None:
                out.append(Transferred(call.key, call.line, at_mono_us, call.axis.sample_at(at_mono_us)))
            return out + self._media(call, dialog, at_mono_us)
        return self._answered(call, message, at_mono_us) + self._media(call, dialog, at_mono_us)

    def _answered(self, call: Call, message: SipMessage, at_mono_us: int) -> list[VoipOutput]:
        if call.inbound:
            call.line = self._judge.line_of_answer(message, call.line)
        call.witness("answered", at_mono_us)
        call.answer(at_mono_us, self._opt_out_event)
        evidence = call.evidence_from(at_mono_us)
        return [CallAnswered(call.key, call.line, at_mono_us, call.direction, call.rule, evidence)]

    def _media(self, call: Call, dialog: Dialog, at_mono_us: int) -> list[VoipOutput]:
        self._bind_pending(call.key, dialog, call if dialog is call.dialog else None, yields=call.rule in STRANGERS)
        if dialog is not call.dialog:
            return []
        agreement = dialog.agreement
        if agreement is not None:
            self._bind_agreement(call, agreement)
        return call.follow_agreement(at_mono_us) if call.answered_mono_us is not None else []

    def _bind_agreement(self, call: Call, agreement: Agreement) -> None:
        answered = call.answered_mono_us is not None
        caller, agent = (call.caller, call.agent) if answered else (None, None)
        for media, target, opposite in ((agreement.trunk, agent, caller), (agreement.inside, caller, agent)):
            if media.address is not None:
                stranger = call.rule in STRANGERS
                self._flows.bind(call.key, (media.address, media.port), target, opposite, yields=stranger)

    def _bind_pending(
        self, owner: int, dialog: Dialog, call: Call | None = None, *, yields: bool = False
    ) -> int | None:
        """The address of an offer may be used before its answer is here (RFC 3264 5.1)."""
        pending = dialog.pending_media
        if pending is None or pending[1].address is None:
            return None
        side, media = pending
        tracks = (call.agent, call.caller) if call is not None else (None, None)
        target, opposite = tracks if side is Port.TRUNK else tracks[::-1]
        return self._flows.bind(owner, _address(media), target, opposite, yields=yields)

    def _dialog_refused(self, call: Call, dialog: Dialog, at_mono_us: int) -> list[VoipOutput]:
        if dialog is not call.successor:
            return self._close(call, at_mono_us, Ended.FAULT)
        self._forget(dialog)
        call.successor = None
        call.transferring = call.over_mono_us is not None
        if call.over_mono_us is not None:
            return self._close(call, call.over_mono_us, Ended.TRANSFER)
        return []

    def _dialog_ended(self, call: Call, dialog: Dialog, at_mono_us: int) -> list[VoipOutput]:
        if dialog is not call.dialog:
            self._forget(dialog)
            return []
        follows = self._settings.on_transfer is OnTransfer.CONTINUE and call.inbound
        if call.transferring and follows:
            call.wait_for_successor(at_mono_us)
            return []
        return self._close(call, at_mono_us, Ended.TRANSFER if call.transferring else Ended.ON_HOOK)

    def _close(self, call: Call, at_mono_us: int, ended: Ended) -> list[VoipOutput]:
        for dialog in (call.dialog, call.successor):
            if dialog is not None:
                self._forget(dialog)
        self._flows.release(call.key, at_mono_us)
        del self.calls[call.key]
        return call.end(at_mono_us, ended)

    # ------------------------------------------------------------------------------------------------------ transfer

    def _predecessor(self, invite: SipMessage, port: Port, at_mono_us: int) -> Call | None:
        """The inbound call that this INVITE continues: it replaces its dialog (RFC 3891), or a REFER that was
        accepted sent the caller here (RFC 3515)."""
        replaced = replaces_call_id(invite.first("replaces"))
        for call in self.calls.values():
            dialog = call.dialog
            if not call.inbound or dialog is None or call.answered_mono_us is None or call.successor is not None:
                continue
            if replaced and dialog.call_id == replaced:
                return call
            refer = dialog.refer
            if refer is None or refer.accepted_mono_us is None or port is refer.side:
                continue
            if refer.replaces and refer.replaces == replaced:
                return call
            recent = at_mono_us - refer.accepted_mono_us <= BLIND_TRANSFER_US_MAX
            if recent and not refer.replaces and self._same_number(uri_user(invite.uri), refer.target_user):
                return call
        return None

    def _same_number(self, one: str, other: str) -> bool:
        country = self._settings.country_code
        return bool(one) and (comparable(one, country) or one.lower()) == (comparable(other, country) or other.lower())

    # ------------------------------------------------------------------------------------- media without signalling

    def tls_heard(self, at_mono_us: int, *, begins: bool) -> list[VoipOutput]:
        self._tls_mono_us = at_mono_us
        return [Encrypted(None, None, at_mono_us)] if begins else []

    def stray_found(self, stray: Stray, at_mono_us: int) -> list[VoipOutput]:
        """A call of which only media is seen; its way back belongs to it."""
        known = self._flows.reverse_call(stray)
        if known is not None:
            stray.call = known
            return []
        out: list[VoipOutput] = []
        hidden = self._tls_mono_us is not None and at_mono_us - self._tls_mono_us <= TLS_US_MAX
        rule = Rule.TLS_SIGNALLING if hidden else Rule.RTP_WITHOUT_DIALOG
        call = self._open(None, Verdict(Direction.UNKNOWN, rule, 0, ("rtp",)), at_mono_us, out)
        call.encrypted = hidden
        call.answer(at_mono_us, None)
        stray.call = call.key
        evidence = call.evidence_from(at_mono_us)
        out.append(CallAnswered(call.key, call.line, at_mono_us, call.direction, rule, evidence))
        return [*out, RtpWithoutDialog(call.key, call.line, at_mono_us)]

    def stray_gone(self, stray: Stray) -> list[VoipOutput]:
        call = self.calls.get(stray.call) if stray.call is not None else None
        alive = any(other.call == stray.call for other in self._flows.strays.values())
        if call is None or call.dialog is not None or alive:
            return []
        return self._close(call, stray.last_mono_us, Ended.ON_HOOK)

    # ------------------------------------------------------------------------------------------------ as time passes

    def advance(self, now_mono_us: int) -> list[VoipOutput]:
        """Ten times a second: what is ready of every call."""
        out: list[VoipOutput] = []
        for call in self.calls.values():
            if call.axis is not None:
                out += call.advance(now_mono_us)
        return out

    def tidy(self, now_mono_us: int) -> list[VoipOutput]:
        """Once a second: calls that are over without having said so, media that is missing."""
        out: list[VoipOutput] = []
        for call in list(self.calls.values()):
            over = lapsed(call, now_mono_us)
            out += self._close(call, *over) if over is not None else call.look_for_media(now_mono_us)
        return out

    def close(self, at_mono_us: int) -> list[VoipOutput]:
        out: list[VoipOutput] = []
        for call in list(self.calls.values()):
            out += self._close(call, at_mono_us, Ended.FAULT)
        return out


def _standing(call: Call) -> Standing:
    if call.rule in STRANGERS:
        return Standing.STRANGER
    return Standing.UNANSWERED if call.answered_mono_us is None else Standing.ANSWERED


def _address(media: Media) -> tuple[bytes, int]:
    assert media.address is not None
    return media.address, media.port


def _caller_id(invite: SipMessage, line: int, at_mono_us: int) -> CallerIdHeard:
    identity = caller_identity(invite)
    return CallerIdHeard(line, at_mono_us, identity.number, identity.absence, identity.name, standard="sip")
