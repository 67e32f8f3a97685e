"""The settings that come with Ditto's checkpoints, checked and typed.

Names and meanings are those of antgroup/ditto-talkinghead (commit e9191cf6): `base_cfg` and
`audio2motion_cfg` name the models' files, `default_kwargs` holds what a clip starts from. What that code
leaves to this engine (the device, the pictures of the reference character) is passed over silently;
other names unknown here are left out with a warning.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, Strict, model_validator

from core.engines.ditto.sections import Section, known, numbers, read_numbers
from core.option_values import DrivenKeys, FrameControl, Gaps, KeyNames, emotion_rows

FEATURES = 1024  # columns of sound in a condition row
MOST_FRAMES = 3000  # of a reference character

Text = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=1000)]
Ratio = Annotated[float, Field(ge=-5, le=5)]
Column = Annotated[int, Field(ge=0, le=265)]
FrameNumber = Annotated[int, Strict(False), Field(ge=0)]


def _emotions(value: object) -> object:
    """Weights by frame, as the published files have them, and else labels."""
    return read_numbers((None, 8), value) if isinstance(value, np.ndarray) else emotion_rows(value)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class ModelFile(Section):
    """Where one model lies."""

    passed_over = frozenset(("device", "force_ori_type"))  # the file's suffix tells the kind

    model_path: Text


class Landmark478(Section):
    """The face mesh: two networks, or MediaPipe's task where `force_ori_type` is set."""

    passed_over = frozenset(("device",))

    blaze_face_model_path: str = ""
    face_mesh_model_path: str = ""
    task_path: str = ""
    force_ori_type: bool = False

    @model_validator(mode="after")
    def _complete(self) -> "Landmark478":
        if not all(self.files().values()):
            raise ValueError("names neither both networks nor the task")
        return self

    def files(self) -> dict[str, str]:
        """Path by role, of those that are meant."""
        if self.force_ori_type:
            return {"face_landmarker": self.task_path}
        return {"blaze_face": self.blaze_face_model_path, "face_mesh": self.face_mesh_model_path}


class BaseConfig(Section):
    """The models besides the motion model."""

    passed_over = frozenset(("wavlm_cfg",))  # named by published files that use HuBERT

    insightface_det_cfg: ModelFile
    landmark106_cfg: ModelFile
    landmark203_cfg: ModelFile
    landmark478_cfg: Landmark478
    appearance_extractor_cfg: ModelFile
    motion_extractor_cfg: ModelFile
    stitch_network_cfg: ModelFile
    warp_network_cfg: ModelFile
    decoder_cfg: ModelFile
    hubert_cfg: ModelFile


class Audio2MotionConfig(Section):
    """The motion model: its file, and what a row of its condition is made of."""

    passed_over = frozenset(("device",))

    model_path: Text
    motion_feat_dim: Literal[265]
    audio_feat_dim: int
    seq_frames: Literal[80]
    use_emo: bool = True
    use_sc: bool = True
    use_eye_open: bool = True
    use_eye_ball: bool = True
    w2f_type: Annotated[Literal["hubert"], BeforeValidator(_lower)] = "hubert"

    @model_validator(mode="after")
    def _adds_up(self) -> "Audio2MotionConfig":
        extra = 8 * self.use_emo + 2 * self.use_eye_open + 6 * self.use_eye_ball + 63 * self.use_sc
        if self.audio_feat_dim != FEATURES + extra:
            raise ValueError(f"audio_feat_dim is {self.audio_feat_dim}; its parts make {FEATURES + extra}")
        return self


class ReferenceCharacter(Section):
    """Whose proportions the motion model speaks for; one row per frame (n), float32 or float64.

    `pitch`, `yaw`, `roll` are logits (n, 66); `sc` (63,) are canonical keypoints.
    """

    passed_over = frozenset(  # what is read into the names below, and pictures
        (
            "x_s_info_lst",
            "eye_open_lst",
            "eye_ball_lst",
            "f_s_lst",
            "M_c2o_lst",
            "is_image_flag",
            "img_rgb_lst",
        )
    )

    scale: Annotated[np.ndarray, numbers(None, 1)]
    pitch: Annotated[np.ndarray, numbers(None, 66)]
    yaw: Annotated[np.ndarray, numbers(None, 66)]
    roll: Annotated[np.ndarray, numbers(None, 66)]
    t: Annotated[np.ndarray, numbers(None, 3)]
    exp: Annotated[np.ndarray, numbers(None, 63)]
    kp: Annotated[np.ndarray, numbers(None, 63)] | None = None
    eye_open: Annotated[np.ndarray, numbers(None, 2)]
    eye_ball: Annotated[np.ndarray, numbers(None, 6)]
    sc: Annotated[np.ndarray, numbers(63)]

    @model_validator(mode="after")
    def _same_frames(self) -> "ReferenceCharacter":
        lengths = {name: len(value) for name, value in self if name != "sc" and value is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"has not the same number of frames everywhere: {lengths}")
        return self


def _reference(value: object) -> object:
    """A source as upstream keeps it, a dict per frame, -> one array per name."""
    if not isinstance(value, dict) or "x_s_info_lst" not in value:
        return value
    infos = value["x_s_info_lst"]
    if not isinstance(infos, list | tuple) or not infos or not all(isinstance(info, dict) for info in infos):
        raise ValueError("x_s_info_lst is not a list with a dict for every frame")
    if any(info.keys() != infos[0].keys() for info in infos):
        raise ValueError("the frames of x_s_info_lst do not have the same names")
    stacked = {name: _stacked(name, [info[name] for info in infos]) for name in infos[0]}
    for name in ("eye_open", "eye_ball"):
        stacked[name] = _stacked(name, value.get(f"{name}_lst"))
    rest = {
        name: each for name, each in value.items() if not name.endswith(("info_lst", "open_lst", "ball_lst"))
    }
    return {**rest, **stacked, "sc": np.asarray(value.get("sc")).reshape(-1)}


def _stacked(name: str, frames: object) -> np.ndarray:
    if not isinstance(frames, list | tuple) or not 0 < len(frames) <= MOST_FRAMES:
        raise ValueError(f"{name} is not a list of 1 to {MOST_FRAMES} frames")
    return np.stack([np.ravel(np.asarray(frame)) for frame in frames])


def _controls(value: object) -> object:
    return known(FrameControl, value)


class DefaultKwargs(Section):
    """What a clip starts from. The values here are upstream's own defaults; `model_fields_set` tells which
    ones a file brought, for those go before a caller's preset but not before his choice.

    `emo` (m, 8) weighs the emotions by frame, from the first one again after the last; `delta_eye_arr`
    (n, 63) is added to the expression over the frames of a blink; `v_min_max_for_clip` (4, 265) bounds
    motion by its first two rows, least and greatest.
    """

    max_size: Annotated[int, Field(ge=2, le=16_384)] = 1920
    template_n_frames: Annotated[int, Field(ge=-1)] = -1
    crop_scale: Annotated[float, Field(gt=0, le=10)] = 2.3
    crop_vx_ratio: Ratio = 0.0
    crop_vy_ratio: Ratio = -0.125
    crop_flag_do_rot: bool = True
    smo_k_s: Count = 13
    emo: Annotated[np.ndarray | tuple[tuple[int, ...], ...], BeforeValidator(_emotions)] = ((4,),)
    eye_f0_mode: bool = False
    ch_info: Annotated[ReferenceCharacter | None, BeforeValidator(_reference)] = None
    overlap_v2: Annotated[int, Field(ge=0, le=79)] = 10
    fix_kp_cond: Annotated[int, Field(ge=0)] = 0
    fix_kp_cond_dim: Annotated[tuple[Column, Column], Strict(False)] | None = None
    sampling_timesteps: Count = 50
    online_mode: bool = False
    v_min_max_for_clip: Annotated[np.ndarray, numbers(4, 265)] | None = None
    smo_k_d: Count = 3
    N_d: Annotated[int, Field(ge=-1)] = -1
    use_d_keys: DrivenKeys = None
    relative_d: bool = True
    drive_eye: bool | None = None
    delta_eye_arr: Annotated[np.ndarray, numbers(None, 63)] | None = None
    delta_eye_open_n: Gaps = 0
    fade_type: Literal["", "d0", "s"] = ""
    fade_out_keys: KeyNames = ("exp",)
    flag_stitching: bool = True
    ctrl_info: Annotated[dict[FrameNumber, FrameControl], Strict(False)] = Field({})
    overall_ctrl_info: Annotated[FrameControl, BeforeValidator(_controls)] = FrameControl()

    @model_validator(mode="after")
    def _in_order(self) -> "DefaultKwargs":
        if self.fix_kp_cond_dim is not None and self.fix_kp_cond_dim[0] >= self.fix_kp_cond_dim[1]:
            raise ValueError(f"fix_kp_cond_dim {self.fix_kp_cond_dim} is no stretch of columns")
        limits = self.v_min_max_for_clip
        if limits is not None and (limits[0] > limits[1]).any():
            raise ValueError("v_min_max_for_clip has a least value above the greatest")
        return self


class DittoConfig(Section):
    """A whole configuration file."""

    base_cfg: BaseConfig
    audio2motion_cfg: Audio2MotionConfig
    default_kwargs: DefaultKwargs = DefaultKwargs()

    def files(self) -> dict[str, str]:
        """Path of every model's file by the model's name in `core.networks` (or `face_landmarker`)."""
        base = self.base_cfg
        named = {
            name.removesuffix("_cfg"): part.model_path for name, part in base if isinstance(part, ModelFile)
        }
        return {**named, **base.landmark478_cfg.files(), "lmdm": self.audio2motion_cfg.model_path}
