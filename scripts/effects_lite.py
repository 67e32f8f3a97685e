"""What each option does in the lite engine, in numbers.

The clips are the sample portrait (or that portrait rolled, or a video made from it) saying the sample speech.
"""

import io
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

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
from scripts.effects import FRAME, Measures, Record, control, measured, trial

_EVERY = 5  # frames compared as pictures: one in so many
_AT = {angle: f"{angle} of frame {FRAME}, degrees" for angle in ("pitch", "yaw", "roll")}
_OPENING_AT = f"lip opening of frame {FRAME}"

TRIALS = (
    trial("crop_scale", "3.0", "eye distance on the canvas, px", "wide"),
    trial("crop_vx_ratio", "0.1", "face from the canvas's left, px", "wide"),
    trial("crop_vy_ratio", "0.1", "face from the canvas's top, px", "wide"),
    trial("crop_flag_do_rot", "false", "crop's tilt, along which the head nods, degrees", "rolled"),
    trial("max_size", "256", "longest side of the avatar, px"),
    trial("template_n_frames", "20", "frames of the avatar", "video"),
    trial("smo_k_s", "1", "unrest of the face crop, px a frame²", "video"),
    trial("seed", "7", "head pose: difference, degrees"),
    trial("smo_k_d", "25", "head speed, degrees a frame"),
    trial("emo", "happy", "mouth corners up, -1 .. 1"),
    trial("drive_eye", "false", "blinks in the clip"),
    trial("delta_eye_open_n", "25", "blinks in the clip"),
    trial("use_d_keys", "exp", "head speed, degrees a frame"),
    trial("delta_pitch", "5", "mean pitch, degrees"),
    trial("delta_yaw", "5", "mean yaw, degrees"),
    trial("delta_roll", "5", "mean roll, degrees"),
    trial("overall_ctrl_info", '{"delta_yaw": 5}', "mean yaw, degrees"),
    trial("fade_in", "50", "mean lip opening, first 2 s"),
    trial("fade_out", "50", "mean lip opening, last 2 s"),
    trial("fade_type", "d0", "pitch of the last frame, degrees",
          beside={"fade_out": "50", "fade_out_keys": "pitch", "delta_pitch": "5"}),
    trial("N_d", "100", "mean lip opening, last 2 s", beside={"fade_out": "50"}),
    trial("fade_out_keys", "pitch", "pitch of the last frame, degrees",
          beside={"fade_out": "50", "delta_pitch": "5"}),
    trial("ctrl_info", '{"100": {"delta_yaw": 10}}', _AT["yaw"]),
    trial("resolution", "320", "side of the canvas, px"),
    trial("render_size", "128", "pictures: mean difference, grey levels of 255"),
)  # fmt: skip
CONTROLS = (
    *(control(f"delta_{angle}", 10, _AT[angle]) for angle in _AT),
    *(control(f"alpha_{angle}", 0.5, _AT[angle]) for angle in _AT),
    control("alpha_exp", 0.5, _OPENING_AT),
    control("vad_alpha", 0, _OPENING_AT),
    control("fade_alpha", 0, _OPENING_AT),
    control("fade_out_keys", ["yaw"], _AT["yaw"], {"fade_alpha": 0}),
)


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


def _mean(channel: Channel) -> Callable[[Run], float]:
    return lambda run: float(run.rows[:, channel].mean())


def _at(channel: Channel) -> Callable[[Run], float]:
    return lambda run: float(run.rows[FRAME, channel])


def _pose_apart(a: Run, b: Run) -> float:
    return float(np.abs(a.rows - b.rows)[:, Channel.PITCH : Channel.ROLL + 1].sum(1).mean())


def _pictures_apart(a: Run, b: Run) -> float:
    pairs = zip(a.pictures, b.pictures, strict=True)
    return float(np.mean([np.abs(x.astype(np.int16) - y).mean() for x, y in pairs]))


_ANGLES = {"pitch": Channel.PITCH, "yaw": Channel.YAW, "roll": Channel.ROLL}
MEASURES: Measures[Run] = Measures(
    of_one={
        "eye distance on the canvas, px": lambda run: run.face[0],
        "face from the canvas's left, px": lambda run: run.face[1],
        "face from the canvas's top, px": lambda run: run.face[2],
        "crop's tilt, along which the head nods, degrees": lambda run: run.turn,
        "longest side of the avatar, px": lambda run: float(max(run.avatar.size)),
        "frames of the avatar": lambda run: float(run.avatar.n_frames),
        "unrest of the face crop, px a frame²": lambda run: run.unrest,
        "head speed, degrees a frame": lambda run: run.speed,
        "mouth corners up, -1 .. 1": lambda run: float(
            run.rows[:, Channel.SMILE_L : Channel.SMILE_R + 1].mean()
        ),
        "blinks in the clip": lambda run: run.blinks,
        "mean lip opening, first 2 s": lambda run: run.opening(slice(None, 2 * FPS)),
        "mean lip opening, last 2 s": lambda run: run.opening(slice(-2 * FPS, None)),
        "pitch of the last frame, degrees": lambda run: float(run.rows[-1, Channel.PITCH]),
        "side of the canvas, px": lambda run: float(run.canvas[0]),
        _OPENING_AT: _at(Channel.OPEN),
        **{f"mean {angle}, degrees": _mean(channel) for angle, channel in _ANGLES.items()},
        **{name: _at(_ANGLES[angle]) for angle, name in _AT.items()},
    },
    of_two={
        "head pose: difference, degrees": _pose_apart,
        "pictures: mean difference, grey levels of 255": _pictures_apart,
    },
)


class Bench:
    """The engine and its sources. Use it in a `with`."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(TemporaryDirectory()))
            self._engine = stack.enter_context(closing(LiteEngine(Settings())))
            self._mesh = stack.enter_context(FaceMesh())
            self._stack = stack.pop_all()
        self._runs: dict[tuple[str, str], Run] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self, source: str, options: GenerationOptions) -> Run:
        """A clip of a source: "portrait", "wide", "rolled" or "video"."""
        key = source, options.model_dump_json()
        if key not in self._runs:
            portrait = _source(source, self._engine, self._folder)
            self._runs[key] = Run(self._engine, self._mesh, portrait, options)
        return self._runs[key]


def measure(bench: Bench, options: Collection[str]) -> dict[str, list[Record]]:
    """The trials of these options -> by option what was found."""
    return measured([each for each in TRIALS if each.name in options], bench.run, MEASURES, {})


def measure_controls(bench: Bench, fields: Collection[str]) -> dict[str, list[Record]]:
    """The controls of a single frame -> by field what was found."""
    return measured([each for each in CONTROLS if each.name in fields], bench.run, MEASURES, {})


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
