"""The test's hand inside the emulated machine: takes one JSON line per request from a virtio port, answers with one.

``run``: a shell command. ``rows``: the outcomes in the ledger, once there are at least that many rows or the time is
up; read here by the product's own code, because a fresh interpreter for each look costs minutes of emulation.
Part of the test tree only; the product's image has nothing of the kind.
"""

import json
import subprocess
import time
from io import FileIO
from pathlib import Path

PORT = "/dev/virtio-ports/tacet.hand"
STATE = Path("/var/lib/tacet/vault")


def carry_out(request: dict[str, object]) -> tuple[int, str]:
    if "rows" in request:
        return 0, json.dumps(outcomes(int(str(request["rows"])), float(str(request["timeout_s"]))))
    try:
        done = subprocess.run(
            ["/bin/bash", "-c", str(request["run"])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=float(str(request["timeout_s"])),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 124, (error.stdout or b"").decode(errors="replace")
    return done.returncode, done.stdout.decode(errors="replace")


def outcomes(rows: int, seconds: float) -> list[str]:
    from firmware.store.vault import Vault
    from hw.disk import DirectoryDisk

    end = time.monotonic() + seconds
    while True:
        disk = DirectoryDisk(STATE)
        found = [row.outcome.value for _, row in Vault.read_ledger(disk)]
        disk.close()
        if len(found) >= rows or time.monotonic() >= end:
            return found
        time.sleep(1)


def main() -> None:
    with open(PORT, "r+b", buffering=0) as port:
        answer(port, 0, 0, "ready")
        pending = b""
        while True:
            pending += port.read(65536)
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                request = json.loads(line)
                answer(port, request["id"], *carry_out(request))


def answer(port: FileIO, serial: int, code: int, output: str) -> None:
    data = json.dumps({"id": serial, "code": code, "output": output}).encode() + b"\n"
    while data:
        data = data[port.write(data) :]


if __name__ == "__main__":
    main()
