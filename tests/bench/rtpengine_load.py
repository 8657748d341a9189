"""What rtpengine, a media proxy in C that writes captures, costs for the same calls: the yardstick of ``voip_bench``.

Its kernel module is left out (``--table=-1``), recording is bare pcap. Needs ``rtpengine-daemon`` of the distribution.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from tests.voip.wire import rtp, sdp, speech

HOST, CONTROL_PORT = "127.0.0.1", 2223
FIRST_PORT = 21000
TICK_S, SAMPLES = 0.020, 160
STARTS_S = 2.0


def installed() -> bool:
    return shutil.which("rtpengine") is not None


def measure_rtpengine(calls: int, seconds: float, ours: int, theirs: int) -> float:
    """CPU seconds of rtpengine on core ``theirs`` while so many calls speak both ways; the sender is on ``ours``."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["taskset", "-c", str(theirs), "rtpengine", "--config-file=none", "--foreground", "--table=-1"]
        command += [f"--interface={HOST}", f"--listen-ng={HOST}:{CONTROL_PORT}", "--port-min=30000", "--num-threads=2"]
        command += ["--port-max=40000", f"--recording-dir={folder}", "--recording-method=pcap", "--log-level=1"]
        # In the folder, because it may leave a core dump where it ends.
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                time.sleep(STARTS_S)
                before_s = _cpu_s(process.pid)
                _speak(calls, seconds, ours)
                return _cpu_s(process.pid) - before_s
            finally:
                process.terminate()


def _cpu_s(pid: int) -> float:
    """User and system time so far (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _speak(calls: int, seconds: float, core: int) -> None:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    control.settimeout(3)
    control.connect((HOST, CONTROL_PORT))
    ways = [way for number in range(calls) for way in _establish(control, number)]
    frames = [bytearray(rtp(8, 0, 0, number + 1, speech(number, SAMPLES))) for number in range(len(ways))]
    began = time.monotonic()
    for tick in range(int(seconds / TICK_S)):
        time.sleep(max(0.0, began + tick * TICK_S - time.monotonic()))
        for (sender, target), frame in zip(ways, frames, strict=True):
            struct.pack_into("!HI", frame, 2, tick & 0xFFFF, tick * SAMPLES & 0xFFFFFFFF)
            sender.sendto(frame, target)
    for number in range(calls):
        _ask(control, {"command": "delete", "call-id": f"call{number}", "from-tag": f"f{number}"})
    for sender, _ in ways:
        sender.close()
    control.close()
    os.sched_setaffinity(0, cores)


def _establish(control: socket.socket, number: int) -> list[tuple[socket.socket, tuple[str, int]]]:
    """Both directions of one call: who sends, and to which of rtpengine's ports."""
    senders = [_sender(FIRST_PORT + 4 * number + 2 * leg) for leg in range(2)]
    call = {"call-id": f"call{number}", "from-tag": f"f{number}", "record call": "yes", "ICE": "remove"}
    offered, answered = (sdp(HOST, sender.getsockname()[1], formats="8") for sender in senders)
    to_called = _ask(control, {**call, "command": "offer", "sdp": offered})
    to_caller = _ask(control, {**call, "command": "answer", "to-tag": f"t{number}", "sdp": answered})
    return [(senders[0], (HOST, _port(to_caller))), (senders[1], (HOST, _port(to_called)))]


def _sender(port: int) -> socket.socket:
    """What comes back is not read: a small buffer lets it fall."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sender.bind((HOST, port))
    return sender


def _ask(control: socket.socket, message: dict[str, str]) -> dict[str, str]:
    """rtpengine's NG protocol: a cookie, a blank, and JSON."""
    cookie = os.urandom(4).hex()
    control.send(f"{cookie} {json.dumps(message)}".encode())
    answer: dict[str, str] = json.loads(control.recv(65_535)[len(cookie) + 1 :])
    assert answer["result"] == "ok", answer
    return answer


def _port(answer: dict[str, str]) -> int:
    return int(answer["sdp"].split("m=audio ")[1].split()[0])
