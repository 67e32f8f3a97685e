"""Every option, defined once: the command line, REST, the page, the SDK and the docs are made from
these classes. Options of the source (`Crop`) decide what is registered and enter the avatar key;
all others belong to one clip.

Users speak in flat names (`crop_scale=2.5`); `core.option_table` sorts them into the groups.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from core.option_arrays import BlinkCourse, Columns, Limits, OptionGroup, Reference
from core.option_values import (
    EMOTIONS,
    MOTION_KEYS,
    Chunk,
    Degrees,
    DrivenKeys,
    Emotions,
    FrameControl,
    FrameControls,
    Gaps,
    KeyNames,
    OptionalBool,
    OverallControl,
    Resolution,
)


def opt(
    default: Any,
    help_: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    allowed: str = "",
) -> Any:
    """A pydantic field with what the doors show: help, unit, and the range where bounds do not tell it."""
    return Field(
        default, ge=ge, le=le, description=help_, json_schema_extra={"unit": unit, "allowed": allowed}
    )


class Crop(OptionGroup):
    """How the source is read and framed; these options enter the avatar key."""

    crop_scale: float = opt(2.3, "size of the face crop; larger is looser", unit="face sizes", ge=1.2, le=5)
    crop_vx_ratio: float = opt(0.0, "moves the crop sideways", unit="crop sizes, + right", ge=-1, le=1)
    crop_vy_ratio: float = opt(-0.125, "moves the crop along the face", unit="crop sizes, - up", ge=-1, le=1)
    crop_flag_do_rot: bool = opt(
        True, "turns the crop with a tilted head, which then nods along its face, else along the picture"
    )
    max_size: int = opt(1920, "longest side the source is reduced to", unit="pixels", ge=128, le=4096)
    template_n_frames: int = opt(
        -1, "frames taken from a source video; -1 takes all", unit="frames", ge=-1, le=3000
    )
    smo_k_s: int = opt(13, "smoothing of the landmarks of a source video", unit="frames", ge=1, le=51)
    check_track: bool = opt(
        False, "looks in every frame of a source video whether its face is still followed, and finds it anew"
    )


class Motion(OptionGroup):
    """How speech becomes motion."""

    seed: int = opt(1024, "same seed, same frames", ge=0, le=2**32 - 1)
    smo_k_d: int = opt(3, "smoothing of the head motion", unit="frames", ge=1, le=25)
    sampling_timesteps: int = opt(50, "denoising steps of the diffusion model", unit="steps", ge=1, le=1000)
    overlap_v2: int = opt(10, "frames shared by neighbouring motion windows", unit="frames", ge=0, le=79)
    fix_kp_cond: int = opt(
        0, "windows between resets of the condition; 0 never", unit="windows", ge=0, le=1000
    )
    fix_kp_cond_dim: Columns = opt(
        None,
        "columns of motion that a reset leaves as predicted: first, one past the last",
        allowed="none, or two of 0 .. 265",
    )
    v_min_max_for_clip: Limits = opt(
        None,
        "least and greatest value of every column of motion, two rows (of upstream's four the first two)",
        allowed="none, or 2 or 4 rows of 265 numbers",
    )
    ch_info: Reference = opt(
        None,
        "another character, whose proportions the motion is made for",
        allowed="none, or {scale, pitch, yaw, roll, t, exp, eye_open, eye_ball, sc}, rows by frame",
    )
    chunksize: Chunk = opt(
        (3, 5, 2),
        "frames of sound that are heard at once: past, present (described), future",
        unit="frames",
        allowed="three numbers, present and future 1 or more, 5 to 20 in all",
    )
    online_mode: bool = opt(
        False, "streams: windows of motion begin before the clip, so that its first frame comes early"
    )
    low_latency: bool = opt(
        False, "with online_mode: gives a window's frames at once and leads the next ones on from them"
    )

    @model_validator(mode="after")
    def _streams(self) -> "Motion":
        if self.low_latency and not self.online_mode:
            raise ValueError("low_latency acts in online_mode only: set online_mode, too")
        return self


class Expression(OptionGroup):
    """Emotion and eyes."""

    emo: Emotions = opt(
        ((4,),),
        "emotion by number or name; a list mixes several, a list of lists goes by frame, as does an array "
        "of eight weights a row",
        allowed="0-7 or " + ", ".join(EMOTIONS),
    )
    drive_eye: OptionalBool = opt(
        None,
        "whether eyes and brows are driven; none: yes for an image, no for a video",
        allowed="true | false | none",
    )
    delta_eye_arr: BlinkCourse = opt(
        None,
        "the course of a blink, added to the eyes' expression; its first row is added between blinks",
        unit="expression",
        allowed="none, or rows of 63 numbers, one a frame",
    )
    delta_eye_open_n: Gaps = opt(
        0,
        "frames between blinks: -1 no blinks, 0 at random (60-100), n every n, a list in turn",
        unit="frames",
        allowed="-1 .. 3000, or a list of 10 .. 3000",
    )
    eye_f0_mode: bool = opt(False, "takes the eye condition from the first source frame only")


class Stitch(OptionGroup):
    """How motion and source are joined."""

    use_d_keys: DrivenKeys = opt(
        None,
        "what is driven, or a factor 0-3 for each; none: all for an image, exp for a video",
        allowed="of " + ", ".join(MOTION_KEYS),
    )
    delta_pitch: Degrees = opt(0.0, "nods the head for the whole clip", unit="degrees, + down")
    delta_yaw: Degrees = opt(
        0.0, "turns the head for the whole clip", unit="degrees, + to the picture's right"
    )
    delta_roll: Degrees = opt(0.0, "tilts the head for the whole clip", unit="degrees, + clockwise")
    overall_ctrl_info: OverallControl = opt(
        FrameControl(),
        "controls of all frames, as JSON; those of a single frame go before them",
        allowed="{" + ", ".join(FrameControl.model_fields) + "}",
    )
    corrected_controls: bool = opt(
        False, "alpha_* multiply degrees (upstream: logits), vad_alpha acts on the lips (upstream: all exp)"
    )
    fade_in: int = opt(-1, "the motion fades in over the first frames; -1 off", unit="frames", ge=-1, le=3000)
    fade_out: int = opt(
        -1, "the motion fades out over the last frames; -1 off", unit="frames", ge=-1, le=3000
    )
    fade_type: Literal["", "d0", "s"] = opt(
        "", "what a fade fades to: s the source, d0 the first driven frame; empty: s"
    )
    N_d: int = opt(
        -1, "frames that fades and blinks are laid out for; -1: as many as the sound has", unit="frames",
        ge=-1, le=1_000_000,
    )  # fmt: skip
    fade_out_keys: KeyNames = opt(("exp",), "what a fade acts on", allowed="of " + ", ".join(MOTION_KEYS))
    relative_d: bool = opt(True, "drives relative to the first driven frame (in online_mode always)")
    flag_stitching: bool = opt(True, "runs the stitching network")


class Output(OptionGroup):
    """What is drawn."""

    resolution: Resolution = opt(
        "512", "canvas: a face-centred square of 320 or 512 pixels, or the source's own size"
    )
    render_size: int = opt(
        0, "side of the face crop that is computed; 0: its size on the canvas", unit="pixels", ge=0, le=1024
    )


class GenerationOptions(OptionGroup):
    """All options of one clip; `ctrl_info` overrides single frames, by frame number from 0."""

    crop: Crop = Crop()
    motion: Motion = Motion()
    expression: Expression = Expression()
    stitch: Stitch = Stitch()
    output: Output = Output()
    ctrl_info: FrameControls = opt(
        {},
        "controls of single frames, as JSON by frame number (or a list from frame 0 on)",
        allowed='{"frame number": {' + ", ".join(FrameControl.model_fields) + "}}",
    )
