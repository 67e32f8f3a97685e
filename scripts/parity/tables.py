"""What a kit holds as JSON: index tables, counts and the order in which frames come out."""

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

from core.atomic_components.controls import frame_control
from core.atomic_components.loop import mirror_index
from core.atomic_components.windows import frame_count
from core.engines.ditto.driving import WINDOW
from core.media.image import fit_size
from core.option_table import parse_options
from scripts.parity.clip import Clip
from scripts.parity.findings import Kit
from scripts.parity.flows import cut_to
from scripts.parity.kit import audio


class Entry(NamedTuple):
    """One line of a table: what came out, and what the kit says."""

    key: str
    ours: Any
    theirs: Any


def online_flow(kit: Kit) -> Iterator[Entry]:
    """Calls of the motion model, and frames out after each window in, as far as the clip goes.

    Where upstream loses the first frames (an overlap below 40) its order cannot be followed.
    """
    for case in kit.table("steps_online_flow"):
        samples, overlap = case["samples"], case["overlap_v2"]
        key = f"overlap {overlap} chunk {case['chunksize']} samples {samples}"
        made = {"kwargs": {"overlap_v2": overlap}, "chunksize": case["chunksize"]}
        clip = Clip(
            f"{kit.salt}/src/img", audio(f"{kit.salt}/aud/{samples}", samples), made, {}, streaming=True
        )
        emitted = clip.emitted()
        yield Entry(f"{key}: frames", sum(emitted), case["num_f"])
        yield Entry(f"{key}: calls", len(clip.conditions), case["lmdm_calls"])
        if 2 * overlap >= WINDOW:
            theirs = cut_to(case["emitted_after_chunk"], case["num_f"])
            full = clip.complete_windows  # the others are padded there, and here the sound has ended
            yield Entry(f"{key}: order", emitted[:full], theirs[:full])


def ctrl_info(kit: Kit) -> Iterator[Entry]:
    """Controls of the frames that a clip has; those before its first and after its last never come."""
    for number, case in enumerate(kit.table("steps_ctrl_info")):
        told = case["ctrl_info_from_setup" if case["ctrl_info_arg"] == "none" else "ctrl_info_arg"]
        fades = {name: max(case[name], -1) for name in ("fade_in", "fade_out")}
        options = parse_options({"ctrl_info": ast.literal_eval(told), **fades})
        for index, control in sorted(case["result"].items(), key=lambda item: int(item[0])):
            if 0 <= int(index) < case["N_d"]:
                ours = frame_control(options, int(index), case["N_d"])
                for name, value in control.items():
                    entry = f"{number}: {name} of frame {index}"
                    yield Entry(entry, round(getattr(ours, name), 12), round(value, 12))


def loader(kit: Kit) -> Iterator[Entry]:
    table = kit.table("steps_loader")
    for height, width, limit, *expected in table["check_resize(h,w,max_dim)->(new_h,new_w,flag)"]:
        if min(expected[:2]) > 0 and limit > 0:  # a picture one pixel wide is refused, not emptied
            made = fit_size(width, height, limit)
            yield Entry(f"{width}x{height} within {limit}", [made[1], made[0]], expected[:2])
    for size, indices in table["mirror_index"].items():
        ours = [mirror_index(i, int(size)) for i in range(len(indices))]
        yield Entry(f"mirror {size}", ours, indices)
    for samples, count in table["num_frames(len_samples)"].items():
        yield Entry(f"{samples} samples", frame_count(int(samples)), count)
