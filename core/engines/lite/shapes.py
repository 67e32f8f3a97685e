"""What each lip and brow channel does to a face: displacements of mesh points, in the head's own frame.

The head's frame is MediaPipe's 478 points turned to look straight ahead, in eye distances: x to the
picture's right, y down, z into the head, origin between the eyes. A shape is a table of
displacements; shapes are added with the weights of a motion row. Mouth targets are absolute: they
start from the mouth as the picture shows it and end at the same place for every face.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from core.engines.lite.channels import Channel

GAP = 0.27  # eye distances between the lips at OPEN = 1; the grid rounds the peak to 0.26 as measured


class Shape(IntEnum):
    """Rows of the table of displacements."""

    CLOSE = 0  # from the source's mouth to closed lips
    OPEN = 1
    SPREAD = 2
    ROUND = 3
    PRESS = 4
    TUCK = 5
    SMILE_L = 6
    SMILE_R = 7
    SNEER = 8
    BROW_IN = 9
    BROW_OUT = 10
    FUNNEL = 11  # what rounded lips do beside both, when they open
    SEAL = 12  # parted lips, once closed, close firmly


# Lip rings from the outer contour to the inner one, each from the picture's left corner to the right.
UPPER = np.array([
    [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291],
    [76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306],
    [62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292],
    [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308],
])  # fmt: skip
LOWER = np.array([
    [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291],
    [76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306],
    [62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292],
    [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308],
])  # fmt: skip
_EYES = (33, 246, 161, 160, 159, 158, 157, 173, 133, 7, 163, 144, 145, 153, 154, 155,
         263, 466, 388, 387, 386, 385, 384, 398, 362, 249, 390, 373, 374, 380, 381, 382)  # fmt: skip
_STILL = (6, 197, 195, 5, 4, 1, 168, 10, 338, 297, 332, 284, 251, 389, 356, 454, 109, 67, 103, 54, 21,
          162, 127, 234, 227, 447, 93, 323, 122, 351)  # fmt: skip
_JAW = {152: 1.0, 148: 0.99, 377: 0.99, 176: 0.96, 400: 0.96, 149: 0.88, 378: 0.88, 150: 0.76, 379: 0.76,
        136: 0.6, 365: 0.6, 172: 0.43, 397: 0.43, 58: 0.26, 288: 0.26, 132: 0.12, 361: 0.12,
        199: 1.0, 200: 1.0, 18: 1.0, 175: 1.0, 83: 0.98, 313: 0.98, 201: 0.98, 421: 0.98, 208: 0.97,
        428: 0.97, 171: 0.97, 396: 0.97, 204: 0.85, 424: 0.85, 211: 0.85, 431: 0.85, 169: 0.6, 394: 0.6,
        214: 0.3, 434: 0.3}  # fmt: skip
# Shares of a sneer; left, right and share of a smile; shares of inner and outer brows.
_NOSE = {2: 0.2, 98: 0.7, 327: 0.7, 97: 0.4, 326: 0.4, 64: 0.9, 294: 0.9, 129: 0.8, 358: 0.8}
_CHEEKS = ((50, 280, 1.0), (205, 425, 1.0), (101, 330, 0.55), (118, 347, 0.3))
_BROWS = {55: (1.0, 0.05), 107: (1.0, 0.05), 65: (0.85, 0.3), 66: (0.85, 0.3), 52: (0.45, 0.75),
          105: (0.45, 0.75), 53: (0.15, 1.0), 63: (0.15, 1.0), 46: (0.0, 0.7), 70: (0.0, 0.7),
          285: (1.0, 0.05), 336: (1.0, 0.05), 295: (0.85, 0.3), 296: (0.85, 0.3), 282: (0.45, 0.75),
          334: (0.45, 0.75), 283: (0.15, 1.0), 293: (0.15, 1.0), 276: (0.0, 0.7), 300: (0.0, 0.7),
          9: (0.55, 0.1)}  # fmt: skip


@dataclass(frozen=True)
class ShapeTable:
    """Points (n, 3) in the head's frame and where each shape moves them, (n, len(Shape), 3).

    `upper` and `lower` mark, (n,) bool, the lip points that only the upper and only the lower layer has;
    `around` marks points beside the head. `loose` (n,) is how far a point may stay behind its shapes, so
    that neighbours which the turn of a head brings together do not tear each other apart.
    """

    points: np.ndarray
    moves: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    around: np.ndarray
    loose: np.ndarray


def shape_table(head: np.ndarray, gap: np.ndarray, meet: float) -> ShapeTable:
    """The shapes of a face `head` (478, 3) whose inner lips stand `gap` (11,) apart, from corner to corner,
    and meet at the share `meet` of it, counted from the upper lip."""
    moves = np.zeros((478, len(Shape), 3))
    upper, lower = _lips(head, moves, gap, meet)
    _jaw(moves, (1 - meet) * float(gap[5]))
    _cheeks_and_nose(moves)
    for point, (inner, outer) in _BROWS.items():
        side = np.sign(head[point, 0])
        moves[point, Shape.BROW_IN] = (0.018 * inner * side, -0.115 * inner, 0)
        moves[point, Shape.BROW_OUT] = (0, -0.115 * outer, 0)
    cheeks = {point for left, right, _ in _CHEEKS for point in (left, right)}
    used = sorted({*_EYES, *_STILL, *_JAW, *_NOSE, *cheeks, *_BROWS, *upper, *lower})
    ring, ring_moves = _surroundings(head)
    shared = upper & lower
    beside = np.zeros(len(ring), bool)
    return ShapeTable(
        np.concatenate([head[used], ring]),
        np.concatenate([moves[used], ring_moves]),
        np.append(np.isin(used, list(upper - shared)), beside),
        np.append(np.isin(used, list(lower - shared)), beside),
        np.append(np.zeros(len(used), bool), ~beside),
        np.append(_looseness(used), np.full(len(ring), 0.02)),
    )


def weights(row: np.ndarray, bared: bool) -> np.ndarray:
    """A motion row (WIDTH,) -> the weight of each shape (len(Shape),) float32, for a mouth that shows its
    teeth at rest, or not."""
    out = np.empty(len(Shape), np.float32)
    talk = row[Channel.TALK]
    out[Shape.CLOSE] = talk
    out[Shape.OPEN : Shape.TUCK + 1] = talk * row[Channel.OPEN : Channel.TUCK + 1]
    # A slit below 0.02 reads as closed lips, to the eye and to the mesh: small openings start beyond it, so
    # that the measured gap is 0.25 eye distances times OPEN from 0.1 on. Before bared teeth lips part sooner.
    steady, early = (0.95, 0.08) if bared else (0.90, 0.13)
    opening = float(row[Channel.OPEN])
    out[Shape.OPEN] = talk * (steady * opening + early * (1 - np.exp(-opening / 0.07)))
    smiles = row[[Channel.SMILE_L, Channel.SMILE_R]]
    out[[Shape.SMILE_L, Shape.SMILE_R]] = np.where(smiles < 0, 0.75 * smiles, smiles)
    out[Shape.SEAL] = talk * max(0.0, 1 - row[Channel.OPEN] / 0.06) * (1 - row[Channel.TUCK])
    out[Shape.FUNNEL] = talk * row[Channel.ROUND] * row[Channel.OPEN]
    out[Shape.SNEER] = row[Channel.SNEER]
    brows = row[[Channel.BROW_IN, Channel.BROW_OUT]]
    out[[Shape.BROW_IN, Shape.BROW_OUT]] = np.where(brows < 0, 0.6 * brows, brows)
    return out


def _looseness(used: list[int]) -> np.ndarray:
    inner = np.isin(used, [UPPER[3], LOWER[3]])
    lips = np.isin(used, [UPPER[:3], LOWER[:3]])
    return np.where(inner, 1e-3, np.where(lips, 8e-3, 3e-2))


def _profile(across: np.ndarray) -> np.ndarray:
    """Height of an open mouth, 0..1, at -1..1 from corner to corner."""
    return (1 - np.minimum(np.abs(across), 1) ** 2.4) ** 0.8


@dataclass(frozen=True)
class _Mouth:
    """Measures of a source's mouth: `half` its outer width's half, `narrow` and `spread` how far its corners
    can go, `scale` the way of the lips' middle for a mean gap of GAP, `level` (11,) from each column's
    meeting line to the middle's, `gap` (11,), `meet` and `overlap` of closing lips."""

    middle: float
    half: float
    inner_half: float
    narrow: float
    spread: float
    scale: float
    level: np.ndarray
    gap: np.ndarray
    meet: float
    overlap: float


def _measure(head: np.ndarray, gap: np.ndarray, meet: float) -> _Mouth:
    corners = head[[61, 291], 0]
    middle, half = float(corners.mean()), float(np.ptp(corners)) / 2
    inner_half = float(np.abs(head[[78, 308], 0] - middle).mean())
    seam = head[UPPER[3], 1] + meet * gap
    return _Mouth(
        middle,
        half,
        inner_half,
        narrow=max(half - 0.30, 0.06),
        spread=float(np.clip(0.56 - half, 0.03, 0.10)),
        scale=GAP / float(_profile((head[UPPER[3, 4:7], 0] - middle) / inner_half).mean()),
        level=seam[5] - seam,
        gap=gap,
        meet=meet,
        overlap=0.010 if gap[5] > 0.01 else 0.0,
    )


def _lips(head: np.ndarray, moves: np.ndarray, gap: np.ndarray, meet: float) -> tuple[set[int], set[int]]:
    mouth = _measure(head, gap, meet)
    for side, rings in ((-1, UPPER), (1, LOWER)):
        thick = np.abs(head[rings[0], 1] - head[rings[3], 1])
        for ring, inward in zip(rings, (0.0, 0.33, 0.67, 1.0), strict=True):
            width = mouth.inner_half * inward + mouth.half * (1 - inward)
            across = np.clip((head[ring, 0] - mouth.middle) / width, -1, 1)
            moves[ring] = _lip_moves(mouth, across, thick * (1 - inward), inward, side)
    return set(UPPER.ravel().tolist()), set(LOWER.ravel().tolist())


def _lip_moves(mouth: _Mouth, across: np.ndarray, outer: np.ndarray, inward: float, side: int) -> np.ndarray:
    """(11, len(Shape), 3) for one ring of a lip: `across` -1..1 from corner to corner, `outer` (11,) what of
    the lip's thickness lies between the ring and the inner edge, `inward` 0 outer contour .. 1 inner edge,
    `side` -1 upper lip, 1 lower."""
    out = np.zeros((len(across), len(Shape), 3))
    high = _profile(across)
    upper = side < 0
    way = mouth.gap * (mouth.meet if upper else 1 - mouth.meet)
    out[:, Shape.CLOSE, 1] = -side * way * (0.85 + 0.15 * inward)
    out[:, Shape.SEAL, 1] = -side * mouth.overlap * high * inward
    out[:, Shape.OPEN, 0] = -0.045 * across
    out[:, Shape.OPEN, 1] = side * (0.13 if upper else 0.87) * mouth.scale * high + 0.06 * (1 - high)
    out[:, Shape.SPREAD, 0] = mouth.spread * across
    out[:, Shape.SPREAD, 1] = -side * 0.15 * outer - 0.015 * across**2
    out[:, Shape.ROUND, 0] = -mouth.narrow * across * np.abs(across) ** 0.6
    out[:, Shape.ROUND, 1] = mouth.level + 0.02 * (1 - high) + (side * 0.028 * (1 - inward) + 0.012) * high
    out[:, Shape.ROUND, 2] = -0.10 * high
    out[:, Shape.FUNNEL, 1] = 0.10 * (1 - high)
    out[:, Shape.PRESS, 0] = 0.02 * across
    out[:, Shape.PRESS, 1] = -side * (0.42 * outer + 0.006 * inward * high)
    out[:, Shape.TUCK, 1] = -(0.028 if upper else 0.55 * outer + 0.008 * inward) * high
    for shape, sign in ((Shape.SMILE_L, -1), (Shape.SMILE_R, 1)):
        lift = np.clip(sign * across, 0, 1)
        out[:, shape, 0] = sign * 0.085 * lift**1.3
        out[:, shape, 1] = -0.10 * lift**2
    out[:, Shape.SNEER, 1] = -0.06 * high * (0.7 + 0.3 * np.sin(np.pi * np.abs(across)))
    return out


def _jaw(moves: np.ndarray, rise: float) -> None:
    for point, weight in _JAW.items():
        moves[point, Shape.OPEN] = (0, 0.21 * weight, 0.05 * weight)
        moves[point, Shape.CLOSE, 1] = -0.8 * rise * weight
        moves[point, Shape.ROUND, 1] = 0.015 * weight
        moves[point, Shape.PRESS, 1] = -0.02 * weight
        moves[point, Shape.TUCK, 1] = -0.03 * weight


def _cheeks_and_nose(moves: np.ndarray) -> None:
    for left, right, share in _CHEEKS:
        moves[left, Shape.SMILE_L] = (-0.02, -0.05 * share, 0)
        moves[right, Shape.SMILE_R] = (0.02, -0.05 * share, 0)
    for point, share in _NOSE.items():
        moves[point, Shape.SNEER, 1] = -0.04 * share


def _surroundings(head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points around the face that hold still, and the neck, which follows the jaw a little."""
    chin = head[152, 1]
    still = [(x, chin + 0.75, 0.6) for x in (-1.2, -0.6, 0.0, 0.6, 1.2)]
    still += [(x, y, 0.8) for x in (-1.75, 1.75) for y in (-1.0, -0.2, 0.6, 1.4)]
    still += [(x, -1.6, 0.4) for x in (-1.2, -0.4, 0.4, 1.2)]
    neck = [(x, chin + 0.32, 0.35) for x in (-0.5, 0.0, 0.5)]
    moves = np.zeros((len(still) + len(neck), len(Shape), 3))
    moves[len(still) :, Shape.OPEN, 1] = 0.06
    return np.array(still + neck), moves
