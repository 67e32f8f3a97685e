"""The engine's panel in a headless browser: which engine is in use, and Ditto fetched by a click."""

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from core.checkpoints.catalogue import VARIANTS
from core.networks import AUX_NETWORKS, MAIN_NETWORKS
from tests.conftest import RunningApp, serving_app
from tests.fake_hub import FIRST, FakeHub, serving
from tests.graphs import tiny_model
from tests.test_ditto_config import published as published_config
from tests.test_page import DESK, Visit, browser  # noqa: F401  a fixture

WARP = "ditto_onnx/warp_network.onnx"
OWN = 'The checkpoints\' own; "none" does without'


def open_options(page: Page) -> None:
    """Unfold the advanced panel and all that is in it."""
    page.click("#vv-advanced > button")
    groups = page.locator(".vv-group > button")
    expect(groups.last).to_be_visible()  # `all` does not wait
    for group in groups.all():
        group.click()


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    """A hub whose ONNX files can be opened."""
    specs = {spec.name: spec for spec in (*MAIN_NETWORKS, *AUX_NETWORKS)}
    hub = FakeHub()
    for asset in VARIANTS["ditto-onnx"].assets:
        made = pickle.dumps(published_config())
        if asset.role in specs:
            made = tiny_model(specs[asset.role]).SerializeToString()
        hub.commits[FIRST][asset.path] = made
    with serving(hub):
        yield hub


@pytest.fixture
def app(hub: FakeHub, tmp_path: Path) -> Iterator[RunningApp]:
    with serving_app(
        tmp_path / "home", HF_ENDPOINT=hub.endpoint, VISAVIS_MODELS=str(tmp_path / "models"),
        VISAVIS_DEVICE="cpu",
    ) as served:  # fmt: skip
        yield served


def test_ditto_is_fetched_on_request(
    hub: FakeHub, app: RunningApp, browser: Browser, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    here = Visit(browser, app.url, DESK, "en-US")
    page = here.page
    assert hub.requests == [], "nobody asked for anything yet"
    open_options(page)
    steps, rendered = page.get_by_label("number input for Denoising steps"), page.get_by_text("Rendered face")
    expect(steps).to_have_count(0)
    expect(rendered).to_be_visible()
    page.get_by_label("number input for Crop size").fill("3")
    page.click("#vv-engine > button")
    panel = page.locator("#vv-engine")
    expect(panel).to_contain_text("In use: lite")
    expect(panel).to_contain_text("no GPU")

    page.click("#vv-engine-offer")
    expect(panel).to_contain_text("GB are fetched into " + str(tmp_path / "models"))
    expect(panel).to_contain_text("are free (ditto-onnx)")
    expect(panel).to_contain_text("non-commercial research")
    assert not hub.fetched()
    here.shot("page-engine-offer")

    hold = hub.hold[WARP] = threading.Event()
    page.click("#vv-engine-fetch")
    expect(panel).to_contain_text("Fetching Ditto")
    page.click("#vv-engine-cancel")
    hold.set()
    expect(page.locator("#vv-engine-offer")).to_be_visible()
    expect(panel).to_contain_text("In use: lite")

    hub.status = 503
    page.click("#vv-engine-offer")
    page.click("#vv-engine-fetch")
    expect(page.locator(".toast-body")).to_contain_text("503")
    expect(panel).to_contain_text("In use: lite")

    hub.status = 200
    page.click("#vv-engine-offer")
    page.click("#vv-engine-fetch")
    expect(panel).to_contain_text("In use: ditto")
    expect(panel).to_contain_text("From now on Ditto makes the videos")
    expect(page.locator("#vv-engine button:visible")).to_have_count(1)
    expect(steps).to_have_value("10")
    expect(page.get_by_label("number input for Window overlap")).to_have_value("70")
    expect(page.get_by_label("Streaming")).to_be_checked()
    expect(page.get_by_label("number input for Crop size")).to_have_value("3")
    expect(page.get_by_label("Reference character")).to_have_attribute("placeholder", OWN)
    expect(page.get_by_label("All frames")).to_have_value('{"delta_pitch": 2.0}')
    expect(page.locator(".vv-pills label.selected").first).to_have_text("Checkpoints' own")
    expect(rendered).to_have_count(0)
    page.get_by_text("Fast", exact=True).click()
    expect(steps).to_have_value("25")
    here.open()  # a page that is opened later shows Ditto's controls at once
    open_options(page)
    expect(steps).to_have_value("10")
    expect(rendered).to_have_count(0)
    here.shot("page-engine-ditto")
    assert here.foreign() == []
    here.context.close()


def test_a_page_that_others_reach_offers_no_download(
    hub: FakeHub, browser: Browser, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    hub.requests.clear()
    with serving_app(
        tmp_path / "home", HF_ENDPOINT=hub.endpoint, GRADIO_SERVER_NAME="0.0.0.0", VISAVIS_DEVICE="cpu"
    ) as app:  # fmt: skip
        here = Visit(browser, app.url, DESK, "en-US")
        here.page.click("#vv-engine > button")
        expect(here.page.locator("#vv-engine")).to_contain_text("model_manager.py download")
        expect(here.page.locator("#vv-engine-offer")).not_to_be_visible()
        here.context.close()
    assert hub.requests == []


def test_an_engine_asked_for_is_fetched_at_the_start(hub: FakeHub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving_app(
        home, HF_ENDPOINT=hub.endpoint, VISAVIS_MODELS=str(tmp_path / "models"), VISAVIS_DEVICE="cpu",
        VISAVIS_ENGINE="ditto",
    ):  # fmt: skip
        log = (home / "app.log").read_text()
    assert "Fetching Ditto: 0 of" in log and "Engine ditto: ONNX Runtime" in log
