"""The page in a real browser, without a screen."""

import base64
import io
import shutil
import time

import numpy as np
import pytest
import soundfile
import soxr
import torch

from .conftest import LONG_TEXT, TEXT

selenium = pytest.importorskip("selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Debian's chromium and chromium-driver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=900,1100",
        "--autoplay-policy=no-user-gesture-required",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(DRIVER)) as driver:
        driver.set_script_timeout(60)
        yield driver


WATCH_WORDS = """
    window.lit = new Set();
    new MutationObserver((changes) => changes.forEach(({ target }) => {
        if (target.classList.contains("lit")) window.lit.add(target.textContent);
    })).observe(document.getElementById("words"), { subtree: true, attributes: true });
"""


class Page:
    def __init__(self, browser, running):
        self.browser, self.running = browser, running
        browser.get(running.url)
        self.until(lambda: self["voice"].find_elements(By.TAG_NAME, "option"))

    def __getitem__(self, name):
        return self.browser.find_element(By.ID, name)

    def until(self, condition):
        return WebDriverWait(self.browser, 60, poll_frequency=0.05).until(lambda _: condition())

    def write(self, text):
        self["text"].clear()
        self["text"].send_keys(text)

    def choose(self, **fields):
        self.browser.execute_script("document.querySelector('details').open = true")
        for name, value in fields.items():
            self[name].clear()
            self[name].send_keys(str(value))

    def downloaded(self):
        self.until(lambda: self["download"].is_displayed() or self["error"].text)
        assert self["error"].text == ""
        script = """
            const done = arguments[0];
            fetch(document.getElementById("download").href).then((r) => r.blob()).then((blob) => {
                const reader = new FileReader();
                reader.onload = () => done(reader.result.split(",")[1]);
                reader.readAsDataURL(blob);
            }, (error) => done(String(error)));
        """
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(self.browser.execute_async_script(script))))
        assert rate == 24000
        return samples

    def complaints(self):
        # The browser logs answers of 4xx.
        return [
            entry
            for entry in self.browser.get_log("browser")
            if entry["level"] == "SEVERE" and "the server responded with a status" not in entry["message"]
        ]


@pytest.fixture
def page(browser, serve, tmp_path):
    with serve(voices=tmp_path) as running:
        page = Page(browser, running)
        yield page
        assert page.complaints() == []
        browser.get("about:blank")


def wanted(pipe, text, **options):
    audio = pipe(text, generator=torch.Generator().manual_seed(3), **options).audios[0]
    return soxr.resample(audio, 16000, 24000).clip(-1, 1)


def test_it_speaks_and_lights_the_words(page):
    page.write(LONG_TEXT)
    page.choose(seed=3)
    page["voice"].send_keys("george")
    page.browser.execute_script("document.getElementById('speed').value = 0.5")
    page.browser.execute_script(WATCH_WORDS)
    page["speak"].click()
    page.until(lambda: page["download"].is_displayed() and not page["stop"].is_enabled())
    seen = page.browser.execute_script("return [...window.lit]")
    assert len(seen) >= 5 and set(seen) <= set(LONG_TEXT.split())
    assert len(seen) == len(set(seen)) and not page.browser.find_elements(By.CSS_SELECTOR, "#words .lit")
    assert page["words"].text.split() == LONG_TEXT.split()
    np.testing.assert_allclose(
        page.downloaded(), wanted(page.running.pipe, LONG_TEXT, voice="george", speaking_rate=0.5), atol=2e-3
    )
    assert "seconds of speech" in page["status"].text
    # There is something in the waveform.
    script = "return [...document.getElementById('wave').getContext('2d').getImageData(0, 0, 1200, 60).data]"
    assert sum(value > 0 for value in page.browser.execute_script(script)) > 2000


def test_it_is_used_by_the_keyboard(page):
    """From the text to everything by the tab key; Control and Enter speak; Space presses buttons."""
    page.write(TEXT)
    page.choose(seed=3)
    page["text"].send_keys(Keys.CONTROL, Keys.ENTER, Keys.NULL)
    np.testing.assert_allclose(page.downloaded(), wanted(page.running.pipe, TEXT), atol=2e-3)
    reached = []
    for _ in range(14):
        webdriver.ActionChains(page.browser).send_keys(Keys.TAB).perform()
        element = page.browser.switch_to.active_element
        reached.append(element.get_attribute("id"))
    order = ["voice", "record", "upload", "speed", "steps", "seed", "key", "speak"]
    assert [name for name in reached if name in order][: len(order)] == order
    assert "again" in reached and "download" in reached
    page.until(lambda: not page["stop"].is_enabled())
    page["again"].send_keys(Keys.SPACE)
    page.until(lambda: page["stop"].is_enabled())
    page["stop"].send_keys(Keys.SPACE)
    assert not page["stop"].is_enabled() and page["status"].text == "Stopped."


def test_what_a_screen_reader_is_told(page):
    """Every control has a name, and what changes is announced."""
    nameless = """
        return [...document.querySelectorAll("input, select, textarea, button, a, canvas, audio")].filter((each) =>
            !(each.labels?.length || each.textContent.trim() || each.getAttribute("aria-label"))).map((e) => e.id)
    """
    assert page.browser.execute_script(nameless) == []
    assert page["status"].aria_role == "status" and page["error"].aria_role == "alert"
    assert page["wave"].get_attribute("role") == "img" and page.browser.find_element(
        By.TAG_NAME, "html"
    ).get_attribute("lang")
    assert (
        len(page.browser.find_elements(By.TAG_NAME, "h1")) == len(page.browser.find_elements(By.TAG_NAME, "main")) == 1
    )


def test_an_uploaded_voice_is_used_kept_and_chosen(page, clips):
    page.write(TEXT)
    page.choose(seed=3)
    page["upload"].send_keys(str(clips[0]))
    page.until(lambda: page["prompt"].is_displayed())
    assert "The voice is that of" in page["status"].text and not page["voice"].is_enabled()
    page["speak"].click()
    own = page.downloaded()
    other = wanted(page.running.pipe, TEXT)
    assert own.shape != other.shape or np.abs(own - other).max() > 0.1
    page["keep-name"].send_keys("me")
    page["keep"].click()
    page.until(lambda: page["status"].text == "The voice is kept as me.")
    assert page["voice"].get_attribute("value") == "me" and not page["prompt"].is_displayed()
    assert "me" in page.running.server.voices.names()
    page["speak"].click()
    page.until(lambda: not page["download"].is_displayed())
    np.testing.assert_allclose(page.downloaded(), own, atol=2e-3)


def test_a_voice_is_recorded(page):
    """The browser's false microphone beeps."""
    page["record"].click()
    page.until(lambda: page["record"].get_attribute("aria-pressed") == "true")
    time.sleep(2)
    page["record"].click()
    page.until(lambda: page["prompt"].is_displayed())
    assert "seconds were recorded" in page["status"].text
    page.write(TEXT)
    page["speak"].click()
    assert len(page.downloaded()) > 10_000
    page["forget"].click()
    assert not page["prompt"].is_displayed() and page["voice"].is_enabled()


def test_errors_are_shown(page):
    page.write("<speak><audio/></speak>")
    page["speak"].click()
    page.until(lambda: page["error"].text)
    assert "<audio>" in page["error"].text and page["speak"].is_enabled()
    page.write(TEXT)
    page["speak"].click()
    assert len(page.downloaded()) > 1000


def test_it_asks_for_a_key(browser, serve):
    with serve(api_key="secret", is_local=False) as running:
        browser.get(running.url)
        page = Page.__new__(Page)
        page.browser, page.running = browser, running
        page.until(lambda: "API key" in page["error"].text)
        page["key"].send_keys("secret", Keys.TAB)
        page.until(lambda: page["voice"].find_elements(By.TAG_NAME, "option"))
        page.write(TEXT)
        page["speak"].click()
        assert len(page.downloaded()) > 1000
        browser.get("about:blank")
