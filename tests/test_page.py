"""The page in a headless browser: what a visitor does, sees and can be sure of.

Screenshots stay in output/test-artifacts.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from core.media.writer import VideoWriter
from core.samples import SPEECH, sample_portrait
from tests.conftest import ROOT, RunningApp

ARTIFACTS = ROOT / "output" / "test-artifacts"
PHONE, DESK = (390, 844), (1280, 900)
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


class Visit:
    """One browser of its own on the page; it notes every address that the page asks for."""

    def __init__(self, browser: Browser, url: str, size: tuple[int, int], language: str) -> None:
        self.context: BrowserContext = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale=language
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.asked: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.url = url
        self.page: Page = self.context.new_page()
        self.open()

    def open(self) -> None:
        self.page.goto(self.url)
        self.page.locator(".vv-pills label.selected").first.wait_for()
        self.page.wait_for_function("localStorage.getItem('visavis-owner') !== null")

    def give(self, portrait: Path, speech: Path) -> None:
        self.page.locator("#vv-photo input[type=file]").set_input_files(portrait)
        self.page.locator("#vv-photo img").wait_for()
        self.page.locator("#vv-speech input[type=file]").set_input_files(speech)
        self.page.locator(
            "#vv-speech [data-testid*=waveform], #vv-speech .component-wrapper"
        ).first.wait_for()

    def generate(self) -> None:
        self.page.click("#vv-generate")

    def foreign(self) -> list[str]:
        """What the page asked of anyone but our server."""
        return [address for address in self.asked if not address.startswith((self.url, "data:", "blob:"))]

    def shot(self, name: str) -> None:
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Browser, running_app: RunningApp) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def start(size: tuple[int, int] = DESK, language: str = "en-US") -> Visit:
        made.append(Visit(browser, running_app.url, size, language))
        return made[-1]

    yield start
    for one in made:
        one.context.close()


def test_a_visitor_makes_a_portrait_talk(visit: Callable[..., Visit], portrait: Path) -> None:
    here = visit()
    page = here.page
    expect(page.locator("#vv-notice")).to_contain_text("AI-generated")
    here.give(portrait, SPEECH)
    here.generate()
    expect(page.locator(".vv-running")).to_contain_text("Drawing frames")
    expect(page.locator(".vv-running")).to_contain_text("s left")
    expect(page.locator("#vv-generate")).not_to_be_visible()
    page.locator("#vv-video video").wait_for()
    page.wait_for_function(
        "(() => { const v = document.querySelector('#vv-video video');"
        " return v && v.readyState >= 2 && v.currentTime > 0.3 && v.videoWidth === 512; })()"
    )
    assert page.evaluate("document.querySelector('#vv-video video').duration") == pytest.approx(8, abs=0.1)
    expect(page.locator(".vv-badge")).to_be_visible()
    expect(page.locator(".vv-plot .vv-open")).to_be_visible()
    expect(page.locator(".vv-facts")).to_contain_text("of real time")
    expect(page.locator(".vv-notes")).to_have_count(0)  # controls that are hidden are not given
    expect(page.locator("#vv-generate")).to_be_visible()
    page.click("#vv-details > button")
    expect(page.locator(".vv-table")).to_contain_text("av_")
    here.shot("page-desk")
    assert (
        here.asked and [one for one in here.asked if not one.startswith((here.url, "data:", "blob:"))] == []
    )


def test_samples_and_a_phone_are_enough(visit: Callable[..., Visit]) -> None:
    here = visit(PHONE, "ja-JP")
    page = here.page
    expect(page.locator(".vv-heading").first).to_have_text("肖像")
    expect(page.locator("#vv-generate")).to_have_text("話させる")
    expect(page.get_by_text("喜び")).to_be_visible()
    for button in page.locator(".vv-sample:visible").all()[:2]:
        button.click()
    page.locator("#vv-photo img").wait_for()
    page.locator("#vv-speech .component-wrapper").wait_for()
    page.get_by_text("喜び").click()
    page.get_by_text("320 px").click()
    expect(page.locator("#vv-generate")).to_be_in_viewport()
    here.generate()
    page.locator("#vv-video video").wait_for()
    expect(page.locator("#vv-video")).to_be_in_viewport()
    page.wait_for_function("document.querySelector('#vv-video video').videoWidth === 320")
    here.shot("page-phone")
    page.click("#vv-mine > button")  # the last of the page is not hidden by the fixed button
    expect(page.locator("#vv-mine button:visible")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    assert page.evaluate("document.querySelector('.gradio-container').scrollWidth") <= PHONE[0]


def test_a_video_can_be_the_portrait(visit: Callable[..., Visit], short_speech: Path, tmp_path: Path) -> None:
    source = tmp_path / "head.mp4"
    with VideoWriter(source, (512, 512)) as writer:
        for _ in range(5):
            writer.write(sample_portrait())
    here = visit()
    page = here.page
    page.get_by_role("tab", name="Video").click()
    page.locator("#vv-source-video input[type=file]").set_input_files(source)
    page.locator("#vv-source-video video").wait_for()
    corner = page.locator("#vv-source-video .icon-button-wrapper button:visible")
    expect(corner).to_have_count(1)  # no trimming, whose program gradio would fetch from the internet
    page.locator("#vv-speech input[type=file]").set_input_files(short_speech)
    page.locator("#vv-speech .component-wrapper").wait_for()
    here.generate()
    page.wait_for_function("document.querySelector('#vv-video video')?.videoWidth === 512")
    assert here.foreign() == []


def test_avatars_stay_with_their_browser(visit: Callable[..., Visit], portrait: Path) -> None:
    mine, theirs = visit(), visit()
    mine.page.get_by_text("320 px").click()
    mine.give(portrait, SPEECH)
    mine.generate()
    mine.page.locator("#vv-video video").wait_for()
    mine.open()  # a reload: the browser is known again
    for here in (mine, theirs):
        here.page.get_by_role("tab", name="My avatars").click()
    cards = mine.page.locator(".vv-card")
    expect(cards).to_have_count(1)
    expect(theirs.page.locator("#vv-avatars")).to_contain_text("No avatars yet")
    cards.locator("button[data-what=select]").click()
    expect(cards.locator("button[data-what=select]")).to_have_attribute("aria-pressed", "true")
    mine.shot("page-avatars")
    mine.page.locator("#vv-speech input[type=file]").set_input_files(SPEECH)
    mine.page.locator("#vv-speech .component-wrapper").wait_for()
    mine.page.get_by_text("320 px").click()
    mine.generate()
    mine.page.locator("#vv-video video").wait_for()  # by the avatar alone
    cards.locator("button[data-what=delete]").click()
    expect(cards).to_have_count(0)


def test_stopping_and_leaving_really_stop(
    visit: Callable[..., Visit], running_app: RunningApp, portrait: Path, long_speech: Path
) -> None:
    before = set(running_app.clips())
    here = visit()
    here.give(portrait, long_speech)
    for leave in (lambda: here.page.click("#vv-cancel"), here.page.close):
        here.generate()
        wait_for(lambda: set(running_app.clips()) != before)  # it is being written
        leave()
        wait_for(lambda: set(running_app.clips()) == before)
        if not here.page.is_closed():
            expect(here.page.locator("#vv-status")).to_contain_text("Stopped")
            expect(here.page.locator("#vv-generate")).to_be_visible()


def test_errors_are_told_and_the_button_comes_back(visit: Callable[..., Visit], tmp_path: Path) -> None:
    here = visit()
    here.generate()
    expect(here.page.locator(".toast-body")).to_contain_text("No portrait was given.")
    Image.new("RGB", (256, 256), "tan").save(tmp_path / "wall.png")
    here.give(tmp_path / "wall.png", SPEECH)
    here.generate()
    expect(here.page.locator(".toast-body", has_text="face")).to_be_visible()
    expect(here.page.locator("#vv-status")).to_contain_text("No video this time")
    expect(here.page.locator("#vv-generate")).to_be_visible()
    here.shot("page-error")


def test_a_preset_moves_the_panel(visit: Callable[..., Visit]) -> None:
    page = visit().page
    page.click("#vv-advanced > button")
    groups = page.locator(".vv-group > button")
    expect(groups.last).to_be_visible()  # `all` does not wait
    for group in groups.all():
        group.click()
    longest = page.get_by_label("number input for Longest side")
    expect(longest).to_have_value("1920")
    presets = page.locator(".vv-pills", has_text="Preset").locator("label:has(input)")
    expect(presets.and_(page.locator(".selected"))).to_have_text("Default")
    expect(page.get_by_text("The engine's own values.")).to_be_visible()
    page.get_by_text("Fast", exact=True).click()
    expect(longest).to_have_value("512")
    longest.fill("640")
    page.get_by_text("Back to the preset").click()
    expect(longest).to_have_value("512")
    expect(page.get_by_text("Fewer steps, little smoothing")).to_be_visible()
    for preset in ("Default", "Balanced", "Quality", "Real time", "Chat"):
        page.get_by_text(preset, exact=True).click()
        expect(longest).to_have_value("512" if preset == "Chat" else "1920")


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
