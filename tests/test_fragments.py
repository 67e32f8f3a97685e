"""Fragmented MP4 made frame by frame: what a decoder sees, at which time."""

import io
from itertools import pairwise

import av
import numpy as np
import pytest

from core.media.fmp4 import Sample, fragment, split_units, with_lengths
from core.media.fragments import FragmentStream

SIZE = (96, 64)


def frames(count: int, start: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Grey and silent; every tenth, from the fifth on, is bright and loud."""
    made = []
    for index in range(start, start + count):
        loud = index % 10 == 5
        rgb = np.full((SIZE[1], SIZE[0], 3), 230 if loud else 20, np.uint8)
        made.append((rgb, (0.8 * np.sin(0.5 * np.arange(640)) * loud).astype(np.float32)))
    return made


def seen(data: bytes) -> tuple[list[tuple[float, float]], float, np.ndarray]:
    """(time, brightness) of the pictures; the time where sound begins, and the sound."""
    pictures, sounds, times = [], [], []
    with av.open(io.BytesIO(data)) as container:
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures.append((float(frame.time), float(frame.to_ndarray(format="gray").mean())))
                else:
                    sounds.append(frame.to_ndarray()[0])
                    times.append(float(frame.time))
    assert all(b - a == pytest.approx(1024 / 16_000) for a, b in pairwise(times))
    return pictures, times[0], np.concatenate(sounds)


@pytest.mark.parametrize("first", [0, 1000])
@pytest.mark.parametrize("step", [1, 5, 7])
def test_pictures_and_sound_keep_their_times(first: int, step: int) -> None:
    with FragmentStream(SIZE, first=first) as stream:
        made = frames(70)
        data = stream.header + b"".join(stream.add(made[at : at + step]) for at in range(0, 70, step))
    pictures, begin, sound = seen(data)
    assert [time for time, _ in pictures] == pytest.approx([(first + i) / 25 for i in range(70)])
    flashes = [time for time, level in pictures if level > 120]
    loud = np.flatnonzero(np.abs(sound) > 0.3)
    onsets = loud[np.flatnonzero(np.diff(loud, prepend=-9999) > 2000)] / 16_000 + begin
    assert begin == pytest.approx(first / 25)
    np.testing.assert_allclose(onsets[: len(flashes)], flashes[: len(onsets)], atol=0.002)
    assert len(onsets) >= 6


def test_a_fragment_leaves_at_once() -> None:
    """One frame in, its picture out; sound in blocks of 64 ms, the first of them after two blocks."""
    with FragmentStream(SIZE) as stream:
        for count in range(1, 20):
            data = stream.add(frames(1, count))
            assert data[4:8] == b"moof" and b"mdat" in data
            assert stream.frame == count and stream.sequence == count + 1


def test_another_quality_goes_on_in_time() -> None:
    """The sound does not notice: it ends in one stream where it begins in the next."""
    with FragmentStream(SIZE) as stream:
        data = stream.header + stream.add(frames(10))
        stream.change(40)
        more = stream.header + stream.add(frames(10, 10))
    one, begin, sound = seen(data)
    other, goes_on, _ = seen(more)
    assert other[0][0] == pytest.approx(one[-1][0] + 0.04)
    assert goes_on == pytest.approx(begin + len(sound) / 16_000)


def test_drift_tells_sound_that_is_missing() -> None:
    with FragmentStream(SIZE, first=7) as stream:
        for count in (1, 4, *range(1, 12)):
            stream.add(frames(count))
            assert stream.drift_s == 0
        stream._sound_at -= 1600
        assert stream.drift_s == pytest.approx(0.1)


def test_units_are_found_and_measured() -> None:
    stream = b"\x00\x00\x00\x01\x67ab\x00\x00\x01\x68c\x00\x00\x01\x65\x00\x01d"
    assert split_units(stream) == [b"gab", b"hc", b"e\x00\x01d"]
    assert with_lengths([b"gab", b"h"]) == b"\x00\x00\x00\x03gab\x00\x00\x00\x01h"


def test_a_track_without_samples_is_left_out() -> None:
    made = fragment(7, [(1, 40, [Sample(b"abc", 1)]), (2, 99, [])])
    assert made.count(b"traf") == 1 and made.endswith(b"mdatabc")
