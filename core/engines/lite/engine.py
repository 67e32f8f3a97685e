"""The embedded engine: a portrait talks on a bare CPU, with the weights that lie in this folder.

Speech goes through a small network to lip shapes (`speech`), a face adds its behaviour
(`behaviour`), the caller's controls act (`controls`), and the portrait is warped (`renderer`).
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from core.atomic_components.canvas import canvas_of
from core.atomic_components.smooth import CausalMean
from core.aux_models.face_mesh import FaceMesh
from core.contracts import Capabilities, StageClock
from core.engines.content import blocks
from core.engines.lite import source
from core.engines.lite.behaviour import Behaviour
from core.engines.lite.channels import POSE, Channel, rest
from core.engines.lite.controls import controlled
from core.engines.lite.renderer import Canvas, LiteRenderer
from core.engines.lite.rig import CROP
from core.engines.lite.speech import LOOKAHEAD, WEIGHTS, SpeechNet
from core.option_table import OPTIONS
from core.options import Crop, GenerationOptions
from core.settings import Settings
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar

DITTO_ONLY = frozenset(
    (
        "check_track", "sampling_timesteps", "overlap_v2", "fix_kp_cond", "fix_kp_cond_dim",
        "v_min_max_for_clip", "ch_info", "chunksize", "online_mode", "low_latency", "delta_eye_arr",
        "eye_f0_mode", "corrected_controls", "relative_d", "flag_stitching",
    )
)  # fmt: skip
VIDEO_ONLY = frozenset(("template_n_frames", "smo_k_s"))
_FORMAT = 1  # of the registered arrays; a change makes older cache entries misses


class LiteEngine:
    """See `core.contracts.Engine`. Holds the weights and the landmark model; sessions share it."""

    name = "lite"
    capabilities = Capabilities(
        acts_on=frozenset(OPTIONS) - DITTO_ONLY,
        video_only=VIDEO_ONLY,
        idle_controls=frozenset(("delta_exp",)),
    )

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._net = SpeechNet.load()
        self._mesh = FaceMesh()

    @property
    def loaded(self) -> dict[str, Path]:
        return {"speech": WEIGHTS, "mediapipe_face_mesh": self._mesh.folder}

    def fingerprint(self, portrait: AvatarSource, crop: Crop) -> str:
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{self.name} {_FORMAT} {crop.model_dump_json()}".encode())
        for block in blocks(portrait, self._settings):
            digest.update(block)
        return digest.hexdigest()

    def register(
        self, portrait: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        key = self.fingerprint(portrait, crop)
        return source.register(portrait, crop, key, self._mesh, self._settings, progress)

    def preview(self, avatar: RegisteredAvatar) -> np.ndarray:
        rgb, rig = next(source.frames(avatar))
        canvas = self._canvas(avatar, GenerationOptions())
        return LiteRenderer(rgb, rig, canvas).render(rest(1)[0])

    def canvas_size(self, avatar: RegisteredAvatar, options: GenerationOptions) -> tuple[int, int]:
        return self._canvas(avatar, options).size

    def lookahead(self, options: GenerationOptions) -> int:
        return LOOKAHEAD

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        pictures = source.frames(avatar)
        with clock.stage("prepare"):
            rgb, rig = next(pictures)
            renderer = LiteRenderer(rgb, rig, self._canvas(avatar, options))
        rows = controlled(self.motion(avatar, audio, options, rng), options, avatar.is_image)
        index = 0
        while True:
            with clock.stage("motion"):
                row = next(rows, None)
            if row is None:
                return
            with clock.stage("render"):
                if index and not avatar.is_image:
                    renderer.retarget(*next(pictures))
                picture = renderer.render(row)
            yield Frame(index, picture, float(row[Channel.OPEN]))
            index += 1

    def motion(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
    ) -> Iterator[np.ndarray]:
        """The motion part alone: sound -> motion rows (WIDTH,) float32 at 25 a second."""
        drive = options.expression.drive_eye
        behaviour = Behaviour(
            options.expression,
            drive_eye=avatar.is_image if drive is None else drive,
            open_at_rest=bool(avatar.meta["open_at_rest"]),
            rng=rng,
        )
        smooth = CausalMean(options.motion.smo_k_d)
        for speech in self._speech(audio):
            row = behaviour.step(speech)
            row[POSE] = smooth(row[POSE])
            yield row

    def _speech(self, audio: Iterator[AudioChunk]) -> Iterator[np.ndarray]:
        stream = self._net.stream()
        for chunk in audio:
            yield from stream.push(chunk.samples)
        yield from stream.finish()

    def _canvas(self, avatar: RegisteredAvatar, options: GenerationOptions) -> Canvas:
        crops = avatar.arrays["crop_to_source"]
        placed, size = canvas_of(avatar.size, crops, CROP, options.output.resolution)
        return Canvas(placed, size, options.output.render_size)

    def close(self) -> None:
        self._mesh.close()
