"""Bytes that an enemy or a broken peer would send, from bytes that are right: for the fuzzers."""

from collections.abc import Iterator

from firmware.policy.events import Packet, Port
from firmware.ports import Burst
from firmware.voip.settings import Limits, OnTransfer
from firmware.voip.trunk import Trunk
from tests.voip.sink import Sink
from tests.voip.wire import Dialogue, Voice, Wire, settings, talk

CANARY = "zqcanaryqz"
"""Stands wherever a caller may write; it may come out nowhere."""
LIMITS = Limits(dialogs=8, media_flows=32, strays=8, tcp_flows=4, fragments=4, channel_packets=64)


def conversation() -> list[Packet]:
    """A call with nearly everything in it: fork, hold, refresh, keys, transfer, outbound call."""
    wire = Wire()
    call = Dialogue(wire, call_id=f"{CANARY}@example.invalid", from_tag=f"{CANARY}f", to_tag=f"{CANARY}t")
    call.from_header = f'"{CANARY}" <sip:+442079460999@{CANARY}.invalid>'
    call.extra = f"P-Asserted-Identity: <sip:+442079460999@{CANARY}>\r\nSubject: {CANARY}\r\nSession-Expires: 90"
    call.establish(extra=f"a=tool:{CANARY}")
    caller, agent = Voice(call, Port.TRUNK, 1, ssrc=1), Voice(call, Port.INSIDE, 2, ssrc=2)
    talk(wire, 200, caller, agent)
    call.reinvite(2, flow="sendonly", by_called=True)
    talk(wire, 60, caller)
    call.reinvite(3, by_called=True, method="UPDATE")
    wire.sip(
        Port.INSIDE, call.request("REFER", cseq=20, by_called=True, extra="Refer-To: <sip:02079460101@x?Replaces=a>")
    )
    wire.sip(Port.TRUNK, call.response(202, CANARY, method="REFER", cseq=20, by_called=True))
    second = Dialogue(wire, "next@example.invalid", called="02079460101", from_tag="f9", to_tag="t9")
    second.extra = f"Replaces: {CANARY}@example.invalid;to-tag=t;from-tag=f"
    second.establish()
    talk(wire, 60, Voice(second, Port.TRUNK, 3, ssrc=3))
    outward = Dialogue(wire, "out@example.invalid", side=Port.INSIDE, from_tag="o1", to_tag="o2", port_caller=33000)
    outward.establish()
    call.bye()
    second.bye()
    outward.bye()
    return wire.packets


def hear_all(packets: Iterator[Packet] | list[Packet], *, follow: bool = True) -> Sink:
    """Every packet through a small trunk; the sink's own checks are the assertions, and nothing may be raised."""
    policy = OnTransfer.CONTINUE if follow else OnTransfer.STOP
    trunk = Trunk(settings(limits=LIMITS, on_transfer=policy, opt_out_digit="#"))
    sink, now = Sink(), 0
    for packet in packets:
        now = max(now, packet.at_mono_us)
        outputs = trunk.hear(Burst.of([packet]))
        assert CANARY not in repr((outputs, packet, trunk._board.calls, list(trunk._board.calls.values())))
        sink.take(outputs)
        assert_bounded(trunk)
    for step in range(1, 40):
        sink.take(trunk.tick(now + step * 1_000_000))
    sink.take(trunk.close(now + 40_000_000))
    sink.check()
    assert all(call.ended is not None for call in sink.calls.values())
    return sink


def assert_bounded(trunk: Trunk) -> None:
    flows, board = trunk._flows, trunk._board
    assert len(board._dialogs) <= LIMITS.dialogs
    assert len(board.calls) <= 2 * LIMITS.dialogs + LIMITS.strays
    assert len(board._call_of) == len(board._dialogs)
    assert len(flows._bound) <= LIMITS.media_flows
    assert len(flows.hot) <= 4 * LIMITS.media_flows
    assert len(flows.strays) <= LIMITS.strays
    assert len(trunk._copies) <= 256
    for call in board.calls.values():
        for track in (call.caller, call.agent):
            assert track is None or len(track._parts) <= track._parts.packets <= LIMITS.channel_packets
