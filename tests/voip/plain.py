"""A call as most tests want it, and what is left of it when all went well."""

from typing import Any

from firmware.policy.events import Port
from tests.voip.sink import Kept
from tests.voip.wire import Dialogue, Voice, Wire, talk


def plain_call(wire: Wire, milliseconds: int = 1000, **media: Any) -> tuple[Voice, Voice]:
    call = Dialogue(wire)
    call.establish(**media)
    return spoken(call, milliseconds)


def spoken(call: Dialogue, milliseconds: int) -> tuple[Voice, Voice]:
    """Caller and agent talk, and somebody hangs up."""
    caller, agent = Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)
    talk(call.wire, milliseconds, caller, agent)
    call.bye()
    return caller, agent


def assert_kept_whole(kept: Kept, caller: Voice, agent: Voice) -> None:
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.audio(1) == bytes(agent.sent)
