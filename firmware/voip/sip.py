"""SIP messages (RFC 3261): bytes to one frozen message. Reads leniently, promises nothing about the text it returns.

Everything in a message was written by a caller or their provider. No field may reach a log, an exception text, a path
or a page from here; ``repr`` shows none.
"""

from dataclasses import dataclass

HEADERS_MAX = 256
LINE_CHARACTERS_MAX = 8192

COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
"""Compact header forms: RFC 3261 7.3.3, 3515, 3892, 3841, 4028, 6665, 8224."""


@dataclass(frozen=True, repr=False)
class SipMessage:
    """A request (``method`` set, ``status`` 0) or a response (``status`` set; ``method`` from its CSeq).

    ``headers``: lower-case full names to their values in order; comma lists are not split.
    """

    method: str
    status: int
    uri: str
    headers: dict[str, list[str]]
    body: bytes

    def __repr__(self) -> str:
        return "SipMessage(...)"

    @property
    def is_request(self) -> bool:
        return self.status == 0

    def first(self, name: str) -> str:
        """The first value of a header, '' where there is none."""
        values = self.headers.get(name)
        return values[0] if values else ""

    @property
    def call_id(self) -> str:
        return self.first("call-id")

    @property
    def from_tag(self) -> str:
        return parameter(self.first("from"), "tag")

    @property
    def to_tag(self) -> str:
        return parameter(self.first("to"), "tag")

    @property
    def cseq(self) -> int:
        number = self.first("cseq").split(None, 1)
        return int(number[0]) if number and number[0].isascii() and number[0].isdigit() and len(number[0]) < 11 else -1

    @property
    def transaction(self) -> int:
        """Equal in a request, in its repetitions and in every response to it, on one stretch of wire: who sent it and
        the branch of its top Via (RFC 3261 17.1.3, 17.2.3). The CSeq counts where a sender older than that standard
        writes no branch."""
        top = self.first("via").partition(",")[0]
        return hash((self.cseq, top.partition(";")[0].strip(), parameter(top, "branch")))

    def sdp(self) -> bytes | None:
        """The session description in the body, also inside a multipart body; None where there is none."""
        return find_sdp(self.first("content-type"), self.body)


def parse_sip(data: bytes) -> SipMessage | None:
    """None where the bytes are not a SIP message; linear time, never raises."""
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        head, separator, body = data.partition(b"\n\n")
    lines = _unfold(head.decode("utf-8", "replace"))
    if not lines or len(lines) > HEADERS_MAX:
        return None
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            return None
        name = name.strip().lower()
        headers.setdefault(COMPACT.get(name, name), []).append(value.strip())
    return _with_start_line(lines[0], headers, _bounded(body, headers))


def _unfold(head: str) -> list[str]:
    """Header lines with continuation lines joined (RFC 3261 7.3.1)."""
    lines: list[str] = []
    for line in head.replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and lines:
            if len(lines[-1]) < LINE_CHARACTERS_MAX:
                lines[-1] += " " + line.strip()
        elif line:
            lines.append(line[:LINE_CHARACTERS_MAX])
    return lines


def _bounded(body: bytes, headers: dict[str, list[str]]) -> bytes:
    length = headers.get("content-length", [""])[0]
    return body[: int(length)] if length.isascii() and length.isdigit() and len(length) < 8 else body


def _with_start_line(line: str, headers: dict[str, list[str]], body: bytes) -> SipMessage | None:
    words = line.split(" ", 2)
    if len(words) < 3:
        return None
    if words[0] == "SIP/2.0":
        status = int(words[1]) if words[1].isascii() and words[1].isdigit() and len(words[1]) == 3 else 0
        sequence = headers.get("cseq", [""])[0].split()
        if not 100 <= status <= 699 or len(sequence) != 2:
            return None
        return SipMessage(sequence[1].upper(), status, "", headers, body)
    if words[2].strip() != "SIP/2.0" or not words[0].isascii() or not words[0].replace("-", "").isalnum():
        return None
    return SipMessage(words[0].upper(), 0, words[1], headers, body)


def parameter(value: str, name: str) -> str:
    """A header parameter (``;tag=x``) outside quotes and angle brackets, '' where there is none."""
    rest = _after_address(value)
    for part in rest.split(";")[1:]:
        key, _, text = part.partition("=")
        if key.strip().lower() == name:
            return text.strip().strip('"')
    return ""


def _after_address(value: str) -> str:
    """What follows the address of a name-addr; the value itself for a bare addr-spec (its parameters are the
    header's, RFC 3261 20.10)."""
    position = _skip_quoted(value)
    opened = value.find("<", position)
    if opened < 0:
        return value
    closed = value.find(">", opened)
    return value[closed + 1 :] if closed >= 0 else ""


def _skip_quoted(value: str) -> int:
    """Index just after a leading quoted display name, 0 where there is none."""
    start = len(value) - len(value.lstrip())
    if value[start : start + 1] != '"':
        return 0
    index = start + 1
    while index < len(value) and value[index] != '"':
        index += 2 if value[index] == "\\" else 1
    return min(index + 1, len(value))


def address_uri(value: str) -> str:
    """The URI of a name-addr or addr-spec."""
    position = _skip_quoted(value)
    opened = value.find("<", position)
    if opened >= 0:
        closed = value.find(">", opened)
        return value[opened + 1 : closed] if closed >= 0 else value[opened + 1 :]
    return value[position:].split(";", 1)[0].split(",", 1)[0].strip()


def display_name(value: str) -> str:
    """The display name of a name-addr, unquoted; '' where there is none."""
    position = _skip_quoted(value)
    if position:
        text = value.strip()[1 : position - 1] if position <= len(value) else ""
        return text.replace('\\"', '"').replace("\\\\", "\\").rstrip('"')
    return value.partition("<")[0].strip() if "<" in value else ""


def uri_user(uri: str) -> str:
    """User part of sip:, sips: and tel: URIs, without parameters; '' where there is none."""
    scheme, colon, rest = uri.partition(":")
    if not colon:
        return ""
    if scheme.strip().lower() == "tel":
        return rest.split(";", 1)[0]
    user, at, _ = rest.partition("@")
    return percent_decoded(user.split(";", 1)[0].split(":", 1)[0]) if at else ""


def uri_host(uri: str) -> str:
    """Host part of a sip: URI without port and brackets, lower case."""
    rest = uri.partition(":")[2].split("?", 1)[0]
    host = rest.rpartition("@")[2].split(";", 1)[0].strip()
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.split(":", 1)[0].lower()


def percent_decoded(text: str) -> str:
    """RFC 3986 escapes resolved; one that is no hexadecimal number stays as it is."""
    if "%" not in text:
        return text
    parts = text.split("%")
    out = parts[0]
    for part in parts[1:]:
        code = part[:2]
        is_hex = len(code) == 2 and all(character in "0123456789abcdefABCDEF" for character in code)
        out += (chr(int(code, 16)) + part[2:]) if is_hex else "%" + part
    return out


def find_sdp(content_type: str, body: bytes) -> bytes | None:
    """application/sdp directly or as a part of multipart/* (RFC 2046 5.1); one level of nesting is enough for SIP."""
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind == "application/sdp":
        return body or None
    if not kind.startswith("multipart/"):
        return None
    boundary = parameter(content_type, "boundary")
    if not boundary or len(boundary) > 70:
        return None
    for part in body.split(b"--" + boundary.encode("utf-8", "replace"))[1:32]:
        head, separator, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if separator and _part_type(head) == b"application/sdp":
            return content.rstrip(b"\r\n") + b"\r\n"
    return None


def _part_type(head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() in (b"content-type", b"c"):
            return value.split(b";", 1)[0].strip().lower()
    return b""
