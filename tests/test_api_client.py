"""The API as gradio_client meets it: clips, tokens, owners, and errors word by word."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from core.option_table import OPTIONS
from core.options import Crop
from core.samples import SPEECH
from tests.conftest import RunningApp

TALK, PRELOAD, LIST = "/process_talking_head", "/preload_avatar", "/list_avatars"
DELETE, CLEAR = "/delete_avatar", "/clear_cache"


def connect(app: RunningApp, folder: Path, download: bool = True) -> Client:
    return Client(
        app.url, verbose=False, analytics_enabled=False, download_files=folder if download else False
    )


@pytest.fixture(scope="module")
def clients(
    running_app: RunningApp, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Client, Client]]:
    folder = tmp_path_factory.mktemp("out")
    made = connect(running_app, folder), connect(running_app, folder)
    yield made
    for client in made:
        client.close()


@pytest.fixture
def client(clients: tuple[Client, Client]) -> Iterator[Client]:
    yield clients[0]
    clients[0].predict("all", api_name=CLEAR)


@pytest.fixture
def other(clients: tuple[Client, Client]) -> Iterator[Client]:
    yield clients[1]
    clients[1].predict("all", api_name=CLEAR)


def test_a_clip_and_its_figures(client: Client, portrait: Path, short_speech: Path) -> None:
    video, info = client.predict(handle_file(portrait), handle_file(short_speech), api_name=TALK)
    with av.open(video) as opened:
        picture, sound = opened.streams.video[0], opened.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height) == (512, 512)
        assert sum(1 for _ in opened.decode(picture)) == info["frames"] == 20
    assert info["duration_s"] == pytest.approx(0.8)
    assert info["token"].startswith("av_")
    assert (info["engine"], info["preset"], info["resolution"], info["seed"]) == (
        "lite",
        "default",
        "512",
        1024,
    )
    assert (
        info["ffd_ms"] > 0 and info["rtf"] > 0 and info["register_ms"] > 0 and "encode" in info["stages_ms"]
    )
    assert info["warnings"] == [] and "AI-generated" in info["notice"]


def test_a_token_stands_for_the_portrait(client: Client, portrait: Path, short_speech: Path) -> None:
    token, found = client.predict(handle_file(portrait), label="Eileen", api_name=PRELOAD)
    assert found["size"] == [512, 512] and found["is_image"] and found["token"] == token
    first, _ = client.predict(handle_file(portrait), handle_file(short_speech), api_name=TALK)
    second, info = client.predict(None, handle_file(short_speech), avatar_token=token, api_name=TALK)
    third, _ = client.predict(audio=handle_file(short_speech), avatar_token=token, seed=7, api_name=TALK)
    assert info["token"] == token
    assert digest(first) == digest(second) != digest(third)


def test_a_clip_moves_while_the_figures_tell_how_far(client: Client, portrait: Path) -> None:
    job = client.submit(handle_file(portrait), handle_file(SPEECH), resolution="320", api_name=TALK)
    assert job.result(120)[1]["width"] == 320
    told = [info for _, info in job.outputs()[:-1]]
    assert told[0]["stage"] == "register"
    fractions = [step["fraction"] for step in told if step["stage"] == "frames"]
    assert fractions == sorted(fractions) and len(fractions) > 2 and told[-1]["eta_s"] is not None


def test_every_option_is_a_parameter(client: Client) -> None:
    api = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(api) == {TALK, PRELOAD, LIST, DELETE, CLEAR}  # what the page does is not among them
    process = [parameter["parameter_name"] for parameter in api[TALK]["parameters"]]
    assert process[:7] == ["source", "audio", "avatar_token", "preset", "resolution", "emo", "seed"]
    assert set(OPTIONS) <= set(process)
    assert all(parameter["parameter_has_default"] for parameter in api[TALK]["parameters"])
    fixed = {one["parameter_name"]: one["parameter_default"] for one in api[TALK]["parameters"]}
    own = {name: value for name, value in fixed.items() if name in OPTIONS and value is not None}
    assert own == {"resolution": "512", "seed": 1024}, "what is left out hides nothing that an engine brings"
    assert set(Crop.model_fields) <= {parameter["parameter_name"] for parameter in api[PRELOAD]["parameters"]}


def test_options_act_by_name_and_as_json(client: Client, portrait: Path, short_speech: Path) -> None:
    sources = handle_file(portrait), handle_file(short_speech)
    plain, _ = client.predict(*sources, api_name=TALK)
    turned, _ = client.predict(*sources, delta_yaw=8, api_name=TALK)
    json_turned, _ = client.predict(*sources, options='{"delta_yaw": 8}', api_name=TALK)
    assert digest(turned) == digest(json_turned) != digest(plain)
    happy, info = client.predict(*sources, emo=[3, 6], sampling_timesteps=20, overlap_v2=10, api_name=TALK)
    assert digest(happy) != digest(plain)
    assert info["warnings"] == ["Option 'sampling_timesteps' has no effect with engine 'lite'."]
    neutral, _ = client.predict(*sources, emo="neutral", preset="realtime", api_name=TALK)
    left_out, info = client.predict(*sources, preset="realtime", api_name=TALK)
    assert digest(neutral) == digest(left_out) and info["warnings"] == []


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"crop_scale": 99}, "bad_option", "Option 'crop_scale'"),
        ({"crop_scale": "wide"}, "bad_option", "Allowed: 1.2 .. 5"),
        ({"emo": "bored"}, "bad_option", "'bored' is no emotion"),
        ({"preset": "best"}, "bad_option", "Unknown preset 'best'"),
        ({"options": '{"crop_scal": 2}'}, "bad_option", "Did you mean 'crop_scale'?"),
        ({"options": "{"}, "bad_option", "'options' is not JSON"),
        ({"options": "[]"}, "bad_option", "not a JSON object"),
        ({"source": None, "avatar_token": "av_" + 32 * "x"}, "unknown_token", "avatar"),
        ({"source": None, "avatar_token": "../../etc/passwd"}, "unknown_token", "avatar"),
        ({"source": None}, "bad_input", "No portrait was given."),
        ({"audio": None}, "bad_audio", "No speech was given."),
    ],
)
def test_wrong_input_is_answered_in_our_words(
    client: Client, portrait: Path, short_speech: Path, change: dict[str, Any], code: str, said: str
) -> None:
    asked = {"source": handle_file(portrait), "audio": handle_file(short_speech), **change}
    with pytest.raises(AppError) as caught:
        client.predict(**asked, api_name=TALK)
    assert said in caught.value.message
    assert caught.value.title == code and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("which", "content", "said"),
    [
        ("source", b"", "empty"),
        ("source", b"no picture", ""),
        ("audio", b"", "empty"),
        ("audio", b"no sound", ""),
    ],
)
def test_broken_files_are_refused(
    running_app: RunningApp, client: Client, portrait: Path, short_speech: Path, tmp_path: Path, which: str,
    content: bytes, said: str,
) -> None:  # fmt: skip
    broken = tmp_path / "broken.bin"
    broken.write_bytes(content)
    asked = {"source": portrait, "audio": short_speech, which: broken}
    before = running_app.clips()
    with pytest.raises(AppError) as caught:
        client.predict(handle_file(asked["source"]), handle_file(asked["audio"]), api_name=TALK)
    assert caught.value.title in ("bad_image", "bad_audio") and said in caught.value.message
    assert running_app.clips() == before


def test_a_picture_without_a_face_is_refused(client: Client, short_speech: Path, tmp_path: Path) -> None:
    Image.new("RGB", (256, 256), "tan").save(tmp_path / "wall.png")
    with pytest.raises(AppError, match="face"):
        client.predict(handle_file(tmp_path / "wall.png"), handle_file(short_speech), api_name=TALK)
    with pytest.raises(AppError, match="face"):
        client.predict(handle_file(tmp_path / "wall.png"), api_name=PRELOAD)


def test_a_client_reaches_only_its_own_avatars(
    client: Client, other: Client, portrait: Path, short_speech: Path
) -> None:
    token, _ = client.predict(handle_file(portrait), label="mine", api_name=PRELOAD)
    assert [avatar["label"] for avatar in client.predict(api_name=LIST)] == ["mine"]
    assert other.predict(api_name=LIST) == []
    with pytest.raises(AppError) as caught:
        other.predict(token, api_name=DELETE)
    assert caught.value.title == "not_yours"
    assert other.predict("all", api_name=CLEAR) == {"scope": "all", "results": 0, "avatars": 0}
    _, info = other.predict(
        None, handle_file(short_speech), avatar_token=token, api_name=TALK
    )  # holders may use it
    assert info["token"] == token
    theirs, _ = other.predict(handle_file(portrait), api_name=PRELOAD)
    assert theirs != token
    assert client.predict(token, api_name=DELETE) == {"deleted": token}
    assert client.predict(api_name=LIST) == [] and len(other.predict(api_name=LIST)) == 1
    with pytest.raises(AppError):
        client.predict(None, handle_file(short_speech), avatar_token=token, api_name=TALK)


def test_clearing_has_scopes_and_really_deletes(
    running_app: RunningApp, portrait: Path, short_speech: Path, tmp_path: Path
) -> None:
    client = connect(running_app, tmp_path, download=False)
    video, info = client.predict(handle_file(portrait), handle_file(short_speech), api_name=TALK)
    address = f"{running_app.url}/gradio_api/file={video['path']}"
    assert httpx.get(address).status_code == 200
    assert client.predict(api_name=CLEAR) == {"scope": "results", "results": 1, "avatars": 0}
    assert httpx.get(address).status_code == 403 and not Path(video["path"]).exists()
    assert not list((running_app.home / "uploads").rglob("talking_head.mp4"))  # nor is there a copy
    assert client.predict(api_name=LIST)[0]["token"] == info["token"]
    assert client.predict("avatars", api_name=CLEAR)["avatars"] == 1
    with pytest.raises(AppError, match="Unknown scope 'everything'"):
        client.predict("everything", api_name=CLEAR)
    client.close()


def test_cancelling_stops_the_work(
    running_app: RunningApp, client: Client, portrait: Path, long_speech: Path
) -> None:
    before = set(running_app.clips())
    job = client.submit(handle_file(portrait), handle_file(long_speech), api_name=TALK)
    wait_for(lambda: set(running_app.clips()) - before)  # it is being written
    job.cancel()
    wait_for(lambda: set(running_app.clips()) == before)


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
