"""Captures in, ledger out, by the product's own commands: what an auditor would do with a site's capture."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.policy.events import Port
from tests.voip.capture import write
from tests.voip.wire import DDI, SBC, Dialogue, Voice, Wire, talk

pytestmark = pytest.mark.proof
SITE = f"""
[voip]
ddi_list = ["{DDI}"]
peers = ["{SBC}"]
[notice]
source = "upstream"
upstream_claim_suffices = true
[[line]]
name = "line1"
kind = "voip"
"""


def product(*words: str) -> str:
    environment = {
        **os.environ,
        "TACET_PASSPHRASE": "only a test of ours",
        "TACET_ESCROW_PASSPHRASE": "only a test of ours, escrow",
    }
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def day() -> Wire:
    """Inbound, outbound, unanswered, encrypted, for another number."""
    wire = Wire(now_us=1_790_000_000_000_000)

    def call(number: int, **changes: object) -> Dialogue:
        wire.wait(15_000)
        return Dialogue(
            wire,
            f"{number}@example.invalid",
            from_tag=f"f{number}",
            to_tag=f"t{number}",
            port_caller=20000 + 2 * number,
            port_called=30000 + 2 * number,
            **changes,  # type: ignore[arg-type]
        )

    inbound = call(1)
    inbound.establish()
    talk(wire, 3000, Voice(inbound, Port.TRUNK, 1, ssrc=1), Voice(inbound, Port.INSIDE, 2, ssrc=2))
    inbound.bye()
    outbound = call(2, side=Port.INSIDE, called="02079460777")
    outbound.establish()
    outbound.bye()
    missed = call(3)
    missed.invite()
    wire.wait(2000)
    wire.sip(Port.INSIDE, missed.response(486, "Busy Here"))
    missed.ack()
    secret = call(4)
    secret.establish(profile="RTP/SAVP")
    secret.bye()
    other = call(5, called="02079460555")
    other.establish()
    other.bye()
    return wire


def test_a_capture_in_a_ledger_out(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "pack").mkdir()
    write(tmp_path / "day.pcapng", day().packets)
    home, pack, state = (str(tmp_path / name) for name in ("home", "pack", "state"))
    product("tools.desk", "init", "--home", home)
    product("tools.desk", "provision", "--home", home, "--stick", pack, "--site", str(tmp_path / "site.toml"))
    product("firmware", "replay", str(tmp_path / "day.pcapng"), "--state", state, "--provision", pack)
    rows = json.loads(product("firmware", "ledger", "--state", state, "--json"))
    assert [(row["outcome"], row["direction"], row["rule"]) for row in rows] == [
        ("recorded", "inbound", "trunk_invite_ddi"),
        ("outbound", "outbound", "inside_invite"),
        ("unanswered", "inbound", "trunk_invite_ddi"),
        ("not_recordable_encrypted", "inbound", "trunk_invite_ddi"),
        ("unknown_direction", "unknown", "trunk_invite_other_number"),
    ]
