"""Detectors, landmarks, mesh, speech encoder and the crop chain, with the kit's stand-ins for networks."""

from collections.abc import Iterator, Mapping

import numpy as np

from core.atomic_components.crop import face_crop
from core.atomic_components.eyes import eye_ball, eye_open
from core.atomic_components.face_reader import FaceReader, cut, network_image
from core.atomic_components.first_landmarks import Landmarks, anchors_of
from core.atomic_components.speech_features import offline_features
from core.aux_models.blaze_face import BlazeFace, anchors
from core.aux_models.hubert import ChunkSize, Hubert
from core.aux_models.insightface_detector import FaceDetector, largest
from core.aux_models.landmark106 import Landmark106
from core.aux_models.landmark203 import Landmark203
from core.aux_models.landmark478 import Landmark478, region
from core.media.audio import AudioLimits, read_audio
from core.media.image import ImageLimits, read_image
from core.options import Crop
from core.types import AudioChunk, AvatarSource
from scripts.parity.clip import StubHubert
from scripts.parity.findings import BLOB, CROPPED, MATRIX, STEP, Kit, Result
from scripts.parity.kit import Arrays, draw

EYES = {106: ((33, 35, 40, 39), (87, 89, 94, 93)), 203: ((0, 6, 12, 18), (24, 30, 36, 42))}
LIPS = {106: (52, 61), 203: (48, 66)}
_BOX = np.array([400, 250, 1000, 1050], np.float32)  # the largest that the stand-in detector gives


class StandIn:
    """A network that says what it is told to, and keeps what it was last called with."""

    def __init__(self, outputs: Arrays) -> None:
        self._outputs = outputs
        self.given: Mapping[str, np.ndarray] = {}

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        self.given = arrays
        return {name: value.copy() for name, value in self._outputs.items()}

    def close(self) -> None: ...


def blocks(key: str, height: int, width: int) -> np.ndarray:
    """The kit's picture of that key: squares of 10 px in drawn colours, uint8 (height, width, 3)."""
    cells = draw(key, (-(-height // 10), -(-width // 10), 3))
    coarse = np.clip(128 + 60 * cells, 0, 255).astype(np.uint8)
    return coarse.repeat(10, 0).repeat(10, 1)[:height, :width]


def detector_outputs(key: str) -> Arrays:
    """What the kit's stand-in for the InsightFace detector says."""
    out = {}
    for level, stride in enumerate((8, 16, 32), 1):
        n = 2 * (512 // stride) ** 2
        logits = 3 * draw(f"{key}/score{stride}", (n, 1)).astype(np.float64) - 9
        out[f"scores{level}"] = (1 / (1 + np.exp(-logits))).astype(np.float32)
        out[f"boxes{level}"] = 6 + 2 * np.abs(draw(f"{key}/box{stride}", (n, 4)))
        out[f"kps{level}"] = 2 * draw(f"{key}/kps{stride}", (n, 10))
    return out


def detection(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_detection")
    for case in sorted(name for name in golden.meta["cases"] if name.startswith("det")):
        network = StandIn(detector_outputs(f"{kit.salt}/in/det/{case[3:]}"))
        height, width = golden.meta["cases"][case]["image"]
        found = FaceDetector(network)(blocks(f"{kit.salt}/in/det/img{case[3:]}", height, width))
        yield Result(f"{case}.det", found.boxes, STEP)
        yield Result(f"{case}.kps", found.points, STEP)
        yield Result(f"{case}.chosen_box", largest(found.boxes), STEP)
        yield Result(f"{case}.blob", network.given["image"], BLOB)
    yield from _landmarks(kit, golden.arrays, golden.meta["cases"])
    yield from _mesh(kit, golden.arrays)
    yield Result("to256.out", network_image(blocks(f"{kit.salt}/in/crop512", 512, 512)), STEP)
    if kit.media is not None:
        yield from _chain(kit, golden.meta["reg_input"])


def _landmarks(
    kit: Kit, stored: Mapping[str, np.ndarray], cases: Mapping[str, Mapping[str, list[int]]]
) -> Iterator[Result]:
    for case in sorted(name for name in cases if name.startswith("l106")):
        height, width = cases[case]["image"]
        network = StandIn({"fc1": stored[f"{case}.pred"]})
        picture = blocks(f"{kit.salt}/in/l106/img{case[5:]}", height, width)
        yield Result(f"{case}.out", Landmark106(network)(picture, stored[f"{case}.bbox"]), STEP)
        yield Result(f"{case}.blob", network.given["data"], STEP)
    network = StandIn({"landmarks": stored["l203.pred"]})
    picture = blocks(f"{kit.salt}/in/l203/img", 224, 224)
    yield Result("l203.out", Landmark203(network)(picture, stored["l203.M_c2o"]), STEP)
    yield Result("l203.inp", network.given["input"], STEP)


def _mesh(kit: Kit, stored: Mapping[str, np.ndarray]) -> Iterator[Result]:
    blaze = StandIn({name: stored[f"blaze.{name}"] for name in ("regressors", "classificators")})
    mesh = StandIn({"Identity": stored["mesh.points"]})
    picture = blocks(f"{kit.salt}/in/blaze/img", 512, 512)
    faces = BlazeFace(blaze)(picture)
    points = Landmark478(blaze, mesh)(picture)
    size = np.ones((896, 2), np.float32)  # of every anchor
    yield Result("blaze.anchors", np.concatenate([anchors(), size], 1), STEP)
    yield Result("blaze.out", faces, STEP)
    yield Result("blaze.input", blaze.given["input"], STEP)
    yield Result("mesh.roi", region(faces[0], (512, 512)), STEP)
    yield Result("mesh.input", mesh.given["input"], STEP)
    yield Result("mesh.lmk478", np.zeros((0,)) if points is None else points[None], STEP)


class _First:
    """The kit's 106 points in the largest of its boxes."""

    networks: tuple[str, ...] = ()

    def __init__(self, points: np.ndarray) -> None:
        self._points = points

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        points = self._points * (_BOX[2:] - _BOX[:2]) + _BOX[:2]
        return Landmarks(points, anchors_of(points, EYES[106], LIPS[106]))


class _AnyMesh:
    networks: tuple[str, ...] = ()

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        return np.zeros((478, 3), np.float32)


def _chain(kit: Kit, part: Mapping[str, list[int]]) -> Iterator[Result]:
    """The crop of a first frame, and of a second that follows it."""
    assert kit.media is not None
    rgb, _ = read_image(AvatarSource(path=kit.media / str(part["media"])), ImageLimits())
    rgb = np.ascontiguousarray(rgb[slice(*part["rows"]), slice(*part["columns"])])
    loose = _face(kit, 106, 0.18, ((0.35, 0.4), (0.65, 0.42), (0.42, 0.75), (0.6, 0.76)))
    close = _face(kit, 203, 0.15, ((0.37, 0.42), (0.62, 0.4), (0.42, 0.68), (0.58, 0.69)))
    reader = FaceReader(_First(loose), StandIn({"landmarks": close.reshape(1, 406)}), _AnyMesh())
    first = reader(rgb, Crop())
    # upstream takes a shift to the side and ignores it
    tracked = reader(rgb, Crop(crop_scale=2.0, crop_vy_ratio=-0.2, crop_flag_do_rot=False), first)
    for name, reading in (("first", first), ("tracked", tracked)):
        yield Result(f"reg.{name}.M_c2o", reading.crop_to_source, MATRIX)
        yield Result(f"reg.{name}.lmk203", reading.points, MATRIX)
        yield Result(f"reg.{name}.crop", reading.crop, CROPPED)


def _face(kit: Kit, count: int, spread: float, places: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Points (count, 2) about the middle of a unit square; eyes and corners of the mouth are placed."""
    points = 0.5 + spread * draw(f"{kit.salt}/in/reg/{count}", (count, 2))
    corners = [[corner] for corner in LIPS[count]]
    for indices, place in zip((*EYES[count], *corners), places, strict=True):
        points[list(indices)] = place
    return points.astype(np.float32)


def crop(kit: Kit) -> Iterator[Result]:
    """The two kinds of points that the pipeline has."""
    golden = kit.golden("steps_crop")
    for case in golden.meta["cases"]:
        if case["n"] not in EYES:
            continue
        points, how = golden.arrays[f"{case['key']}.pts"], case["kwargs"]
        placed = face_crop(
            points,
            anchors_of(points, EYES[case["n"]], LIPS[case["n"]]),
            how["dsize"],
            scale=how.get("scale", 1.5),
            vy_ratio=how.get("vy_ratio", -0.1),
            do_rot=how.get("flag_do_rot", True),
        )
        yield Result(f"{case['key']}.M_o2c", placed.source_to_crop, MATRIX)
        yield Result(f"{case['key']}.M_c2o", placed.crop_to_source, MATRIX)
        yield Result(f"{case['key']}.img_crop", cut(golden.arrays["img"], placed), CROPPED)
        rect = [*placed.centre, placed.side, placed.side, placed.angle]
        told = 5 if how.get("flag_do_rot", True) else 4  # upstream tells a turn that the crop has not, too
        yield Result(f"{case['key']}.rect", np.array(rect[:told]), MATRIX, slice(told))
        if how.get("pt_crop_flag", True):
            moved = points @ placed.source_to_crop[:2, :2].T + placed.source_to_crop[:2, 2]
            yield Result(f"{case['key']}.pt_crop", moved, MATRIX)


def eye(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_eye").arrays
    for case in sorted({key.split(".")[0] for key in golden}):
        mesh = golden[f"{case}.lmk478"]
        yield Result(f"{case}.eye_open", eye_open(mesh), STEP)
        yield Result(f"{case}.eye_ball", eye_ball(mesh), STEP)


def wav2feat(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_wav2feat")
    columns = golden.arrays["dims"]
    hubert = Hubert(StubHubert())
    for key in golden.arrays:
        if key.startswith("chunk_c"):
            size = ChunkSize(*(int(part) for part in key.removeprefix("chunk_c").split("_")))
            name = "".join(str(part) for part in size)
            sound = 0.3 * draw(f"{kit.salt}/in/wavchunk/{name}", (size.samples,))
            yield Result(key, hubert(sound, size)[:, columns], STEP)
        elif key.startswith("n"):
            samples, digits = key[1:].split("_c")
            sound = 0.3 * draw(f"{kit.salt}/in/wav/{samples}", (int(samples),))
            size = ChunkSize(*(int(digit) for digit in digits))
            rows = np.concatenate(list(offline_features([AudioChunk(sound, 0)], hubert, size)))
            yield Result(key, rows[:, columns], STEP)


def audio_load(kit: Kit) -> Iterator[Result]:
    if kit.media is None:
        return
    golden = kit.golden("steps_audio_load")
    samples = read_audio(kit.media / golden.meta["media"], AudioLimits())
    yield Result("len", np.array(len(samples)), STEP)
    yield Result("samples", samples[golden.meta["samples_start"] :: golden.meta["samples_step"]], STEP)
    yield Result("head", samples[slice(*golden.meta["head"])], STEP)
    exact = samples.astype(np.float64)
    stats = [exact.mean(), exact.std(), np.linalg.norm(exact), exact.min(), exact.max()]
    yield Result("stats", np.array(stats), STEP)
