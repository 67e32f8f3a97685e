"""The live demo: its files over HTTP, and the page in a headless browser against a whole server.

Screenshots stay in output/test-artifacts.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from server import live_room
from tests.conftest import ROOT
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server

ARTIFACTS = ROOT / "output" / "test-artifacts"
STATIC = ROOT / "server" / "static"
PHONE, DESK = (390, 844), (1280, 900)
PATIENCE_MS = 30_000
FLAGS = (
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",  # a beep every second
    "--use-fake-ui-for-media-stream",
)
SOCKETS = """
    window.sockets = [];
    window.sequences = [];
    window.WebSocket = class extends WebSocket {
        constructor(...given) {
            super(...given);
            sockets.push(this);
            this.addEventListener('message', (event) => {
                if (this.hangs) event.stopImmediatePropagation();
                else if (typeof event.data !== 'string') {
                    sequences.push(new DataView(event.data).getUint32(8));
                }
            });
        }
    };
"""
NO_MEDIA_SOURCE = "delete window.MediaSource; delete window.ManagedMediaSource;"
LOUDNESS = """async (seconds) => {
    const context = new AudioContext(), analyser = new AnalyserNode(context, { fftSize: 2048 });
    const stream = document.querySelector('#video').captureStream();
    context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(2048);
    let loudest = 0;
    for (const until = performance.now() + 1000 * seconds; performance.now() < until;) {
        await new Promise((done) => setTimeout(done, 40));
        analyser.getFloatTimeDomainData(samples);
        loudest = Math.max(loudest, Math.sqrt(samples.reduce((sum, each) => sum + each * each, 0) / 2048));
    }
    await context.close();
    return loudest;
}"""
MOUTH = """async ([what, grabs]) => {  // how much the lower part of the face changes in between, 0..255
    const canvas = new OffscreenCanvas(64, 32), context = canvas.getContext('2d', { willReadFrequently: true });
    let before = null, most = 0;
    for (let i = 0; i < grabs; i++) {
        const face = document.querySelector(what), w = face.videoWidth || face.width;
        context.drawImage(face, 0.35 * w, 0.5 * w, 0.3 * w, 0.15 * w, 0, 0, 64, 32);
        const now = context.getImageData(0, 0, 64, 32).data;
        if (before) most = Math.max(most, now.reduce((sum, each, at) => sum + Math.abs(each - before[at]), 0) / now.length);
        before = now;
        await new Promise((done) => setTimeout(done, 120));
    }
    return most;
}"""  # noqa: E501


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("demo"), rate_per_minute=10_000) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None and not os.environ.get("CI"):
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


class Visit:
    """One browser of its own on the page; it notes what the page asks for and complains of."""

    def __init__(self, browser: Browser, server: LiveServer, size: tuple[int, int], **given: Any) -> None:
        scripts = given.pop("scripts", ())
        self.server = server
        self.context: BrowserContext = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale="en-US", **given
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        for script in scripts:
            self.context.add_init_script(script)
        self.page: Page = self.context.new_page()
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))
        self.page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{server.http}/demo")

    def start(self) -> None:
        self.page.click("#start")
        expect(self.page.locator("#speak")).to_be_enabled(timeout=PATIENCE_MS)

    def state(self, name: str) -> None:
        expect(self.page.locator("#state")).to_have_attribute("data-state", name, timeout=PATIENCE_MS)

    def video(self, what: str) -> Any:
        return self.page.evaluate(f"document.querySelector('#video').{what}")

    def plays_on(self, seconds: float = 0.5) -> None:
        """Media time goes on from here."""
        self.page.wait_for_function(
            "(from) => document.querySelector('#video').currentTime > from",
            arg=self.video("currentTime") + seconds,
        )

    def shot(self, name: str) -> None:
        self.page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser: Browser, server: LiveServer) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def start(size: tuple[int, int] = DESK, at: LiveServer = server, **given: Any) -> Visit:
        made.append(Visit(browser, at, size, **given))
        return made[-1]

    yield start
    for one in made:
        one.context.close()


# --- over HTTP


def test_the_page_is_kept_to_itself(server: LiveServer) -> None:
    page = httpx.get(f"{server.http}/demo")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy
    assert "connect-src 'self'" in policy and "script-src 'self'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in re.findall(r'(?:src|href)="(demo/[^"]+)"', page.text):
        part = httpx.get(f"{server.http}/{name}")
        assert part.status_code == 200 and part.content, name
        assert part.headers["content-security-policy"] == policy


def test_what_is_unchanged_is_not_sent_again(server: LiveServer) -> None:
    for name in ("demo.js", "portrait.jpg", "speech.wav"):
        first = httpx.get(f"{server.http}/demo/{name}")
        again = httpx.get(f"{server.http}/demo/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert ("max-age" in first.headers["cache-control"]) == (not name.endswith(".js"))


@pytest.mark.parametrize("name", ["nothing.js", "..%2fdemo.py", "%2fetc%2fpasswd", "demo.html%00", ""])
def test_other_names_are_not_served(server: LiveServer, name: str) -> None:
    assert httpx.get(f"{server.http}/demo/{name}").status_code in (307, 404)


def test_every_text_has_its_words() -> None:
    known = set(re.findall(r'^    "?([\w.]+)"?: "', (STATIC / "texts.js").read_text(), re.M))
    used = set(re.findall(r'data-(?:text|label)="([^"]+)"', (STATIC / "demo.html").read_text()))
    for script in STATIC.glob("*.js"):
        used |= set(re.findall(r'\bsay\("([^"]+)"', script.read_text()))
    assert used <= known
    assert not re.findall(r">\s*[A-Za-z]{2,}[^<{]*<", _without_names((STATIC / "demo.html").read_text()))


def _without_names(page: str) -> str:
    """The page without what is no text of ours to translate."""
    for one in ("<title>Visavis · live</title>", "<h1>Visavis</h1>", "This page needs JavaScript."):
        assert one in page
        page = page.replace(one, "")
    return page


# --- in the browser


def test_a_face_speaks_with_sound(visit: Callable[..., Visit], server: LiveServer) -> None:
    here = visit(scripts=(SOCKETS,))
    page = here.page
    expect(page.locator(".badge")).to_have_text("AI-generated")
    expect(page.locator("footer")).to_contain_text("AI-generated")
    here.start()
    assert page.evaluate("sockets[0].protocol") == "visavis.v2"
    here.plays_on()
    idle = page.evaluate(MOUTH, ["#video", 6])
    page.click("#speak")
    here.state("speaking")
    assert page.evaluate(LOUDNESS, 1.5) > 0.02
    assert page.evaluate(MOUTH, ["#video", 14]) > max(4, 2 * idle)
    here.plays_on(2)
    assert here.video("getVideoPlaybackQuality().totalVideoFrames") > 20
    assert here.video("webkitAudioDecodedByteCount") > 5000
    assert here.video("videoWidth") == 320 and not here.video("muted")
    assert 15 <= float(page.inner_text("#fact-fps b")) <= 30
    assert re.fullmatch(r"\d+ ms", page.inner_text("#fact-first b"))
    assert abs(float(page.inner_text("#fact-drift b").split()[0])) <= 40
    assert page.inner_text("#fact-quality b").startswith("CRF ")
    assert 0 < float(page.inner_text("#fact-buffered b").split()[0]) < 1.5
    here.shot("demo-desk")
    assert not [one for one in here.asked if not one.startswith((server.http, server.ws, "data:", "blob:"))]
    assert here.complaints == []
    page.click("#stop")
    here.state("off")
    expect(page.locator("#start")).to_be_focused()
    expect(page.locator("#still")).to_be_visible()
    wait_until_empty(here)


def test_an_interruption_is_silence_at_once(visit: Callable[..., Visit]) -> None:
    here = visit()
    here.start()
    here.page.click("#speak")
    here.state("speaking")
    here.plays_on()
    assert here.page.evaluate(
        "(document.querySelector('#interrupt').click(), document.querySelector('#video').muted)"
    )
    expect(here.page.locator("#told")).to_have_text("Interrupted.")
    here.page.wait_for_function("() => !document.querySelector('#video').muted")  # the jump is done
    assert here.page.evaluate(LOUDNESS, 1.0) < 0.002
    here.state("live")
    here.page.click("#speak")  # and it listens again
    here.state("speaking")
    assert here.page.evaluate(LOUDNESS, 1.0) > 0.02


@pytest.mark.parametrize("loss", ["close(4000)", "hangs = true"])
def test_a_lost_connection_comes_back(visit: Callable[..., Visit], loss: str) -> None:
    here = visit(scripts=(SOCKETS,))
    here.start()
    here.page.click("#speak")
    here.state("speaking")
    at = here.video("currentTime")
    here.page.evaluate(f"void (sockets.at(-1).{loss})")
    here.state("again")
    expect(here.page.locator("#told")).to_contain_text("trying again in 0.5 s")
    expect(here.page.locator("#told")).to_have_text("Connected again.")
    here.plays_on(2)
    assert here.video("currentTime") > at  # the same stream goes on
    assert here.video("buffered.length") == 1  # nothing is missing in between
    assert here.page.evaluate("sockets.length") == 2
    sequences = here.page.evaluate("sequences")
    assert sequences == list(range(1, len(sequences) + 1))  # and nothing came twice
    assert here.complaints == []


def test_a_session_that_is_over_begins_anew(
    visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_room, "RESUME_S", 0.05)
    here = visit(scripts=(SOCKETS,))
    here.start()
    here.plays_on(1)
    here.page.evaluate("sockets.at(-1).close(4000)")
    expect(here.page.locator("#told")).to_contain_text("new session")
    here.page.wait_for_function("() => document.querySelector('#video').currentTime > 0.3")
    here.plays_on()
    here.page.click("#speak")
    here.state("speaking")


def test_the_microphone_is_heard(visit: Callable[..., Visit]) -> None:
    here = visit(permissions=["microphone"])
    page = here.page
    page.check("[name=voice][value=microphone]")
    here.start()
    page.click("#speak")
    expect(page.locator("#speak")).to_have_attribute("aria-pressed", "true")
    here.state("speaking")
    assert page.evaluate(LOUDNESS, 2.5) > 0.01  # its beep
    page.click("#speak")
    expect(page.locator("#speak")).to_have_text("Speak")
    here.state("live")
    assert here.complaints == []


def test_without_media_source_pictures_and_pcm_do(visit: Callable[..., Visit]) -> None:
    here = visit(scripts=(NO_MEDIA_SOURCE,))
    here.start()
    expect(here.page.locator("#canvas")).to_be_visible()
    here.page.click("#speak")
    here.state("speaking")
    assert here.page.evaluate(MOUTH, ["#canvas", 14]) > 4
    here.page.wait_for_function("() => parseFloat(document.querySelector('#fact-fps b').textContent) > 12")
    here.page.click("#interrupt")
    expect(here.page.locator("#told")).to_have_text("Interrupted.")
    here.state("live")
    here.page.click("#stop")
    here.state("off")
    assert here.complaints == []


def test_own_files_and_what_is_wrong_with_them(
    visit: Callable[..., Visit], portrait: Path, short_speech: Path, tmp_path: Path
) -> None:
    here = visit()
    page = here.page
    Image.new("RGB", (256, 256), "tan").save(tmp_path / "wall.png")
    page.set_input_files("#portrait-file", tmp_path / "wall.png")
    page.click("#start")
    expect(page.locator("#told")).to_contain_text("face")
    here.state("off")
    (tmp_path / "words.wav").write_text("no sound at all")
    page.set_input_files("#portrait-file", portrait)
    page.check("[name=voice][value=file]")
    here.start()
    page.click("#speak")
    expect(page.locator("#told")).to_contain_text("Choose a sound file")
    page.set_input_files("#speech-file", tmp_path / "words.wav")
    page.click("#speak")
    expect(page.locator("#told")).to_contain_text("sound")
    page.set_input_files("#speech-file", short_speech)
    page.click("#speak")
    here.state("speaking")
    here.state("live")
    page.click("#stop")
    page.reload()  # the browser is known again: its portrait is an avatar now
    mine = page.locator(".face", has_text="My avatar")
    expect(mine).to_have_count(1)
    assert mine.locator("img").evaluate("img => img.decode().then(() => img.naturalWidth)") > 64
    mine.locator("input").check()
    here.start()


def test_a_server_with_keys_asks_for_one(visit: Callable[..., Visit], tmp_path: Path, portrait: Path) -> None:
    with live_server(tmp_path, FakeEngine(), api_keys="opensesame", max_sessions=1) as locked:
        here, second = visit(at=locked), visit(at=locked)
        page = here.page
        expect(page.locator("#key-panel")).to_be_visible()
        page.click("#start")
        expect(page.locator("#told")).to_contain_text("access key")
        page.fill("#key", "opensesame")
        here.start()
        second.page.fill("#key", "opensesame")
        second.page.click("#start")
        expect(second.page.locator("#told")).to_contain_text("taken")  # one session, and it is another's
        expect(second.page.locator("#start")).to_be_visible()
        page.click("#stop")
        wait_until_empty(here)
        here.context.close()
        second.context.close()


def test_a_phone_and_a_keyboard_are_enough(visit: Callable[..., Visit]) -> None:
    here = visit(PHONE, color_scheme="light")
    page = here.page
    expect(page.locator("#start")).to_be_in_viewport()
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#speak")).to_be_enabled()
    page.locator("#speak").focus()
    page.keyboard.press("Space")
    here.state("speaking")
    here.plays_on(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    here.shot("demo-phone")
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    here.shot("demo-phone-dark")


def wait_until_empty(here: Visit) -> None:
    """The server has let the session go."""
    for _ in range(100):
        if not here.server.house.admission.active:
            return
        here.page.wait_for_timeout(50)
    raise AssertionError("a session is still open")
