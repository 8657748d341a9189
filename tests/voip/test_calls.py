"""Whole calls through the trunk: one row each, its direction by port, audio as it came."""

from firmware.policy.events import Port
from tests.voip.sink import run
from tests.voip.wire import CALLER, Dialogue, Voice, Wire, settings, talk


def test_a_plain_inbound_call_is_kept_byte_for_byte_on_two_channels() -> None:
    wire = Wire()
    call = Dialogue(wire)
    call.establish()
    caller, agent = Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)
    talk(wire, 3000, caller, agent)
    call.bye()
    kept = run(settings(), wire.packets).only
    assert kept.row == ("recorded", "trunk_invite_ddi")
    assert kept.caller_id.number == CALLER
    assert kept.evidence["answered"] == 0
    assert kept.evidence["trunk_port"] == -2300
    assert kept.audio(0) == bytes(caller.sent)
    assert kept.audio(1) == bytes(agent.sent)
    assert kept.gaps() == [("lost_samples", 0, 160)]
