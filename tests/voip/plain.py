"""A call as most tests want it, and what is left of it when all went well."""

from typing import Any

from firmware.policy.events import Port
from tests.voip.sink import Kept, run
from tests.voip.wire import Dialogue, Voice, Wire, settings, talk

A_SILENCE = b"\xd5"


def established(**media: Any) -> tuple[Wire, Dialogue, Voice, Voice]:
    """An answered call in which nobody has spoken yet."""
    wire = Wire()
    call = Dialogue(wire)
    call.invite(**media)
    wire.wait(100)
    call.ok(**media)
    call.ack()
    return wire, call, *voices(call)


def voices(call: Dialogue) -> tuple[Voice, Voice]:
    """Caller and agent."""
    return Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)


def kept(wire: Wire, call: Dialogue, **changes: Any) -> Kept:
    """What is kept of it once somebody hangs up."""
    call.bye()
    result = run(settings(**changes), wire.packets).only
    assert result.row == ("recorded", "trunk_invite_ddi")
    return result


def without_silence(audio: bytes) -> bytes:
    return audio.replace(A_SILENCE, b"")


def plain_call(wire: Wire, milliseconds: int = 1000, **media: Any) -> tuple[Voice, Voice]:
    call = Dialogue(wire)
    call.establish(**media)
    return spoken(call, milliseconds)


def spoken(call: Dialogue, milliseconds: int) -> tuple[Voice, Voice]:
    """Caller and agent talk, and somebody hangs up."""
    caller, agent = voices(call)
    talk(call.wire, milliseconds, caller, agent)
    call.bye()
    return caller, agent


def assert_kept_whole(kept: Kept, caller: Voice, agent: Voice) -> None:
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.audio(1) == bytes(agent.sent)
