"""The parity kit's cases of the six networks: what goes in, by the names of core.networks."""

import numpy as np

from scripts.parity.kit import CLIP, MOTION, Arrays, Golden, draw

_CONDITION = 1103  # columns of the motion model's condition


def cases(golden: Golden) -> list[int]:
    """The numbers of a network's cases."""
    names = {key.split(".")[0] for key in golden.arrays if key.startswith("case")}
    return sorted(int(name.removeprefix("case")) for name in names)


def inputs(net: str, case: int, golden: Golden, salt: str) -> Arrays:
    """The arrays that a network is called with."""
    match net:
        case "appearance_extractor" | "motion_extractor":
            return {"image": _image(f"{salt}/in/{net}/{case}", case)}
        case "warp_network":
            volume = 0.5 * draw(f"{salt}/in/warp/{case}/f", (1, 32, 16, 64, 64))
            return {"feature_3d": volume, **_keypoints(case, golden)}
        case "decoder":
            return {"feature": _feature(f"{salt}/in/decoder/{case}", case)}
        case "stitch_network":
            return _keypoints(case, golden)
        case "lmdm":
            time = golden.arrays[f"case{case}.t"].reshape(1)
            x = draw(f"{salt}/in/lmdm/x{case}", (1, CLIP, MOTION))
            return {"x": x, **condition(case, salt), "time_cond": time}
    raise ValueError(f"the kit has no cases of {net!r}")


def condition(case: int, salt: str) -> Arrays:
    """What the motion model listens to; a whole run of sampling takes that of case 0."""
    return {
        "cond_frame": 0.3 * draw(f"{salt}/in/lmdm/kp{case}", (1, MOTION)),
        "cond": 0.5 * draw(f"{salt}/in/lmdm/cond{case}", (1, CLIP, _CONDITION)),
    }


def noise(steps: int, salt: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """What a run of sampling starts from, and the fresh noise of its steps: (1, 80, 265) each."""
    key, shape = f"{salt}/noise/lmdm/{steps}", (1, CLIP, MOTION)
    return draw(f"{key}/x", shape), [draw(f"{key}/{k}", shape) for k in range(steps - 1)]


def _image(key: str, case: int) -> np.ndarray:
    """Noise, blocks of 16 pixels, or grey."""
    if case == 2:
        return np.full((1, 3, 256, 256), 0.5, np.float32)
    side = 16 if case else 256
    z = draw(key, (1, 3, side, side)).repeat(256 // side, 2).repeat(256 // side, 3)
    return np.clip(0.5 + 0.25 * z, 0, 1)


def _feature(key: str, case: int) -> np.ndarray:
    """Noise, or blocks of 8 cells."""
    side = 8 if case else 64
    return 0.5 * draw(key, (1, 256, side, side)).repeat(64 // side, 2).repeat(64 // side, 3)


def _keypoints(case: int, golden: Golden) -> Arrays:
    return {name: golden.arrays[f"case{case}.{name}"] for name in ("kp_source", "kp_driving")}
