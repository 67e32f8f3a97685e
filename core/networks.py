"""The networks of Ditto by name, with what goes in and what comes out of each.

Names and shapes are those of the published ONNX files, so that a graph of ours can stand in for one of
theirs. Shapes are (batch, ...); a letter stands for a size that varies from call to call.
"""

from typing import NamedTuple


class Port(NamedTuple):
    """One named array."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"


class NetworkSpec(NamedTuple):
    """What a network is called with and what it gives, in order."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


_IMAGE = Port("image", (1, 3, 256, 256))  # RGB 0..1
_KEYPOINTS = (Port("kp_source", (1, 21, 3)), Port("kp_driving", (1, 21, 3)))
_BINS = 66  # of a head angle

APPEARANCE_EXTRACTOR = NetworkSpec(
    "appearance_extractor", (_IMAGE,), (Port("pred", (1, 32, 16, 64, 64)),)
)  # fmt: skip
MOTION_EXTRACTOR = NetworkSpec(
    "motion_extractor",
    (_IMAGE,),
    (
        *(Port(angle, (1, _BINS)) for angle in ("pitch", "yaw", "roll")),
        Port("t", (1, 3)), Port("exp", (1, 63)), Port("scale", (1, 1)), Port("kp", (1, 63)),
    ),
)  # fmt: skip
WARP_NETWORK = NetworkSpec(
    "warp_network", (Port("feature_3d", (1, 32, 16, 64, 64)), *_KEYPOINTS), (Port("out", (1, 256, 64, 64)),)
)
DECODER = NetworkSpec("decoder", (Port("feature", (1, 256, 64, 64)),), (Port("output", (1, 3, 512, 512)),))
STITCH_NETWORK = NetworkSpec("stitch_network", _KEYPOINTS, (Port("out", (1, 21, 3)),))
LMDM = NetworkSpec(
    "lmdm",
    (
        Port("x", (1, 80, 265)), Port("cond_frame", (1, 265)), Port("cond", (1, 80, 1103)),
        Port("time_cond", (1,), "int64"),
    ),
    (Port("pred_noise", (1, 80, 265)), Port("x_start", (1, 80, 265))),
)  # fmt: skip

_STRIDES = (8, 16, 32)  # of the face detector; two anchors in each cell of a 512 px picture
INSIGHTFACE_DET = NetworkSpec(
    "insightface_det",
    (Port("image", (1, 3, 512, 512)),),
    tuple(
        Port(f"{what}{level}", (2 * (512 // stride) ** 2, width))
        for what, width in (("scores", 1), ("boxes", 4), ("kps", 10))
        for level, stride in enumerate(_STRIDES, 1)
    ),
)
LANDMARK106 = NetworkSpec("landmark106", (Port("data", (1, 3, 192, 192)),), (Port("fc1", (1, 212)),))
LANDMARK203 = NetworkSpec("landmark203", (Port("input", (1, 3, 224, 224)),), (Port("landmarks", (1, 406)),))
BLAZE_FACE = NetworkSpec(
    "blaze_face",
    (Port("input", (1, 128, 128, 3)),),
    (Port("regressors", (1, 896, 16)), Port("classificators", (1, 896, 1))),
)
FACE_MESH = NetworkSpec(
    "face_mesh",
    (Port("input", (1, 256, 256, 3)),),
    (Port("Identity", (1, 1, 1, 1434)), Port("Identity_1", (1, 1, 1, 1)), Port("Identity_2", (1, 1))),
)  # fmt: skip
HUBERT = NetworkSpec("hubert", (Port("input_values", (1, "N")),), (Port("encoding_out", ("T", 1024)),))

MAIN_NETWORKS = (APPEARANCE_EXTRACTOR, MOTION_EXTRACTOR, WARP_NETWORK, DECODER, STITCH_NETWORK, LMDM)
AUX_NETWORKS = (INSIGHTFACE_DET, LANDMARK106, LANDMARK203, BLAZE_FACE, FACE_MESH, HUBERT)
