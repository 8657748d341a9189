"""Every command that a guide shows is one that the desk understands."""

import re
import shlex
from pathlib import Path

import pytest

from tools.desk.__main__ import parser

GUIDES = Path(__file__).resolve().parents[2] / "tools/desk/guides"
CALL_ID = "0123456789abcdef"
COMMAND = re.compile(r"`python -m tools\.desk (.*?)`", re.DOTALL)


def commands() -> list[tuple[str, str]]:
    found = []
    for page in sorted(GUIDES.glob("*.md")):
        found += [(page.name, " ".join(command.split())) for command in COMMAND.findall(page.read_text())]
    return found


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda value: value if value.endswith(".md") else "")
def test_a_guide_shows_no_command_that_does_not_exist(page: str, command: str) -> None:
    arguments = parser().parse_args([CALL_ID if word == "CALL" else word for word in shlex.split(command)])
    assert callable(arguments.run), page


def test_the_guides_show_commands_at_all() -> None:
    assert len(commands()) >= 8
