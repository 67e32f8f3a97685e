"""Ditto's engine on made-up weights, for measuring what options do to its motion.

The motion model and the stitching network are run by torch with the parity kit's made-up weights; HuBERT is
the kit's stand-in, and the source a motion that the kit makes up. Windows, condition, sampling, controls and
stitching are the product's own. Nothing is drawn: what comes out is where the points of the face go.
"""

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Self
from unittest.mock import patch

import numpy as np

from core.atomic_components import motion_stitch
from core.atomic_components.keypoints import ANGLES, Motion, degrees, transform_keypoints
from core.atomic_components.smooth import centred_mean
from core.contracts import Network, StageClock
from core.engines.ditto import networks as ditto_networks
from core.engines.ditto.engine import DittoEngine
from core.mapped import Spool
from core.media.audio import open_audio
from core.media.jpegs import Jpegs
from core.networks import AUX_NETWORKS, LMDM, MAIN_NETWORKS, STITCH_NETWORK, NetworkSpec
from core.options import GenerationOptions
from core.runtimes.load import open_network
from core.samples import SPEECH
from core.settings import Settings
from core.talker import audio_limits
from core.types import SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk, Frame, RegisteredAvatar
from scripts.parity import kit
from scripts.parity.clip import StubHubert
from scripts.parity.steps import eye_balls, eyes_open, stacked

MANIFEST = Path(__file__).resolve().parents[1] / "tests" / "golden" / "ditto" / "state_dicts.json"
_WEIGHED = (LMDM, STITCH_NETWORK)
_KEY = "shared/effects"
_SIDE = 64  # of the source's pictures, which nobody looks at
_SLIVER = 80  # samples
_VIDEO = 5  # frames of the source that is a video

Arrays = Mapping[str, np.ndarray]


class _Remembering:
    """A network that is asked the same often: gives what it gave before. Knows how often it was asked."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._known: dict[bytes, dict[str, np.ndarray]] = {}
        self.calls = 0

    def __call__(self, arrays: Arrays) -> dict[str, np.ndarray]:
        self.calls += 1
        key = b"".join(arrays[name].tobytes() for name in sorted(arrays))
        if key not in self._known:
            self._known[key] = self._network(arrays)
        return self._known[key]

    def close(self) -> None:
        self._known.clear()
        self._network.close()


class _Still:
    """In place of a network whose output nobody looks at; keeps the points of the face drawn last."""

    def __init__(self, spec: NetworkSpec) -> None:
        shapes = ((port.name, [n if isinstance(n, int) else 1 for n in port.shape]) for port in spec.outputs)
        self._made = {name: np.zeros(shape, np.float32) for name, shape in shapes}
        self.points = np.zeros((1, 21, 3), np.float32)

    def __call__(self, arrays: Arrays) -> dict[str, np.ndarray]:
        self.points = arrays.get("kp_driving", self.points)
        return self._made

    def close(self) -> None: ...


class Moved(NamedTuple):
    """One clip: frames (n, ...) of angles in degrees, expression and the driving points as they are drawn;
    what of the expression is the source's; how often the motion model was asked."""

    angles: dict[str, np.ndarray]
    exp: np.ndarray
    points: np.ndarray
    source_exp: np.ndarray
    calls: int

    @property
    def change(self) -> np.ndarray:
        """Of the expression against the source's, (n, 21, 3)."""
        return (self.exp - self.source_exp).reshape(-1, 21, 3)


class Run:
    """A clip of the sample speech, made when first looked at."""

    def __init__(self, bench: "Bench", source: str, options: GenerationOptions) -> None:
        self._bench, self._source, self._options = bench, source, options

    @cached_property
    def moved(self) -> Moved:
        return self._bench.move(self._source, self._options)

    @cached_property
    def sound(self) -> float:
        """Seconds of sound that were heard before the first frame came."""
        return self._bench.sound_before_first_frame(self._source, self._options)


class Bench:
    """The engine. Use it in a `with`: it draws the weights, 191 MB, into a folder that goes with it."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            files = {spec.name: folder / f"{spec.name}.pth" for spec in (*MAIN_NETWORKS, *AUX_NETWORKS)}
            for name, path in files.items():
                path.write_bytes(b"stand-in")
                if name in (spec.name for spec in _WEIGHED):
                    _draw(name, path)
            with patch.object(ditto_networks, "open_network", self._open):
                self._engine = DittoEngine(Settings(), files, "made up")
            stack.callback(self._engine.close)
            self._stack = stack.pop_all()
        self._avatars = {name: _avatar(frames) for name, frames in (("portrait", 1), ("video", _VIDEO))}
        chunks = open_audio(SPEECH, audio_limits(Settings())).chunks(SAMPLES_PER_FRAME)
        self._sound = np.concatenate([chunk.samples for chunk in chunks])
        self._runs: dict[tuple[str, str], Run] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _open(
        self, spec: NetworkSpec, path: Path, device: str, precision: str, threads: int,
        takes: Sequence[int] | None,
    ) -> Network:  # fmt: skip
        if spec in _WEIGHED:
            network = _Remembering(open_network(spec, path))
            if spec is LMDM:
                self._lmdm = network
            return network
        still = _Still(spec)
        if spec.name == "hubert":
            return StubHubert()
        if spec.name == "warp_network":
            self._drawn = still
        return still

    def run(self, source: str, options: GenerationOptions) -> Run:
        """A clip of a source, "portrait" or "video"."""
        key = source, options.model_dump_json()
        return self._runs.setdefault(key, Run(self, source, options))

    def move(self, source: str, options: GenerationOptions) -> Moved:
        """The whole clip. What `MotionStitch` makes of each frame is noted before it becomes points."""
        seen: list[Motion] = []

        def noted(points: np.ndarray, motion: Motion) -> np.ndarray:
            seen.append(motion)
            return transform_keypoints(points, motion)

        before, points = self._lmdm.calls, []
        sound = iter([AudioChunk(self._sound, 0)])
        with patch.object(motion_stitch, "transform_keypoints", noted):
            for _ in self._frames(source, options, sound):
                points.append(self._drawn.points)
        mixed, theirs = seen[1::2], seen[::2]  # for every frame the source's motion, then that of the frame
        return Moved(
            {angle: np.concatenate([degrees(motion[angle]) for motion in mixed]) for angle in ANGLES},
            np.concatenate([motion["exp"] for motion in mixed]),
            np.concatenate(points),
            np.concatenate([motion["exp"] for motion in theirs]),
            self._lmdm.calls - before,
        )

    def sound_before_first_frame(self, source: str, options: GenerationOptions) -> float:
        """In seconds; sound is handed in 5 ms at a time."""
        heard = 0

        def fed() -> Iterator[AudioChunk]:
            nonlocal heard
            for start in range(0, len(self._sound), _SLIVER):
                heard = start + _SLIVER
                yield AudioChunk(self._sound[start:heard], start)

        with closing(self._frames(source, options, fed())) as frames:
            next(frames)
        return heard / SAMPLE_RATE

    def _frames(
        self, source: str, options: GenerationOptions, sound: Iterator[AudioChunk]
    ) -> Generator[Frame, None, None]:
        rng = np.random.default_rng(options.motion.seed)
        yield from self._engine.animate(self._avatars[source], sound, options, rng, StageClock())


def _draw(net: str, path: Path) -> None:
    """The made-up checkpoint of a network."""
    manifest = json.loads(MANIFEST.read_text(encoding="utf-8"))
    kit.write_checkpoint(net, kit.weights(net, manifest["networks"][net], manifest["salt"]), path)


def _avatar(frames: int) -> RegisteredAvatar:
    """What registration would have read from a made-up source; a video's frames are smoothed, as always."""
    keys = [f"{_KEY}/{frame}" for frame in range(frames)]
    info = stacked([kit.x_info(key) for key in keys])
    arrays = {f"x.{name}": centred_mean(rows, 13 if frames > 1 else 1) for name, rows in info.items()}
    arrays |= {
        "sc": info["kp"][0],
        "eye_open": np.concatenate([eyes_open(f"{key}/eo") for key in keys]),
        "eye_ball": np.concatenate([eye_balls(f"{key}/eb") for key in keys]),
        "features": np.zeros((frames, 32, 16, 64, 64), np.float32),
        "crop_to_source": np.tile(np.diag([_SIDE / 512, _SIDE / 512, 1]).astype(np.float32), (frames, 1, 1)),
    }
    grey = np.full((_SIDE, _SIDE, 3), 128, np.uint8)
    if frames == 1:
        arrays["rgb"] = grey
    else:
        with Spool() as spool:
            jpegs = Jpegs(spool)
            for _ in keys:
                jpegs.add(grey)
            arrays["jpeg"], arrays["jpeg_ends"] = jpegs.arrays()
    return RegisteredAvatar("made up", "ditto", frames == 1, frames, (_SIDE, _SIDE), arrays)
