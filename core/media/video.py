"""Video in: any video file becomes upright RGB frames at 25 fps, lazily, one at a time in memory."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from core.errors import BadImage, BadPath, TooLong
from core.media.container import Damage, announced_seconds, check_size, decoded, describe, known, open_input
from core.types import FPS, AvatarSource

_TOLERANCE = 1e-3  # s; many containers count in milliseconds
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class VideoLimits:
    """What a source video may be: bytes of the file, pixels of a frame, seconds that are read."""

    max_bytes: int = 500 * 2**20
    max_pixels: int = 40_000_000
    max_seconds: float = 120.0


@dataclass(frozen=True)
class VideoFile:
    """A checked video, decoded anew by each iteration.

    `size` is (width, height) of the frames as given out, upright; `fps` and `duration_s` are what the
    file announces, None if it does not. `notes` are for the user; those about damage come with the end.
    """

    size: tuple[int, int]
    fps: float | None
    duration_s: float | None
    _source: Path | bytes = field(repr=False)
    _limits: VideoLimits = field(repr=False)
    _notes: dict[str, None] = field(default_factory=dict, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def frames(self, limit: int | None = None, retime: bool = True) -> Generator[np.ndarray, None, None]:
        """Frames uint8 (H, W, 3) RGB, at most `limit`; do not change them, one may come several times.

        With `retime` frame k is what the video shows at k / 25 s; without, the frames come as they are
        stored, whatever their rate. Raises BadImage where nothing can be decoded or the size changes,
        TooLong past max_seconds; a damaged video gives the frames that can be decoded.
        """
        damage, name = Damage(), describe(self._source)
        with open_input(self._source, BadImage) as container:
            stream = _stream(container, self._source, self._limits)
            timed = _timed(container, stream, damage)
            chosen = _at_25_fps(timed) if retime else ((frame, start) for frame, start, _ in timed)
            convert = _Converter(stream)
            for frame, seconds in islice(chosen, limit):
                if seconds >= self._limits.max_seconds:
                    raise TooLong(f"{name} lasts longer than {self._limits.max_seconds:g} s, the limit.")
                rgb = convert(frame)
                if (rgb.shape[1], rgb.shape[0]) != self.size:
                    raise BadImage(f"{name} changes its picture size midway.")
                yield rgb
        if damage.any:
            self._notes[f"{name} is damaged; the frames that can be decoded are used."] = None
        if not damage.good:
            raise BadImage(f"{name} has no frame that can be decoded.")


def open_video(source: AvatarSource, limits: VideoLimits) -> VideoFile:
    """Check a video and decode its first frame.

    Raises BadPath (missing), BadImage (a folder, empty, no video in it, not decodable), TooLong (bytes,
    pixels). Seconds are checked while frames are read, as a caller may want the first ones only.
    """
    file = source.path if source.path is not None else source.data
    if file is None:
        raise BadPath("No source was given.", "Give a portrait: an image or a video.")
    check_size(file, limits.max_bytes, BadImage)
    with open_input(file, BadImage) as container:
        stream = _stream(container, file, limits)
        rate, seconds = stream.average_rate, announced_seconds(container, stream)
        with closing(decoded(container, stream, Damage())) as frames:
            first = next(frames, None)
        if not isinstance(first, VideoFrame):
            raise BadImage(f"{describe(file)} has no frame that can be decoded.")
        height, width = _Converter(stream)(first).shape[:2]
    return VideoFile((width, height), float(rate) if rate else None, seconds, file, limits)


def _stream(container: InputContainer, source: Path | bytes, limits: VideoLimits) -> VideoStream:
    cover = Disposition.attached_pic
    stream = next((each for each in container.streams.video if not each.disposition & cover), None)
    if stream is None:
        raise BadImage(f"{describe(source)} has no video in it.", "Give an image or a video.")
    codec = known(stream, source, BadImage).codec_context
    if codec.width * codec.height > limits.max_pixels:
        raise TooLong(
            f"{describe(source)} has frames of {codec.width}x{codec.height}; "
            f"the limit is {limits.max_pixels / 1e6:.0f} million pixels."
        )
    codec.thread_count = 1  # frames held by decoder threads are memory
    codec.options = {"max_pixels": str(limits.max_pixels)}  # also where the picture grows midway
    return stream


def _timed(
    container: InputContainer, stream: VideoStream, damage: Damage
) -> Iterator[tuple[VideoFrame, float, float]]:
    """Frames with the seconds, from the first one on, at which each appears and goes."""
    step = 1 / (float(stream.average_rate or 0) or FPS)
    first: float | None = None
    end = 0.0
    for frame in decoded(container, stream, damage):
        if not isinstance(frame, VideoFrame):
            continue
        time = frame.time if frame.time is not None else (first or 0.0) + end
        first = time if first is None else first
        start = max(time - first, 0.0)
        length = frame.duration * frame.time_base if frame.time_base is not None else 0
        end = start + (float(length) or step)
        yield frame, start, end


def _at_25_fps(timed: Iterable[tuple[VideoFrame, float, float]]) -> Iterator[tuple[VideoFrame, float]]:
    """For each k the last frame that has appeared at k / 25 s, with that time, until the last one goes."""
    shown: VideoFrame | None = None
    k, end = 0, 0.0
    for frame, start, end in timed:  # noqa: B007  the last end is used below
        while shown is not None and k / FPS < start - _TOLERANCE:
            yield shown, k / FPS
            k += 1
        shown = frame
    while shown is not None and (k == 0 or k / FPS < end - _TOLERANCE):
        yield shown, k / FPS
        k += 1


class _Converter:
    """Decoded frames to upright RGB of square pixels; the same frame twice is converted once."""

    def __init__(self, stream: VideoStream) -> None:
        ratio = stream.sample_aspect_ratio
        self._stretch = float(ratio) if ratio and 0.25 <= ratio <= 4 else 1.0
        self._reformatter = VideoReformatter()
        self._frame: VideoFrame | None = None
        self._rgb = np.zeros((0, 0, 3), np.uint8)

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        if frame is self._frame:
            return self._rgb
        width = max(1, round(frame.width * self._stretch))
        rgb = self._reformatter.reformat(frame, width, format="rgb24", interpolation=_EXACT, threads=1)
        turned = np.rot90(rgb.to_ndarray(), round(frame.rotation / 90))
        self._frame, self._rgb = frame, np.ascontiguousarray(turned)
        return self._rgb
