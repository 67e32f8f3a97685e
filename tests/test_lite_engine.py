"""The embedded engine whole: streaming equals offline, same seed same frames, options act."""

import hashlib
import io
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from core.atomic_components.windows import frame_count
from core.aux_models.face_mesh import FaceMesh
from core.contracts import StageClock, warnings
from core.engines.lite.channels import POSE, WIDTH, Channel, rest
from core.engines.lite.controls import controlled
from core.engines.lite.engine import DITTO_ONLY, LiteEngine
from core.engines.lite.renderer import Canvas, LiteRenderer
from core.engines.lite.source import frames as frames_of
from core.errors import BadImage, BadPath, TooLong
from core.option_table import parse_options
from core.options import Crop, GenerationOptions
from core.settings import Settings
from core.talker import Session
from core.types import AvatarSource, Frame, RegisteredAvatar
from tests.faces import astronaut_portrait, rolled
from tests.fakes import chunks_of
from tests.sounds import speech_like


@pytest.fixture(scope="module")
def engine() -> Iterator[LiteEngine]:
    made = LiteEngine(Settings())
    yield made
    made.close()


@cache
def portrait() -> AvatarSource:
    with io.BytesIO() as buffer:
        Image.fromarray(astronaut_portrait()).save(buffer, "PNG")
        return AvatarSource(data=buffer.getvalue())


@pytest.fixture(scope="module")
def avatar(engine: LiteEngine) -> RegisteredAvatar:
    return engine.register(portrait(), parse_options({}).crop)


def sound(seconds: float = 3.0) -> np.ndarray:
    return speech_like(seconds)[0].astype(np.float32)


def motion(
    engine: LiteEngine, avatar: RegisteredAvatar, samples: np.ndarray, size: int = 6400, **values: object
):
    """Motion rows (n, WIDTH) as they reach the renderer."""
    options = parse_options(values)
    rng = np.random.default_rng(options.motion.seed)
    rows = engine.motion(avatar, chunks_of(samples, size), options, rng)
    return np.stack(list(controlled(rows, options, avatar.is_image)))


def frames(
    engine: LiteEngine, avatar: RegisteredAvatar, samples: np.ndarray, **values: object
) -> list[Frame]:
    return list(Session(engine, avatar, parse_options(values)).frames(chunks_of(samples, 6400)))


def test_chunks_do_not_matter(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    whole = motion(engine, avatar, sound(), size=10**9)
    assert whole.shape == (frame_count(len(sound())), WIDTH)
    for size in (160, 641, 32_000):
        np.testing.assert_allclose(motion(engine, avatar, sound(), size), whole, atol=1e-4)


def test_frames_come_within_the_lookahead(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    assert engine.lookahead(GenerationOptions()) <= 0.12 * 16_000
    pulled = 0

    def counted():
        nonlocal pulled
        for chunk in chunks_of(sound(), 160):
            pulled += len(chunk.samples)
            yield chunk

    options = GenerationOptions()
    rows = engine.motion(avatar, counted(), options, np.random.default_rng(0))
    for index in range(30):
        next(rows)
        assert pulled <= (index + 1) * 640 + 1920 + 160


def test_same_seed_same_frames(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    def digest(**values: object) -> str:
        made = hashlib.sha256()
        for frame in frames(engine, avatar, sound(1.0), **values):
            made.update(frame.rgb)
        return made.hexdigest()

    assert digest() == digest()
    assert digest(seed=1) != digest()


def test_silence_keeps_the_mouth_shut(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    rows = motion(engine, avatar, np.zeros(32_000, np.float32))
    assert rows[:, Channel.OPEN].max() <= 0.01
    assert np.ptp(rows[:, Channel.YAW]) > 0.05, "an idle face lives"


def test_first_picture_of_an_idle_face_is_calm(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    shown = frames(engine, avatar, np.zeros(16_000, np.float32))
    steps = [np.abs(a.rgb.astype(int) - b.rgb).mean() for a, b in pairwise(shown)]
    assert max(steps) < 3


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({"emo": "happy"}, [Channel.SMILE_L]),
        ({"emo": 6}, [Channel.BROW_IN]),
        ({"delta_pitch": 5}, [Channel.PITCH]),
        ({"delta_yaw": 5}, [Channel.YAW]),
        ({"delta_roll": 5}, [Channel.ROLL]),
        ({"fade_in": 20}, [Channel.OPEN]),
        ({"fade_out": 20}, [Channel.OPEN]),
        ({"fade_in": 20, "fade_out_keys": "yaw"}, [Channel.YAW]),
        ({"fade_in": 20, "fade_type": "d0", "fade_out_keys": "yaw"}, [Channel.YAW]),
        ({"drive_eye": False}, [Channel.GAZE_X, Channel.LID_L]),
        ({"delta_eye_open_n": 10}, [Channel.LID_L]),
        ({"use_d_keys": "exp"}, [Channel.YAW, Channel.PITCH]),
        ({"smo_k_d": 15}, [Channel.PITCH]),
        ({"seed": 7}, [Channel.YAW]),
        ({"ctrl_info": {10: {"delta_yaw": 9}}}, [Channel.YAW]),
    ],
    ids=str,
)
def test_motion_options_act(
    engine: LiteEngine, avatar: RegisteredAvatar, values: dict, columns: list
) -> None:
    plain, changed = motion(engine, avatar, sound()), motion(engine, avatar, sound(), **values)
    for column in columns:
        assert np.abs(plain[:, column] - changed[:, column]).max() > 0.05, Channel(column).name


def test_smoothing_calms_the_head(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    def jerk(k: int) -> float:
        return float(np.abs(np.diff(motion(engine, avatar, sound(), smo_k_d=k)[:, POSE], n=2, axis=0)).mean())

    assert jerk(15) < 0.7 * jerk(1)


@pytest.mark.parametrize(
    "values",
    [{"crop_scale": 1.6}, {"crop_vx_ratio": 0.2}, {"crop_vy_ratio": 0.1}, {"max_size": 400},
     {"resolution": "320"}, {"render_size": 160}],
    ids=str,
)  # fmt: skip
def test_picture_options_act(engine: LiteEngine, values: dict) -> None:
    with io.BytesIO() as buffer:
        Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
        wide = AvatarSource(data=buffer.getvalue())  # has room around the face
    (before, *_), (after, *_) = (
        frames(engine, engine.register(wide, parse_options(v).crop), sound(0.2), **v) for v in ({}, values)
    )
    assert before.rgb.shape != after.rgb.shape or np.abs(before.rgb.astype(int) - after.rgb).mean() > 0.3


def test_a_crop_that_does_not_follow_a_tilted_head_nods_along_the_picture(engine: LiteEngine) -> None:
    with io.BytesIO() as buffer:
        Image.fromarray(rolled(25)).save(buffer, "PNG")
        tilted = AvatarSource(data=buffer.getvalue())
    row = rest(1)[0]
    row[Channel.PITCH] = 8
    moves = []
    with FaceMesh() as mesh:
        for follow in (True, False):
            avatar = engine.register(tilted, parse_options({"crop_flag_do_rot": follow}).crop)
            rgb, rig = next(frames_of(avatar))
            renderer = LiteRenderer(rgb, rig, Canvas(np.eye(2, 3, dtype=np.float32), avatar.size))
            nose = [mesh.largest(renderer.render(r))[0].points[4, :2] for r in (rest(1)[0], row)]
            moves.append(nose[1] - nose[0])
    along_face, along_picture = (np.degrees(np.arctan2(-move[0], move[1])) for move in moves)
    assert abs(along_picture) < 8
    assert abs(abs(along_face) - 25) < 8


def test_what_cannot_act_is_told(engine: LiteEngine) -> None:
    given = ["seed", "overlap_v2", "smo_k_s"]
    options = parse_options({"ctrl_info": {3: {"delta_exp": 0.1}, 4: {"delta_yaw": 2}}})
    ditto, video, control = warnings(engine, given, options, is_image=True)
    assert "overlap_v2" in ditto and "lite" in ditto
    assert "smo_k_s" in video and "image" in video
    assert "delta_exp" in control and "lite" in control and "delta_yaw" not in control
    assert warnings(engine, given, parse_options({}), is_image=False) == (ditto,)
    assert not LiteEngine.capabilities.acts_on & DITTO_ONLY
    assert "emo" in LiteEngine.capabilities.acts_on


def test_sizes(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    for resolution, size in (("320", (320, 320)), ("512", (512, 512)), ("source", avatar.size)):
        options = parse_options({"resolution": resolution})
        assert engine.canvas_size(avatar, options) == size
        (first, *_) = frames(engine, avatar, sound(0.1), resolution=resolution)
        assert first.rgb.shape == (size[1], size[0], 3)


def test_fingerprint_tells_content_and_crop_apart(engine: LiteEngine) -> None:
    crop = parse_options({}).crop
    key = engine.fingerprint(portrait(), crop)
    assert key == engine.fingerprint(portrait(), crop)
    assert key != engine.fingerprint(portrait(), parse_options({"crop_scale": 2.4}).crop)
    assert key != engine.fingerprint(AvatarSource(data=(portrait().data or b"") + b" "), crop)


def test_the_clock_names_the_stages(engine: LiteEngine, avatar: RegisteredAvatar) -> None:
    clock = StageClock()
    list(
        engine.animate(
            avatar, chunks_of(sound(0.2), 640), GenerationOptions(), np.random.default_rng(0), clock
        )
    )
    assert {"prepare", "motion", "render"} <= set(clock.seconds)


def test_a_source_without_end_or_beyond_the_limits_is_refused_unread(tmp_path: Path) -> None:
    engine = LiteEngine(Settings(max_image_mib=0.001, max_video_mib=0.002))
    with pytest.raises(BadImage, match="not a regular file"):
        engine.fingerprint(AvatarSource(path=Path("/dev/zero")), Crop())
    with pytest.raises(TooLong):
        engine.fingerprint(AvatarSource(data=bytes(3000)), Crop())
    with pytest.raises(BadPath, match="No portrait"):
        engine.fingerprint(AvatarSource(), Crop())
    engine.close()


def test_max_size_may_ask_for_more_than_is_decoded_by_default(engine: LiteEngine) -> None:
    with io.BytesIO() as buffer:
        Image.fromarray(astronaut_portrait()).resize((5200, 5200)).save(buffer, "PNG", compress_level=1)
        large = AvatarSource(data=buffer.getvalue())
    assert engine.register(large, Crop(max_size=4096)).size == (4096, 4096)
