"""One clip through Ditto's SDK, as its published `inference.run` does it: a sound, a source, one file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.atomic_components.speech_features import online_windows
from core.atomic_components.windows import frame_count
from core.aux_models.hubert import ChunkSize
from core.batch import check_inputs_stay
from core.media.audio import AudioFile, open_audio
from core.media.mp4 import check_target, folder_made
from core.media.mux import add_sound
from core.more_kwargs import RUN_KWARGS, read_more_kwargs
from core.option_table import parse_options
from core.options import GenerationOptions
from core.settings import load_settings
from core.talker import audio_limits
from core.types import AudioChunk


class _Describes(Protocol):
    def stream(
        self, sound: Iterable[AudioChunk], chunksize: Sequence[int] | None = None
    ) -> Iterator[np.ndarray]: ...


class _Takes(Protocol):
    def put(self, item: np.ndarray) -> None: ...


class Sdk(Protocol):
    """What a run asks of the SDK. A `setup` that fails leaves nothing behind, nor does `cancel`; when
    `close` has ended well, the silent video lies at `tmp_output_path`."""

    @property
    def online_mode(self) -> bool: ...
    @property
    def tmp_output_path(self) -> str | Path: ...
    @property
    def wav2feat(self) -> _Describes: ...
    @property
    def audio2motion_queue(self) -> _Takes: ...

    def setup(self, source_path: str, output_path: str, **kwargs: Any) -> None: ...
    def setup_Nd(self, N_d: int, fade_in: int = -1, fade_out: int = -1, ctrl_info: Any = None) -> None: ...
    def run_chunk(self, audio_chunk: np.ndarray, chunksize: Sequence[int] | None = None) -> None: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...


def run_sdk(
    sdk: Sdk,
    audio_path: str | Path,
    source_path: str | Path,
    output_path: str | Path,
    more_kwargs: Mapping[str, Any] | str | Path,
) -> None:
    """Make `output_path`; see `inference.run`. On any error the session is dropped and no file is left."""
    more = read_more_kwargs(more_kwargs)
    of_run = {name: more.setup[name] for name in RUN_KWARGS if name in more.setup}
    options = parse_options({**of_run, **more.run})
    sound = open_audio(Path(audio_path), audio_limits(load_settings()))
    output = Path(output_path)
    with folder_made(output.absolute().parent):
        check_target(output)
        check_inputs_stay([output], [sound.path, Path(source_path)])
        sdk.setup(str(source_path), str(output_path), **more.setup)
        try:
            _speak(sdk, sound, options, more.run.get("ctrl_info"))
            sdk.close()
            add_sound(Path(sdk.tmp_output_path), sound.path, output)
        except BaseException:
            sdk.cancel()
            raise
        finally:
            Path(sdk.tmp_output_path).unlink(missing_ok=True)


def _speak(sdk: Sdk, sound: AudioFile, options: GenerationOptions, ctrl_info: Any) -> None:
    """Tell the SDK how long the clip is, and hand it the sound: features of all of it, or window by window.

    A `ctrl_info` of None leaves the one that came with `setup`.
    """
    rest = (options.stitch.fade_in, options.stitch.fade_out, ctrl_info)
    chunksize = options.motion.chunksize
    # Decoded twice, since the length comes first, and so never as a whole in memory.
    sdk.setup_Nd(frame_count(sum(len(chunk.samples) for chunk in sound.chunks())), *rest)
    with closing(sound.chunks()) as chunks:
        if not sdk.online_mode:
            for features in sdk.wav2feat.stream(chunks, chunksize):
                sdk.audio2motion_queue.put(features)
            return
        for window in online_windows(chunks, ChunkSize(*chunksize)):
            sdk.run_chunk(window, chunksize)
