"""Sound to moving keypoints as a whole, offline and online, with the kit's stand-ins for the networks."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.atomic_components.audio2motion import WINDOW
from core.atomic_components.loop import mirror_index
from scripts.parity.clip import Clip
from scripts.parity.findings import EXACT, STEP, Kit, Result
from scripts.parity.kit import Arrays, audio

_DRV = (slice(None, None, 4), slice(None, None, 7))  # what is kept of the driving vectors


def offline_motion(kit: Kit) -> Iterator[Result]:
    """Upstream's offline class, in its own mode and in the online one."""
    golden = kit.golden("steps_offline_motion")
    for name, case in golden.meta["cases"].items():
        key = f"{kit.salt}/src/v{case['src_frames']}"
        sound = audio(f"{kit.salt}/aud/off_{name}", case["samples"])
        clip = Clip(key, sound, case, _held(golden.arrays), streaming=False)
        _, rows, _, x_d = clip.run()
        yield Result(f"{name}.drv", rows[_DRV], STEP)
        yield Result(f"{name}.x_d", x_d[:: case["stride"]], STEP)
        yield Result(f"{name}.frame_idx", source_rows(clip.frames, len(rows)), EXACT)
        made, calls = np.array(len(clip.conditions)), np.array(case["lmdm_calls"])
        yield Result(f"{name}.lmdm_calls", made, EXACT, theirs=calls)


def online_motion(kit: Kit) -> Iterator[Result]:
    """All frames that the clip has: upstream goes on with what it made of the padding, and with an overlap
    below 40 loses frames at the start, as it does all of a clip that is shorter than a window."""
    golden = kit.golden("steps_online_motion")
    for name, case in golden.meta["cases"].items():
        if name.startswith("var_"):
            yield from _variant(kit, name, case, _held(golden.arrays))
            continue
        overlap, chunk, samples = (int(part.lstrip("ovcn")) for part in name.split("_"))
        made = {"kwargs": {"overlap_v2": overlap}, "chunksize": [int(digit) for digit in str(chunk)]}
        sound = audio(f"{kit.salt}/aud/{samples}", samples)
        clip = Clip(f"{kit.salt}/src/img", sound, made, {}, streaming=True)
        first, rows, x_s, x_d = clip.run()
        lost = lost_frames(clip)
        drv, points = rows[lost:][_DRV], x_d[lost :: case["stride"]]
        yield Result(f"{name}.d0", first, STEP)
        yield Result(f"{name}.drv", drv, STEP, slice(len(drv)))
        yield Result(f"{name}.x_d", points, STEP, slice(len(points)))
        yield Result(f"{name}.x_s", x_s[:1], STEP)


def _variant(kit: Kit, name: str, case: Mapping[str, Any], held: Arrays) -> Iterator[Result]:
    """Upstream's online class with other options."""
    key = f"{kit.salt}/src/v{case['src_frames']}"
    sound = audio(f"{kit.salt}/aud/{name.removeprefix('var_')}", case["samples"])
    clip = Clip(key, sound, case, held, streaming=True)
    _, _, _, x_d = clip.run()
    points = x_d[lost_frames(clip) :]
    count = len(points)
    yield Result(f"{name}.kp_cond_per_clip", np.stack(clip.conditions)[:, ::5], STEP)
    yield Result(f"{name}.cond_last_clip", clip.last_rows[::8, ::9], STEP)
    yield Result(f"{name}.x_d", points, STEP, slice(count))
    yield Result(f"{name}.frame_idx", source_rows(clip.frames, count), EXACT, slice(count))
    if clip.online and not lost_frames(clip):
        theirs = cut_to(case["emitted"], case["num_f"])
        full = clip.complete_windows  # the others are padded there, and here the sound has ended
        again = Clip(key, sound, case, held, streaming=True)
        ours = np.array(again.emitted()[:full])
        yield Result(f"{name}.emitted", ours, EXACT, theirs=np.array(theirs[:full]))


def _held(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays that cases name."""
    return {key.removeprefix("variants."): array for key, array in arrays.items()}


def source_rows(frames: int, count: int) -> np.ndarray:
    """Which of the source's frames each of the clip's shows."""
    return np.array([mirror_index(i, frames) for i in range(count)])


def lost_frames(clip: Clip) -> int:
    """Frames at the start that upstream never gives out."""
    return max(0, WINDOW - 2 * clip.driving.rules.overlap) if clip.online else 0


def cut_to(numbers: list[int], total: int) -> list[int]:
    """As many of the frames as there are."""
    out: list[int] = []
    for number in numbers:
        out.append(min(number, total - sum(out)))
    return out
