"""The evidence desk as a web page on this PC alone: routes, and who may use which.

Every route but the way in needs the cookie that the printed address gives; every form carries the browser's own token
as well; all but unlocking needs the passphrase first. Reading changes nothing: whatever is logged is a POST.
"""

import asyncio
import contextlib
import hmac
import re
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tools.desk import web_audio, web_leaving, web_pages
from tools.desk.errors import DeskError, NotFound
from tools.desk.imports import import_stick
from tools.desk.local_times import zone_of
from tools.desk.opening import hear
from tools.desk.web_guard import Guard
from tools.desk.web_orders import stick_of, write_order
from tools.desk.web_session import Browser, Service, play_of

COOKIE = "tacet_desk"
FORM_FIELDS_MAX = 100
LOCK_CHECK_S = 60.0
STATIC = Path(__file__).with_name("web_static")
STATIC_TYPES = {
    "desk.css": "text/css; charset=utf-8",
    "desk.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_CALL_ID = re.compile(r"[0-9a-f]{32}")
_BACK = re.compile(r"/(stick|log|call/[0-9a-f]{32})?")


@dataclass(frozen=True)
class Asked:
    """One request: who asks, which path parts, which form fields."""

    service: Service
    browser: Browser
    path: Mapping[str, str]
    form: Mapping[str, str]
    request: Request


Handler = Callable[[Asked], Response]


def application(service: Service, port: int) -> ASGIApp:
    routes = [
        Route("/static/{name}", _static),
        Route("/enter", _enter(service), methods=["POST"]),
        Route("/unlock", _for(service, unlock, locked=True), methods=["POST"]),
        Route("/lock", _for(service, lock), methods=["POST"]),
        Route("/", _for(service, calls)),
        Route("/search", _for(service, search), methods=["POST"]),
        Route("/call/{call_id}", _for(service, call)),
        Route("/call/{call_id}/open", _for(service, open_call), methods=["POST"]),
        Route("/call/{call_id}/bag", _for(service, bag), methods=["POST"]),
        Route("/call/{call_id}/access", _for(service, access), methods=["POST"]),
        Route("/play/{play}/{what}", _for(service, play)),
        Route("/order", _for(service, order), methods=["POST"]),
        Route("/stick", _for(service, stick)),
        Route("/stick/import", _for(service, take_in), methods=["POST"]),
        Route("/log", _for(service, log)),
    ]
    inner = Starlette(routes=routes, lifespan=_lifespan(service), exception_handlers={404: _no_page})
    return Guard(inner, port)


def _lifespan(service: Service) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(_watch(service))
        try:
            yield
        finally:
            watch.cancel()
            service.close()

    return running


async def _watch(service: Service) -> None:
    while True:
        await asyncio.sleep(LOCK_CHECK_S)
        try:
            await run_in_threadpool(service.lock_idle)
        except DeskError as error:  # told, and tried again in a minute
            print(error, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------------------------ the way in


def _for(service: Service, handler: Handler, *, locked: bool = False) -> Callable[[Request], Any]:
    """``locked``: the handler is for a browser that has not given the passphrase yet."""

    async def endpoint(request: Request) -> Response:
        browser = service.browser(request.cookies.get(COOKIE, ""))
        if browser is None:
            return _enter_page(service)
        form = _form(await request.body()) if request.method == "POST" else {}
        if request.method == "POST" and not _same(form.get("csrf", ""), browser.csrf):
            return _page(web_pages.render("refused.html", service, browser, sentence=_STALE), 403)
        if not browser.unlocked and not locked:
            return _page(web_pages.render("unlock.html", service, browser), 200 if request.url.path == "/" else 403)
        asked = Asked(service, browser, request.path_params, form, request)
        return await run_in_threadpool(_answer, handler, asked)

    return endpoint


_STALE = "This form is of an earlier visit and was not used. Go back to the calls and try again."


def _answer(handler: Handler, asked: Asked) -> Response:
    try:
        return handler(asked)
    except DeskError as error:
        if asked.request.method != "POST":
            status = 404 if isinstance(error, NotFound) else 400
            return _page(web_pages.render("refused.html", asked.service, asked.browser, sentence=str(error)), status)
        if asked.request.headers.get("accept") == "application/json":
            return JSONResponse({"failed": str(error)}, 400)
        asked.browser.tell("failed", str(error))
        return _back(asked)


def _form(body: bytes) -> dict[str, str]:
    """Fields of a form; the last one of a name counts. Nothing of it is logged."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX, errors="strict")
    except ValueError:
        return {}
    return dict(pairs)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8"), expected.encode("utf-8"))


def _page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status)


def _back(asked: Asked) -> Response:
    """To the page that the form names, if it is one of the desk's own."""
    back = asked.form.get("back", "/")
    return RedirectResponse(back if _BACK.fullmatch(back) else "/", 303)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC_TYPES:
        return PlainTextResponse("There is no such file.\n", 404)
    return Response(STATIC.joinpath(name).read_bytes(), media_type=STATIC_TYPES[name])


async def _no_page(request: Request, error: Exception) -> Response:
    return PlainTextResponse("There is no such page.\n", 404)


def _enter_page(service: Service) -> Response:
    return _page(web_pages.render("enter.html", service, None), 401)


def _enter(service: Service) -> Callable[[Request], Any]:
    """The token stands behind the # of the printed address: browsers never send that part by themselves."""

    async def endpoint(request: Request) -> Response:
        given = _form(await request.body()).get("token", "")
        if not _same(given, service.entry_token):
            await asyncio.sleep(secrets.randbelow(100) / 1000)
            return PlainTextResponse("This address is not of this desk.\n", 403)
        response = Response(status_code=204)
        response.set_cookie(COOKIE, service.let_in(), httponly=True, samesite="strict", path="/")
        return response

    return endpoint


def unlock(asked: Asked) -> Response:
    asked.service.unlock(asked.browser, asked.form.get("passphrase", ""))
    asked.service.home.log.append("UNLOCK", asked.service.clock(), {"by": asked.service.home.role})
    return RedirectResponse("/", 303)


def lock(asked: Asked) -> Response:
    asked.service.lock(asked.browser)
    return RedirectResponse("/", 303)


# ----------------------------------------------------------------------------------------------------------- pages


def calls(asked: Asked) -> Response:
    return _page(web_pages.calls_page(asked.service, asked.browser))


def search(asked: Asked) -> Response:
    wanted = () if asked.form.get("clear") else web_pages.SEARCH_FIELDS
    asked.browser.search = {name: asked.form[name].strip() for name in wanted if asked.form.get(name, "").strip()}
    return RedirectResponse("/", 303)


def call(asked: Asked) -> Response:
    return _page(web_pages.call_page(asked.service, asked.browser, _call_id(asked)))


def stick(asked: Asked) -> Response:
    return _page(web_pages.stick_page(asked.service, asked.browser))


def log(asked: Asked) -> Response:
    return _page(web_pages.log_page(asked.service, asked.browser))


def _call_id(asked: Asked) -> str:
    call_id = asked.path["call_id"]
    if not _CALL_ID.fullmatch(call_id):
        raise NotFound("There is no such call.")
    return call_id


# --------------------------------------------------------------------------------------------------------- hearing


def open_call(asked: Asked) -> Response:
    """Verifies and opens the call, logs who listens, and says where its sound and pictures are."""
    with asked.service.desk() as desk:
        heard = hear(desk, _call_id(asked), "listen")
    playing = play_of(heard.row, heard.axis, heard.silent, heard.findings)
    when, by, what = web_pages.listeners(asked.service.home, heard.row.call_id, zone_of(asked.service.home))[0]
    told = {"play": asked.browser.add_play(playing), "heard": [when, by, what]}
    return JSONResponse({**told, **web_audio.description(playing)})


def play(asked: Asked) -> Response:
    found = asked.browser.plays.get(asked.path["play"])
    if found is None:
        raise NotFound("This call is no longer open; load its page again.")
    query = dict(parse_qsl(asked.request.url.query))
    return web_audio.answer(found, asked.path["what"], query, asked.request.headers.get("range"))


# ------------------------------------------------------------------------------------------------ what leaves


def bag(asked: Asked) -> Response:
    return _download(*web_leaving.bag(asked.service, _call_id(asked), asked.form))


def access(asked: Asked) -> Response:
    return _download(*web_leaving.access(asked.service, _call_id(asked), asked.form))


def _download(name: str, data: bytes) -> Response:
    return Response(
        data, headers={"content-disposition": f'attachment; filename="{name}"'}, media_type="application/zip"
    )


# ---------------------------------------------------------------------------------------------------------- orders


def order(asked: Asked) -> Response:
    zone = zone_of(asked.service.home)
    asked.browser.tell("done", write_order(asked.service, asked.form, zone))
    return RedirectResponse("/stick", 303)


def take_in(asked: Asked) -> Response:
    directory = stick_of(asked.service)
    with asked.service.desk() as desk:
        result = import_stick(desk, directory)
    for device in result.pinned:
        asked.browser.tell(
            "done",
            f"First sight of {device.device_id}. Compare this fingerprint with the recorder's label: "
            f"{(device.fingerprint or b'').hex()}",
        )
    if result.replies:
        refused = any(reply.startswith(("REFUSED", "FAILED")) for reply in result.replies)
        told = "The recorder refused; its reply is below." if refused else "The recorder did it; its reply is below."
        asked.browser.tell("failed" if refused else "done", told)
    for finding in result.findings:
        asked.browser.tell("failed", str(finding))
    asked.browser.tell(
        "done",
        f"Answers taken in: {len(result.answers)} (here already: {result.skipped}). Calls with audio: {result.calls}. "
        f"Calls in the index: {result.indexed}. Erased here because the recorder erased them: {result.erased}.",
    )
    return RedirectResponse("/stick", 303)
