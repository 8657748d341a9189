"""Real peers: sipp on both sides of a bridge in network namespaces of our own, captured by ``hw.netport`` in between.

Nothing leaves the namespaces. Each side is a list of steps; media are capture files made here, so that every byte that
was spoken is known.
"""

import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import dpkt

from firmware.voip.settings import LineSlot, TrunkSettings
from hw.pcap import CaptureFile
from tests.voip.sink import Sink, run
from tests.voip.wire import DDI, rtp, speech, udp_frame

CALLER_IP, AGENT_IP = "10.77.0.10", "10.77.0.20"
CALLER_IP6, AGENT_IP6 = "fd77::10", "fd77::20"
NUMBER = "+442079460999"
FRAME_S = 0.02


def shell(command: str) -> None:
    subprocess.run(command, shell=True, check=True, capture_output=True, text=True)


@dataclass
class Network:
    """Three namespaces: the caller's, the agent's, and ours with a bridge that has no address."""

    name: str

    @property
    def caller(self) -> str:
        return f"{self.name}c"

    @property
    def agent(self) -> str:
        return f"{self.name}a"

    @property
    def bridge(self) -> str:
        return f"{self.name}b"

    def up(self) -> None:
        for space in (self.caller, self.agent, self.bridge):
            shell(f"ip netns add {space}")
            shell(f"ip -n {space} link set lo up")
        sides = ((self.caller, "trunk", CALLER_IP, CALLER_IP6), (self.agent, "inside", AGENT_IP, AGENT_IP6))
        shell(f"ip -n {self.bridge} link add br0 type bridge forward_delay 0")
        shell(f"ip netns exec {self.bridge} sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        for space, port, address, address6 in sides:
            shell(f"ip -n {self.bridge} link add {port} type veth peer name eth0 netns {space}")
            shell(f"ip -n {self.bridge} link set {port} master br0 up")
            shell(f"ip -n {space} addr add {address}/24 dev eth0")
            shell(f"ip -n {space} addr add {address6}/64 dev eth0 nodad")
            shell(f"ip -n {space} link set eth0 up")
        shell(f"ip -n {self.bridge} link set br0 up")

    def down(self) -> None:
        for space in (self.caller, self.agent, self.bridge):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)

    @contextmanager
    def capture(self, path: Path) -> Iterator[None]:
        command = ["ip", "netns", "exec", self.bridge, sys.executable, "-m"]
        command += ["tests.voip.capture", "trunk", "inside", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as listener:
            assert listener.stdin is not None
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            yield
            listener.stdin.close()
            assert listener.stdout.read() == "dropped 0\n"


# ------------------------------------------------------------------------------------------------------------ voices


@dataclass
class Spoken:
    """RTP of one side as a capture file for sipp. ``audio``: every payload in the order of its time."""

    path: Path
    audio: bytes = b""


def voice(
    path: Path,
    seed: int,
    *,
    frames: int = 60,
    kind: int = 8,
    ssrc: int = 0x51,
    order: Iterable[int] | None = None,
    lost: Iterable[int] = (),
    ssrc_change: int | None = None,
    first_sequence: int = 65500,
) -> Spoken:
    """``order``: the sequence in which the frames are sent; ``lost``: frames that are not sent at all."""
    lost = set(lost)
    payloads = [speech(seed * 1000 + number, 160) for number in range(frames)]
    sent = [number for number in (order or range(frames)) if number not in lost]
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for slot, number in enumerate(sent):
            source, sequence, stamp = ssrc, first_sequence + number, 1000 + number * 160
            if ssrc_change is not None and number >= ssrc_change:
                source, sequence, stamp = ssrc + 1, 7 + number, 900_000 + number * 160
            packet = rtp(kind, sequence, stamp, source, payloads[number])
            position = number if order is None else slot
            writer.writepkt(udp_frame("192.0.2.1", 6000, "192.0.2.2", 6000, packet), ts=1 + position * FRAME_S)
    return Spoken(path, b"".join(payload for number, payload in enumerate(payloads) if number not in lost))


# ------------------------------------------------------------------------------------------------------------- steps


def send(text: str, *, retransmit: bool = False) -> str:
    attribute = ' retrans="500"' if retransmit else ""
    return f"<send{attribute}><![CDATA[\n{text}\n]]></send>"


def receive(*, request: str = "", response: int = 0, optional: bool = False) -> str:
    what = f"request={quoteattr(request)}" if request else f'response="{response}"'
    return f"<recv {what}" + (' optional="true"' if optional else "") + "/>"


def play(spoken: Spoken) -> str:
    return f'<nop><action><exec play_pcap_audio="{spoken.path}"/></action></nop>'


def pause(milliseconds: int) -> str:
    return f'<pause milliseconds="{milliseconds}"/>'


def sdp(*, formats: str = "8 101", flow: str = "sendrecv", profile: str = "RTP/AVP", extra: str = "") -> str:
    maps = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000", "18": "G729/8000", "101": "telephone-event/8000"}
    return "\n".join(
        ["v=0", "o=x 1 1 IN IP[media_ip_type] [media_ip]", "s=-", "c=IN IP[media_ip_type] [media_ip]", "t=0 0",
         f"m=audio [media_port] {profile} {formats}", *[f"a=rtpmap:{word} {maps[word]}" for word in formats.split()],
         f"a={flow}", *([extra] if extra else [])]
    )  # fmt: skip


@dataclass
class Talker:
    """Writes messages of one dialog. Tags are fixed, so that either side can write any request of it."""

    caller_tag: str = "c1"
    agent_tag: str = "a1"
    caller_uri: str = f"sip:{NUMBER}@caller.invalid"
    agent_uri: str = f"sip:{DDI}@agent.invalid"

    def request(self, method: str, cseq: int, body: str = "", *, by_agent: bool = False, first: bool = False,
                extra: str = "", uri: str = "", kind: str = "application/sdp") -> str:  # fmt: skip
        ours = f"<{self.caller_uri}>;tag={self.caller_tag}"
        theirs = f"<{self.agent_uri}>" + ("" if first else f";tag={self.agent_tag}")
        if by_agent:
            ours, theirs = theirs, ours
        target = uri or (self.caller_uri if by_agent else self.agent_uri)
        lines = [
            f"{method} {target} SIP/2.0",
            "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]",
            f"From: {ours}",
            f"To: {theirs}",
            "Call-ID: [call_id]",
            f"CSeq: {cseq} {method}",
            "Contact: <sip:x@[local_ip]:[local_port]>",
            "Max-Forwards: 70",
            *([extra] if extra else []),
        ]
        return "\n".join([*lines, *_with_body(body, kind)])

    def response(self, status: int, reason: str, body: str = "", *, extra: str = "", tag: str | None = None,
                 kind: str = "application/sdp") -> str:  # fmt: skip
        """To an initial INVITE (adds the agent's tag)."""
        lines = [
            f"SIP/2.0 {status} {reason}",
            "[last_Via:]",
            "[last_From:]",
            f"[last_To:];tag={tag or self.agent_tag}",
            "[last_Call-ID:]",
            "[last_CSeq:]",
            "Contact: <sip:x@[local_ip]:[local_port]>",
            *([extra] if extra else []),
        ]
        return "\n".join([*lines, *_with_body(body, kind)])


def within(status: int, reason: str, body: str = "", *, extra: str = "") -> str:
    """A response inside the dialog (the tags are there already)."""
    lines = [
        f"SIP/2.0 {status} {reason}",
        "[last_Via:]",
        "[last_From:]",
        "[last_To:]",
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "Contact: <sip:x@[local_ip]:[local_port]>",
        *([extra] if extra else []),
    ]
    return "\n".join([*lines, *_with_body(body, "application/sdp")])


def _with_body(body: str, kind: str) -> list[str]:
    if not body:
        return ["Content-Length: 0", ""]
    return [f"Content-Type: {kind}", "Content-Length: [len]", "", body]


@dataclass
class Peer:
    """One sipp. ``begins``: it places the call."""

    space: str
    address: str
    remote: str
    steps: list[str]
    begins: bool
    port: int = 5060
    remote_port: int = 5060
    call_id: str = ""
    media_port: int = 6000
    options: list[str] = field(default_factory=list)

    def command(self, folder: Path) -> list[str]:
        path = folder / f"{self.space}-{self.port}-{'uac' if self.begins else 'uas'}.xml"
        path.write_text('<?xml version="1.0"?>\n<scenario>\n' + "\n".join(self.steps) + "\n</scenario>\n")
        command = ["ip", "netns", "exec", self.space, "sipp", "-sf", str(path), "-i", _bracketed(self.address)]
        command += ["-mi", self.address, "-p", str(self.port), "-mp", str(self.media_port), "-m", "1", "-nostdin"]
        command += ["-timeout", "25s", "-timeout_error", "-trace_err", "-error_file", str(path) + ".err"]
        command += ["-cid_str", self.call_id] if self.call_id else []
        command += self.options
        if self.begins:
            command.append(f"{_bracketed(self.remote)}:{self.remote_port}")
        return command


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def settings_here(**changes: object) -> TrunkSettings:
    values: dict[str, object] = {
        "lines": (LineSlot(ddi=(DDI,)),),
        "peers": (CALLER_IP, CALLER_IP6),
        "sip_ports": (5060, 5062),
    }
    values.update(changes)
    return TrunkSettings(**values)  # type: ignore[arg-type]


def place(network: Network, folder: Path, *pairs: tuple[Peer, Peer], apart_s: float = 0.0) -> Path:
    """Run (answering, calling) pairs, each ``apart_s`` after the one before, and capture all of it."""
    path = folder / "capture.pcapng"
    running: list[tuple[subprocess.Popen[str], Path]] = []
    with network.capture(path):
        for number, (answering, calling) in enumerate(pairs):
            if number:
                time.sleep(apart_s)
            running.append(_start(answering, folder))
            time.sleep(0.15)
            running.append(_start(calling, folder))
        for process, errors in running:
            _, said = process.communicate(timeout=60)
            reason = errors.read_text() if errors.exists() else said
            assert process.returncode == 0, reason[-2000:]
    return path


def _start(peer: Peer, folder: Path) -> "tuple[subprocess.Popen[str], Path]":
    command = peer.command(folder)
    errors = Path(command[command.index("-error_file") + 1])
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    return process, errors


def replay(path: Path, settings: TrunkSettings, *, linger_us: int = 2_000_000) -> Sink:
    file = CaptureFile(path)
    packets = []
    while not file.finished():
        packets += file.drain(1000)
    file.close()
    return run(settings, packets, linger_us=linger_us)


def event_payload_type(path: Path) -> str:
    """The payload type of the first RTP packet of a capture file."""
    with path.open("rb") as file:
        _, data = next(iter(dpkt.pcap.Reader(file)))
    return str(dpkt.ethernet.Ethernet(data).data.data.data[1] & 0x7F)


def resend_tagged(network: Network, source: Path, target: Path, vlan: int = 100) -> None:
    """Send a capture's packets again, each into the namespace of its side, with a VLAN tag, at the same pace."""
    file = CaptureFile(source)
    packets = []
    while not file.finished():
        packets += file.drain(1000)
    file.close()
    lines = [
        f"{packet.port.value} {packet.at_mono_us} "
        + (packet.data[:12] + struct.pack("!HH", 0x8100, vlan) + packet.data[12:]).hex()
        for packet in packets
    ]
    sender = (
        "import socket, sys, time\n"
        "wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); wire.bind(('eth0', 0))\n"
        "began = float(sys.argv[2]); first = None\n"
        "for line in sys.stdin:\n"
        "    port, at, data = line.split(); first = int(at) if first is None else first\n"
        "    time.sleep(max(0, began + (int(at) - first) / 1e6 - time.time()))\n"
        "    port == sys.argv[1] and wire.send(bytes.fromhex(data))\n"
    )
    with network.capture(target):
        began = time.time() + 0.5
        running = [
            subprocess.Popen(
                ["ip", "netns", "exec", space, sys.executable, "-c", sender, port, str(began)],
                stdin=subprocess.PIPE, text=True,
            )
            for space, port in ((network.caller, "trunk"), (network.agent, "inside"))
        ]  # fmt: skip
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n".join(lines))
            process.stdin.close()
        for process in running:
            assert process.wait(timeout=60) == 0
