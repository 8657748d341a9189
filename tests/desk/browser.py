"""A real headless Chromium, the desk as its own process, and pictures of what a person would see."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "proof-output"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--hide-scrollbars",
    "--lang=en-GB",
)
WAIT_S = 30


@contextmanager
def chromium(downloads: Path) -> Iterator["Browser"]:
    options = webdriver.ChromeOptions()
    for flag in FLAGS:
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@contextmanager
def served(*words: object) -> Iterator[str]:
    """``python -m tools.desk serve`` as a person starts it; gives the address it prints."""
    command = [sys.executable, "-m", "tools.desk", "serve", *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"http://127\.0\.0\.1:[0-9]+/#[0-9a-f]{64}", line)
            if found:
                break
        assert found, "the desk printed no address"
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)  # Ctrl-C
        _, told = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, told
    assert told == "", told


class Browser:
    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver

    def size(self, width: int, height: int) -> None:
        """Of the page itself, without the window's frame."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )

    def until(self, script: str) -> Any:
        """Waits until the JavaScript expression is true; returns it."""
        return WebDriverWait(self.driver, WAIT_S, 0.1).until(lambda driver: driver.execute_script(f"return {script}"))

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements("css selector", selector))

    def picture(self, name: str, *, whole: bool = False) -> None:
        PICTURES.mkdir(exist_ok=True)
        size = self.run("return [innerWidth, innerHeight]")
        if whole:
            self.size(size[0], self.run("return document.documentElement.scrollHeight"))
        self.until("[...document.images].every((image) => image.complete)")
        self.driver.save_screenshot(str(PICTURES / f"{name}.png"))
        if whole:
            self.size(*size)

    def complaints(self) -> list[str]:
        """What the browser's console holds against the page (blocked resources, script errors)."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "401" not in entry["message"]
        ]
