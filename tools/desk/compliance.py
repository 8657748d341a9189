"""The compliance pack: what a controller has to be able to show, written from the settings in force, never from memory.

One Markdown page per document, from ``compliance_pages``. A changed setting changes the page; a test holds it to that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template

from firmware.config import Site
from firmware.evidence.order import Basis, Purpose, RecipientKind
from firmware.policy.privacy import CARD_DIGITS, CARD_WINDOW_US
from firmware.units import PROVISIONAL_HOLD_DAYS, US_PER_S

TEMPLATES = Path(__file__).parent / "compliance_pages"


@dataclass(frozen=True)
class Facts:
    """``notice_sha256``: of the audio in force. ``memory``: the recorder's kind of erasable memory."""

    device: str
    site: Site
    notice_sha256: str
    memory: str
    made: str
    """Date of the pack, in words for people."""


def proven(memory: str) -> bool:
    """Whether erasure is proven on this kind of erasable memory (FORMAT.md 9)."""
    return memory not in ("file", "sim")


def pages(facts: Facts) -> Mapping[str, str]:
    """File name -> Markdown. A template that names a fact we do not have is our own error (KeyError)."""
    words = _words(facts)
    return {
        path.name: Template(path.read_text(encoding="utf-8")).substitute(words)
        for path in sorted(TEMPLATES.glob("*.md"))
    }


def _words(facts: Facts) -> dict[str, str]:
    site = facts.site
    name = site.of("site", "name")
    proof = "proven by erasable memory, read back" if proven(facts.memory) else "NOT PROVEN: keys are kept in a file"
    return {
        "head": f"{name}, recorder {facts.device}. Made from the settings in force on {facts.made}.",
        "controller": site.of("site", "controller") or "to be filled in by hand",
        "retention": _retention(site),
        "proof": proof,
        "lines": "\n".join(f"| {x.name} | {x.kind} | {'yes' if x.sense else 'no'} |" for x in site.lines),
        "look_back": str(site.of("gate", "look_back_s")),
        "card_digits": str(CARD_DIGITS),
        "card_window": str(CARD_WINDOW_US // US_PER_S),
        "purposes": _list(Purpose),
        "bases": _list(Basis),
        "recipients": _list(RecipientKind),
        "supervisor": "may" if site.of("desk", "supervisor_may_export") else "may not",
        "provisional": str(PROVISIONAL_HOLD_DAYS),
        "notice_version": site.of("notice", "version"),
        "notice_sha256": facts.notice_sha256,
        "notice_by": _played_by(site),
        "notice_text": site.of("notice", "text") or "as spoken in the audio; write them here",
        "payment_key": site.of("payment", "key"),
        "remind": str(site.of("payment", "remind_s")),
    }


def _retention(site: Site) -> str:
    days, months = site.of("retention", "days"), site.of("retention", "months")
    return f"{days} days" if days else f"{months} calendar month{'s' if months > 1 else ''}"


def _played_by(site: Site) -> str:
    if site.of("notice", "source") == "appliance":
        return "the recorder, on answer"
    kept = "is kept on its claim" if site.of("notice", "upstream_claim_suffices") else "is not kept"
    return f"the telephone system (upstream); a call in which it was not heard on the line {kept}"


def _list(words: Iterable[StrEnum]) -> str:
    return "\n".join(f"- {word.value}" for word in words)
