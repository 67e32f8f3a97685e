"""What shows between parted lips: teeth taken from the source or drawn, tongue, the dark behind them.

All of it is laid out in the mouth's frame (see `survey`), once a portrait; `mouth` lights it frame by frame.
"""

import cv2
import numpy as np

from core.engines.lite.shapes import LOWER
from core.engines.lite.survey import SPAN, Look, straightened

LOW, HIGH = np.array([-0.56, -0.30]), np.array([0.56, 0.46])  # the layers' corners, u and v
SCALE = 140  # px an eye distance
KEPT = ("teeth", "jaw", "lip", "bared", "meet")
_WIDTHS = (0.135, 0.108, 0.115, 0.085, 0.07, 0.06)  # of the upper teeth from the middle, as seen
_EDGES = (0.0, -0.010, 0.002, -0.012, -0.022, -0.035)  # v of their edges against the middle teeth's
_LOWER_WIDTHS = (0.082, 0.09, 0.1, 0.085, 0.08, 0.07)
_TOOTHY = 0.15  # share of a parted mouth that must be teeth for it to lend its own
_REST = 0.034  # how far the edge of the upper teeth lies below the closed lips


def interior(rgb: np.ndarray, look: Look, plane: np.ndarray, to_source: np.ndarray) -> dict[str, np.ndarray]:
    """The layers: "teeth" fixed to the skull, "jaw" (lower teeth and tongue), uint8 (h, w, 4) with alpha;
    "lip" the lips' colour, float32 (3,); "bared" 1 where the source shows its teeth, uint8 (1,); "meet" where
    parted lips meet when they close, float32 (1,), 0 at the upper lip's edge, 1 at the lower's."""
    patch = straightened(rgb, to_source, look.frame, LOW, HIGH, SCALE)
    u, v = _grid(patch.shape)
    table = np.linspace(-SPAN, SPAN, look.lips.shape[1])
    upper = np.interp(u[0], table, look.lips[0])
    lower = np.interp(u[0], table, look.lips[1])
    lip, skin = _lip_colour(rgb, plane, to_source), _skin_colour(rgb, plane, to_source)
    own = _own_teeth(patch, u, v, upper, lower, lip) if look.parted else None
    middle = int(np.argmin(np.abs(u[0])))
    meet = 0.68 if own is not None else 0.3  # over bared teeth the upper lip has the longer way
    seam = float(upper[middle] + meet * (lower[middle] - upper[middle]))
    white = _white(rgb, plane, to_source, skin)
    if own is not None:
        white = np.average(own[..., :3].reshape(-1, 3), axis=0, weights=own[..., 3].ravel() + 1e-3)
    teeth = own if own is not None else _drawn_teeth(u, v - seam, white, lip)
    return {
        "teeth": teeth,
        "jaw": _jaw(u, v - seam, white, lip),
        "lip": lip.astype(np.float32),
        "bared": np.array([own is not None], np.uint8),
        "meet": np.array([meet], np.float32),
    }


def _grid(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    h, w = shape[:2]
    u, v = np.meshgrid(np.arange(w) / SCALE + LOW[0], np.arange(h) / SCALE + LOW[1])
    return u.astype(np.float32), v.astype(np.float32)


def _colours(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray) -> np.ndarray:
    """The source's colours (n, 3) float32 at points (n, 2) of the plane."""
    at = np.rint(plane * to_source[0, 0] + to_source[:, 2]).astype(int)
    h, w = rgb.shape[:2]
    return rgb[at[:, 1].clip(0, h - 1), at[:, 0].clip(0, w - 1)].astype(np.float32)


def _lip_colour(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray) -> np.ndarray:
    return np.median(_colours(rgb, plane[LOWER[1:3, 2:9].ravel()], to_source), 0)


def _skin_colour(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray) -> np.ndarray:
    cheeks = [50, 101, 205, 280, 330, 425, 118, 347, 36, 266, 200, 199]
    return np.median(_colours(rgb, plane[cheeks], to_source), 0)


def _white(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """The shade of teeth in this light: as bright as the whites of the eyes, tinted as the skin is."""
    spots = []
    for outer, inner, iris in ((33, 133, 468), (263, 362, 473)):
        for corner in (outer, inner):
            for share in (0.35, 0.45, 0.55):
                spots.append(plane[corner] * (1 - share) + plane[iris] * share)
    whites = _colours(rgb, np.array(spots), to_source)
    level = max(1.05 * float(np.percentile(whites.mean(1), 70)), 1.15 * float(skin.mean()))
    level = min(level, 1.6 * float(skin.mean()) + 30, 235.0)
    saturation = float(np.ptp(skin) / max(skin.max(), 1))
    warm = 1 - min(saturation / 0.35, 1) * np.array([0.0, 0.035, 0.11])
    tint = 0.55 * warm / warm.mean() + 0.45 * skin / max(float(skin.mean()), 1)
    return np.clip(level * tint, 0, 245)


def _own_teeth(
    patch: np.ndarray, u: np.ndarray, v: np.ndarray, upper: np.ndarray, lower: np.ndarray, lip: np.ndarray
) -> np.ndarray | None:
    """The source's teeth with what belongs to the lips cut away; None when it shows too little of them."""
    inside = (v > upper) & (v < lower) & (lower - upper > 0.02)
    if inside.sum() < 60:
        return None
    colour = patch.astype(np.float32)
    luma = colour.mean(2)
    bright, dim = float(np.percentile(luma[inside], 80)), float(lip.mean())
    if bright < 1.2 * dim:
        return None
    red = (colour[..., 0] - colour[..., 1]) / np.maximum(luma, 1)
    lip_red = float(lip[0] - lip[1]) / max(dim, 1)
    tooth_red = float(np.median(red[inside & (luma > bright)]))
    apart = max(lip_red - tooth_red, 0.08)  # in grey pictures redness tells nothing, and all is pale
    pale = np.clip((max(lip_red, tooth_red + 0.08) - red) / apart * 1.6, 0, 1)
    pale = np.where(luma < 0.75 * dim, 1, pale)  # the dark in the corners of a mouth is no lip
    toothy = np.clip((luma - dim) / (0.45 * (bright - dim)), 0, 1) * pale
    if toothy[inside].mean() < _TOOTHY:
        return None
    sure = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8))
    weight = (np.maximum(toothy, 0.15) * sure).astype(np.float32)[..., None]
    filled = colour * weight
    fill = np.zeros_like(colour)
    for sigma in (24.0, 8.0, 2.5):  # from afar, then ever nearer
        mass = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
        near = np.clip(mass * 12, 0, 1)
        fill = fill * (1 - near) + cv2.GaussianBlur(filled, (0, 0), sigma) / np.maximum(mass, 1e-5) * near
    keep = (cv2.GaussianBlur(sure.astype(np.float32), (0, 0), 1.0) * np.clip(pale * 2, 0, 1))[..., None]
    rooted = inside | ((v <= upper) & (v > upper - 0.06) & (lower - upper > 0.02))
    alpha = cv2.GaussianBlur(rooted.astype(np.float32), (0, 0), 1.0)
    return np.dstack([np.clip(colour * keep + fill * (1 - keep), 0, 255), 255 * alpha]).astype(np.uint8)


def _row(u: np.ndarray, widths: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Number of the tooth at u, and where on it, -1..1."""
    ends = np.cumsum(widths)
    across = np.abs(u)
    number = np.minimum(np.searchsorted(ends, across), len(widths) - 1)
    middle, half = ends[number] - np.array(widths)[number] / 2, np.array(widths)[number] / 2
    return number, np.clip((across - middle) / half, -1, 1)


def _drawn_teeth(u: np.ndarray, v: np.ndarray, white: np.ndarray, lip: np.ndarray) -> np.ndarray:
    number, on = _row(u, _WIDTHS)
    edge = _REST + np.array(_EDGES)[number] - 0.014 * np.abs(on) ** 3.5 + 0.10 * u**2 * (-1)
    body = np.clip((edge - v) * SCALE + 0.5, 0, 1)
    up = np.clip((edge - v) / 0.17, 0, 1)  # 0 at the edge, 1 at the gum
    light = (0.93 + 0.07 * np.sin(np.pi * np.clip(up * 1.3, 0, 1))) * (1 - 0.10 * on**4)
    light *= 1 - 0.16 * np.exp(-(((1 - np.abs(on)) * np.array(_WIDTHS)[number] / 2 / 0.007) ** 2))
    light *= 1 - 0.85 * np.clip(np.abs(u) / 0.56, 0, 1) ** 2
    rgb = white * light[..., None] * (1 - 0.08 * up[..., None] * np.array([0, 0.5, 1.0]))
    gum = np.clip((up - 0.93) / 0.07, 0, 1)[..., None]
    rgb = rgb * (1 - gum) + lip * 0.75 * gum
    return np.dstack([np.clip(rgb, 0, 255), 255 * body]).astype(np.uint8)


def _jaw(u: np.ndarray, v: np.ndarray, white: np.ndarray, lip: np.ndarray) -> np.ndarray:
    """Lower teeth and tongue, where they lie when the jaw is shut."""
    on = _row(u, _LOWER_WIDTHS)[1]
    edge = -0.012 + 0.008 * np.abs(on) ** 3 + 0.55 * np.maximum(np.abs(u) - 0.1, 0) ** 2 - 0.03 * np.abs(u)
    teeth = np.clip((v - edge) * SCALE + 0.5, 0, 1)
    light = 0.62 * (1 - 0.12 * np.exp(-(((1 - np.abs(on)) * 0.04 / 0.008) ** 2)))
    light *= 1 - 0.85 * np.clip(np.abs(u) / 0.5, 0, 1) ** 2
    bump = np.sqrt(np.maximum(1 - (u / 0.30) ** 2, 0))
    top = -0.015 - 0.10 * bump
    tongue = np.clip((v - top) * SCALE / 4, 0, 1) * (bump > 0)
    groove = 1 - 0.10 * np.exp(-((u / 0.05) ** 2))
    shade = (0.42 + 0.38 * np.clip((v - top) / 0.09, 0, 1)) * groove
    flesh = (0.9 * lip + np.array([18, 0, 4]) * float(np.ptp(lip) > 12)) * shade[..., None]
    rgb = flesh * (1 - teeth[..., None]) + white * (light * teeth)[..., None]
    alpha = np.maximum(teeth, cv2.GaussianBlur(tongue.astype(np.float32), (0, 0), 2))
    return np.dstack([np.clip(rgb, 0, 255), 255 * alpha]).astype(np.uint8)
