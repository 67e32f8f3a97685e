"""`inference.run` and what it reads: upstream's way to make a clip, on an SDK that writes down its calls."""

import json
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

import inference
from core.compat import StreamSDK
from core.errors import BadAudio, BadOption, BadPath, ComputeError, TalkerError
from core.media.writer import VideoWriter
from core.more_kwargs import MoreKwargs, read_more_kwargs
from core.types import AudioChunk
from tests.faces import astronaut_portrait
from tests.sdk import Checkpoints, checkpoints
from tests.sounds import speech_like

SAMPLES = 40_000  # 63 frames, of which the last one is not whole


class FakeSDK:
    """Keeps what it is called with, and writes a plain silent video."""

    def __init__(self, fail_at: str = "") -> None:
        self.wav2feat = SimpleNamespace(stream=self._describe)
        self.audio2motion_queue = SimpleNamespace(put=self._put)
        self.calls: list[tuple[str, Any]] = []
        self.windows: list[np.ndarray] = []
        self.chunksizes: set[tuple[int, ...]] = set()
        self.online_mode, self.tmp_output_path, self.open = False, "", False
        self._fail_at = fail_at

    def _call(self, name: str, given: Any = None) -> None:
        self.calls.append((name, given))
        if name == self._fail_at:
            raise ComputeError("It broke.")

    def setup(self, source_path: str, output_path: str, **kwargs: Any) -> None:
        self._call("setup", (source_path, output_path, kwargs))
        self.online_mode = kwargs.get("online_mode", False)
        self.tmp_output_path, self.open = output_path + ".tmp.mp4", True

    def setup_Nd(self, N_d: int, fade_in: int = -1, fade_out: int = -1, ctrl_info: Any = None) -> None:
        self._call("setup_Nd", (N_d, fade_in, fade_out, ctrl_info))
        self._frames = N_d

    def _describe(self, sound: Iterator[AudioChunk], chunksize: Any) -> Iterator[np.ndarray]:
        self._call("wav2feat", (sum(len(chunk.samples) for chunk in sound), tuple(chunksize)))
        yield np.zeros((3, 1024))

    def _put(self, features: np.ndarray) -> None:
        self._call("put", features.shape)

    def run_chunk(self, audio_chunk: np.ndarray, chunksize: Any = (3, 5, 2)) -> None:
        self._call("run_chunk")
        self.windows.append(audio_chunk)
        self.chunksizes.add(tuple(chunksize))

    def close(self) -> None:
        self._call("close")
        self.open = False
        with VideoWriter(Path(self.tmp_output_path), (64, 64)) as writer:
            for index in range(self._frames):
                writer.write(np.full((64, 64, 3), index, np.uint8))

    def cancel(self) -> None:
        self._call("cancel")
        self.open = False


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    soundfile.write(folder / "speech.wav", speech_like(SAMPLES / 16_000)[0], 16_000, "FLOAT")
    (folder / "portrait.png").write_bytes(b"the fake does not look")
    return folder


def run(sdk: FakeSDK, media: Path, out: Path, more: Any = None, audio: str = "speech.wav") -> None:
    inference.run(sdk, str(media / audio), str(media / "portrait.png"), str(out), more)


def named(sdk: FakeSDK, name: str) -> list[Any]:
    return [given for called, given in sdk.calls if called == name]


def test_offline(media: Path, tmp_path: Path) -> None:
    sdk, out = FakeSDK(), tmp_path / "new" / "talk.mp4"
    run(sdk, media, out)
    assert [name for name, _ in sdk.calls] == ["setup", "setup_Nd", "wav2feat", "put", "close"]
    assert named(sdk, "setup") == [(str(media / "portrait.png"), str(out), {})]
    assert named(sdk, "setup_Nd") == [(63, -1, -1, None)]
    assert named(sdk, "wav2feat") == [(SAMPLES, (3, 5, 2))] and named(sdk, "put") == [(3, 1024)]
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 63
        assert video.streams.audio[0].codec_context.name == "aac"
    assert [path.name for path in out.parent.iterdir()] == ["talk.mp4"]


@pytest.mark.parametrize("chunksize", [(3, 5, 2), (2, 5, 1), (5, 5, 3)])
def test_online_windows_are_upstreams(chunksize: tuple[int, int, int], media: Path, tmp_path: Path) -> None:
    sdk = FakeSDK()
    more = {"setup_kwargs": {"online_mode": True}, "run_kwargs": {"chunksize": chunksize}}
    run(sdk, media, tmp_path / "talk.mp4", more)
    past, present, _ = chunksize
    sound, _ = soundfile.read(media / "speech.wav", dtype="float32")
    padded = np.concatenate([np.zeros(past * 640, np.float32), sound])
    length = sum(chunksize) * 640 + 80
    expected = [padded[at : at + length] for at in range(0, len(padded), present * 640)]
    expected = [np.pad(window, (0, length - len(window))) for window in expected]
    assert len(sdk.windows) == len(expected) and sdk.chunksizes == {chunksize}
    np.testing.assert_array_equal(sdk.windows, expected)
    assert [name for name, _ in sdk.calls if name != "run_chunk"] == ["setup", "setup_Nd", "close"]
    assert named(sdk, "setup_Nd")[0][0] == 63


def test_controls_of_the_setup_stay_unless_the_run_has_its_own(media: Path, tmp_path: Path) -> None:
    own, sdk = {3: {"delta_yaw": 4.0}}, FakeSDK()
    setup = {"ctrl_info": own, "emo": 5, "fade_in": 7}
    run(sdk, media, tmp_path / "a.mp4", {"setup_kwargs": setup})
    assert named(sdk, "setup")[0][2] == setup and named(sdk, "setup_Nd") == [(63, 7, -1, None)]
    more = {"setup_kwargs": setup, "run_kwargs": {"ctrl_info": {}, "fade_in": 5, "fade_out": 6}}
    run(sdk, media, tmp_path / "b.mp4", more)
    assert named(sdk, "setup_Nd")[1:] == [(63, 5, 6, {})]


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("stage", ["setup_Nd", "put", "run_chunk", "close"])
def test_an_error_drops_the_session_and_leaves_nothing(
    stage: str, online: bool, media: Path, tmp_path: Path
) -> None:
    if stage == ("put" if online else "run_chunk"):
        return
    sdk, out = FakeSDK(stage), tmp_path / "new" / "talk.mp4"
    with pytest.raises(ComputeError, match="It broke"):
        run(sdk, media, out, {"setup_kwargs": {"online_mode": online}})
    assert sdk.calls[-1][0] == "cancel" and not sdk.open
    assert not out.parent.exists()


def test_a_sound_that_cannot_be_added_leaves_nothing(
    media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(video: Path, sound: Path, output: Path) -> None:
        assert video.is_file()
        raise BadAudio("No sound.")

    monkeypatch.setattr("core.sdk_run.add_sound", broken)
    with pytest.raises(BadAudio, match="No sound"):
        run(FakeSDK(), media, tmp_path / "talk.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["media"]


@pytest.mark.parametrize(
    ("out", "audio", "more", "error", "says"),
    [
        ("talk.mp4", "none.wav", None, BadPath, "none.wav"),
        ("talk.mp4", "portrait.png", None, BadAudio, "portrait.png"),
        ("talk.avi", "speech.wav", None, BadOption, ".mp4"),
        ("talk.mp4", "speech.wav", {"run_kwargs": {"fade_in": "soon"}}, BadOption, "fade_in"),
        ("talk.mp4", "speech.wav", {"run_kwargs": {"chunksize": (3, 5, 0)}}, BadOption, "chunksize"),
        ("talk.mp4", "speech.wav", {"run_kwargs": {"emo": 4}}, BadOption, "'emo' in run_kwargs"),
        ("media/portrait.mp4", "speech.wav", None, BadPath, "made from"),
    ],
)
def test_what_is_wrong_is_told_before_the_setup(
    out: str, audio: str, more: Any, error: type[TalkerError], says: str, media: Path, tmp_path: Path
) -> None:
    (media / "portrait.mp4").hardlink_to(media / "portrait.png")
    sdk = FakeSDK()
    with pytest.raises(error, match=says):
        run(sdk, media, tmp_path / out, more, audio)
    assert sdk.calls == []


def test_an_hour_online_is_never_in_memory(media: Path, tmp_path: Path) -> None:
    """Not as a whole: windows share their memory with a few chunks of the file."""
    soundfile.write(media / "long.wav", np.zeros(16_000 * 60, np.float32), 16_000)
    sdk, most = FakeSDK(), 0

    def run_chunk(audio_chunk: np.ndarray, chunksize: Any = ()) -> None:
        nonlocal most
        whole = audio_chunk if audio_chunk.base is None else audio_chunk.base
        most = max(most, whole.size)

    sdk.run_chunk = run_chunk  # type: ignore[method-assign]
    sdk.close = sdk.cancel  # type: ignore[method-assign]
    with pytest.raises(BadPath):  # no video was written
        run(sdk, media, tmp_path / "talk.mp4", {"setup_kwargs": {"online_mode": True}}, "long.wav")
    assert 0 < most < 16_000 * 6


def test_seeds() -> None:
    drawn = []
    for _ in range(2):
        inference.seed_everything(7)
        drawn.append((random.random(), np.random.randint(2**31)))
    assert drawn[0] == drawn[1]
    inference.seed_everything(8)
    assert (random.random(), np.random.randint(2**31)) != drawn[0]


def test_seeds_of_torch_without_importing_it() -> None:
    code = (
        "import sys, inference; inference.seed_everything(5); assert 'torch' not in sys.modules; "
        "import torch; inference.seed_everything(5); a = torch.rand(1); inference.seed_everything(5); "
        "assert a == torch.rand(1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True)


# --- with the SDK itself


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StreamSDK, Checkpoints]]:
    with pytest.MonkeyPatch.context() as patch:
        files = checkpoints(tmp_path_factory.mktemp("checkpoints"), patch)
        sdk = StreamSDK(files.cfg_pkl, files.data_root)
        yield sdk, files
        sdk.release()


def pictures(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as video:
        assert video.streams.audio[0].codec_context.name == "aac"
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


@pytest.mark.parametrize("online", [False, True])
def test_the_sdk_makes_the_clip(
    online: bool,
    real: tuple[StreamSDK, Checkpoints],
    media: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sdk, files = real
    Image.fromarray(astronaut_portrait()).save(media / "portrait.png")
    setup = {"sampling_timesteps": 1, "resolution": "320", "online_mode": online, "overlap_v2": 70}
    more = {"setup_kwargs": setup, "run_kwargs": {"fade_in": 5}}
    out, made = tmp_path / "talk.mp4", []
    for _ in range(2):
        inference.seed_everything(3)
        inference.run(sdk, media / "speech.wav", media / "portrait.png", out, more)
        made.append(pictures(out))
    assert len(made[0]) == 63 and made[0][0].shape == (320, 320, 3)
    np.testing.assert_array_equal(*made)

    def fail(arrays: object) -> dict[str, np.ndarray]:
        raise ComputeError("It broke.")

    out.unlink()
    monkeypatch.setattr(files.nets["decoder"], "_run", fail)
    with pytest.raises(ComputeError, match="It broke"):
        inference.run(sdk, media / "speech.wav", media / "portrait.png", out, more)
    assert [path.name for path in tmp_path.iterdir()] == ["media"]
    assert not [thread for thread in threading.enumerate() if thread.name == "visavis-fed"]


# --- more_kwargs

MORE = {"setup_kwargs": {"emo": [4, 5], "crop_scale": 2.5}, "run_kwargs": {"fade_in": 25}}


def test_more_kwargs_of_every_kind(tmp_path: Path) -> None:
    wanted = MoreKwargs(MORE["setup_kwargs"], MORE["run_kwargs"])
    as_json, as_pickle = tmp_path / "more.json", tmp_path / "more.pkl"
    as_json.write_text(json.dumps(MORE))
    as_pickle.write_bytes(pickle.dumps(MORE))
    for given in (MORE, json.dumps(MORE), as_json, str(as_json), as_pickle, str(as_pickle)):
        assert read_more_kwargs(given) == wanted
    assert read_more_kwargs({}) == read_more_kwargs('{"run_kwargs": null}') == MoreKwargs()


def test_arrays_come_out_of_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "more.pkl"
    path.write_bytes(pickle.dumps({"setup_kwargs": {"delta_eye_arr": np.ones((15, 63), np.float32)}}))
    assert read_more_kwargs(path).setup["delta_eye_arr"].shape == (15, 63)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("a.json", b"{", BadOption, "not JSON"),
        ("a.json", b"\xff\xfe", BadOption, "no text"),
        ("a.json", b"[1]", BadOption, "no named values"),
        ("a.json", b"[" * 100_000, BadOption, "nested too deeply"),
        ("a.json", b'{"emo": 4}', BadOption, "'emo' in more_kwargs"),
        ("a.json", b'{"setup_kwargs": [4]}', BadOption, "setup_kwargs is no set"),
        ("a.json", b'{"run_kwargs": {"emo": 4}}', BadOption, "'emo' in run_kwargs"),
        ("a.pkl", pickle.dumps([1]), BadOption, "no named values"),
        ("a.pkl", pickle.dumps({"setup_kwargs": {4: 5}}), BadOption, "setup_kwargs is no set"),
        ("a.pkl", pickle.dumps({"setup_kwargs": _Runs()}), BadOption, "refused"),
        ("a.pkl", b"nothing", BadOption, "not a whole pickle"),
        ("a.txt", b"{}", BadOption, "neither JSON nor"),
        ("none.json", None, BadPath, "No such file"),
        ("none.pkl", None, BadPath, "No such file"),
    ],
)
def test_more_kwargs_that_are_refused(
    name: str, content: bytes | None, error: type[TalkerError], says: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(error, match=says):
        read_more_kwargs(name)
    assert not Path("ran").exists()


def test_more_kwargs_from_what_is_no_file(tmp_path: Path) -> None:
    endless, large = tmp_path / "a.pkl", tmp_path / "a.json"
    endless.symlink_to("/dev/zero")
    with pytest.raises(BadPath, match="not a regular file"):
        read_more_kwargs(endless)
    with large.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(BadOption, match="64 MiB"):
        read_more_kwargs(large)
