"""What a hostile visitor tries: foreign paths, other people's files, markup in names, huge uploads."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from core.errors import BadPath
from core.optimization.avatar_cache import AvatarInfo
from core.option_table import OPTIONS, PRESETS
from core.option_values import EMOTIONS
from core.settings import Settings
from core.talker import Progress
from tests.conftest import ROOT, UPLOAD_MIB, RunningApp
from ui import advanced, show
from ui.environment import prepare, uploads_of
from ui.files import received
from ui.owners import is_secret, new_secret, owner_of
from ui.plot import plot
from ui.shown import ADVANCED
from ui.texts import LANGUAGES, language_of
from ui.work import answered

SECRET = "root-only"


def call(app: RunningApp, endpoint: str, **given: Any) -> str:
    """Post to an endpoint of the API as a bare HTTP client does -> the whole answer."""
    named = httpx.get(f"{app.url}/gradio_api/info").json()["named_endpoints"]
    names = {one["parameter_name"]: one["parameter_default"] for one in named[f"/{endpoint}"]["parameters"]}
    assert set(given) <= set(names)
    return post(app, endpoint, list({**names, **given}.values()))


def post(app: RunningApp, endpoint: str, data: list[Any]) -> str:
    posted = httpx.post(f"{app.url}/gradio_api/call/{endpoint}", json={"data": data})
    assert posted.status_code == 200, posted.text
    event = posted.json()["event_id"]
    return httpx.get(f"{app.url}/gradio_api/call/{endpoint}/{event}", timeout=60).text


def file_data(path: object) -> dict[str, Any]:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def planted(running_app: RunningApp) -> list[Path]:
    """Paths that lead to a file outside the upload folder, links inside it among them."""
    outside = running_app.home / "secret.txt"
    outside.write_text(SECRET)
    uploads = running_app.home / "uploads"
    (uploads / "link.txt").symlink_to(outside)
    (uploads / "folder").symlink_to(running_app.home)
    return [
        outside,
        uploads / ".." / "secret.txt",
        uploads / "link.txt",
        uploads / "folder" / "secret.txt",
        Path("/etc/hostname"),
        Path("../../../../../../etc/hostname"),
    ]


def test_foreign_paths_are_refused_as_input(running_app: RunningApp, planted: list[Path]) -> None:
    controls = [None for _ in OPTIONS]
    for path in planted:
        file = file_data(path)
        answers = {
            call(running_app, "preload_avatar", source=file),
            call(running_app, "process_talking_head", source=file, audio=file),
            call(running_app, "process_talking_head", audio=file, avatar_token="av_x"),
            post(running_app, "generate", ["", file, None, file, "fast", *controls]),
        }
        for answer in answers:
            assert "event: error" in answer and "event: complete" not in answer and SECRET not in answer, path
    assert not list((running_app.home / "uploads").rglob("hostname"))


def test_results_are_no_input(running_app: RunningApp) -> None:
    result = running_app.home / "results" / "someone.mp4"  # gradio itself takes what it serves
    result.write_text(SECRET)
    answer = call(running_app, "preload_avatar", source=file_data(result))
    assert "This file was not uploaded. Only uploaded files can be used." in answer


def test_only_uploads_pass_the_second_check(tmp_path: Path) -> None:
    uploads, outside = tmp_path / "uploads", tmp_path / "outside.txt"
    uploads.mkdir()
    outside.write_text(SECRET)
    inside = uploads / "face.png"
    inside.write_text("x")
    (uploads / "link").symlink_to(outside)
    (uploads / "circle").symlink_to(uploads / "circle")
    assert received(file_data(inside), uploads) == inside
    assert received(None, uploads) is None
    hostile = [
        outside, uploads / "link", uploads / "circle", uploads, uploads / "none.png",
        f"{uploads}/../outside.txt", f"{inside}\0", "x" * 5000, "http://127.0.0.1/face.png", "",
    ]  # fmt: skip
    for path in hostile:
        with pytest.raises(BadPath):
            received(file_data(path), uploads)
    for payload in ("face.png", 7, {"path": 7}, {}, [str(inside)]):
        with pytest.raises(BadPath):
            received(payload, uploads)


def test_only_results_and_uploads_are_served(running_app: RunningApp, planted: list[Path]) -> None:
    avatars = running_app.home / "avatars"
    inside = [path for path in avatars.rglob("*") if path.is_file()]
    assert inside
    for path in [*planted[:2], *inside, Path("/etc/hostname"), avatars.parent / "app.log", Path(__file__)]:
        reply = httpx.get(f"{running_app.url}/gradio_api/file={path}")
        assert reply.status_code == 403, path


def test_the_home_is_private(running_app: RunningApp) -> None:
    for name in ("uploads", "avatars", "results"):
        assert stat.S_IMODE((running_app.home / name).stat().st_mode) == 0o700, name


def test_huge_uploads_are_refused(running_app: RunningApp) -> None:
    body = b"x" * (UPLOAD_MIB * 2**20 + 1)
    reply = httpx.post(f"{running_app.url}/gradio_api/upload", files={"files": ("big.wav", body)})
    assert reply.status_code == 413


def test_an_address_of_another_machine_is_told_in_one_line(tmp_path: Path) -> None:
    places = {"VISAVIS_HOME": str(tmp_path), "GRADIO_SERVER_NAME": "192.0.2.1"}  # reserved: nobody's
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "error: The app cannot listen at 192.0.2.1." in ended.stderr


def test_page_events_are_not_part_of_the_api(running_app: RunningApp) -> None:
    named = httpx.get(f"{running_app.url}/gradio_api/info").json()["named_endpoints"]
    assert sorted(named) == [
        "/clear_cache", "/delete_avatar", "/list_avatars", "/preload_avatar", "/process_talking_head"
    ]  # fmt: skip


def test_a_browser_is_known_by_its_secret_only() -> None:
    one, two = gr.Request(session_hash="one"), gr.Request(session_hash="two")
    secret = new_secret()
    assert is_secret(secret) and secret != new_secret()
    assert owner_of(one, secret) == owner_of(two, secret) != owner_of(one, new_secret())
    assert owner_of(one) != owner_of(two) and secret not in owner_of(one, secret)
    for forged in (None, "", "short", 7, ["x"], secret + "x", secret[:-1] + " "):
        assert owner_of(one, forged) == owner_of(one)
    assert owner_of(gr.Request(session_hash=secret)) != owner_of(one, secret)


def test_names_are_shown_as_text() -> None:
    avatar = AvatarInfo("av_x", '"><script>alert(1)</script>', 0.0, 0.0, (64, 64), 1, b"jpeg")
    assert "<script" not in show.gallery([avatar], "av_x", "en")
    figures: dict[str, Any] = {
        "ffd_ms": 5.0, "rtf": 0.5, "register_ms": 5.0, "frames": 1, "notes": ["<img onerror=x>"],
        "warnings": ["<b>"], "duration_s": 1.0, "width": 1, "height": 1, "engine": "<i>", "engine_reason": "",
        "preset": "fast", "seed": 1, "token": "<u>", "stages_ms": {"<s>": 1.0},
    }  # fmt: skip
    written = show.facts(figures, "en") + show.details(figures, "en")
    assert "<img" not in written and "<u>" not in written and "<s>" not in written


def test_an_unforeseen_error_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(gr.Error) as caught, answered("en"):
        raise RuntimeError("/home/me/secret")
    assert "secret" not in caught.value.message and "/home/me/secret" in caplog.text


def test_nothing_old_is_left_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
    settings = Settings(home=tmp_path)
    uploads = uploads_of(settings)
    (uploads / "old").mkdir(parents=True)
    (uploads / "old" / "face.png").write_text("x")
    (uploads / "new.png").write_text("x")
    os.utime(uploads / "old", (0, 0))
    prepare(settings)
    assert [path.name for path in uploads.iterdir()] == ["new.png"]
    assert os.environ["GRADIO_TEMP_DIR"] == str(uploads)


def test_every_language_says_everything() -> None:
    folder = Path(advanced.__file__).parent / "locales"
    tables = {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in LANGUAGES}
    english = set(tables["en"])
    assert {f"option.{name}" for name in ADVANCED} <= english
    assert {f"emo.{name}" for name in EMOTIONS} | {f"preset.{name}" for name in PRESETS} <= english
    assert {f"preset.{name}.hint" for name in PRESETS} <= english
    for name in ("zh", "ja", "ko"):
        assert set(tables[name]) == english | {f"help.{option}" for option in ADVANCED}, name
    for key in english:
        places = {part.split("}")[0] for part in tables["en"][key].split("{")[1:]}
        for table in tables.values():
            assert {part.split("}")[0] for part in table[key].split("{")[1:]} == places, key
    assert language_of({"accept-language": "fr-FR,ja-JP;q=0.8,en;q=0.5"}) == "ja"
    assert language_of({}) == "en"


def test_curves_of_any_length_fill_the_plot() -> None:
    for length in (0, 1, 2, 25, 90_000):
        drawn = plot([0.1] * length, [0.5] * length, "ko")
        points = drawn.split('points="')[1].split('"')[0].split()
        assert 2 <= len(points) <= 240 and points[0].startswith("0.0,") and points[-1].startswith("600.0,")
    loud = plot([0.0, 0.2], [0.0, 1.0], "en")
    assert 'points="0.0,96.0 600.0,6.0"' in loud


def test_progress_is_told_with_and_without_a_length() -> None:
    known = show.progress(Progress("frames", 0.25, 7.6), "en")
    assert "width:25%" in known and "8 s left" in known and 'aria-valuenow="25"' in known
    assert "vv-unknown" in show.progress(Progress("frames", None, None), "zh")
