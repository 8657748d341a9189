"""What stands before every page of the desk: who may ask at all, how much, and what a browser may do with the answer.

An ASGI wrapper, so that nothing inside can forget it. Refused are: another Host (DNS rebinding), a state-changing
request from another origin, more than 64 KiB, paths that are not plain, methods other than GET, HEAD and POST.
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 64 * 1024
PATH_CHARACTERS_MAX = 300
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a browser sends "Origin: null" with its own forms
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
}
HOSTS = ("127.0.0.1", "localhost")


class Guard:
    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = frozenset(f"{host}:{port}".encode("ascii") for host in HOSTS)
        self._origins = frozenset(b"http://" + host for host in self._hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if scope["method"] == "POST":
            body = await _body(receive)
            if body is None:
                await _answer(send, 413, "More was sent than the desk takes.")
                return
            receive = _replay(body)
        await self._app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        if [value for name, value in headers if name == b"host"] not in [[host] for host in self._hosts]:
            return 421, "This desk answers to its own address only."
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "The desk does not know this method."
        if not _plain(scope):
            return 404, "There is no such page."
        if scope["method"] == "POST" and not self._same_origin(headers):
            return 403, "The request came from another site and was refused."
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        if not length.isdigit() or len(length) > 9 or int(length) > BODY_BYTES_MAX:
            return 413, "More was sent than the desk takes."
        return None

    def _same_origin(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Every browser sends Origin with a POST; one that does not is not let in."""
        origins = [value for name, value in headers if name == b"origin"]
        fetched = [value for name, value in headers if name == b"sec-fetch-site"]
        return len(origins) == 1 and origins[0] in self._origins and fetched in ([], [b"same-origin"])


def _plain(scope: Scope) -> bool:
    """Letters, digits and a few marks; no escapes at all, so that nothing can be hidden in one."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    path = raw.split(b"?")[0].decode("ascii", "replace")
    known = all(c.isascii() and (c.isalnum() or c in "/._-") for c in path)
    return known and len(path) <= PATH_CHARACTERS_MAX and ".." not in path and "//" not in path


async def _body(receive: Receive) -> bytes | None:
    """The whole body, None when it is too long whatever its header said."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _with_headers(send: Send) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode("ascii"), value.encode("ascii")) for name, value in HEADERS.items()]
            kept = [
                (name, value) for name, value in message.get("headers", []) if name.decode("latin-1") not in HEADERS
            ]
            message = {**message, "headers": kept + own}
        await send(message)

    return guarded


async def _answer(send: Send, status: int, sentence: str) -> None:
    guarded = _with_headers(send)
    body = (sentence + "\n").encode("utf-8")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode("ascii"))]
    await guarded({"type": "http.response.start", "status": status, "headers": headers})
    await guarded({"type": "http.response.body", "body": body})
