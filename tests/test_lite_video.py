"""A video as the source: its own head stays, its mouth (and on request its eyes) follow the speech."""

import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest

from core.aux_models.face_mesh import FaceMesh
from core.engines.content import video_limits
from core.engines.lite.engine import LiteEngine
from core.engines.lite.lips import lip_gap
from core.engines.lite.reel import bridged, steadied
from core.errors import NoFace, StoreFailed
from core.media.video import open_video
from core.media.writer import VideoWriter
from core.option_table import parse_options
from core.settings import Settings
from core.talker import Session
from core.types import AvatarSource, Frame
from tests.faces import astronaut_portrait, no_face
from tests.fakes import chunks_of
from tests.sounds import speech_like

LENGTH = 12


@pytest.fixture(scope="module")
def engine() -> Iterator[LiteEngine]:
    made = LiteEngine(Settings())
    yield made
    made.close()


def moved(rgb: np.ndarray, index: int) -> np.ndarray:
    """The portrait, sliding 2 px a frame to the right."""
    h, w = rgb.shape[:2]
    shift = np.array([[1, 0, 2.0 * index - LENGTH], [0, 1, 0]])
    return cv2.warpAffine(rgb, shift, (w, h), borderMode=cv2.BORDER_REPLICATE)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> AvatarSource:
    path = tmp_path_factory.mktemp("video") / "source.mp4"
    rgb = cv2.resize(astronaut_portrait(), (384, 384))
    with VideoWriter(path, (384, 384)) as writer:
        for index in range(LENGTH):
            writer.write(moved(rgb, index))
    return AvatarSource(path=path)


def frames(engine: LiteEngine, source: AvatarSource, sound: np.ndarray, **values: object) -> list[Frame]:
    options = parse_options({"resolution": "source", **values})
    avatar = engine.register(source, options.crop)
    return list(Session(engine, avatar, options).frames(chunks_of(sound, 6400)))


def eyes_of(mesh: FaceMesh, shown: list[Frame]) -> np.ndarray:
    return np.array([mesh.largest(frame.rgb)[0].eyes.mean(0) for frame in shown])


def test_the_videos_own_head_motion_stays(engine: LiteEngine, video: AvatarSource) -> None:
    shown = frames(engine, video, speech_like(1.0)[0].astype(np.float32))
    with FaceMesh() as mesh:
        eyes = eyes_of(mesh, shown)
    there = np.arange(LENGTH) * 2.0
    wanted = np.concatenate([there, there[::-1], there])[: len(shown)]  # there and back again
    np.testing.assert_allclose(eyes[:, 0] - eyes[0, 0], wanted, atol=1.5)
    assert np.ptp(eyes[:, 1]) < 1.5


def test_silence_closes_a_laughing_mouth_and_speech_opens_it(engine: LiteEngine, video: AvatarSource) -> None:
    with FaceMesh() as mesh:
        quiet = [
            lip_gap(mesh.largest(f.rgb)[0].points) for f in frames(engine, video, np.zeros(8000, np.float32))
        ]
        loud = [
            lip_gap(mesh.largest(f.rgb)[0].points)
            for f in frames(engine, video, speech_like(1.0)[0].astype(np.float32))
        ]
    assert max(quiet) < 0.03
    assert max(loud) > 0.08


def test_eyes_only_on_request(engine: LiteEngine, video: AvatarSource) -> None:
    sound = np.zeros(640 * 30, np.float32)
    own = frames(engine, video, sound, delta_eye_open_n=20)
    driven = frames(engine, video, sound, delta_eye_open_n=20, drive_eye=True)
    differ = [np.abs(a.rgb.astype(int) - b.rgb).max() for a, b in zip(own, driven, strict=True)]
    assert max(differ) > 60, "it blinks"


@pytest.mark.parametrize("values", [{"template_n_frames": 4}, {"smo_k_s": 1}], ids=str)
def test_options_of_videos_act(engine: LiteEngine, video: AvatarSource, values: dict) -> None:
    plain = engine.register(video, parse_options({}).crop)
    changed = engine.register(video, parse_options(values).crop)
    if "template_n_frames" in values:
        assert (plain.n_frames, changed.n_frames) == (LENGTH, 4)
    else:
        jitter = [np.abs(np.diff(a.arrays["crop_to_source"], n=2, axis=0)).sum() for a in (plain, changed)]
        assert jitter[0] < 0.7 * jitter[1]


def test_a_hidden_face_is_bridged_or_refused(engine: LiteEngine, tmp_path: Path) -> None:
    points = [np.full((478, 3), float(i)) for i in range(30)]
    gone: list[np.ndarray | None] = [None if 5 <= i < 9 else p for i, p in enumerate(points)]
    np.testing.assert_allclose(bridged(gone), np.stack(points))
    with pytest.raises(NoFace, match=r"at 0\.2 s for over 0\.4 s"):
        bridged([None if i >= 5 else p for i, p in enumerate(points)])
    path = tmp_path / "cat.mp4"
    cat = no_face()
    with VideoWriter(path, (cat.shape[1], cat.shape[0])) as writer:
        writer.write(cat)
    with pytest.raises(NoFace):
        engine.register(AvatarSource(path=path), parse_options({}).crop)


def test_steadying_keeps_motion_and_lips() -> None:
    rng = np.random.default_rng(0)
    face = rng.normal(0, 50, (478, 3))
    travel = np.arange(40)[:, None, None] * np.array([3.0, 0, 0])
    noisy = face + travel + rng.normal(0, 1, (40, 478, 3))
    calm = steadied(noisy.astype(np.float32), 13)
    assert np.abs(calm.mean(1) - noisy.mean(1)).max() < 1e-3, "the head does not lag"
    before, after = ((p - p.mean(1, keepdims=True)).std(0).mean() for p in (noisy, calm))
    assert after < 0.6 * before


def _write(path: Path, pictures: list[np.ndarray]) -> AvatarSource:
    with VideoWriter(path, pictures[0].shape[1::-1]) as writer:
        for rgb in pictures:
            writer.write(rgb)
    return AvatarSource(path=path)


def test_a_lost_face_is_told_before_the_rest_is_searched(engine: LiteEngine, tmp_path: Path) -> None:
    there = cv2.resize(astronaut_portrait(), (256, 256))
    gone = cv2.resize(no_face("blank"), (256, 256))
    source = _write(tmp_path / "lost.mp4", [there] * 3 + [gone] * 60)
    steps: list[float] = []
    with pytest.raises(NoFace, match=r"at 0\.1 s"):
        engine.register(source, parse_options({}).crop, steps.append)
    assert len(steps) < 20
    assert steps[-1] == pytest.approx(0.5 * len(steps) / 63), "progress counts the video's own frames"


def test_a_longer_limit_of_the_settings_holds(tmp_path: Path) -> None:
    rgb = cv2.resize(astronaut_portrait(), (256, 256))
    path = tmp_path / "slow.mp4"
    with VideoWriter(path, (256, 256), fps=1) as writer:
        for _ in range(130):
            writer.write(rgb)
    video = open_video(AvatarSource(path=path), video_limits(Settings(max_video_s=140)))
    assert sum(1 for _ in video.frames()) == 130 * 25


def test_the_canvas_holds_a_head_wherever_it_moves(engine: LiteEngine, tmp_path: Path) -> None:
    rgb = cv2.resize(astronaut_portrait(), (320, 320))
    pictures = []
    for index in range(LENGTH):
        wide = np.full((400, 640, 3), 128, np.uint8)
        wide[40:360, 20 * index : 20 * index + 320] = rgb
        pictures.append(wide)
    shown = frames(
        engine, _write(tmp_path / "walk.mp4", pictures), np.zeros(640 * LENGTH, np.float32), resolution="320"
    )
    with FaceMesh() as mesh:
        eyes = eyes_of(mesh, shown)
    assert eyes[:, 0].min() > 60
    assert eyes[:, 0].max() < 260


def _resident() -> int:
    """KiB of memory that this process holds of mapped files without a name."""
    maps = re.findall(r"\(deleted\)\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    return sum(map(int, maps))


def test_pictures_cost_no_memory(engine: LiteEngine, video: AvatarSource) -> None:
    before = _resident()
    options = parse_options({"resolution": "source"})
    avatar = engine.register(video, options.crop)
    packed = avatar.arrays["jpeg"]
    with pytest.raises(ValueError, match="read-only"):
        packed[0] = 1
    assert _resident() == before
    assert packed.sum() > 0
    assert _resident() - before >= packed.nbytes // 1024, "it is mapped"
    assert len(list(Session(engine, avatar, options).frames(chunks_of(np.zeros(16_000, np.float32), 6400))))
    assert _resident() == before


def test_a_full_disk_is_told(
    engine: LiteEngine, video: AvatarSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dir: str | None) -> BinaryIO:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(StoreFailed, match="TMPDIR"):
        engine.register(video, parse_options({}).crop)


def test_a_face_that_comes_late_is_waited_for(engine: LiteEngine, tmp_path: Path) -> None:
    there = cv2.resize(astronaut_portrait(), (256, 256))
    lead = [np.zeros_like(there)] * 8
    source = _write(tmp_path / "late.mp4", lead + [moved(there, index) for index in range(14)])
    avatar = engine.register(source, parse_options({"smo_k_s": 1}).crop)
    assert avatar.n_frames == 22
    x = avatar.arrays["crop_to_source"][:, 0, 2]
    assert np.array_equal(x[:8], np.full(8, x[8])), "before it came it was where it came"
    np.testing.assert_allclose(x[8:] - x[8], 2.0 * np.arange(14), atol=4, err_msg="every frame is seen")
    alone = engine.register(_write(tmp_path / "alone.mp4", [there] * 8), parse_options({}).crop)
    teeth = [one.arrays["rig.teeth"][0].astype(int) for one in (avatar, alone)]
    assert np.abs(teeth[0][..., :3].mean((0, 1)) - teeth[1][..., :3].mean((0, 1))).max() < 8
    session = Session(engine, avatar, parse_options({"resolution": "source"}))
    shown = list(session.frames(chunks_of(speech_like(0.5)[0].astype(np.float32), 6400)))
    assert shown[0].rgb.mean() < 10 < shown[-1].rgb.mean()


def test_a_face_in_the_last_frames_alone_is_found(engine: LiteEngine, tmp_path: Path) -> None:
    there = cv2.resize(astronaut_portrait(), (256, 256))
    source = _write(tmp_path / "last.mp4", [np.zeros_like(there), there, moved(there, 0), moved(there, 2)])
    avatar = engine.register(source, parse_options({"smo_k_s": 1}).crop)
    x = avatar.arrays["crop_to_source"][:, 0, 2]
    assert x[0] == x[1] != x[2] != x[3]


def test_no_face_in_any_frame_is_told(engine: LiteEngine, tmp_path: Path) -> None:
    blank = cv2.resize(no_face("blank"), (256, 256))
    with pytest.raises(NoFace, match="No face was found"):
        engine.register(_write(tmp_path / "none.mp4", [blank] * 11), parse_options({}).crop)


def test_a_video_that_is_stored_turned_comes_upright(engine: LiteEngine, tmp_path: Path) -> None:
    upright = cv2.resize(astronaut_portrait(), (384, 384))[:, 32:352]
    plain = engine.register(_write(tmp_path / "plain.mp4", [upright] * 3), parse_options({}).crop)
    path = tmp_path / "phone.mp4"
    _write(path, [np.ascontiguousarray(np.rot90(upright))] * 3)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44  # the display matrix of the track: shown a quarter turn to the right
    content[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    options = parse_options({"resolution": "source"})
    turned = engine.register(AvatarSource(path=path), options.crop)
    assert turned.size == plain.size == (320, 384)
    assert np.abs(turned.arrays["crop_to_source"] - plain.arrays["crop_to_source"]).max() < 3
    sound = speech_like(0.5)[0].astype(np.float32)
    shown = [Session(engine, each, options).frames(chunks_of(sound, 6400)) for each in (turned, plain)]
    for one, other in zip(*shown, strict=True):
        assert one.rgb.shape == (384, 320, 3)
        assert np.abs(one.rgb.astype(int) - other.rgb).mean() < 6
