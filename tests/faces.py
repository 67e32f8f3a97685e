"""Test portraits, drawn from skimage's astronaut (Eileen Collins, NASA, public domain), and picture files.

Every maker is deterministic and returns a fresh uint8 (H, W, 3) RGB picture; `picture_files` makes files of
them. Where things are in `astronaut_portrait()` is typed in below: nothing here relies on code under test.
"""

from functools import cache
from typing import Literal

import cv2
import numpy as np
from skimage import data

SIDE = 512  # px, of astronaut_portrait() and of the variants that keep its frame
RIGHT_EYE, LEFT_EYE = (214.0, 204.0), (300.0, 208.0)  # the person's, centres, px (x, y)
NOSE, MOUTH, CHIN = (254.0, 252.0), (253.0, 294.0), (251.0, 355.0)  # tip, centre, lowest point
EYE_DISTANCE = 86.0  # px
FACE_WIDTH = 184.0  # px, from cheek to cheek


def astronaut_portrait() -> np.ndarray:
    """Head and shoulders, straight, smiling with teeth, (512, 512, 3)."""
    return _portrait().copy()


@cache
def _portrait() -> np.ndarray:
    return cv2.resize(data.astronaut()[0:256, 97:353], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


# --- the face turned, moved, scaled


def rolled(degrees: float) -> np.ndarray:
    """Turned in the picture plane about the face, clockwise for positive degrees."""
    return _about_face(degrees, 1.0)


def tight(zoom: float = 2.2) -> np.ndarray:
    """Enlarged about the face, which overflows the frame from a zoom of about 2 on."""
    return _about_face(0.0, zoom)


def mirrored() -> np.ndarray:
    """Left and right exchanged."""
    return np.ascontiguousarray(_portrait()[:, ::-1])


def turned(yaw: float, pitch: float = 0.0) -> np.ndarray:
    """The head turned in depth by degrees: yaw positive to the picture's right, pitch positive down.

    The picture is cast onto an ellipsoid with a nose, which is then seen from elsewhere, without perspective.
    """
    axes = np.array([112.0, 176.0, 130.0])  # half-axes px: across, down, deep
    centre = np.array([252.0, 212.0])
    a, b = np.radians(yaw), np.radians(-pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    turn = about_y @ about_x  # head to view; x right, y down, z towards the viewer

    v, u = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    view = np.stack([u - centre[0], v - centre[1], np.zeros_like(u)], -1)
    origin, ray = view @ turn, turn[2]  # in the head's own frame
    bump = np.zeros_like(u)
    for _ in range(4):  # the nose stands out from the ellipsoid by `bump`
        lowered = (origin - bump[..., None] * [0, 0, 1]) / axes
        unit = ray / axes
        half_b, c = lowered @ unit, (lowered**2).sum(-1) - 1
        reach = (-half_b + np.sqrt(np.maximum(half_b**2 - unit @ unit * c, 0))) / (unit @ unit)
        hit = origin + reach[..., None] * ray
        dx, dy = hit[..., 0] - (NOSE[0] - centre[0]), hit[..., 1] - (NOSE[1] - centre[1])
        bump = 42 * np.exp(-((dx / 22) ** 2) - (np.where(dy < 0, dy / 48, dy / 16)) ** 2)
    source = (hit[..., :2] + centre).astype(np.float32)
    head = cv2.remap(
        _portrait(), source[..., 0], source[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = np.clip((half_b**2 - unit @ unit * c) / (unit @ unit) * 8, 0, 1)
    inside *= np.clip(4 * (hit[..., 2] / axes[2]) + 1, 0, 1)
    inside *= np.clip((355 - source[..., 1]) / 20, 0, 1)  # the collar stays
    return _blend(_portrait(), head, inside)


def small(face_px: float, side: int = 1024) -> np.ndarray:
    """The portrait with a face `face_px` wide, off-centre in a (side, side, 3) picture of a soft gradient."""
    zoom = face_px / FACE_WIDTH
    edge = max(2, round(SIDE * zoom))
    canvas = _backdrop(side, side)
    x, y = round(side * 0.62), round(side * 0.3)
    portrait = cv2.resize(_portrait(), (edge, edge), interpolation=cv2.INTER_AREA)
    canvas[y : y + edge, x : x + edge] = portrait[: side - y, : side - x]
    return canvas


def two_faces() -> np.ndarray:
    """The portrait, and to its right a second, smaller one, mirrored: (512, 832, 3)."""
    canvas = _backdrop(SIDE, 832)
    canvas[:, :SIDE] = _portrait()
    canvas[120:440, 512:832] = cv2.resize(mirrored(), (320, 320), interpolation=cv2.INTER_AREA)
    return canvas


def no_face(which: Literal["coffee", "cat", "rocket", "noise", "blank"] = "coffee") -> np.ndarray:
    """A picture without a human face."""
    if which == "noise":
        return np.random.default_rng(7).integers(0, 256, (300, 400, 3), np.uint8)
    if which == "blank":
        return np.full((300, 400, 3), 128, np.uint8)
    return {"coffee": data.coffee, "cat": data.chelsea, "rocket": data.rocket}[which]()


# --- the face changed


def grey() -> np.ndarray:
    """Without colour, still three channels."""
    return cv2.cvtColor(cv2.cvtColor(_portrait(), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def dim(light: float = 0.15) -> np.ndarray:
    """Underexposed: every value times `light`, with the noise of a poor sensor."""
    noise = np.random.default_rng(3).normal(0, 2, _portrait().shape)
    return np.clip(_portrait() * light + noise, 0, 255).astype(np.uint8)


def dark_skin() -> np.ndarray:
    """Deep brown skin and dark hair; eyes and teeth stay light."""
    v, u = np.mgrid[0:SIDE, 0:SIDE]
    _, red, blue = cv2.split(cv2.cvtColor(_portrait(), cv2.COLOR_RGB2YCrCb).astype(np.float64))
    skin_tone = np.clip((red - blue - 10) / 8, 0, 1)
    face = ((u - 254) / 108) ** 2 + ((v - 245) / 125) ** 2 < 1
    neck = (abs(u - 245) < 80) & (v > 300) & (v < 390)
    scalp = ((u - 258) / 148) ** 2 + ((v - 150) / 140) ** 2 < 1
    hair = scalp & ((skin_tone > 0.3) | (_portrait().max(-1) < 170))
    weight = cv2.GaussianBlur(np.maximum((face | neck) * skin_tone, hair * 1.0), (0, 0), 2.5)
    brown = (_portrait() / 255.0) ** 1.2 * [132, 92, 70]
    return _blend(_portrait(), brown, weight)


def with_glasses() -> np.ndarray:
    """Dark round frames, lightly tinted lenses, a glint on each."""
    image = _portrait()
    tint, frame, glint = np.zeros((3, SIDE, SIDE), np.uint8)
    lenses = [(round(x), round(y) + 4) for x, y in (RIGHT_EYE, LEFT_EYE)]
    for x, y in lenses:
        cv2.ellipse(tint, (x, y), (36, 31), 3, 0, 360, 255, -1, cv2.LINE_AA)
        cv2.ellipse(frame, (x, y), (36, 31), 3, 0, 360, 255, 5, cv2.LINE_AA)
        cv2.line(glint, (x - 20, y + 10), (x, y - 20), 255, 5, cv2.LINE_AA)
    (rx, ry), (lx, ly) = lenses
    cv2.line(frame, (rx + 36, ry - 4), (lx - 36, ly - 4), 255, 5, cv2.LINE_AA)
    cv2.line(frame, (rx - 36, ry - 4), (163, 196), 255, 5, cv2.LINE_AA)
    cv2.line(frame, (lx + 36, ly - 4), (352, 204), 255, 5, cv2.LINE_AA)
    for mask, grey_level, strength in ((tint, 90, 0.15), (glint, 255, 0.35), (frame, 25, 0.95)):
        image = _blend(image, np.full_like(image, grey_level), mask / 255 * strength)
    return image


def with_beard() -> np.ndarray:
    """A full dark beard and moustache, the lips left free."""
    outline = [(166, 240), (176, 268), (196, 280), (208, 277), (226, 268), (253, 273), (280, 270), (300, 280),
               (314, 282), (334, 272), (347, 246), (343, 282), (322, 330), (290, 366), (251, 374), (212, 362),
               (180, 322), (168, 284)]  # fmt: skip
    hair = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(hair, [np.array(outline, np.int32)], 255, cv2.LINE_AA)
    cv2.ellipse(hair, (253, 295), (46, 18), 2, 0, 360, 0, -1, cv2.LINE_AA)
    noise = np.random.default_rng(5).normal(0, 1, (SIDE, SIDE))
    strands = cv2.GaussianBlur(noise, (0, 0), sigmaX=0.9, sigmaY=3)
    shade = np.clip(48 + 16 * strands / strands.std(), 12, 110)
    thick = cv2.GaussianBlur(hair, (0, 0), 3.0) / 255 * 0.9
    return _blend(_portrait(), shade[..., None] * [1.0, 0.8, 0.62], thick)


def painted() -> np.ndarray:
    """As in oil: flat strokes of few, strong colours."""
    flat = cv2.pyrMeanShiftFiltering(_portrait(), sp=9, sr=24)
    hue, saturation, value = cv2.split(cv2.cvtColor(flat, cv2.COLOR_RGB2HSV))
    strong = np.clip(saturation * 1.6, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.merge([hue, strong, value]), cv2.COLOR_HSV2RGB)


# --- what the makers share


def _about_face(degrees: float, zoom: float) -> np.ndarray:
    middle = (np.array(RIGHT_EYE) + LEFT_EYE + MOUTH) / 3
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), -degrees, zoom)
    matrix[:, 2] += SIDE / 2 - middle
    return cv2.warpAffine(
        _portrait(), matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _backdrop(height: int, width: int) -> np.ndarray:
    down = np.linspace(200, 120, height).astype(np.uint8)[:, None, None]
    across = np.linspace(0, 30, width).astype(np.uint8)[None, :, None]
    return down + across + np.array([0, 5, 15], np.uint8)


def _blend(below: np.ndarray, above: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`above` over `below` where `weight` (H, W), 0..1, says so."""
    w = weight[..., None]
    return np.clip(below * (1 - w) + above * w + 0.5, 0, 255).astype(np.uint8)
