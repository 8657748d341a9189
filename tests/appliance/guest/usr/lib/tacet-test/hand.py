"""The test's hand inside the emulated machine: takes one JSON line per command from a virtio port, runs it in a shell,
answers with one JSON line. Part of the test tree only; the product's image has nothing of the kind."""

import json
import subprocess

PORT = "/dev/virtio-ports/tacet.hand"


def carry_out(request: dict[str, object]) -> dict[str, object]:
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
        return {"id": request["id"], "code": 124, "output": (error.stdout or b"").decode(errors="replace")}
    return {"id": request["id"], "code": done.returncode, "output": done.stdout.decode(errors="replace")}


def main() -> None:
    with open(PORT, "r+b", buffering=0) as port:
        port.write(b'{"id": 0, "code": 0, "output": "ready"}\n')
        for line in iter(port.readline, b""):
            if line.strip():
                port.write(json.dumps(carry_out(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
