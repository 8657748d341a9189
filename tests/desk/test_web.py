"""The desk's page from outside, as HTTP: what it does, and above all what it refuses."""

import io
import logging
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.desk.rig import ESCROW_PASSPHRASE, NOW, PASSPHRASE, Rig, run
from tools.desk import keys
from tools.desk.home import Home
from tools.desk.times import parse_time
from tools.desk.web import COOKIE, application
from tools.desk.web_audio import byte_range
from tools.desk.web_guard import BODY_BYTES_MAX
from tools.desk.web_session import IDLE_MS_MAX, WRONG_PASSPHRASES_MAX, Service

PORT = 8731
ORIGIN = f"http://127.0.0.1:{PORT}"
SAME = {"origin": ORIGIN}
NUMBER = "02079460123"


@dataclass
class Page:
    """A browser at the desk, without the browser: a cookie, the last page's form token, a clock of its own."""

    rig: Rig
    now: int = parse_time(NOW)
    service: Service = field(init=False)
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(Home.open(self.rig.home), self.rig.stick, lambda: self.now)
        self.client = self.fresh()

    def fresh(self) -> TestClient:
        return TestClient(application(self.service, PORT), base_url=ORIGIN, follow_redirects=False)

    def enter(self) -> None:
        answer = self.client.post("/enter", data={"token": self.service.entry_token}, headers=SAME)
        assert answer.status_code == 204

    def unlock(self, passphrase: str = PASSPHRASE) -> httpx2.Response:
        return self.post("/unlock", passphrase=passphrase)

    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.client.get("/").text)
        assert found is not None
        return found[1]

    def post(self, path: str, **fields: str) -> httpx2.Response:
        return self.client.post(path, data={"csrf": self.csrf(), **fields}, headers=SAME)

    def get(self, path: str) -> httpx2.Response:
        return self.client.get(path)

    def text(self, path: str = "/") -> str:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def open_call(self, call_id: str) -> dict[str, object]:
        answer = self.post(f"/call/{call_id}/open")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found


@pytest.fixture(scope="module")
def cheap() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TACET_PASSPHRASE", PASSPHRASE)
        patch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
        patch.setattr(keys, "MEMORY_KIB", 64)
        patch.setattr(keys, "PASSES", 1)
        yield


@pytest.fixture(scope="module")
def filled(cheap: None, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig(tmp_path_factory.mktemp("web"))
    rig.recorder.call(NUMBER)
    rig.recorder.world.clock.advance_ms(600_000)
    rig.recorder.call(None, seed=4)
    assert rig.export().state == "done"
    assert rig.take_in().code == 0
    return rig


@pytest.fixture
def page(filled: Rig) -> Page:
    made = Page(filled)
    made.enter()
    made.unlock()
    return made


def first_call(page: Page) -> str:
    found = re.findall(r"/call/([0-9a-f]{32})", page.text())
    return str(found[-1])


# ----------------------------------------------------------------------------------------------- who may ask at all


PATHS = ("/", "/stick", "/log", "/call/" + "0" * 32, "/play/" + "0" * 64 + "/audio.wav")
FORMS = ("/unlock", "/lock", "/search", "/order", "/stick/import", "/call/" + "0" * 32 + "/open")


@pytest.mark.parametrize("path", PATHS)
def test_without_the_cookie_nothing_is_shown(filled: Rig, path: str) -> None:
    answer = Page(filled).get(path)
    assert answer.status_code == 401
    assert "csrf" not in answer.text
    assert "02079460" not in answer.text


@pytest.mark.parametrize("path", FORMS)
def test_without_the_cookie_nothing_is_done(filled: Rig, path: str) -> None:
    assert Page(filled).client.post(path, data={"csrf": "0" * 64}, headers=SAME).status_code == 401


@pytest.mark.parametrize("path", PATHS[1:])
def test_with_the_cookie_and_without_the_passphrase_nothing_is_shown(filled: Rig, path: str) -> None:
    locked = Page(filled)
    locked.enter()
    answer = locked.get(path)
    assert answer.status_code == 403
    assert "02079460" not in answer.text


@pytest.mark.parametrize("given", ["", "0" * 64, "ü", "x" * 1000])
def test_a_wrong_token_lets_nobody_in(filled: Rig, given: str) -> None:
    made = Page(filled)
    answer = made.client.post("/enter", data={"token": given}, headers=SAME)
    assert answer.status_code == 403
    assert COOKIE not in answer.cookies


def test_a_wrong_passphrase_opens_nothing_and_guessing_ends(filled: Rig) -> None:
    guesser = Page(filled)
    guesser.enter()
    for _ in range(WRONG_PASSPHRASES_MAX):
        guesser.unlock("not the passphrase at all")
        assert "does not open" in guesser.text()
    guesser.unlock(PASSPHRASE)
    assert "Too many wrong passphrases" in guesser.text()
    assert "02079460" not in guesser.text()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(filled: Rig) -> None:
    made = Page(filled)
    answer = made.client.post("/enter", data={"token": made.service.entry_token}, headers=SAME)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "http://evil.example"},
        {"origin": f"http://127.0.0.1:{PORT + 1}"},
        {"origin": f"https://127.0.0.1:{PORT}"},
        {"origin": ORIGIN, "sec-fetch-site": "cross-site"},
        {"origin": ORIGIN, "sec-fetch-site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_cookie_and_token(page: Page, headers: dict[str, str]) -> None:
    csrf = page.csrf()
    for path in (*FORMS, "/enter"):
        assert page.client.post(path, data={"csrf": csrf}, headers=headers).status_code == 403
    assert page.get("/log").status_code == 200, "still unlocked"


@pytest.mark.parametrize("csrf", ["", "0" * 64, "ü"])
def test_a_form_without_this_browsers_token_does_nothing(page: Page, csrf: str) -> None:
    before = (page.rig.home / "desk.log").read_bytes()
    for path in FORMS:
        assert page.client.post(path, data={"csrf": csrf}, headers=SAME).status_code == 403
    assert (page.rig.home / "desk.log").read_bytes() == before


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:1", f"[::1]:{PORT}"])
def test_another_host_name_is_refused_so_that_rebinding_finds_nothing(page: Page, host: str) -> None:
    assert page.client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "path",
    [
        "/static/../web.py",
        "/static/..%2fweb.py",
        "/static/%2e%2e/web.py",
        "/static/....//web.py",
        "/static/desk.js%00",
        "/static//etc/passwd",
        "/static/web.py",
        "/call/..%2f..%2fhome.json",
        "/call/" + "0" * 31,
        "/call/" + "g" * 32,
        "/play/x/..%2f..%2faudio.wav",
        "/" + "a" * 400,
        "/home.json",
        "/custodian.key",
    ],
)
def test_paths_lead_nowhere_but_to_the_pages(page: Page, path: str) -> None:
    answer = page.client.get(path)
    assert answer.status_code in (400, 404)
    assert "import" not in answer.text
    assert "tacet-key" not in answer.text


def test_what_is_too_long_is_refused(page: Page) -> None:
    answer = page.client.post("/search", content=b"x" * (BODY_BYTES_MAX + 1), headers=SAME)
    assert answer.status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1024

    assert page.client.post("/search", content=endless(), headers=SAME).status_code == 413
    many = "&".join(f"f{count}=1" for count in range(500))
    assert page.client.post("/search", content=many.encode(), headers=SAME).status_code == 403
    assert page.client.post("/search", content=b"\xff\xfe=1", headers=SAME).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(page: Page, method: str) -> None:
    assert page.client.request(method, "/", headers=SAME).status_code == 405


def test_every_answer_forbids_network_inline_script_frames_and_caches(page: Page) -> None:
    call_id = first_call(page)
    play = page.open_call(call_id)["play"]
    for path in ("/", "/stick", "/log", f"/call/{call_id}", "/static/desk.js", "/nowhere", f"/play/{play}/audio.wav"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_pages_name_nothing_outside_the_desk_and_carry_no_inline_script_or_style(page: Page) -> None:
    for path in ("/", "/stick", "/log", f"/call/{first_call(page)}"):
        text = page.text(path)
        assert all(target.startswith(("/", "#")) for target in re.findall(r'(?:src|href|action)="([^"]*)"', text))
        assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son[a-z]+=", text)


_NAMES = (
    *("op", "call", "case", "reason", "review", "purpose", "basis", "recipient", "ground", "sure", "back", "device"),
    *("cosign_role", "cosign_passphrase", "from_day", "from_time", "to_day", "to_time", "line", "number", "outcome"),
    *("held", "duration", "stretches", "authoriser", "passphrase"),
)
_VALUES = (
    *("hold", "export", "erase", "release", "yes", "2026-03-02", "09:00", "police", "fraud", "law-enforcement", "1-2"),
    *("2026-02-31", "99:99", "//evil.example", "escrow", "0000-00-00", "0" * 32),
)
_FIELDS = st.dictionaries(st.sampled_from(_NAMES), st.text(max_size=40) | st.sampled_from(_VALUES), max_size=8)
_FORM_PATHS = ("/search", "/order", "/call/{}/bag", "/call/{}/access", "/nowhere")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(_FORM_PATHS), fields=_FIELDS)
def test_no_form_whatever_it_says_is_an_internal_error(page: Page, path: str, fields: dict[str, str]) -> None:
    answer = page.post(path.format("0" * 32), **fields)
    assert answer.status_code in (303, 404)
    if answer.status_code == 303:
        assert re.fullmatch(r"/([a-z0-9/]+)?", answer.headers["location"])
        assert "//" not in answer.headers["location"]
    assert page.get("/").status_code == 200


@settings(max_examples=100, deadline=None)
@given(
    st.text(st.characters(codec="ascii"), max_size=20) | st.from_regex(r"bytes=[0-9]{0,8}-[0-9]{0,8}", fullmatch=True)
)
def test_no_range_whatever_it_says_is_out_of_bounds(wanted: str) -> None:
    found = byte_range(wanted, 1000)
    assert found is None or 0 <= found[0] < found[1] <= 1000


# ------------------------------------------------------------------------------------------------------- finding


def test_calls_are_found_by_any_part_of_the_number_and_the_address_never_shows_it(page: Page) -> None:
    assert page.text().count("/call/") == 2
    answer = page.post("/search", number="946 0123")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    assert page.text().count("/call/") == 1
    assert NUMBER in page.text()
    page.post("/search", number="5555")
    assert "No call fits" in page.text()
    page.post("/search", clear="yes")
    assert page.text().count("/call/") == 2


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"from_day": "2026-03-02"}, 2),
        ({"from_day": "2026-03-03"}, 0),
        ({"to_day": "2026-03-02"}, 2),
        ({"to_day": "2026-03-01"}, 0),
        ({"from_day": "2026-03-02", "from_time": "09:05"}, 1),
        ({"to_day": "2026-03-02", "to_time": "09:05"}, 1),
        ({"line": "line1"}, 2),
        ({"line": "line2"}, 0),
        ({"outcome": "recorded"}, 2),
        ({"outcome": "opted_out"}, 0),
        ({"held": "yes"}, 0),
        ({"audio": "yes"}, 2),
        ({"duration": "5"}, 2),
        ({"duration": "7"}, 0),
    ],
)
def test_every_field_of_the_search_narrows_it(page: Page, fields: dict[str, str], found: int) -> None:
    page.post("/search", **fields)
    assert len(re.findall(r'<a href="/call/', page.text())) == found


@pytest.mark.parametrize("fields", [{"from_time": "09:00"}, {"from_day": "yesterday"}, {"duration": "x"}])
def test_a_search_that_makes_no_sense_says_so(page: Page, fields: dict[str, str]) -> None:
    page.post("/search", **fields)
    assert "The search was not made" in page.text()


def test_what_is_typed_never_becomes_markup(page: Page) -> None:
    page.post("/search", number='"><script>alert(1)</script>')
    assert "<script>alert" not in page.text()


# ------------------------------------------------------------------------------------------------------- hearing


def test_a_call_is_heard_whole_and_by_ranges_sample_for_sample(page: Page, tmp_path: Path) -> None:
    call_id = first_call(page)
    out = tmp_path / "cli.wav"
    assert page.rig.desk("extract", call_id, "--wav", out).code == 0
    opened = page.open_call(call_id)
    path = f"/play/{opened['play']}/audio.wav"
    whole = page.get(path)
    assert whole.status_code == 200
    sound, rate = soundfile.read(io.BytesIO(whole.content), dtype="int16")
    expected, _ = soundfile.read(out, dtype="int16")
    assert rate == 8000
    assert np.array_equal(sound, expected)
    total = len(whole.content)
    for wanted, first, end in (
        ("bytes=0-", 0, total),
        ("bytes=0-0", 0, 1),
        ("bytes=43-46", 43, 47),
        ("bytes=1001-2000", 1001, 2001),
        ("bytes=-5", total - 5, total),
        (f"bytes={total - 1}-{total + 99}", total - 1, total),
    ):
        part = page.client.get(path, headers={"range": wanted})
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {first}-{end - 1}/{total}"
        assert part.content == whole.content[first:end]
    for wanted in (f"bytes={total}-", "bytes=5-4", "bytes=-", "bytes=0-1,3-4", "lines=1-2"):
        assert page.client.get(path, headers={"range": wanted}).status_code == 416


def test_every_gap_is_named_at_its_place(page: Page) -> None:
    opened = page.open_call(first_call(page))
    assert opened["duration_s"] == 6.0
    gaps = opened["gaps"]
    assert isinstance(gaps, list)
    assert [(gap["start_s"], gap["end_s"], gap["label"]) for gap in gaps] == [
        (2.0, 4.0, "Payment"),
        (5.0, 6.0, "Not kept"),
    ]


def test_pictures_of_any_stretch_are_drawn_and_nonsense_is_refused(page: Page) -> None:
    play = page.open_call(first_call(page))["play"]
    for query in ("", "?from=0&to=6", "?from=1.5&to=1.6", "?from=5.999&to=6", "?from=7&to=9", "?from=3&to=2"):
        wave = page.get(f"/play/{play}/waveform.svg{query}")
        assert wave.status_code == 200
        assert wave.headers["content-type"].startswith("image/svg+xml")
        spectrogram = page.get(f"/play/{play}/spectrogram.png{query}")
        assert spectrogram.content.startswith(b"\x89PNG")
    for query in ("?from=-1", "?from=x", "?to=1e9", "?from=nan"):
        assert page.get(f"/play/{play}/waveform.svg{query}").status_code == 400
    assert page.get(f"/play/{play}/home.json").status_code == 404


def test_who_listened_is_logged_and_shown(page: Page) -> None:
    call_id = first_call(page)
    before = page.text(f"/call/{call_id}").count("<td>listened</td>")
    page.open_call(call_id)
    assert page.text(f"/call/{call_id}").count("<td>listened</td>") == before + 1
    assert f"call={call_id} by=custodian use=listen" in run("log", "--home", page.rig.home).out
    assert "listened" in page.text("/log")


def test_looking_at_a_calls_page_is_not_listening(page: Page) -> None:
    before = (page.rig.home / "desk.log").read_bytes()
    page.text(f"/call/{first_call(page)}")
    assert (page.rig.home / "desk.log").read_bytes() == before


# ------------------------------------------------------------------------------------------ locking and the limits


def test_lock_ends_everything_at_once(page: Page) -> None:
    play = page.open_call(first_call(page))["play"]
    page.post("/lock")
    assert page.get(f"/play/{play}/audio.wav").status_code == 403
    assert "Unlock" in page.text()
    with pytest.raises(Exception, match="locked"):
        _ = page.service.person


def test_a_quarter_of_an_hour_without_a_click_locks_the_desk(page: Page) -> None:
    page.now += IDLE_MS_MAX + 1
    answer = page.text()
    assert "locked itself" in answer
    assert NUMBER not in answer


def test_one_browser_cannot_use_what_another_opened(page: Page) -> None:
    play = page.open_call(first_call(page))["play"]
    other = Page(page.rig)
    other.service = page.service
    other.client = other.fresh()
    other.enter()
    assert other.get(f"/play/{play}/audio.wav").status_code == 403
    other.unlock()
    assert other.get(f"/play/{play}/audio.wav").status_code == 404


def test_a_call_at_its_limit_is_gone_from_the_page_while_it_is_being_heard(cheap: None, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.recorder.call()
    rig.export()
    rig.take_in()
    page = Page(rig)
    page.enter()
    page.unlock()
    play = page.open_call(first_call(page))["play"]
    page.now = parse_time("2026-05-02T00:00Z")
    page.service.lock_idle()
    page.unlock()
    page.text()
    assert page.get(f"/play/{play}/audio.wav").status_code == 404
    assert "No calls are here yet" in page.text()
    assert not list((rig.home / "bags").rglob("*.tcf"))


def test_what_the_command_line_imports_is_seen_by_the_page_at_once(cheap: None, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    page = Page(rig)
    page.enter()
    page.unlock()
    assert "No calls are here yet" in page.text()
    rig.recorder.call()
    rig.export()
    rig.take_in()
    assert NUMBER in page.text()


# --------------------------------------------------------------------------------------------------------- orders


@pytest.fixture
def own(cheap: None, tmp_path: Path) -> Page:
    """A desk and a recorder for one test alone."""
    rig = Rig(tmp_path)
    rig.recorder.call()
    rig.export()
    rig.take_in()
    made = Page(rig)
    made.enter()
    made.unlock()
    return made


def test_a_hold_goes_out_by_the_page_and_comes_back_as_held(own: Page) -> None:
    call_id = first_call(own)
    fields = {"call": call_id, "case": "CAD 1234", "reason": "threat to staff", "review": "2026-06-01"}
    answer = own.post("/order", op="hold", **fields)
    assert answer.status_code == 303
    stick = own.text("/stick")
    assert "The order HOLD" in stick
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    assert "DONE" in own.text("/stick")
    own.post("/search", held="yes")
    assert f"/call/{call_id}" in own.text()
    own.post("/order", op="extend", call=call_id, reason="hearing moved", review="2026-07-01")
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    assert "1 Jul 2026" in own.text(f"/call/{call_id}")


def test_a_provisional_hold_of_the_keep_key_is_confirmed_by_the_page(own: Page) -> None:
    call_id = first_call(own)
    own.rig.recorder.vault.keep(bytes.fromhex(call_id))
    own.post("/order", op="index")
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    text = own.text(f"/call/{call_id}")
    assert 'class="badge provisional"' in text
    assert "Confirm the provisional hold" in text
    own.post("/order", op="confirm", call=call_id, case="C", reason="threat", review="2026-06-01")
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    text = own.text(f"/call/{call_id}")
    assert 'class="badge held"' in text
    assert "yes, review 1 Jun 2026" in text


def test_a_call_known_from_an_index_offers_an_export_and_no_player(cheap: None, tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.recorder.call()
    page = Page(rig)
    page.enter()
    page.unlock()
    page.post("/order", op="index")
    assert rig.recorder.plug(rig.stick).state == "done"
    page.post("/stick/import")
    call_id = first_call(page)
    text = page.text(f"/call/{call_id}")
    assert "still sealed on the recorder" in text
    assert 'id="player"' not in text
    assert page.post(f"/call/{call_id}/open").status_code == 303
    page.post("/order", op="export", call=call_id, purpose="quality", basis="legitimate-interests")
    assert rig.recorder.plug(rig.stick).state == "done"
    page.post("/stick/import")
    assert page.open_call(call_id)["duration_s"] == 6.0


def test_a_release_needs_the_second_person_and_takes_them_here(own: Page) -> None:
    call_id = first_call(own)
    own.post("/order", op="hold", call=call_id, case="C", reason="r", review="2026-06-01")
    own.rig.recorder.plug(own.rig.stick)
    own.post("/order", op="release", call=call_id, reason="closed")
    assert "second person" in own.text("/stick")
    assert own.rig.recorder.plug(own.rig.stick).code == "needs_two_persons"
    own.post(
        "/order",
        op="release",
        call=call_id,
        reason="closed",
        cosign_role="escrow",
        cosign_passphrase="wrong wrong wrong",
    )
    assert "does not open" in own.text()
    own.post(
        "/order", op="release", call=call_id, reason="closed", cosign_role="escrow", cosign_passphrase=ESCROW_PASSPHRASE
    )
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    own.post("/search", held="yes")
    assert "No call fits" in own.text()


def test_an_erasure_by_the_page_reaches_the_copy_here(own: Page) -> None:
    call_id = first_call(own)
    own.post("/order", op="erase", call=call_id, ground="erasure-request")
    assert "tick that you mean it" in own.text()
    own.post("/order", op="erase", call=call_id, ground="erasure-request", sure="yes")
    assert own.rig.recorder.plug(own.rig.stick).state == "done"
    own.post("/stick/import")
    assert own.get(f"/call/{call_id}").status_code == 404
    assert not list((own.rig.home / "bags").rglob("1.tcf"))


def test_a_refusal_of_the_recorder_is_read_in_its_own_words(own: Page) -> None:
    own.now = parse_time("2025-01-01T09:00Z")
    own.post("/order", op="report")
    own.now = parse_time(NOW)
    own.unlock()
    assert own.rig.recorder.plug(own.rig.stick).code == "expired"
    own.post("/stick/import")
    assert "no longer valid" in own.text("/stick")


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "keys"},
        {"op": "export"},
        {"op": "export", "purpose": "quality", "basis": "legitimate-interests", "from_day": "2026-03-02"},
        {"op": "export", "purpose": "curiosity", "basis": "legitimate-interests", "call": "0" * 32},
        {"op": "hold", "call": "0" * 32, "case": "C", "reason": "r"},
        {"op": "hold", "call": "xyz", "case": "C", "reason": "r", "review": "2026-06-01"},
        {"op": "hold", "call": "0" * 32, "case": "C\r\nop: ERASE", "reason": "r", "review": "2026-06-01"},
    ],
)
def test_an_order_that_makes_no_sense_is_not_written(page: Page, fields: dict[str, str]) -> None:
    order = page.rig.stick / "TACET/ORDER.txt"
    before = order.read_bytes()
    page.post("/order", **fields)
    assert 'class="message failed"' in page.text("/stick")
    assert order.read_bytes() == before


# -------------------------------------------------------------------------------------------------- what leaves


def test_a_bag_made_by_the_page_opens_in_7_zip_and_leaves_nothing_at_home(page: Page, tmp_path: Path) -> None:
    fields = {"recipient": "police", "basis": "law-enforcement", "purpose": "fraud", "authoriser": "A. Custodian"}
    call_id = first_call(page)
    answer = page.post(f"/call/{call_id}/bag", passphrase="eighteen yellow bricks", **fields)
    assert answer.status_code == 200, answer.text
    assert re.fullmatch(
        r'attachment; filename="tacet-evidence-[A-Z0-9-]+-[0-9a-f]{8}\.zip"', answer.headers["content-disposition"]
    )
    (tmp_path / "bag.zip").write_bytes(answer.content)
    tested = ["7z", "t", "-peighteen yellow bricks", str(tmp_path / "bag.zip")]
    assert subprocess.run(tested, capture_output=True, check=False).returncode == 0
    assert not list(page.rig.home.rglob("*.zip"))
    refused = page.post(f"/call/{call_id}/bag", passphrase="short", **fields)
    assert refused.status_code == 303
    assert "at least 12 characters" in page.text()


def test_an_access_pack_made_by_the_page_lacks_what_was_marked(page: Page, tmp_path: Path) -> None:
    call_id = first_call(page)
    fields = {"stretches": "0.5-0.75, 1-1.25", "authoriser": "A. Custodian", "passphrase": "eighteen yellow bricks"}
    answer = page.post(f"/call/{call_id}/access", **fields)
    assert answer.status_code == 200
    (tmp_path / "pack.zip").write_bytes(answer.content)
    opened = ["7z", "x", "-peighteen yellow bricks", f"-o{tmp_path / 'x'}", str(tmp_path / "pack.zip")]
    assert subprocess.run(opened, capture_output=True, check=False).returncode == 0
    sound, _ = soundfile.read(next((tmp_path / "x").rglob("call.wav")), dtype="int16")
    assert not sound[4000:6000].any()
    assert not sound[8000:10_000].any()
    assert sound[6000:8000].any()


# ------------------------------------------------------------------------------------------------------- secrets


def test_no_number_key_or_passphrase_is_in_any_log(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        page.post("/search", number=NUMBER)
        page.text()
        page.unlock("a wrong passphrase")
        call_id = first_call(page)
        page.open_call(call_id)
        page.get("/play/" + NUMBER)
    told = [
        record.getMessage() for record in caplog.records if not record.name.startswith("http")
    ]  # not the test's own
    written = "\n".join(told) + (page.rig.home / "desk.log").read_text()
    private = page.service.person.seal.private_bytes_raw().hex()
    for secret in (NUMBER, NUMBER[-7:], PASSPHRASE, "a wrong passphrase", private, page.service.entry_token):
        assert secret not in written
