"""What each variant of Ditto needs of the published repository: files, their roles and their licences.

Names and folders are those of https://huggingface.co/digital-avatar/ditto-talkinghead. A network's role is
its name in core/networks.py. Sizes and hashes are not here: the hub tells them for every commit.
"""

from dataclasses import dataclass
from typing import Literal

from core.errors import BadOption
from core.networks import (
    APPEARANCE_EXTRACTOR,
    BLAZE_FACE,
    DECODER,
    FACE_MESH,
    HUBERT,
    INSIGHTFACE_DET,
    LANDMARK106,
    LANDMARK203,
    LMDM,
    MOTION_EXTRACTOR,
    STITCH_NETWORK,
    WARP_NETWORK,
)

REPOSITORY = "digital-avatar/ditto-talkinghead"
Profile = Literal["research", "commercial"]

CONFIG = "config"  # settings for whole clips
CONFIG_ONLINE = "config_online"  # settings for live sound
FACE_LANDMARKER = "face_landmarker"  # MediaPipe's bundle of detector and mesh
GRID_SAMPLE_PLUGIN = "grid_sample_plugin"  # a TensorRT 8.6 library that the published warp engine asks for

_PUBLISHED = "Apache-2.0, as the repository says"
_MEDIAPIPE = "Apache-2.0 (MediaPipe)"
_INSIGHTFACE = "non-commercial research only (InsightFace)"
_LICENCES = {
    INSIGHTFACE_DET.name: _INSIGHTFACE,
    LANDMARK106.name: _INSIGHTFACE,
    BLAZE_FACE.name: _MEDIAPIPE,
    FACE_MESH.name: _MEDIAPIPE,
    FACE_LANDMARKER: _MEDIAPIPE,
}


@dataclass(frozen=True)
class Asset:
    """One file: what it is to us, where it lies in the repository, and whether one can do without it."""

    role: str
    path: str
    needed: bool = True

    @property
    def licence(self) -> str:
        return _LICENCES.get(self.role, _PUBLISHED)

    @property
    def commercial(self) -> bool:
        """True where commercial use is allowed."""
        return self.licence != _INSIGHTFACE


@dataclass(frozen=True)
class Variant:
    """One form in which Ditto is published."""

    name: str
    about: str
    assets: tuple[Asset, ...]

    def files(self, profile: Profile) -> tuple[Asset, ...]:
        """What a licence profile fetches and loads."""
        return tuple(asset for asset in self.assets if asset.commercial or profile != "commercial")


def _assets(folder: str, names: dict[str, str]) -> tuple[Asset, ...]:
    return tuple(Asset(role, f"{folder}/{name}") for role, name in names.items())


_PYTORCH = Variant(
    "ditto-pytorch",
    "PyTorch weights, auxiliary models as ONNX files",
    (
        Asset(CONFIG, "ditto_cfg/v0.4_hubert_cfg_pytorch.pkl"),
        Asset(CONFIG_ONLINE, "ditto_cfg/v0.4_hubert_cfg_trt_online.pkl", needed=False),
        *_assets(
            "ditto_pytorch/models",
            {
                APPEARANCE_EXTRACTOR.name: "appearance_extractor.pth",
                MOTION_EXTRACTOR.name: "motion_extractor.pth",
                WARP_NETWORK.name: "warp_network.pth",
                DECODER.name: "decoder.pth",
                STITCH_NETWORK.name: "stitch_network.pth",
                LMDM.name: "lmdm_v0.4_hubert.pth",
            },
        ),
        *_assets(
            "ditto_pytorch/aux_models",
            {
                INSIGHTFACE_DET.name: "det_10g.onnx",
                LANDMARK106.name: "2d106det.onnx",
                LANDMARK203.name: "landmark203.onnx",
                FACE_LANDMARKER: "face_landmarker.task",
                HUBERT.name: "hubert_streaming_fix_kv.onnx",
            },
        ),
    ),
)
_CONFIGS = (
    Asset(CONFIG, "ditto_cfg/v0.4_hubert_cfg_trt.pkl"),
    Asset(CONFIG_ONLINE, "ditto_cfg/v0.4_hubert_cfg_trt_online.pkl"),
)
_STEMS = {  # of the ONNX files, and of the engines made from them
    APPEARANCE_EXTRACTOR.name: ("appearance_extractor", "fp16"),
    MOTION_EXTRACTOR.name: ("motion_extractor", "fp32"),
    WARP_NETWORK.name: ("warp_network", "fp16"),
    DECODER.name: ("decoder", "fp16"),
    STITCH_NETWORK.name: ("stitch_network", "fp16"),
    LMDM.name: ("lmdm_v0.4_hubert", "fp32"),
    INSIGHTFACE_DET.name: ("insightface_det", "fp16"),
    LANDMARK106.name: ("landmark106", "fp16"),
    LANDMARK203.name: ("landmark203", "fp16"),
    BLAZE_FACE.name: ("blaze_face", "fp16"),
    FACE_MESH.name: ("face_mesh", "fp16"),
    HUBERT.name: ("hubert", "fp32"),
}
_ONNX = Variant(
    "ditto-onnx",
    "ONNX graphs for ONNX Runtime, without torch",
    (*_CONFIGS, *_assets("ditto_onnx", {role: f"{stem}.onnx" for role, (stem, _) in _STEMS.items()})),
)
_TENSORRT = Variant(
    "ditto-tensorrt",
    "TensorRT 8.6 engines for GPUs of the generations Ampere, Ada and Hopper",
    (
        *_CONFIGS,
        *_assets(
            "ditto_trt_Ampere_Plus",
            {role: f"{stem}_{precision}.engine" for role, (stem, precision) in _STEMS.items()},
        ),
        Asset(GRID_SAMPLE_PLUGIN, "ditto_onnx/libgrid_sample_3d_plugin.so"),
    ),
)
VARIANTS = {variant.name: variant for variant in (_TENSORRT, _PYTORCH, _ONNX)}


def find_variant(name: str) -> Variant:
    """Raises BadOption where there is no such variant."""
    if name not in VARIANTS:
        raise BadOption(f"There is no variant '{name}'.", f"Choose one of: {', '.join(VARIANTS)}.")
    return VARIANTS[name]
