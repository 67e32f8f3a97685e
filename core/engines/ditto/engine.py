"""Ditto behind the house's one seam: registers portraits, and makes them talk."""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from core.atomic_components.audio2motion import WINDOW
from core.atomic_components.controls import counted, frame_control
from core.atomic_components.keypoints import split_vector
from core.atomic_components.loop import mirror_index
from core.atomic_components.motion_stitch import MotionStitch
from core.atomic_components.speech_features import offline_features
from core.aux_models.hubert import ChunkSize
from core.checkpoints.catalogue import CONFIG
from core.contracts import Capabilities, StageClock
from core.engines.content import blocks
from core.engines.ditto import rules
from core.engines.ditto.canvas import Canvas
from core.engines.ditto.config import DittoConfig
from core.engines.ditto.config_file import read_published
from core.engines.ditto.driving import Driving
from core.engines.ditto.motion_model import MotionModel, SeededNoise
from core.engines.ditto.networks import DittoNetworks
from core.engines.ditto.registration import register, source_face, source_motion
from core.option_table import OPTIONS
from core.options import Crop, GenerationOptions
from core.runtimes.devices import Precision
from core.settings import Settings
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar

_FORMAT = 1  # of the registered arrays; a change makes older cache entries misses
_WIDE_OPEN = 0.04  # change of the lips' expression, in the extractor's units, that a plot shows as 1
_LIPS = np.array([3 * point + axis for point in (14, 17, 19, 20) for axis in range(3)])


class DittoEngine:
    """See `core.contracts.Engine`. Holds the networks; sessions share it.

    `files` are the checkpoints by role, `identity` says which they are (a commit, or what else is known),
    `config` what their configuration file says where another than the file's own shall count.
    """

    name = "ditto"

    def __init__(
        self,
        settings: Settings,
        files: Mapping[str, Path],
        identity: str,
        device: str = "cpu",
        precision: Precision = "fp32",
        threads: int = 1,
        config: DittoConfig | None = None,
    ) -> None:
        self.precision = precision
        self._settings, self._identity = settings, f"{identity} {precision}"
        if config is None and CONFIG in files:
            config = read_published(files[CONFIG])
        self._config = config
        self._networks = DittoNetworks(files, settings.license_profile, device, precision, threads)
        self.capabilities = Capabilities(
            acts_on=frozenset(OPTIONS) - {"render_size"},
            video_only=frozenset(("template_n_frames", "smo_k_s", "check_track", "eye_f0_mode")),
            needs={
                "delta_eye_open_n": "delta_eye_arr",
                "fix_kp_cond_dim": "fix_kp_cond",
                "low_latency": "online_mode",
            },
            defaults=rules.option_defaults(self._config.default_kwargs) if self._config else {},
        )

    @property
    def loaded(self) -> dict[str, Path]:
        """The files that are in use, by role."""
        return dict(self._networks.loaded)

    def fingerprint(self, source: AvatarSource, crop: Crop) -> str:
        digest = hashlib.blake2b(digest_size=20)
        about = f"{self.name} {_FORMAT} {self._identity} {self._settings.license_profile}"
        digest.update(f"{about} {crop.model_dump_json()}".encode())
        for block in blocks(source, self._settings):
            digest.update(block)
        return digest.hexdigest()

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        key = self.fingerprint(source, crop)
        return register(source, crop, key, self._networks.source, self._settings, progress)

    def preview(self, avatar: RegisteredAvatar) -> np.ndarray:
        return Canvas(avatar, GenerationOptions().output.resolution).base(0)

    def canvas_size(self, avatar: RegisteredAvatar, options: GenerationOptions) -> tuple[int, int]:
        return Canvas(avatar, options.output.resolution).size

    def lookahead(self, options: GenerationOptions) -> int:
        motion = options.motion
        chunk = ChunkSize(*motion.chunksize)
        step = WINDOW - motion.overlap_v2
        new = WINDOW
        if motion.online_mode:  # a window's new frames wait for their fade, unless they leave at once
            new = step if motion.low_latency else step + min(step, motion.overlap_v2)
        described = math.ceil(new / chunk.present) * chunk.present
        return ChunkSize(0, described - 1, chunk.future).samples

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        return self._shown(avatar, lambda driving: driving(audio), options, rng, clock)

    def animate_features(
        self,
        avatar: RegisteredAvatar,
        features: Iterator[np.ndarray],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        """`animate` for sound that is described already, blocks (n, 1024): a frame for each row; online at
        most `N_d` where that is set, for the last blocks describe more than the sound."""
        online = options.motion.online_mode and options.stitch.N_d > 0
        most = options.stitch.N_d if online else -1
        return self._shown(avatar, lambda driving: driving.of_features(features, most), options, rng, clock)

    def describe(self, sound: Iterable[AudioChunk], chunk: ChunkSize) -> Iterator[np.ndarray]:
        """What is said in a whole recording: blocks (n, 1024), a row a frame."""
        return offline_features(sound, self._networks.hubert, chunk)

    def describe_window(self, window: np.ndarray, chunk: ChunkSize) -> np.ndarray:
        """What is said in the middle of a window, float32 (chunk.samples,) -> (chunk.present, 1024)."""
        return self._networks.hubert(window, chunk)

    def _shown(
        self,
        avatar: RegisteredAvatar,
        move: Callable[[Driving], Iterator[np.ndarray]],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        """The one composition: rows of motion, stitched, rendered and put back."""
        with clock.stage("prepare"):
            canvas = Canvas(avatar, options.output.resolution)
            subject = rules.Subject(source_motion(avatar), source_face(avatar), avatar.is_image)
            stage = self._stage(subject, options, rng)
            features = avatar.arrays["features"]
            driving = self.driving(subject, options, rng)
        rows = counted(_begun(move(driving), driving.lead, stage), options.stitch)
        index = 0
        while True:
            with clock.stage("motion"):
                row, total = next(rows, (None, None))
            if row is None:
                return
            with clock.stage("stitch"):
                motion = split_vector(row)
                x_s, x_d = stage(motion, index, frame_control(options, index, total))
            at = mirror_index(index, avatar.n_frames)
            with clock.stage("render"):
                face = self._networks.renderer(features[at][None], x_s, x_d)
            with clock.stage("put back"):
                picture = canvas.show(face, at)
            yield Frame(index, picture, _opening(motion["exp"], subject.motion["exp"][at]))
            index += 1

    def driving(
        self, subject: rules.Subject, options: GenerationOptions, rng: np.random.Generator
    ) -> Driving:
        """The motion part alone: sound -> rows (265,) at 25 a second."""
        model = self._config.audio2motion_cfg if self._config else None
        steps = options.motion.sampling_timesteps
        return Driving(
            self._networks.hubert,
            rules.condition_rows(subject, options, model),
            MotionModel(self._networks.lmdm, steps, SeededNoise(rng, steps)),
            rules.first_condition(subject, options),
            rules.motion_rules(options),
            ChunkSize(*options.motion.chunksize),
            rules.limits(options),
        )

    def _stage(
        self, subject: rules.Subject, options: GenerationOptions, rng: np.random.Generator
    ) -> MotionStitch:
        blinks = random.Random(int(rng.integers(2**32)))
        stitching = self._networks.stitch if options.stitch.flag_stitching else None
        return MotionStitch(subject.motion, rules.stitch_rules(subject, options, blinks), stitching)

    def close(self) -> None:
        self._networks.close()


def _begun(rows: Iterator[np.ndarray], lead: int, stage: MotionStitch) -> Iterator[np.ndarray]:
    """The clip's rows; the first of those before it, in silence, is what all motion is relative to."""
    for number, row in enumerate(rows):
        if lead and not number:
            stage.start_from(split_vector(row))
        if number >= lead:
            yield row


def _opening(driven: np.ndarray, source: np.ndarray) -> float:
    """How far the lips are from the source's, 0..1, for plots."""
    return float(min(1.0, np.abs(driven.reshape(-1)[_LIPS] - source[_LIPS]).max() / _WIDE_OPEN))
