"""StreamSDK: upstream's calls over one pipeline, and upstream's faults that are gone."""

import gc
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from core.compat import StreamSDK
from core.errors import BadAudio, BadImage, BadOption, BadPath, ComputeError, EncodeFailed, NoFace
from core.media.writer import VideoWriter
from tests.faces import astronaut_portrait, no_face
from tests.sdk import Checkpoints, checkpoints
from tests.sounds import speech_like

FEW = {"sampling_timesteps": 1, "resolution": "320"}
CHUNK = (3, 5, 2)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoints]:
    with pytest.MonkeyPatch.context() as patch:
        yield checkpoints(tmp_path_factory.mktemp("checkpoints"), patch)


@pytest.fixture(scope="module")
def sdk(files: Checkpoints) -> Iterator[StreamSDK]:
    made = StreamSDK(files.cfg_pkl, files.data_root)
    yield made
    made.release()


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    Image.fromarray(astronaut_portrait()).save(path)
    return path


def sound(samples: int) -> np.ndarray:
    return np.resize(speech_like(2.0)[0], samples).astype(np.float32)


def frames(path: str) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def stream(sdk: StreamSDK, samples: np.ndarray, chunk: tuple[int, int, int] = CHUNK) -> None:
    """The windows of upstream's caller."""
    padded = np.concatenate([np.zeros(chunk[0] * 640), samples])
    length = int(sum(chunk) * 0.04 * 16000) + 80
    for start in range(0, len(padded), chunk[1] * 640):
        window = padded[start : start + length]
        sdk.run_chunk(np.pad(window, (0, length - len(window))), chunk)


def offline(sdk: StreamSDK, portrait: Path, output: Path, samples: np.ndarray, **options: object) -> None:
    sdk.setup(portrait, output, **FEW, **options)
    sdk.setup_Nd(N_d=math.ceil(len(samples) / 16000 * 25))
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(samples))
    sdk.close()


def fed() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "visavis-fed"]


# --- what it makes


def test_offline(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    offline(sdk, portrait, tmp_path / "out" / "a.mp4", sound(16_000), seed=1)
    assert sdk.tmp_output_path == str(tmp_path / "out" / "a.mp4.tmp.mp4")
    made = frames(sdk.tmp_output_path)
    assert len(made) == 25 and made[0].shape == (320, 320, 3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4.tmp.mp4"]
    assert not fed()


def test_the_source_keeps_its_size_unless_asked(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", sampling_timesteps=1, max_size=300)
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(640)))
    sdk.close()
    assert frames(sdk.tmp_output_path)[0].shape == (300, 300, 3)


@pytest.mark.parametrize("overlap", [0, 5, 10, 39, 40, 70, 75, 79])
@pytest.mark.parametrize("samples", [1, 4480, 16_000, 40_000])
def test_online_neither_loses_nor_adds_a_frame(
    sdk: StreamSDK, files: Checkpoints, portrait: Path, tmp_path: Path, overlap: int, samples: int
) -> None:
    files.nets["warp_network"].calls.clear()
    count = math.ceil(samples / 16000 * 25)
    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=True, overlap_v2=overlap, **FEW)
    assert sdk.online_mode
    sdk.setup_Nd(N_d=count)
    stream(sdk, sound(samples))
    sdk.close()
    assert len(files.nets["warp_network"].calls) == count
    assert len(frames(sdk.tmp_output_path)) == count


@pytest.mark.parametrize("chunk", [(3, 5, 2), (2, 5, 1), (5, 5, 3), (0, 4, 1)])
def test_any_chunks_online(
    sdk: StreamSDK, portrait: Path, tmp_path: Path, chunk: tuple[int, int, int]
) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=True, overlap_v2=70, **FEW)
    stream(sdk, sound(12_800), chunk)
    sdk.close()
    described = chunk[1] * math.ceil((12_800 + chunk[0] * 640) / (chunk[1] * 640))
    assert len(frames(sdk.tmp_output_path)) == described, "without setup_Nd a frame for all that is described"


def test_windows_without_online_mode_are_rows_like_any(
    sdk: StreamSDK, portrait: Path, tmp_path: Path
) -> None:  # fmt: skip
    sdk.setup(portrait, tmp_path / "a.mp4", **FEW)
    stream(sdk, sound(16_000))
    sdk.close()
    assert len(frames(sdk.tmp_output_path)) == 30


def test_features_may_come_in_parts(
    sdk: StreamSDK, files: Checkpoints, portrait: Path, tmp_path: Path
) -> None:
    def points(*cuts: int) -> np.ndarray:
        files.nets["warp_network"].calls.clear()
        sdk.setup(portrait, tmp_path / "a.mp4", seed=3, **FEW)
        for part in np.split(sdk.wav2feat.wav2feat(sound(64_000)), cuts):
            sdk.audio2motion_queue.put(part)
        sdk.audio2motion_queue.put(None)
        sdk.close()
        return np.concatenate([call["kp_driving"] for call in files.nets["warp_network"].calls])

    np.testing.assert_array_equal(points(), points(0, 7, 81))


def test_whoever_seeds_numpy_seeds_the_clip(
    sdk: StreamSDK, files: Checkpoints, portrait: Path, tmp_path: Path
) -> None:
    def points(state: int, **options: object) -> np.ndarray:
        files.nets["warp_network"].calls.clear()
        np.random.seed(state)
        offline(sdk, portrait, tmp_path / "a.mp4", sound(6400), **options)
        return np.concatenate([call["kp_driving"] for call in files.nets["warp_network"].calls])

    first = points(1024)
    np.testing.assert_array_equal(first, points(1024))
    assert np.abs(first - points(7)).max() > 1e-4
    np.testing.assert_array_equal(points(1, seed=5), points(2, seed=5))


def test_controls_and_fades(sdk: StreamSDK, files: Checkpoints, portrait: Path, tmp_path: Path) -> None:
    def points(single: object, **options: object) -> np.ndarray:
        files.nets["warp_network"].calls.clear()
        sdk.setup(portrait, tmp_path / "a.mp4", seed=1, **FEW, **options)
        sdk.setup_Nd(N_d=10, fade_in=4, fade_out=-1, ctrl_info=single)
        sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(6400)))
        sdk.close()
        return np.concatenate([call["kp_driving"] for call in files.nets["warp_network"].calls])

    def moved(made: np.ndarray) -> list[int]:
        return np.flatnonzero(np.abs(made - plain).max((1, 2)) > 1e-6).tolist()

    plain = points(None)
    assert moved(points({3: {"delta_yaw": 9}})) == [3]
    assert moved(points([{}, {}, {"delta_yaw": 9}])) == [2], "upstream's list begins with frame 0"
    assert moved(points(None, ctrl_info={5: {"delta_roll": 9}})) == [5], "None keeps what setup was given"
    assert moved(points({}, ctrl_info={5: {"delta_roll": 9}})) == []


def test_defaults_of_the_configuration(
    portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The file's values go before the table's and after the caller's; sections may be replaced."""
    given = {
        "online_mode": True,
        "overlap_v2": 70,
        "sampling_timesteps": 1,
        "overall_ctrl_info": {"delta_pitch": 2},
    }
    made = checkpoints(tmp_path, monkeypatch, given)
    sdk = StreamSDK(made.cfg_pkl, made.data_root, default_kwargs={"sampling_timesteps": 3})
    sdk.setup(portrait, tmp_path / "a.mp4", resolution="320")
    assert sdk.online_mode
    stream(sdk, sound(3200))
    sdk.close()
    calls = len(made.nets["lmdm"].calls)
    assert calls == 2 * 3, "two windows at overlap 70, three steps each"
    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=False, resolution="320")
    assert not sdk.online_mode
    sdk.release()
    with pytest.raises(BadOption, match="released"):
        sdk.setup(portrait, tmp_path / "a.mp4")
    for sections, says in (
        ({"base": {}}, "'base' is no section"),
        ({"default_kwargs": {"overlap": 3}}, "'overlap' is unknown in default_kwargs"),
        ({"default_kwargs": {"overlap_v2": 99}}, "overlap_v2.*Correct what was given"),
    ):
        with pytest.raises(BadOption, match=says):
            StreamSDK(made.cfg_pkl, made.data_root, **sections)


def test_a_planned_length_limits_a_source_video(
    sdk: StreamSDK, files: Checkpoints, tmp_path: Path
) -> None:  # fmt: skip
    with VideoWriter(tmp_path / "head.mp4", (512, 512)) as writer:
        for _ in range(5):
            writer.write(astronaut_portrait())
    for values, frames_read in (({"N_d": 2}, 2), ({"N_d": 2, "template_n_frames": 3}, 3), ({}, 5)):
        files.nets["appearance_extractor"].calls.clear()
        sdk.setup(tmp_path / "head.mp4", tmp_path / "a.mp4", **values)
        assert len(files.nets["appearance_extractor"].calls) == frames_read
    sdk.cancel()


# --- what goes wrong


@pytest.mark.parametrize("net", ["hubert", "lmdm", "stitch_network", "warp_network", "decoder"])
def test_a_failing_stage_ends_the_clip_with_its_error(
    sdk: StreamSDK,
    files: Checkpoints,
    portrait: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    net: str,
) -> None:
    def fail(arrays: object) -> dict:
        raise ComputeError(f"{net}: failed.")

    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=True, overlap_v2=70, **FEW)
    monkeypatch.setattr(files.nets[net], "_run", fail)
    with pytest.raises(ComputeError, match=net):
        stream(sdk, sound(64_000))
        sdk.close()
    sdk.cancel()
    assert not fed() and not list(tmp_path.iterdir())
    monkeypatch.undo()
    offline(sdk, portrait, tmp_path / "a.mp4", sound(640))
    assert len(frames(sdk.tmp_output_path)) == 1, "the next clip is made as if nothing had been"


def test_a_failing_writer_ends_the_clip(
    sdk: StreamSDK, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream's stages wait for each other for ever then, and what comes in afterwards is lost silently."""

    def full(self: VideoWriter, rgb: np.ndarray) -> None:
        raise EncodeFailed("The disk is full.")

    monkeypatch.setattr(VideoWriter, "write", full)
    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=True, overlap_v2=70, **FEW)
    with pytest.raises(EncodeFailed, match="full"):
        for _ in range(100):
            stream(sdk, sound(32_000))
    with pytest.raises(EncodeFailed, match="full"):
        sdk.close()
    assert not fed() and not list(tmp_path.iterdir())


def test_a_clip_that_is_dropped_leaves_nothing(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", online_mode=True, overlap_v2=70, **FEW)
    stream(sdk, sound(32_000))
    sdk.setup(portrait, tmp_path / "b.mp4", **FEW)  # without close: the clip before is dropped
    assert not fed() and not list(tmp_path.iterdir())
    sdk.cancel()
    sdk.close()
    assert not list(tmp_path.iterdir())


def test_an_object_that_goes_away_takes_its_clip_along(
    files: Checkpoints, portrait: Path, tmp_path: Path
) -> None:  # fmt: skip
    nets = dict(files.nets)  # of the SDK that all share
    sdk = StreamSDK(files.cfg_pkl, files.data_root)
    files.nets.update(nets)
    sdk.setup(portrait, tmp_path / "a.mp4", **FEW)
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(640)))
    assert fed()
    del sdk
    gc.collect()
    assert not fed() and not list(tmp_path.iterdir())


def test_setup_nd_comes_before_the_sound(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", **FEW)
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(640)))
    with pytest.raises(BadOption, match="too late"):
        sdk.setup_Nd(1)
    sdk.cancel()


def test_what_cannot_be_set_up_changes_nothing(
    sdk: StreamSDK, files: Checkpoints, portrait: Path, tmp_path: Path
) -> None:  # fmt: skip
    sdk.setup(portrait, tmp_path / "a.mp4", chunksize=(2, 5, 1), **FEW)
    with pytest.raises(BadOption):
        sdk.setup_Nd(10, ctrl_info={1: {"delta_yaw": 99}})
    sdk.setup_Nd(10)
    files.nets["hubert"].calls.clear()
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(6400)))
    assert {len(call["input_values"][0]) for call in files.nets["hubert"].calls} == {5200}, "as set up"
    sdk.close()
    assert len(frames(sdk.tmp_output_path)) == 10
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadPath):
        sdk.setup(portrait, tmp_path / "file" / "a.mp4")
    with pytest.raises(BadPath):
        sdk.setup(tmp_path / "none.png", tmp_path / "new" / "sub" / "a.mp4")
    assert not (tmp_path / "new").exists()


def test_an_unset_length_is_no_limit(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    for online in (False, True):
        sdk.setup(portrait, tmp_path / "a.mp4", online_mode=online, N_d=0, **FEW)
        stream(sdk, sound(3200))
        sdk.close()
        assert len(frames(sdk.tmp_output_path)) == 10


def test_an_empty_clip_is_told(sdk: StreamSDK, portrait: Path, tmp_path: Path) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", **FEW)
    sdk.audio2motion_queue.put(sdk.wav2feat.wav2feat(sound(0)))
    with pytest.raises(BadAudio, match="no sound"):
        sdk.close()
    assert not list(tmp_path.iterdir())


def test_a_bare_output_name(
    sdk: StreamSDK, portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    offline(sdk, portrait, Path('a"; touch b; ".mp4'), sound(640))
    assert [path.name for path in tmp_path.iterdir()] == ['a"; touch b; ".mp4.tmp.mp4']


def test_sources_that_cannot_be_used(sdk: StreamSDK, tmp_path: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(no_face("blank")).save(blank)
    (tmp_path / "text.png").write_text("no picture")
    for path, error in ((blank, NoFace), (tmp_path / "none.png", BadPath), (tmp_path / "text.png", BadImage)):
        with pytest.raises(error):
            sdk.setup(path, tmp_path / "a.mp4")
    with pytest.raises(BadOption, match=r"setup\(source_path, output_path\)"):
        sdk.setup_Nd(3)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda sdk: sdk.setup_Nd(10, ctrl_info={10: {}}), "no frame 10; the clip has 10"),
        (lambda sdk: sdk.setup_Nd(10, ctrl_info={1: {"delta_yaw": 99}}), "1.delta_yaw"),
        (lambda sdk: sdk.setup_Nd(10, fade_in=-2), "fade_in"),
        (lambda sdk: sdk.run_chunk(np.zeros(6480), (3, 5, 0)), "future"),
        (lambda sdk: sdk.run_chunk(np.zeros(6480), (3, 16, 2)), "5 to 20"),
        (lambda sdk: sdk.run_chunk(np.zeros(6479)), "6480 samples, not 6479"),
        (lambda sdk: sdk.run_chunk(np.full(6480, np.nan)), "finite"),
        (lambda sdk: sdk.wav2feat.wav2feat(np.zeros((2, 640))), "one row"),
        (lambda sdk: sdk.wav2feat.wav2feat(np.zeros(640), sr=44_100), "44100 Hz"),
        (lambda sdk: sdk.audio2motion_queue.put(np.zeros((3, 1023))), r"\(3, 1023\)"),
        (lambda sdk: sdk.audio2motion_queue.put([[1], [1, 2]]), "no array of numbers"),
        (lambda sdk: sdk.wav2feat.wav2feat("a.wav"), "no array of numbers"),
        (lambda sdk: sdk.wav2feat.wav2feat(np.zeros(640, np.int16)), "whole numbers"),
        (lambda sdk: sdk.run_chunk(np.zeros(6480), "3,5"), "not 3 numbers"),
        (lambda sdk: sdk.setup(None, "a.mp4"), "A path was expected, not None"),
    ],
)
def test_wrong_calls_are_told(
    sdk: StreamSDK, portrait: Path, tmp_path: Path, wrong: Callable[[StreamSDK], None], says: str
) -> None:
    sdk.setup(portrait, tmp_path / "a.mp4", **FEW)
    with pytest.raises((BadOption, BadAudio, BadPath), match=says):
        wrong(sdk)
    sdk.cancel()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"overlap_v2": 80}, r"overlap_v2.*0 \.\. 79"),
        ({"chunksize": (3, 5, 0)}, "chunksize.*future"),
        ({"emo": []}, "emo"),
        ({"emo": [0, 1, 2, 3, 4, 5, 6, 7]}, "1 to 7 emotions, not 8"),
        ({"emo": np.zeros((3, 7)) + 0.5}, "emo"),
        ({"low_latency": True}, "set online_mode"),
        ({"sampling_timestep": 3}, "Did you mean 'sampling_timesteps'"),
    ],
)
def test_wrong_options_are_told(
    sdk: StreamSDK, portrait: Path, tmp_path: Path, options: dict, says: str
) -> None:
    with pytest.raises(BadOption, match=says):
        sdk.setup(portrait, tmp_path / "a.mp4", **options)
