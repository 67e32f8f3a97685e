"""What each option does in the lite engine, in numbers: two clips that differ in that option alone.

`scripts/make_docs.py --measure` writes the results to docs/effects.json. The clips are the sample portrait
(or that portrait rolled, or a video made from it) saying the sample speech.
"""

import io
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from core.aux_models.face_mesh import FaceMesh
from core.engines.lite.channels import Channel
from core.engines.lite.controls import controlled
from core.engines.lite.engine import LiteEngine
from core.media.audio import open_audio
from core.option_table import parse_options
from core.options import GenerationOptions
from core.samples import SPEECH, sample_portrait
from core.settings import Settings
from core.talker import Session, audio_limits, clip
from core.types import FPS, AvatarSource, RegisteredAvatar

_EVERY = 5  # frames compared as pictures: one in so many


@dataclass(frozen=True)
class Trial:
    """One option set to `value` (as typed), on a source, beside options that both clips share."""

    option: str
    value: str
    measure: str
    source: str = "portrait"
    beside: Mapping[str, str] = field(default_factory=dict)


TRIALS = (
    Trial("crop_scale", "3.0", "eye distance on the canvas, px", "wide"),
    Trial("crop_vx_ratio", "0.1", "face from the canvas's left, px", "wide"),
    Trial("crop_vy_ratio", "0.1", "face from the canvas's top, px", "wide"),
    Trial("crop_flag_do_rot", "false", "crop's tilt, along which the head nods, degrees", "rolled"),
    Trial("max_size", "256", "longest side of the avatar, px"),
    Trial("template_n_frames", "20", "frames of the avatar", "video"),
    Trial("smo_k_s", "1", "unrest of the face crop, px a frame²", "video"),
    Trial("seed", "7", "head pose: difference, degrees"),
    Trial("smo_k_d", "25", "head speed, degrees a frame"),
    Trial("emo", "happy", "mouth corners up, -1 .. 1"),
    Trial("drive_eye", "false", "blinks in the clip"),
    Trial("delta_eye_open_n", "25", "blinks in the clip"),
    Trial("use_d_keys", "exp", "head speed, degrees a frame"),
    Trial("delta_pitch", "5", "mean pitch, degrees"),
    Trial("delta_yaw", "5", "mean yaw, degrees"),
    Trial("delta_roll", "5", "mean roll, degrees"),
    Trial("fade_in", "50", "mean lip opening, first 2 s"),
    Trial("fade_out", "50", "mean lip opening, last 2 s"),
    Trial("fade_type", "d0", "pitch of the last frame, degrees", "portrait",
          {"fade_out": "50", "fade_out_keys": "pitch", "delta_pitch": "5"}),
    Trial("fade_out_keys", "pitch", "pitch of the last frame, degrees", "portrait",
          {"fade_out": "50", "delta_pitch": "5"}),
    Trial("resolution", "320", "side of the canvas, px"),
    Trial("render_size", "128", "pictures: mean difference, grey levels of 255"),
    Trial("ctrl_info", '{"100": {"delta_yaw": 10}}', "yaw of frame 100, degrees"),
)  # fmt: skip


class Run:
    """One clip: its avatar, motion rows (n, WIDTH) and pictures, each made when first asked for."""

    def __init__(
        self, engine: LiteEngine, mesh: FaceMesh, source: AvatarSource, options: GenerationOptions
    ) -> None:
        self._engine, self._mesh, self._options = engine, mesh, options
        self.avatar: RegisteredAvatar = engine.register(source, options.crop)
        self.canvas = engine.canvas_size(self.avatar, options)

    @cached_property
    def rows(self) -> np.ndarray:
        rng = np.random.default_rng(self._options.motion.seed)
        sound = open_audio(SPEECH, audio_limits(Settings())).chunks(16_000)
        motion = self._engine.motion(self.avatar, sound, self._options, rng)
        return np.stack(list(controlled(motion, self._options, self.avatar.is_image)))

    @cached_property
    def pictures(self) -> list[np.ndarray]:
        sound = open_audio(SPEECH, audio_limits(Settings())).chunks(16_000)
        made = Session(self._engine, self.avatar, self._options).frames(sound)
        return [frame.rgb for frame in made if frame.index % _EVERY == 0]

    @cached_property
    def face(self) -> tuple[float, float, float]:
        """Eye distance, x and y of the point between the eyes, px of the first picture."""
        face, _ = self._mesh.largest(self.pictures[0])
        x, y = face.eyes.mean(0)
        return face.eye_distance, float(x), float(y)

    @property
    def speed(self) -> float:
        return float(np.abs(np.diff(self.rows[:, Channel.PITCH : Channel.ROLL + 1], axis=0)).sum(1).mean())

    @property
    def blinks(self) -> float:
        shut = self.rows[:, Channel.LID_L] > 0.5
        return float(np.count_nonzero(shut[1:] & ~shut[:-1]))

    @property
    def turn(self) -> float:
        place = self.avatar.arrays["crop_to_source"][0]
        return float(np.degrees(np.arctan2(place[1, 0], place[0, 0])))

    @property
    def unrest(self) -> float:
        path = self.avatar.arrays["crop_to_source"][:, :2, 2]
        return float(np.linalg.norm(np.diff(path, 2, axis=0), axis=1).mean())

    def opening(self, part: slice) -> float:
        return float(self.rows[part, Channel.OPEN].mean())


OF_ONE: dict[str, Callable[[Run], float]] = {
    "eye distance on the canvas, px": lambda run: run.face[0],
    "face from the canvas's left, px": lambda run: run.face[1],
    "face from the canvas's top, px": lambda run: run.face[2],
    "crop's tilt, along which the head nods, degrees": lambda run: run.turn,
    "longest side of the avatar, px": lambda run: float(max(run.avatar.size)),
    "frames of the avatar": lambda run: float(run.avatar.n_frames),
    "unrest of the face crop, px a frame²": lambda run: run.unrest,
    "head speed, degrees a frame": lambda run: run.speed,
    "mouth corners up, -1 .. 1": lambda run: float(run.rows[:, Channel.SMILE_L : Channel.SMILE_R + 1].mean()),
    "blinks in the clip": lambda run: run.blinks,
    "mean pitch, degrees": lambda run: float(run.rows[:, Channel.PITCH].mean()),
    "mean yaw, degrees": lambda run: float(run.rows[:, Channel.YAW].mean()),
    "mean roll, degrees": lambda run: float(run.rows[:, Channel.ROLL].mean()),
    "mean lip opening, first 2 s": lambda run: run.opening(slice(None, 2 * FPS)),
    "mean lip opening, last 2 s": lambda run: run.opening(slice(-2 * FPS, None)),
    "pitch of the last frame, degrees": lambda run: float(run.rows[-1, Channel.PITCH]),
    "yaw of frame 100, degrees": lambda run: float(run.rows[100, Channel.YAW]),
    "side of the canvas, px": lambda run: float(run.canvas[0]),
}
OF_TWO: dict[str, Callable[[Run, Run], float]] = {
    "head pose: difference, degrees": lambda a, b: float(
        np.abs(a.rows - b.rows)[:, Channel.PITCH : Channel.ROLL + 1].sum(1).mean()
    ),
    "pictures: mean difference, grey levels of 255": lambda a, b: float(
        np.mean([np.abs(x.astype(np.int16) - y).mean() for x, y in zip(a.pictures, b.pictures, strict=True)])
    ),
}


def measure(options: Collection[str]) -> dict[str, dict[str, object]]:
    """The trials of these options -> by option: value, source, beside, measure, before and after."""
    found: dict[str, dict[str, object]] = {}
    engine = LiteEngine(Settings())
    try:
        with tempfile.TemporaryDirectory() as folder, FaceMesh() as mesh:
            for trial in TRIALS:
                if trial.option not in options:
                    continue
                source = _source(trial.source, engine, Path(folder))
                base = Run(engine, mesh, source, parse_options(trial.beside))
                changed = Run(
                    engine, mesh, source, parse_options({**trial.beside, trial.option: trial.value})
                )
                found[trial.option] = {
                    "value": trial.value,
                    "source": trial.source,
                    "beside": dict(trial.beside),
                    "measure": trial.measure,
                    **_numbers(trial.measure, base, changed),
                }
    finally:
        engine.close()
    return found


def _numbers(name: str, base: Run, changed: Run) -> dict[str, float]:
    if name in OF_TWO:
        return {"before": 0.0, "after": round(OF_TWO[name](base, changed), 3)}
    return {"before": round(OF_ONE[name](base), 3), "after": round(OF_ONE[name](changed), 3)}


def _source(name: str, engine: LiteEngine, folder: Path) -> AvatarSource:
    """The portrait as it is, "wide" (inside a larger picture), rolled by 20 degrees, or as a video."""
    portrait = Image.fromarray(sample_portrait())
    edge = tuple(int(value) for value in np.asarray(portrait)[0].mean(0))
    if name == "wide":
        wide = Image.new("RGB", (1280, 1280), edge)
        wide.paste(portrait, (384, 384))
        return AvatarSource(data=_png(wide))
    if name == "rolled":
        return AvatarSource(data=_png(portrait.rotate(-20, Image.Resampling.BICUBIC, fillcolor=edge)))
    if name == "video":
        return AvatarSource(path=_video(AvatarSource(data=_png(portrait)), engine, folder / "source.mp4"))
    return AvatarSource(data=_png(portrait))


def _video(portrait: AvatarSource, engine: LiteEngine, path: Path) -> Path:
    """The portrait saying the sample speech, as a small source video."""
    if not path.exists():
        options = parse_options({"max_size": "320"})
        avatar = engine.register(portrait, options.crop)
        for _ in clip(engine, avatar, SPEECH, path, options, audio_limits(Settings())):
            pass
    return path


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
