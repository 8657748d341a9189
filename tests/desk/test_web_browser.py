"""The desk and an evidence bag in a real browser, by hand and keyboard; pictures of each step in proof-output/."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bagit
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.desk.browser import CHROMIUM, DRIVER, Browser, chromium, served
from tests.desk.rig import ESCROW_PASSPHRASE, NOW, PASSPHRASE, Rig
from tools.desk import keys

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and its driver are not installed"),
]
NUMBER = "02079460123"
WHY = ("--recipient", "police", "--basis", "law-enforcement", "--purpose", "threats", "--authoriser", "A. Custodian")


class Desk:
    def __init__(self, rig: Rig, browser: Browser, address: str, call_id: str, downloads: Path) -> None:
        self.rig, self.browser, self.call_id, self.downloads = rig, browser, call_id, downloads
        self.address = address
        self.top = address.partition("#")[0]

    def go(self, path: str) -> None:
        self.browser.driver.get(self.top + path)

    def key(self, *pressed: str) -> None:
        ActionChains(self.browser.driver).send_keys(*pressed).perform()

    def open_call(self) -> None:
        self.go(f"call/{self.call_id}")
        self.browser.until("window.player?.audio?.readyState >= 3")

    def place(self) -> float:
        return float(self.browser.run("return player.audio.currentTime"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    root = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TACET_PASSPHRASE", PASSPHRASE)
        patch.setenv("TACET_ESCROW_PASSPHRASE", ESCROW_PASSPHRASE)
        patch.setattr(keys, "MEMORY_KIB", 64)
        patch.setattr(keys, "PASSES", 1)
        rig = Rig(root)
        call_id, _ = rig.recorder.call(NUMBER)
        for minute in range(12):
            rig.recorder.world.clock.advance_ms(60_000)
            rig.recorder.call(None if minute % 3 == 0 else f"020794602{minute:02d}", seed=minute + 2)
        assert rig.export().state == "done"
        assert rig.take_in().code == 0
        downloads = root / "downloads"
        downloads.mkdir()
        with (
            served("--home", rig.home, "--stick", rig.stick, "--now", NOW) as address,
            chromium(downloads) as browser,
        ):
            browser.size(1280, 720)
            made = Desk(rig, browser, address, call_id, downloads)
            browser.driver.get(address)
            browser.until("document.querySelector('input[name=passphrase]')")
            browser.picture("desk-1-unlock")
            browser.one("input[name=passphrase]").send_keys(PASSPHRASE + Keys.ENTER)
            browser.until("document.querySelector('table.calls')")
            yield made


def test_the_token_is_gone_from_the_address_and_the_passphrase_opens_the_desk(desk: Desk) -> None:
    assert "#" not in desk.browser.driver.current_url
    assert len(desk.browser.all("table.calls tbody tr")) == 13
    desk.browser.picture("desk-2-calls")


def test_a_call_is_found_by_a_part_of_its_number(desk: Desk) -> None:
    browser = desk.browser
    desk.go("")
    browser.one("input[name=number]").send_keys("946 0123" + Keys.ENTER)
    browser.until("document.querySelectorAll('table.calls tbody tr').length === 1")
    assert NUMBER in browser.one("table.calls tbody").text
    assert "0123" not in browser.driver.current_url
    browser.picture("desk-3-search")
    browser.one("button[name=clear]").click()
    browser.until("document.querySelectorAll('table.calls tbody tr').length === 13")


def test_a_call_plays_and_its_time_really_advances(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    assert browser.run("return player.audio.duration") == pytest.approx(6.0, abs=0.01)
    browser.one("#toggle").click()
    browser.until("player.audio.currentTime > 0.5")
    before = desk.place()
    browser.until(f"player.audio.currentTime > {before} + 0.3")
    assert browser.one("#toggle").text == "Pause"
    browser.one("#toggle").click()
    browser.until("player.audio.paused")
    assert browser.run("return player.audio.error") is None
    browser.picture("desk-4-call")
    browser.picture("desk-4-call-whole", whole=True)


def test_every_gap_is_shaded_and_named_at_its_place(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    stage = browser.run("const b = document.getElementById('timeline').getBoundingClientRect(); return [b.x, b.width]")
    found = browser.run(
        "return [...document.querySelectorAll('.label')].map((label) => {"
        " const b = label.getBoundingClientRect(); return [label.textContent, b.x, b.width]; })"
    )
    shades = browser.run(
        "return [...document.querySelectorAll('.shade:not(.swatch)')].map((box) => {"
        " const b = box.getBoundingClientRect(); return [b.x, b.width, b.height]; })"
    )
    assert [name for name, _, _ in found] == ["Payment", "Not kept"]
    for (_, x, width), (shade_x, shade_width, height), (start, end) in zip(
        found, shades, ((2, 4), (5, 6)), strict=True
    ):
        assert x == pytest.approx(stage[0] + stage[1] * start / 6, abs=3)
        assert width == pytest.approx(stage[1] * (end - start) / 6, abs=3)
        assert (shade_x, shade_width) == (pytest.approx(x, abs=3), pytest.approx(width, abs=4))
        assert height > 250, "over waveform and spectrogram"
    assert "A card payment was being made" in browser.one("#gaps").text


def test_keys_alone_play_seek_and_go_from_gap_to_gap(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    desk.key("g")
    browser.until("Math.abs(player.audio.currentTime - 2) < 0.02")
    desk.key("g")
    browser.until("Math.abs(player.audio.currentTime - 5) < 0.02")
    desk.key("G")
    browser.until("Math.abs(player.audio.currentTime - 2) < 0.02")
    assert "gap: Payment" in browser.one("#timeline").get_attribute("aria-valuetext")
    desk.key(Keys.ARROW_LEFT)
    browser.until("player.audio.currentTime < 0.02")
    desk.key(Keys.ARROW_RIGHT)
    browser.until("Math.abs(player.audio.currentTime - 5) < 0.02")
    desk.key(Keys.HOME)
    browser.until("player.audio.currentTime < 0.02")
    desk.key(Keys.SPACE)
    browser.until("!player.audio.paused")
    desk.key(Keys.SPACE)
    browser.until("player.audio.paused")


def test_a_click_into_the_picture_goes_there_and_zoom_shows_less(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    timeline = browser.one("#timeline")
    width = timeline.size["width"]
    ActionChains(browser.driver).move_to_element_with_offset(timeline, width // 4, 0).click().perform()
    browser.until("Math.abs(player.audio.currentTime - 4.5) < 0.05")
    browser.one("#in").click()
    assert browser.run("return player.shown[1] - player.shown[0]") == pytest.approx(3.0)
    assert browser.run("return player.shown[0] < 4.5 && player.shown[1] > 4.5")
    browser.until("!document.getElementById('waveform').src.includes('from=0.000')")
    browser.picture("desk-5-zoom")


def test_who_listened_is_on_the_page_at_once(desk: Desk) -> None:
    desk.open_call()
    first = desk.browser.one("#heard tbody tr").text
    assert "custodian" in first
    assert "listened" in first


def _fill(form: Any, **values: str) -> None:
    for name, value in values.items():
        field = form.find_element("name", name)
        if field.tag_name == "select":
            Select(field).select_by_value(value)
        elif field.get_attribute("type") == "date":
            field.parent.execute_script(
                "arguments[0].value = arguments[1]", field, value
            )  # typing depends on the locale
        else:
            field.send_keys(value)


def _form(desk: Desk, op: str) -> Any:
    box = desk.browser.driver.find_element("xpath", f"//form[input[@name='op' and @value='{op}']]/ancestor::details")
    if box.get_attribute("open") is None:
        box.find_element("tag name", "summary").click()
    return box.find_element("tag name", "form")


def test_a_hold_is_placed_and_the_recorders_reply_is_read(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    form = _form(desk, "hold")
    _fill(form, case="CAD 1234", reason="Threat to a member of staff", review="2026-06-01")
    form.find_element("tag name", "button").click()
    browser.until("document.querySelector('.message.done')")
    assert "The order HOLD" in browser.one(".message.done").text
    assert "HOLD" in browser.one("#order-on-stick").text
    browser.picture("desk-6-order")
    assert desk.rig.recorder.plug(desk.rig.stick).state == "done"
    desk.go("stick")
    browser.driver.find_element("xpath", "//button[contains(., 'Import')]").click()
    browser.until("document.querySelector('.message.done')")
    assert "DONE" in browser.one("#replies").text
    browser.picture("desk-7-reply", whole=True)
    desk.open_call()
    assert browser.one("h1 .badge.held").text == "held"
    assert "1 Jun 2026" in browser.one(".facts").text


def test_an_export_order_is_written(desk: Desk) -> None:
    browser = desk.browser
    desk.go("stick")
    form = _form(desk, "export")
    _fill(form, from_day="2026-03-02", to_day="2026-03-02", purpose="complaint", basis="public-task")
    form.find_element("xpath", ".//button").click()
    browser.until("document.querySelector('.message.done')")
    facts = browser.one("#order-on-stick").text
    assert "EXPORT" in facts
    assert "2 Mar 2026, 00:00:00 GMT" in facts
    assert "3 Mar 2026, 00:00:00 GMT" in facts


def test_a_bag_is_made_by_the_page_and_downloaded(desk: Desk) -> None:
    browser = desk.browser
    desk.open_call()
    browser.driver.find_element("xpath", "//summary[starts-with(., 'Evidence bag')]").click()
    form = browser.one(f"form[action='/call/{desk.call_id}/bag']")
    _fill(
        form, purpose="threats", basis="law-enforcement", recipient="police", authoriser="A. Custodian",
        passphrase="eighteen yellow bricks",
    )  # fmt: skip
    browser.picture("desk-8-bag", whole=True)
    form.find_element("tag name", "button").click()
    found = desk.downloads
    browser.until("true")
    deadline = 300
    while not list(found.glob("tacet-evidence-*.zip")) and deadline:
        browser.driver.execute_async_script("setTimeout(arguments[0], 100)")
        deadline -= 1
    (made,) = found.glob("tacet-evidence-*.zip")
    assert made.stat().st_size > 10_000


def test_the_log_page_shows_what_was_done(desk: Desk) -> None:
    desk.go("log")
    text = desk.browser.one("table.log").text
    for what in ("listened", "order hold written", "unlocked"):
        assert what in text
    desk.browser.picture("desk-9-log")


@pytest.mark.parametrize("path", ["", "stick", "log", "call"])
def test_at_200_percent_nothing_is_cut_off_or_scrolls_sideways(desk: Desk, path: str) -> None:
    """1280 x 720 at 200 % is a page of 640 x 360 CSS pixels (WCAG 2.2, 1.4.10 asks down to 320)."""
    browser = desk.browser
    browser.size(640, 360)
    try:
        if path == "call":
            desk.open_call()
        else:
            desk.go(path)
        assert browser.run("return document.documentElement.scrollWidth") <= 640
        assert browser.run(f"return {HIDDEN}") == []
        browser.picture(f"desk-zoom-{path or 'calls'}", whole=True)
    finally:
        browser.size(1280, 720)


HIDDEN = (
    "[...document.querySelectorAll('td, th, p, dd, button, summary')].filter((e) => e.offsetParent"
    " && e.textContent.trim() && !e.closest('thead') && (e.getBoundingClientRect().right > innerWidth"
    " || e.getBoundingClientRect().width < 24)).map((e) => e.textContent.trim())"
)
"""Texts that stick out at the right, or that are squeezed to a letter a line."""

CONTRAST = """
const linear = (v) => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
const lum = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
const parse = (text) => { const m = text.match(/[0-9.]+/g).map(Number); return [m.slice(0, 3), m[3] ?? 1]; };
const ground = (element) => { for (let e = element; e; e = e.parentElement) {
  const [c, a] = parse(getComputedStyle(e).backgroundColor); if (a === 1) return c; } return [255, 255, 255]; };
const poor = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.offsetParent || e.closest("[disabled], option, .scale")) continue;
  const style = getComputedStyle(e), front = lum(parse(style.color)[0]), back = lum(ground(e));
  const ratio = (Math.max(front, back) + .05) / (Math.min(front, back) + .05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
  if (ratio < (large ? 3 : 4.5)) poor.push(`${e.tagName} ${e.className} "${e.textContent.trim()}" ${ratio.toFixed(2)}`);
}
return poor;
"""


@pytest.mark.parametrize("path", ["", "stick", "log", "call"])
def test_every_text_has_the_contrast_of_wcag_aa_and_every_field_a_name(desk: Desk, path: str) -> None:
    browser = desk.browser
    if path == "call":
        desk.open_call()
    else:
        desk.go(path)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run(CONTRAST) == []
    nameless = browser.run(
        "return [...document.querySelectorAll('input:not([type=hidden]), select')]"
        ".filter((f) => !f.labels.length && !f.ariaLabel).map((f) => f.name)"
    )
    assert nameless == []


def test_the_browser_blocked_nothing_and_no_script_failed(desk: Desk) -> None:
    desk.open_call()
    for path in ("", "stick", "log"):
        desk.go(path)
    assert desk.browser.complaints() == []


# --------------------------------------------------------------------------------------------------------- the bag


@pytest.fixture(scope="module")
def bag(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bag") / "bag"
    made = desk.rig.desk("bag", desk.call_id, "--out", out, *WHY)
    assert made.code == 0, made.err
    return out


def test_a_bag_opens_from_the_file_system_and_plays(desk: Desk, bag: Path) -> None:
    browser = desk.browser
    browser.driver.get((bag / "index.html").as_uri())
    browser.until("document.getElementById('audio').readyState >= 3")
    browser.run("document.getElementById('audio').play()")
    browser.until("document.getElementById('audio').currentTime > 0.5")
    browser.run("document.getElementById('audio').pause()")
    assert browser.run("return document.getElementById('audio').duration") == pytest.approx(6.0, abs=0.01)
    moved = browser.run("return document.getElementById('cursor').getAttribute('transform')")
    assert float(moved.removeprefix("translate(").split()[0]) > 100
    browser.picture("bag-1")
    browser.picture("bag-1-whole", whole=True)
    assert browser.complaints() == []
    assert bagit.Bag(str(bag)).is_valid()


def test_the_bags_page_shades_the_gap_at_its_place_and_a_click_goes_there(desk: Desk, bag: Path) -> None:
    browser = desk.browser
    browser.driver.get((bag / "index.html").as_uri())
    browser.until("document.getElementById('audio').readyState >= 3")
    box = browser.run(
        "const p = document.getElementById('picture').getBoundingClientRect();"
        "const g = document.querySelector('.gap.payment rect').getBoundingClientRect();"
        "return [(g.x - p.x) / p.width, g.width / p.width]"
    )
    assert box == [pytest.approx(2 / 6, abs=0.005), pytest.approx(2 / 6, abs=0.005)]
    assert browser.one(".gap.payment text").text == "Payment"
    ActionChains(browser.driver).move_to_element(browser.one("#picture")).click().perform()
    browser.until("Math.abs(document.getElementById('audio').currentTime - 3) < 0.05")
    browser.one("button.go").click()
    browser.until("Math.abs(document.getElementById('audio').currentTime - 2) < 0.05")


def test_the_bags_page_reads_at_200_percent_and_in_wcag_contrast(desk: Desk, bag: Path) -> None:
    browser = desk.browser
    browser.driver.get((bag / "index.html").as_uri())
    assert browser.run(CONTRAST) == []
    browser.size(640, 360)
    try:
        assert browser.run("return document.documentElement.scrollWidth") <= 640
        assert browser.run(f"return {HIDDEN}") == []
        browser.picture("bag-zoom", whole=True)
    finally:
        browser.size(1280, 720)


def test_an_access_pack_opens_from_the_file_system(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    words = ("access-pack", desk.call_id, "--out", out, "--authoriser", "A. Custodian", "--remove", "0.5-1.2")
    assert desk.rig.desk(*words).code == 0
    browser = desk.browser
    browser.driver.get((out / "index.html").as_uri())
    browser.until("document.getElementById('audio').readyState >= 3")
    assert browser.one(".gap.removed text").text == "Removed"
    browser.picture("access-pack", whole=True)
