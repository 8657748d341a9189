"""serve: the evidence desk in a browser on this PC."""

import argparse
import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import uvicorn

from tools.desk.command_common import add_home, add_now, now_of
from tools.desk.errors import MediumFailed, NotFound
from tools.desk.home import Home
from tools.desk.web import application
from tools.desk.web_session import Service

LOOPBACK = "127.0.0.1"


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="open the desk in a browser on this PC (nobody else reaches it)")
    add_home(serve)
    add_now(serve)
    serve.add_argument("--port", type=int, default=0, metavar="N", help="(else a free one)")
    serve.add_argument("--stick", type=Path, metavar="K", help="the stick: a directory or the place it is mounted at")
    serve.set_defaults(run=run_serve)


def run_serve(arguments: argparse.Namespace) -> int:
    home = Home.open(arguments.home)
    if not home.key_file().exists():
        raise NotFound(f"This home has no {home.role} key.")
    listening = _listen(arguments.port)
    port: int = listening.getsockname()[1]
    stick: Path | None = arguments.stick
    service = Service(home, stick.resolve() if stick is not None else None, clock_of(arguments))
    print("The evidence desk is open on this PC. Its address, for this start of the desk alone:")
    print(f"  http://{LOOPBACK}:{port}/#{service.entry_token}", flush=True)
    print("Stop it with Ctrl-C.", flush=True)
    settings = uvicorn.Config(
        application(service, port),
        access_log=False,
        log_level="warning",
        lifespan="on",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=32 * 1024,
        limit_concurrency=32,
        timeout_graceful_shutdown=2,
    )
    with contextlib.suppress(KeyboardInterrupt):  # the way to stop it
        uvicorn.Server(settings).run(sockets=[listening])
    print("The evidence desk is closed; its keys are gone from memory.")
    return 0


def clock_of(arguments: argparse.Namespace) -> Callable[[], int]:
    """The PC's clock, set off so that it began at ``--now`` where that was given."""
    offset_ms = now_of(arguments) - time.time_ns() // 1_000_000
    if arguments.now is None:
        return lambda: time.time_ns() // 1_000_000
    return lambda: time.time_ns() // 1_000_000 + offset_ms


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.bind((LOOPBACK, port))
    except (OSError, OverflowError):
        listening.close()
        raise MediumFailed(f"Port {port} of this PC is not free; choose another, or leave --port away.") from None
    return listening
