"""Ditto's engine whole, on stand-in networks: what goes through it, not what it looks like."""

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.atomic_components.canvas import canvas_of
from core.atomic_components.crop import MESH_EYES, MESH_LIPS
from core.atomic_components.windows import frame_count
from core.aux_models.face_mesh import FaceMesh
from core.contracts import StageClock
from core.engines.ditto import networks as networks_room
from core.engines.ditto.engine import DittoEngine
from core.engines.ditto.registration import source_face, source_motion
from core.engines.ditto.rules import Subject
from core.errors import CorruptCheckpoint, MissingCheckpoint, NoFace
from core.media.writer import VideoWriter
from core.networks import AUX_NETWORKS, MAIN_NETWORKS, NetworkSpec
from core.optimization.avatar_cache import AvatarCache
from core.option_table import OPTIONS, parse_options
from core.settings import Settings
from core.talker import Session
from core.types import AvatarSource, Frame, RegisteredAvatar
from scripts.parity.kit import stub_hubert, x_info
from tests.ditto import EYES, LIPS, Arrays, StandIn
from tests.faces import astronaut_portrait, no_face
from tests.fakes import chunks_of
from tests.sounds import speech_like
from tests.test_ditto_config import published

PUBLISHED = {spec.name for spec in (*MAIN_NETWORKS, *AUX_NETWORKS)}
INSIGHTFACE = {"insightface_det", "landmark106"}
FEW = {"sampling_timesteps": 2, "resolution": "320"}


# --- the stand-ins


@cache
def mesh() -> FaceMesh:
    return FaceMesh()


def landmarks(arrays: Any) -> Arrays:
    """203 of the mesh's points of the face in the crop, eyes and mouth where the network has them."""
    rgb = (arrays["input"][0].transpose(1, 2, 0) * 255).astype(np.uint8)
    faces = mesh().faces(rgb)
    if not faces:
        return {"landmarks": np.zeros((1, 406), np.float32)}
    seen = faces[0].points[:, :2] / 224
    points = seen[np.linspace(0, 467, 203).astype(int)]
    for ours, theirs in zip((*EYES[203], LIPS[203]), (*MESH_EYES, MESH_LIPS), strict=True):
        points[list(ours)] = seen[list(theirs)]
    return {"landmarks": points.reshape(1, 406).astype(np.float32)}


def motion_of(arrays: Any) -> Arrays:
    """The kit's made-up portrait; where the picture is brighter it stands further to the right."""
    info = x_info("shared/engine")
    return {**info, "t": info["t"] + arrays["image"].mean()}


def motion_model(arrays: Any) -> Arrays:
    """Smooth in time, loud where the condition is, livelier by emotion, and a little of the noise it had."""
    x, t, d = arrays["x"], np.arange(80)[:, None], np.arange(265)
    lively = 0.3 + 0.01 * arrays["cond"][0, :, 1024:1032] @ np.arange(8)
    wave = lively[:, None] * np.sin(0.11 * t + 0.07 * d) + 0.2 * arrays["cond"][0, :, (37 * d) % 1103].T
    start = wave[None] + 0.1 * x + 0.1 * arrays["cond_frame"][:, None]
    return {"pred_noise": np.tanh(x), "x_start": start.astype(np.float32)}


def warped(arrays: Any) -> Arrays:
    """The driving points and the mean of the appearance, where the decoder finds them."""
    out = np.zeros((1, 256, 64, 64), np.float32)
    out[0, 0, :21, :3] = arrays["kp_driving"][0]
    out[0, 1] = arrays["feature_3d"].mean()
    return {"out": out}


def decoded(arrays: Any) -> Arrays:
    """Red and green tell the place in the crop; blue the driving points and the appearance."""
    ramp = np.linspace(0, 1, 512, dtype=np.float32)
    feature = arrays["feature"][0]
    blue = 0.5 + 0.4 * np.sin(feature[0, :21, :3].sum()) + 0.1 * feature[1].mean()
    return {"output": np.stack(np.broadcast_arrays(ramp, ramp[:, None], np.float32(blue)))[None]}


RUNS: dict[str, Callable[[Any], Arrays]] = {
    "landmark203": landmarks,
    "appearance_extractor": lambda arrays: {
        "pred": np.full((1, 32, 16, 64, 64), arrays["image"].mean(), np.float32)
    },
    "motion_extractor": motion_of,
    "hubert": lambda arrays: {"encoding_out": stub_hubert(arrays["input_values"][0])},
    "lmdm": motion_model,
    "stitch_network": lambda arrays: {"out": arrays["kp_driving"] + np.float32(0.01)},
    "warp_network": warped,
    "decoder": decoded,
}


class Counted(StandIn):
    """Knows how often it was closed."""

    def __init__(self, run: Callable[[Any], Arrays]) -> None:
        super().__init__(run)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@dataclass
class Bench:
    """A folder with a file for every network, and what was opened of them."""

    files: dict[str, Path]
    opened: dict[str, Counted] = field(default_factory=dict)
    takes: dict[str, Sequence[int] | None] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    broken: str = ""

    def open(
        self, spec: NetworkSpec, path: Path, device: str, precision: str, threads: int,
        takes: Sequence[int] | None,
    ) -> Counted:  # fmt: skip
        assert path == self.files[spec.name]
        if spec.name == self.broken:
            raise CorruptCheckpoint(f"{path.name} is broken.")
        self.opened[spec.name] = Counted(RUNS.get(spec.name, lambda arrays: {}))
        self.takes[spec.name], self.devices[spec.name] = takes, device
        return self.opened[spec.name]

    def engine(self, profile: str = "commercial") -> DittoEngine:
        return DittoEngine(Settings(license_profile=profile), self.files, "made up")


def make_bench(folder: Path, monkeypatch: pytest.MonkeyPatch, without: set[str] = frozenset()) -> Bench:
    files = {name: folder / f"{name}.onnx" for name in PUBLISHED - without}
    for path in files.values():
        path.write_bytes(b"stand-in")
    bench = Bench(files)
    monkeypatch.setattr(networks_room, "open_network", bench.open)
    return bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return make_bench(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, DittoEngine]]:
    """One engine for all tests that only look; its mesh is MediaPipe's own."""
    with pytest.MonkeyPatch.context() as patch:
        bench = make_bench(
            tmp_path_factory.mktemp("files"), patch, without={"blaze_face", "face_mesh"} | INSIGHTFACE
        )
        engine = bench.engine()
        yield bench, engine
        engine.close()
        mesh().close()
        mesh.cache_clear()  # other modules have it opened anew


@pytest.fixture(scope="module")
def engine(shared: tuple[Bench, DittoEngine]) -> DittoEngine:
    return shared[1]


@pytest.fixture(scope="module")
def nets(shared: tuple[Bench, DittoEngine]) -> dict[str, Counted]:
    return shared[0].opened


@cache
def portrait() -> AvatarSource:
    return AvatarSource(data=png(astronaut_portrait()))


def png(rgb: np.ndarray) -> bytes:
    with io.BytesIO() as buffer:
        Image.fromarray(rgb).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def avatar(engine: DittoEngine) -> RegisteredAvatar:
    return engine.register(portrait(), parse_options({}).crop)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> AvatarSource:
    """Five frames of a head that moves to the right and gets brighter."""
    path = tmp_path_factory.mktemp("video") / "head.mp4"
    with VideoWriter(path, (512, 512)) as writer:
        for step in range(5):
            moved = np.roll(astronaut_portrait(), 8 * step, axis=1)
            writer.write((moved * (0.6 + 0.1 * step)).astype(np.uint8))
    return AvatarSource(path=path)


@pytest.fixture(scope="module")
def moving(engine: DittoEngine, clip: AvatarSource) -> RegisteredAvatar:
    return engine.register(clip, parse_options({"smo_k_s": 1}).crop)


@cache
def sound(seconds: float = 1.0) -> np.ndarray:
    return speech_like(seconds)[0].astype(np.float32)


def frames(
    engine: DittoEngine, avatar: RegisteredAvatar, samples: np.ndarray, size: int = 6400, **values: object
) -> list[Frame]:
    options = parse_options({**FEW, **values}, defaults=engine.capabilities.defaults)
    return list(Session(engine, avatar, options).frames(chunks_of(samples, size)))


def points(nets: dict[str, Counted], engine: DittoEngine, avatar: RegisteredAvatar, samples: np.ndarray,
           **values: object) -> np.ndarray:  # fmt: skip
    """The driving points of every frame, (n, 21, 3)."""
    calls = nets["warp_network"].calls
    calls.clear()
    frames(engine, avatar, samples, **values)
    return np.concatenate([call["kp_driving"] for call in calls])


# --- registration


def test_an_image_is_registered(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    assert (avatar.engine, avatar.is_image, avatar.n_frames, avatar.size) == ("ditto", True, 1, (512, 512))
    assert avatar.key == engine.fingerprint(portrait(), parse_options({}).crop)
    assert avatar.key != engine.fingerprint(portrait(), parse_options({"crop_scale": 2.5}).crop)
    arrays = avatar.arrays
    assert arrays["features"].shape == (1, 32, 16, 64, 64) and arrays["features"].dtype == np.float32
    bright = arrays["x.t"] - x_info("shared/engine")["t"]
    np.testing.assert_allclose(arrays["features"][0, 0, 0, 0, 0], bright[0, 0], atol=1e-5)
    assert arrays["sc"].shape == (63,) and arrays["eye_open"].shape == (1, 2)
    assert 0.3 < arrays["eye_open"].min() < 1.5, "the eyes in the crop are open"
    assert engine.preview(avatar).shape == (512, 512, 3)


def test_a_video_is_registered_frame_by_frame(
    engine: DittoEngine, clip: AvatarSource, moving: RegisteredAvatar
) -> None:
    assert (moving.is_image, moving.n_frames, moving.size) == (False, 5, (512, 512))
    crops = moving.arrays["crop_to_source"]
    assert np.diff(crops[:, 0, 2]).min() > 2
    np.testing.assert_allclose(
        crops[4, 0, 2] - crops[0, 0, 2], 32, atol=4, err_msg="the crop follows the head"
    )
    assert (np.diff(moving.arrays["features"][:, 0, 0, 0, 0].astype(float)) > 0).all()
    smooth = engine.register(clip, parse_options({"smo_k_s": 3}).crop)
    raw = moving.arrays["x.t"]
    np.testing.assert_allclose(smooth.arrays["x.t"][2], raw[1:4].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(smooth.arrays["sc"], raw_canonical(moving))
    few = engine.register(clip, parse_options({"template_n_frames": 2}).crop)
    assert few.n_frames == 2
    reports: list[float] = []
    engine.register(clip, parse_options({}).crop, reports.append)
    assert reports == sorted(reports) and len(reports) == 5 and reports[-1] == 1.0


def raw_canonical(avatar: RegisteredAvatar) -> np.ndarray:
    return np.asarray(avatar.arrays["x.kp"][0])


def test_no_face_is_told(engine: DittoEngine) -> None:
    with pytest.raises(NoFace):
        engine.register(AvatarSource(data=png(no_face("blank"))), parse_options({}).crop)


# --- frames


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 4480, 9999])
def test_as_many_frames_as_the_sound_has(engine: DittoEngine, avatar: RegisteredAvatar, samples: int) -> None:
    made = frames(engine, avatar, np.resize(sound(), samples))
    assert [frame.index for frame in made] == list(range(frame_count(samples)))


def test_same_seed_same_frames_whatever_the_chunks(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    whole = frames(engine, avatar, sound(0.5), size=10**9)
    for size in (160, 6401):
        for one, other in zip(whole, frames(engine, avatar, sound(0.5), size=size), strict=True):
            np.testing.assert_array_equal(one.rgb, other.rgb)
            assert one.opening == other.opening
    other = frames(engine, avatar, sound(0.5), seed=7)
    assert any((a.rgb != b.rgb).any() for a, b in zip(whole, other, strict=True))


def test_two_sessions_at_once(
    engine: DittoEngine, avatar: RegisteredAvatar, moving: RegisteredAvatar
) -> None:
    cases: list[tuple[RegisteredAvatar, dict[str, object]]] = [
        (avatar, {"seed": 1}),
        (moving, {"seed": 2, "emo": 3}),
    ]
    alone = [frames(engine, one, sound(0.3), **values) for one, values in cases]
    streams = [
        Session(engine, one, parse_options({**FEW, **values})).frames(chunks_of(sound(0.3), 700))
        for one, values in cases
    ]
    for pair, mixed in zip(zip(*alone, strict=True), zip(*streams, strict=True), strict=True):
        for expected, found in zip(pair, mixed, strict=True):
            np.testing.assert_array_equal(found.rgb, expected.rgb)


def test_a_video_goes_forth_and_back(
    engine: DittoEngine, moving: RegisteredAvatar, nets: dict[str, Counted]
) -> None:
    calls = nets["warp_network"].calls
    calls.clear()
    frames(engine, moving, sound(0.4))
    means = [float(call["feature_3d"].mean()) for call in calls]
    assert means == means[::-1] and means[:5] == sorted(means[:5]) and means[0] < means[4]


def test_the_clock_names_the_stages(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    clock, options = StageClock(), parse_options(FEW)
    rng = np.random.default_rng(0)
    list(engine.animate(avatar, chunks_of(sound(0.1), 640), options, rng, clock))
    assert list(clock.seconds) == ["prepare", "motion", "stitch", "render", "put back"]


# --- the picture


@pytest.mark.parametrize("resolution", ["source", "512", "320"])
def test_the_face_lands_where_it_was_cut_from(
    engine: DittoEngine, moving: RegisteredAvatar, resolution: str
) -> None:
    made = frames(engine, moving, sound(0.2), resolution=resolution)
    crops = moving.arrays["crop_to_source"]
    to_canvas, size = canvas_of(moving.size, crops[:, :2], 512, resolution)
    assert engine.canvas_size(moving, parse_options({"resolution": resolution})) == size
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    for frame in made:
        assert frame.rgb.shape == (size[1], size[0], 3)
        to_crop = np.linalg.inv(np.vstack([to_canvas, [[0, 0, 1]]]) @ crops[frame.index])
        place = np.stack([x, y, np.ones_like(x)], -1) @ to_crop[:2].T
        inside = (np.abs(place - 255.5) < 0.85 * 256).all(-1)
        assert inside.mean() > 0.3
        seen = frame.rgb[..., :2][inside].astype(float) * 511 / 255
        off = seen - place[inside]
        assert np.abs(off.mean(0)).max() < 1.2, "values are truncated: half a level is a pixel of the crop"
        assert np.abs(off).max() < 3.5


def test_around_the_face_the_source_stays(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    (frame, *_) = frames(engine, avatar, sound(0.1), resolution="source")
    same = (frame.rgb == astronaut_portrait()).all(-1)
    assert same[-10:].all() and not same[150:350, 150:350].any()


# --- options


@pytest.mark.parametrize(
    "values",
    [
        {"delta_yaw": 9}, {"delta_pitch": 9}, {"delta_roll": 9}, {"fade_in": 5}, {"fade_out": 5},
        {"fade_in": 5, "fade_type": "d0", "fade_out_keys": "yaw"},
        {"ctrl_info": {3: {"delta_yaw": 9}}}, {"ctrl_info": {3: {"delta_exp": 0.1}}},
        {"use_d_keys": "exp"}, {"relative_d": False}, {"flag_stitching": False}, {"drive_eye": False},
        {"seed": 7}, {"smo_k_d": 9}, {"sampling_timesteps": 3}, {"emo": "happy"},
    ],
    ids=str,
)  # fmt: skip
def test_options_act_on_the_motion(
    engine: DittoEngine, avatar: RegisteredAvatar, nets: dict[str, Counted], values: dict
) -> None:
    plain = points(nets, engine, avatar, sound(0.3))
    changed = points(nets, engine, avatar, sound(0.3), **values)
    difference = np.abs(plain - changed).max((1, 2))
    assert difference.max() > 1e-4
    if "ctrl_info" in values:
        assert np.flatnonzero(difference > 1e-6).tolist() == [3], "one frame alone"


@pytest.mark.parametrize("values", [{"overlap_v2": 40}, {"fix_kp_cond": 1}], ids=str)
def test_options_act_from_the_second_window_on(
    engine: DittoEngine, avatar: RegisteredAvatar, values: dict
) -> None:
    def motion(**values: object) -> np.ndarray:
        options = parse_options({**FEW, **values})
        subject = Subject(source_motion(avatar), source_face(avatar), avatar.is_image)
        driving = engine.driving(subject, options, np.random.default_rng(0))
        return np.stack(list(driving(chunks_of(sound(4.0), 6400))))

    plain, changed = motion(), motion(**values)
    assert plain.shape == changed.shape == (100, 265)
    np.testing.assert_array_equal(plain[:30], changed[:30])
    assert np.abs(plain[80:] - changed[80:]).max() > 1e-3


def test_a_fade_begins_and_ends_at_the_source(
    engine: DittoEngine, avatar: RegisteredAvatar, nets: dict[str, Counted]
) -> None:
    values = {"fade_in": 4, "fade_out": 4, "fade_out_keys": "exp,pitch,yaw,roll,t", "drive_eye": False}
    moved = points(nets, engine, avatar, sound(0.6), **values, flag_stitching=False)
    source = nets["warp_network"].calls[0]["kp_source"]
    apart = np.abs(moved - source).max((1, 2))
    np.testing.assert_allclose(apart[[0, -1]], 0, atol=1e-6)
    assert apart[4:-5].min() > 1e-3


def test_emotions_reach_the_motion_model(
    engine: DittoEngine, avatar: RegisteredAvatar, nets: dict[str, Counted]
) -> None:
    for emo, shares in (("happy", {3: 1.0}), ("angry,sad", {0: 0.5, 5: 0.5})):
        nets["lmdm"].calls.clear()
        frames(engine, avatar, sound(0.1), emo=emo)
        rows = nets["lmdm"].calls[0]["cond"][0]
        assert rows.shape == (80, 1103)
        for label, share in shares.items():
            np.testing.assert_allclose(rows[:, 1024 + label], share, atol=0.01)


def test_options_of_a_video_alone(
    engine: DittoEngine, moving: RegisteredAvatar, nets: dict[str, Counted]
) -> None:
    def eyes(**values: object) -> np.ndarray:
        nets["lmdm"].calls.clear()
        frames(engine, moving, sound(0.4), **values)
        return nets["lmdm"].calls[0]["cond"][0, :10, 1032:1040]

    assert np.ptp(eyes(), axis=0).max() > 0
    assert np.ptp(eyes(eye_f0_mode=True), axis=0).max() == 0
    assert engine.capabilities.acts_on == set(OPTIONS) - {"render_size"}


def test_blinks_need_the_course_that_comes_with_the_checkpoints(
    bench: Bench, avatar: RegisteredAvatar, tmp_path: Path
) -> None:
    """Without it the option counts as idle (above); with it, the eyes move when the schedule says so."""
    course = np.full((15, 63), 0.6, np.float32)
    course[0] = 0.2  # what eyes have between blinks
    tree = {**published(), "default_kwargs": {"delta_eye_arr": course}}
    bench.files["config"] = tmp_path / "cfg.pkl"
    bench.files["config"].write_bytes(pickle.dumps(tree))
    eyes = np.array((11, 13, 15, 16, 18))

    def points(gap: int) -> np.ndarray:
        bench.opened["stitch_network"].calls.clear()
        frames(engine, avatar, sound(), delta_eye_open_n=gap)
        return np.stack([call["kp_driving"][0, eyes] for call in bench.opened["stitch_network"].calls])

    with closing(bench.engine()) as engine:
        assert "delta_eye_open_n" in engine.capabilities.acts_on
        apart = np.abs(points(3) - points(-1)).max((1, 2))
    assert apart[:4].max() < 1e-6  # three frames between, and a blink begins at rest
    assert apart[4:18].min() > 0.1


# --- files and networks


def test_what_is_loaded_is_told(bench: Bench) -> None:
    research, commercial = bench.engine("research"), bench.engine()
    assert set(research.loaded) == PUBLISHED
    assert set(commercial.loaded) == PUBLISHED - INSIGHTFACE | {"mediapipe_face_mesh"}
    assert commercial.loaded["mediapipe_face_mesh"].is_dir()
    assert all(research.loaded[name] == bench.files[name] for name in PUBLISHED)
    for engine in (research, commercial):
        engine.close()


def test_the_commercial_profile_opens_no_research_model(bench: Bench) -> None:
    bench.engine().close()
    assert set(bench.opened) == PUBLISHED - INSIGHTFACE


def test_close_closes_every_network(bench: Bench) -> None:
    engine = bench.engine("research")
    assert {net.closed for net in bench.opened.values()} == {0}
    engine.close()
    assert {name: net.closed for name, net in bench.opened.items()} == dict.fromkeys(PUBLISHED, 1)


@pytest.mark.parametrize("gone", ["decoder", "hubert", "landmark203"])
def test_a_missing_file_opens_nothing(bench: Bench, gone: str) -> None:
    bench.files[gone].unlink()
    with pytest.raises(MissingCheckpoint, match=f"{gone}.onnx"):
        bench.engine()
    del bench.files[gone]
    with pytest.raises(MissingCheckpoint, match=f"no {gone}"):
        bench.engine()
    assert not bench.opened


def test_a_broken_file_leaves_nothing_open(bench: Bench) -> None:
    bench.broken = "decoder"
    with pytest.raises(CorruptCheckpoint, match="decoder"):
        bench.engine()
    assert len(bench.opened) > 5 and {net.closed for net in bench.opened.values()} == {1}


def test_auxiliary_networks_do_without_cuda(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch may have CUDA where ONNX Runtime has none."""
    monkeypatch.setattr(networks_room, "has_cuda", lambda: False)
    DittoEngine(Settings(), bench.files, "made up", "cuda").close()
    main = {spec.name for spec in MAIN_NETWORKS}
    assert bench.devices == {name: "cuda" if name in main else "cpu" for name in PUBLISHED}


def test_the_bundled_landmarks_are_the_third_output(bench: Bench, tmp_path: Path) -> None:
    bench.engine().close()
    assert bench.takes["landmark203"] is None
    (tmp_path / "aux_models").mkdir()
    bench.files["landmark203"] = tmp_path / "aux_models" / "landmark203.onnx"
    bench.files["landmark203"].write_bytes(b"stand-in")
    bench.engine().close()
    assert bench.takes["landmark203"] == (2,)


def test_avatars_survive_the_cache(
    engine: DittoEngine, avatar: RegisteredAvatar, moving: RegisteredAvatar, tmp_path: Path
) -> None:
    def cache_in(folder: Path) -> AvatarCache:
        return AvatarCache(folder, max_bytes=2**30, ttl_s=1000)

    for one in (avatar, moving):
        first = cache_in(tmp_path)
        token, _ = first.register("me", one.key, lambda one=one: one, thumbnail=lambda _: b"", label="")
        first.close()
        second = cache_in(tmp_path)
        again = second.get(token)
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array)
            assert again.arrays[name].dtype == array.dtype
        for before, after in zip(
            frames(engine, one, sound(0.2)), frames(engine, again, sound(0.2)), strict=True
        ):
            np.testing.assert_array_equal(after.rgb, before.rgb)
        second.close()


def test_other_weights_are_other_avatars(bench: Bench) -> None:
    crop = parse_options({}).crop
    keys = set()
    for identity, profile, precision in (
        ("a", "commercial", "fp32"), ("b", "commercial", "fp32"), ("a", "research", "fp32"),
        ("a", "commercial", "fp16"),
    ):  # fmt: skip
        engine = DittoEngine(Settings(license_profile=profile), bench.files, identity, precision=precision)
        keys.add(engine.fingerprint(portrait(), crop))
        engine.close()
    assert len(keys) == 4
