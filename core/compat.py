"""Ditto's own programming interface, `StreamSDK`, over this house's pipeline.

Names, arguments and the order of calls are those of antgroup/ditto-talkinghead e9191cf6, whose two classes,
offline and online, are one here. What differs is told in docs/sdk.md.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.aux_models.hubert import WIDTH, ChunkSize
from core.contracts import StageClock, warnings
from core.engines.ditto.engine import DittoEngine
from core.engines.ditto.start import start_published
from core.errors import BadAudio, BadOption, BadPath
from core.media.mp4 import check_target, folder_made
from core.media.writer import VideoWriter
from core.optimization.parallel_processing import FedWork
from core.option_table import check_frames, parse_options
from core.options import GenerationOptions
from core.settings import load_settings
from core.types import SAMPLE_RATE, AudioChunk, AvatarSource, RegisteredAvatar

_log = logging.getLogger(__name__)
_WAITING = 100  # blocks of features, as upstream's queues
_LONGEST = 3000  # frames of a source video


class StreamSDK:
    """One portrait, one clip at a time: `setup`, `setup_Nd`, sound, `close`.

    Sound comes as features (`audio2motion_queue.put`) or as windows (`run_chunk`); the silent video lies at
    `tmp_output_path` once `close` has returned, and is the caller's to move or remove. `cfg_pkl` is a
    published configuration, `data_root` the folder of its models; further keyword arguments are dicts that
    replace entries of its sections. Raises AssetError, BadOption.
    """

    def __init__(
        self, cfg_pkl: str | Path, data_root: str | Path, **sections: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self._engine, _ = start_published(load_settings(), _path(cfg_pkl), _path(data_root), sections)
        self._released = False
        self.wav2feat = Wav2Feat(self._engine, self._chunk)
        self.audio2motion_queue = FeatureQueue(self._put)
        self.output_path = self.tmp_output_path = ""
        self.online_mode = False
        self._values: dict[str, Any] = {}
        self._options = GenerationOptions()
        self._avatar: RegisteredAvatar | None = None  # while a clip is open
        self._clip: _Clip | None = None  # from its first sound on
        self._dropped: weakref.finalize | None = None

    def setup(self, source_path: str | Path, output_path: str | Path, **options: Any) -> None:
        """Begin a clip: read the portrait, with any option of the table. A clip not closed is dropped.

        Without a `seed` one is drawn from numpy's global random numbers. `N_d` limits the frames of a source
        video that are read, too. Raises InputError, ComputeError.
        """
        if self._released:
            raise BadOption("This SDK was released.", "Make another one.")
        self.cancel()
        drawn = int(np.random.randint(2**32, dtype=np.uint64))
        source, unfinished = _path(source_path), Path(f"{_path(output_path)}.tmp.mp4").absolute()
        self._take({"resolution": "source", "seed": drawn, **options})
        crop, planned = self._options.crop, self._options.stitch.N_d
        if crop.template_n_frames < 0 < planned:
            crop = crop.model_copy(update={"template_n_frames": min(planned, _LONGEST)})
        with folder_made(unfinished.parent):
            check_target(unfinished)
            avatar = self._engine.register(AvatarSource(path=source), crop)
        for line in warnings(self._engine, options, self._options, avatar.is_image):
            _log.warning(line)
        self.online_mode = self._options.motion.online_mode
        self.output_path, self.tmp_output_path = str(output_path), f"{output_path}.tmp.mp4"
        self._avatar = avatar

    def setup_Nd(
        self,
        N_d: int,
        fade_in: int = -1,
        fade_out: int = -1,
        ctrl_info: Mapping[int, Any] | Sequence[Any] | None = None,
    ) -> None:
        """Tell the clip's number of frames, fades, and controls of single frames, before its first sound.

        Without `ctrl_info` that of `setup` stays. Raises BadOption.
        """
        self._opened()
        if self._clip is not None:
            raise BadOption("setup_Nd comes too late: the clip has sound already.", "Call it before that.")
        told = {"N_d": N_d, "fade_in": fade_in, "fade_out": fade_out}
        self._take(self._values | told | ({} if ctrl_info is None else {"ctrl_info": ctrl_info}))

    def run_chunk(self, audio_chunk: np.ndarray, chunksize: Sequence[int] | None = None) -> None:
        """Sound at 16 kHz (sum(chunksize) * 640 + 80,): `present` frames of it, between past and future.

        Without `chunksize` that of `setup` goes. Raises BadAudio, BadOption, and what has gone wrong with
        the clip meanwhile.
        """
        chunk = self._chunk(chunksize)
        window = _sound(audio_chunk)
        if len(window) != chunk.samples:
            raise BadAudio(
                f"A window of chunksize {tuple(chunk)} has {chunk.samples} samples, not {len(window)}.",
                "Fill the last one with zeros.",
            )
        self._opened()
        self._put(self._engine.describe_window(window, chunk))

    def close(self) -> None:
        """Wait until all frames are written. Raises what has gone wrong; then no file is left.

        Nothing happens where no clip is open.
        """
        if self._avatar is not None:
            clip = self._begun()
            try:
                clip.finish()
            finally:
                self.cancel()

    def cancel(self) -> None:
        """Drop the clip that is open, if one is: no file and no thread is left."""
        if self._dropped is not None:
            self._dropped()
        self._avatar = self._clip = self._dropped = None

    def release(self) -> None:
        """Drop what is open and give back the networks; the object is of no use afterwards."""
        self.cancel()
        if not self._released:
            self._released = True
            self._engine.close()

    def _take(self, values: dict[str, Any]) -> None:
        """Make these the clip's option values, if they are all right. Raises BadOption."""
        options = parse_options(values, defaults=self._engine.capabilities.defaults)
        if options.stitch.N_d > 0:
            check_frames(options, options.stitch.N_d)
        self._values, self._options = values, options

    def _chunk(self, chunksize: Sequence[int] | None) -> ChunkSize:
        if chunksize is None:
            return ChunkSize(*self._options.motion.chunksize)
        return ChunkSize(*parse_options({"chunksize": chunksize}).motion.chunksize)

    def _opened(self) -> RegisteredAvatar:
        if self._avatar is None:
            raise BadOption("No clip is open.", "Call setup(source_path, output_path) first.")
        return self._avatar

    def _put(self, features: np.ndarray) -> None:
        self._begun().put(features)

    def _begun(self) -> "_Clip":
        """The clip at work, begun if need be; it ends with this object, or with the process, too."""
        avatar = self._opened()
        if self._clip is None:
            path = Path(self.tmp_output_path)
            self._clip = FedWork(partial(_write, self._engine, avatar, self._options, path), _WAITING)
            self._dropped = weakref.finalize(self, self._clip.cancel)
        return self._clip


_Clip = FedWork[np.ndarray, None]


def _write(
    engine: DittoEngine,
    avatar: RegisteredAvatar,
    options: GenerationOptions,
    path: Path,
    features: Iterator[np.ndarray],
    look: Callable[[], None],
) -> None:
    """The clip, on the thread that writes it. It knows nothing of the SDK, which may go away meanwhile."""
    rng = np.random.default_rng(options.motion.seed)
    frames = engine.animate_features(avatar, features, options, rng, StageClock())
    with (
        folder_made(path.absolute().parent),
        VideoWriter(path, engine.canvas_size(avatar, options)) as writer,
    ):
        for frame in frames:
            look()
            writer.write(frame.rgb)
        if not writer.frames:
            raise BadAudio("The clip has no sound.", "Hand some in between setup and close.")


class Wav2Feat:
    """What is said in a recording, for `audio2motion_queue`."""

    def __init__(
        self, engine: DittoEngine, chunk: Callable[[Sequence[int] | None], ChunkSize]
    ) -> None:  # fmt: skip
        self._engine, self._chunk = engine, chunk

    def wav2feat(
        self, audio: np.ndarray, sr: int = SAMPLE_RATE, chunksize: Sequence[int] | None = None
    ) -> np.ndarray:
        """Sound (n,) at 16 kHz -> features (frames, 1024); without `chunksize` that of `setup` goes.

        Raises BadAudio, BadOption.
        """
        if sr != SAMPLE_RATE:
            raise BadAudio(f"The sound has {sr} Hz, not {SAMPLE_RATE}.", "Load it with sr=16000.")
        blocks = self.stream([AudioChunk(_sound(audio), 0)], chunksize)
        return np.concatenate([np.zeros((0, WIDTH), np.float32), *blocks])

    def stream(
        self, sound: Iterable[AudioChunk], chunksize: Sequence[int] | None = None
    ) -> Iterator[np.ndarray]:
        """The same in blocks (n, 1024), each as soon as its sound is there (not upstream's)."""
        return self._engine.describe(sound, self._chunk(chunksize))


class FeatureQueue:
    """The way into the clip for features."""

    def __init__(self, put: Callable[[np.ndarray], None]) -> None:
        self._put = put

    def put(self, features: np.ndarray | None) -> None:
        """Features (n, 1024), a row a frame; None, upstream's end mark, changes nothing before `close`.

        Raises BadAudio, and what has gone wrong with the clip meanwhile.
        """
        if features is None:
            return
        rows = _numbers(features, "features")
        if rows.ndim != 2 or rows.shape[1] != WIDTH:
            raise BadAudio(f"Features have the shape (frames, {WIDTH}), not {rows.shape}.")
        if len(rows):
            self._put(rows)


def _sound(samples: np.ndarray) -> np.ndarray:
    if getattr(samples, "dtype", np.dtype(float)).kind in "iu":
        raise BadAudio("The sound is whole numbers, not -1 .. 1.", "Load it as floating point.")
    sound = _numbers(samples, "sound")
    if sound.ndim != 1:
        raise BadAudio(f"Sound is one row of numbers, not {sound.shape}.", "Load it in mono.")
    return sound


def _numbers(values: object, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise BadAudio(f"The {what} are no array of numbers.", "Hand in a numpy array.") from error
    if not np.isfinite(array).all():
        raise BadAudio(f"The {what} are not finite.")
    return array


def _path(given: object) -> Path:
    if not isinstance(given, str | Path) or not str(given):
        raise BadPath(f"A path was expected, not {given!r:.60}.", "Give it as text or as a Path.")
    return Path(given)
