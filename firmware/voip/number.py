"""Numbers as SIP carries them: who called (RFC 3325 P-Asserted-Identity, RFC 3323 Privacy) and whom.

The caller's number is what the trunk asserts; what the caller wrote is only a fall-back of the same trunk's INVITE.
"""

from dataclasses import dataclass

from firmware.policy.events import Absence
from firmware.voip.sip import SipMessage, address_uri, display_name, parameter, uri_host, uri_user

NUMBER_CHARACTERS_MAX = 32
NAME_CHARACTERS_MAX = 64
SEPARATORS = str.maketrans("", "", " -.()/\u00a0")
WITHHELD_NAMES = ("anonymous", "restricted", "withheld", "private")
WITHHELD_HOSTS = ("anonymous.invalid",)
UNAVAILABLE_USERS = ("unavailable", "unknown", "")
PRIVACY_VALUES = ("id", "user", "header", "full")
ADDRESSES_MAX = 8


@dataclass(frozen=True, repr=False)
class Identity:
    number: str | None
    absence: Absence | None
    name: str | None

    def __repr__(self) -> str:
        return "Identity(...)"


def caller_identity(invite: SipMessage) -> Identity:
    """Privacy wins over every number that is there all the same: withheld is kept as withheld."""
    sources = _asserted(invite)[:ADDRESSES_MAX] or [invite.first("from")]
    if _is_private(invite):
        return Identity(None, Absence.WITHHELD, None)
    for value in sorted(sources, key=_tel_last):
        user = uri_user(address_uri(value))
        number = dialled(user)
        if number:
            return Identity(number, None, _clean_name(display_name(value)))
    user = uri_user(address_uri(sources[0])).lower()
    if user in WITHHELD_NAMES:
        return Identity(None, Absence.WITHHELD, None)
    absence = Absence.UNAVAILABLE if user in UNAVAILABLE_USERS else Absence.UNREADABLE
    return Identity(None, absence, None)


def _asserted(invite: SipMessage) -> list[str]:
    """P-Asserted-Identity, or what older trunks send in its place (draft-ietf-sip-privacy: Remote-Party-ID)."""
    for name in ("p-asserted-identity", "remote-party-id"):
        found = [part for value in invite.headers.get(name, []) for part in split_list(value)]
        if found:
            return found
    return []


def _tel_last(value: str) -> bool:
    return address_uri(value).lower().startswith("tel:")


def _is_private(invite: SipMessage) -> bool:
    words = {word.strip().lower() for value in invite.headers.get("privacy", []) for word in value.split(";")}
    if words & set(PRIVACY_VALUES):
        return True
    if parameter(invite.first("remote-party-id"), "privacy").lower() in ("full", "uri"):
        return True
    origin = address_uri(invite.first("from"))
    return not _asserted(invite) and (uri_user(origin).lower() in WITHHELD_NAMES or uri_host(origin) in WITHHELD_HOSTS)


def _clean_name(text: str) -> str | None:
    """Printable characters only (no control, no bidirectional override), at most NAME_CHARACTERS_MAX."""
    name = "".join(character for character in text if character.isprintable()).strip()[:NAME_CHARACTERS_MAX]
    return name or None


def split_list(value: str) -> list[str]:
    """A comma list of addresses, commas inside quotes and angle brackets kept."""
    parts, start, quoted, angled = [], 0, False, False
    for index, character in enumerate(value):
        if character == '"' and (index == 0 or value[index - 1] != "\\"):
            quoted = not quoted
        elif not quoted and character in "<>":
            angled = character == "<"
        elif character == "," and not quoted and not angled:
            parts.append(value[start:index].strip())
            start = index + 1
    parts.append(value[start:].strip())
    return [part for part in parts if part]


def dialled(user: str) -> str | None:
    """Digits with an optional leading +, visual separators removed; None where it is no telephone number."""
    text = user.translate(SEPARATORS)
    digits = text[1:] if text.startswith("+") else text
    if not digits or len(text) > NUMBER_CHARACTERS_MAX:
        return None
    return text if digits.isascii() and digits.isdigit() else None


def comparable(user: str, country_code: str) -> str | None:
    """One form for +44 20..., 0044 20..., 44 20... and 020...: digits with the country code, no prefix."""
    number = dialled(user)
    if number is None:
        return None
    if number.startswith("+"):
        return number[1:]
    if number.startswith("00"):
        return number[2:]
    if number.startswith("0"):
        return country_code + number[1:]
    return number


PUBLIC_DIGITS_MIN = 10
"""A number with its country code and no prefix is at least as long; an account of digits seldom begins like one."""


def is_public(user: str, country_code: str) -> bool:
    """A telephone number for certain, and not an account or an extension of digits: with a prefix, or as long as
    one with the country code."""
    number = dialled(user)
    if number is None:
        return False
    return number[0] in "+0" or (number.startswith(country_code) and len(number) >= PUBLIC_DIGITS_MIN)
