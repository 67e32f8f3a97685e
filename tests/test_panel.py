"""The controls of the options: what they show, what they hide, and what of them counts as given."""

import asyncio
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import gradio as gr
import numpy as np
import pytest

from core.contracts import Capabilities, Engine
from core.engines.ditto import rules
from core.engines.ditto.config import DefaultKwargs
from core.engines.lite.engine import LiteEngine
from core.errors import BadOption
from core.option_table import DEFAULT_PRESET, GROUPS, OPTIONS, PRESETS, flat, parse_options
from core.options import GenerationOptions
from core.order import Order, idle_options, options_of
from core.studio import Studio
from core.talker import Progress
from tests.test_ditto_config import published
from ui import advanced, page
from ui.endpoints import Api
from ui.panel import Panel
from ui.shown import ADVANCED, BASIC, Shown, few_values, given, is_written, shown_by
from ui.texts import LANGUAGES
from ui.work import talk

LITE = cast(Engine, SimpleNamespace(name="lite", capabilities=LiteEngine.capabilities))
FILE = {**published()["default_kwargs"], "sampling_timesteps": 10, "crop_scale": 1.9, "template_n_frames": 90}
BROUGHT = rules.option_defaults(DefaultKwargs.model_validate(FILE))
ABLE = Capabilities(
    acts_on=frozenset(OPTIONS) - {"render_size"},
    video_only=frozenset(("template_n_frames",)),
    defaults=BROUGHT,
)
DITTO = cast(Engine, SimpleNamespace(name="ditto", capabilities=ABLE))
T = TypeVar("T")
ARRAYS = {"emo", "v_min_max_for_clip", "ch_info", "delta_eye_arr"}


def laid_out(make: Callable[[], T]) -> T:
    """What `make` gives while a page is built. Under a running loop, for gradio leaves its own ones open."""

    async def inside() -> T:
        with gr.Blocks():
            return make()

    return asyncio.run(inside())


class Stopped(Exception):
    """Ends a run where the test has seen enough."""


class FakeStudio:
    """Lite at first; `ready` puts Ditto in its place. Notes the options that it is asked to work with."""

    def __init__(self, engine: Engine = LITE) -> None:
        self.engine = engine
        self.asked: list[GenerationOptions] = []

    def ready(self) -> Generator[Progress, None, None]:
        yield Progress("fetch", None, None)
        self.engine = DITTO

    def talk(self, owner: str, source: object, token: str, audio: object, options: GenerationOptions) -> Any:
        self.asked.append(options)
        raise Stopped

    def preload(self, owner: str, source: object, options: GenerationOptions, label: str) -> Any:
        self.asked.append(options)
        raise Stopped


def studio_of(fake: FakeStudio) -> Studio:
    return cast(Studio, fake)


def run(fake: FakeStudio, values: Mapping[str, Any], preset: str = "default") -> GenerationOptions:
    """What the engine is asked for in the end."""
    order = Order("me", Path("face.png"), "", Path("voice.wav"), preset, values)
    with pytest.raises(Stopped):
        list(talk(studio_of(fake), order, lambda step: step))
    return fake.asked[-1]


# --- what is shown


@pytest.mark.parametrize("engine", [LITE, DITTO], ids=lambda engine: engine.name)
@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_shown_is_what_would_be_done(engine: Engine, preset: str) -> None:
    """Written out, every control says its option's effective value, but where it has no room for it."""
    now, brought = shown_by(engine, preset), engine.capabilities.defaults
    assert set(now.values) == set(OPTIONS) == set(ADVANCED) | set(BASIC)
    effective = flat(parse_options({}, preset, brought))
    written = {name: now.values[name] for name in OPTIONS if name not in now.own}
    written = {name: OPTIONS[name].default if value == "" else value for name, value in written.items()}
    rest = {name: brought[name] for name in now.own}
    assert flat(parse_options({**rest, **written}, preset)) == effective
    assert now.own == (ARRAYS if engine is DITTO else set())


def test_ditto_shows_what_its_file_brings_under_the_preset() -> None:
    usual, balanced, fast = (shown_by(DITTO, preset).values for preset in ("default", "balanced", "fast"))
    assert (usual["overlap_v2"], usual["sampling_timesteps"], usual["online_mode"]) == (70, 10, True)
    assert (usual["fix_kp_cond_dim"], usual["use_d_keys"], usual["delta_eye_open_n"]) == (
        "0,202", "exp,yaw", "60,100"
    )  # fmt: skip
    assert usual["overall_ctrl_info"] == '{"delta_pitch": 2.0}'
    assert usual["ctrl_info"] == '{"3": {"delta_yaw": 1.0}}'
    assert (balanced["overlap_v2"], balanced["sampling_timesteps"], balanced["online_mode"]) == (10, 50, True)
    assert (fast["overlap_v2"], fast["sampling_timesteps"], fast["fix_kp_cond"]) == (5, 25, 1)


def test_factors_and_labels_are_shown() -> None:
    brought = {"use_d_keys": {"exp": 1.0, "yaw": 0.5}, "emo": ((3,),), "drive_eye": False, "fade_type": "d0"}
    engine = SimpleNamespace(name="x", capabilities=Capabilities(frozenset(), 0, defaults=brought))
    now = shown_by(cast(Engine, engine), "default")
    assert now.values["use_d_keys"] == '{"exp": 1.0, "yaw": 0.5}'
    assert (now.values["emo"], now.values["drive_eye"], now.values["fade_type"]) == ("happy", "false", "d0")
    brought["emo"] = ((3, 6),)
    assert "emo" in shown_by(cast(Engine, engine), "default").own


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_has_no_room_is_said(language: str) -> None:
    now = shown_by(DITTO, "default")
    offered = advanced.properties("emo", now, language)["choices"]
    assert [value for _, value in offered][:2] == ["", "angry"] and len(offered) == 9 and offered[0][0]
    assert len(advanced.properties("emo", shown_by(LITE, "default"), language)["choices"]) == 8
    own = {advanced.properties(name, now, language)["placeholder"] for name in ARRAYS - {"emo"}}
    assert len(own) == 1 and "none" in own.pop()
    range_ = advanced.properties("delta_eye_arr", shown_by(LITE, "default"), language)["placeholder"]
    assert range_ == OPTIONS["delta_eye_arr"].range
    for name in ("preset", *(name for name in OPTIONS if name in BASIC or few_values(OPTIONS[name]))):
        assert all(said for said, _ in advanced.choices(name, language))


def test_each_option_has_one_kind_of_control() -> None:
    first = shown_by(LITE, "default")
    bare = Shown("none", frozenset(("crop_scale",)), first.values, frozenset())
    controls, groups = laid_out(lambda: advanced.build(first))
    _, few = laid_out(lambda: advanced.build(bare))
    assert tuple(controls) == ADVANCED and set(groups) == set(GROUPS)
    for name, control in controls.items():
        assert isinstance(control, gr.Textbox) == is_written(OPTIONS[name]), name
        assert control.visible == (name in LiteEngine.capabilities.acts_on), name
    assert all(group.visible for group in groups.values())
    assert [name for name, group in few.items() if group.visible] == ["crop"]


# --- what is given


def test_what_is_left_as_it_is_is_not_given() -> None:
    for engine in (LITE, DITTO):
        for preset in PRESETS:
            now = shown_by(engine, preset)
            assert given(now.values, now) == {}
            assert given(dict.fromkeys(OPTIONS), now) == {}, "a cleared number is no wish"


def test_what_was_moved_is_given() -> None:
    now = shown_by(DITTO, "default")
    moved = {"emo": "neutral", "overlap_v2": 10, "delta_eye_arr": "none", "crop_flag_do_rot": False}
    assert given({**now.values, **moved}, now) == moved
    options = parse_options(given({**now.values, **moved}, now), "default", BROUGHT)
    assert (options.expression.emo, options.expression.delta_eye_arr) == (((4,),), None)
    assert (options.motion.overlap_v2, options.motion.sampling_timesteps) == (10, 10)


def test_an_emptied_box_goes_back_to_the_table() -> None:
    now = shown_by(DITTO, "default")
    boxes = ("overall_ctrl_info", "ctrl_info", "use_d_keys", "fix_kp_cond_dim", "chunksize")
    options = parse_options(given({**now.values, **dict.fromkeys(boxes, "")}, now), "default", BROUGHT)
    plain = flat(GenerationOptions())
    assert all(flat(options)[name] == plain[name] for name in boxes)
    assert flat(options)["delta_eye_open_n"] == [60, 100]


# --- an engine that changes behind the page


def test_a_run_uses_the_defaults_of_the_engine_that_makes_it() -> None:
    page_of_lite = shown_by(LITE, "default")
    untouched = run(FakeStudio(), given(page_of_lite.values, page_of_lite))
    assert flat(untouched) == flat(parse_options({}, "default", BROUGHT))
    assert np.array(untouched.expression.emo).shape == (600, 8)
    chosen = run(FakeStudio(), given({**page_of_lite.values, "overlap_v2": 20, "emo": "sad"}, page_of_lite))
    assert (chosen.motion.overlap_v2, chosen.motion.sampling_timesteps) == (20, 10)
    assert chosen.expression.emo == ((5,),)
    assert run(FakeStudio(), {}, "chat").crop.template_n_frames == 3


def test_wrong_values_are_told_before_anything_is_fetched() -> None:
    fake = FakeStudio()
    order = Order("me", Path("face.png"), "", Path("voice.wav"), "default", {"overlap_v2": 80})
    with pytest.raises(BadOption, match="overlap_v2"):
        next(talk(studio_of(fake), order, lambda step: step))
    assert fake.engine is LITE


def test_only_what_was_moved_is_warned_of() -> None:
    fake = studio_of(FakeStudio(DITTO))
    assert idle_options(fake, "realtime", options_of(fake, {}, "realtime"), True) == (), "nobody asked for it"
    moved = options_of(fake, {"render_size": 320, "overlap_v2": 70}, "default")
    assert len(idle_options(fake, "default", moved, True)) == 1


@pytest.fixture
def panel() -> tuple[Panel, FakeStudio, page.Page]:
    fake = FakeStudio()
    made = laid_out(lambda: page.build(shown_by(LITE, DEFAULT_PRESET)))
    return Panel(made, studio_of(fake)), fake, made


ASKING = gr.Request(headers={"accept-language": "ko"})


def test_the_panel_follows_the_engine(panel: tuple[Panel, FakeStudio, page.Page]) -> None:
    here, fake, made = panel
    controls, before = made.style.by_option(), made.shown.value
    values = {**before.values, "crop_scale": 3.0, "emo": "sad"}
    assert here.engine(ASKING, "default", before, *values.values()) == gr.skip(), "the engine is the same"
    fake.engine = DITTO
    told = here.engine(ASKING, "default", before, *values.values())
    assert told[controls["crop_scale"]]["value"] == 3.0 and told[controls["emo"]]["value"] == "sad"
    assert told[controls["overlap_v2"]]["value"] == 70 and told[controls["overlap_v2"]]["visible"]
    assert not told[controls["render_size"]]["visible"]
    assert told[made.shown] == shown_by(DITTO, "default")
    assert told[made.style.groups["motion"]]["visible"]
    assert set(told) == {made.shown, made.style.preset, *controls.values(), *made.style.groups.values()}


def test_a_preset_moves_all_but_what_stands_beside_it(panel: tuple[Panel, FakeStudio, page.Page]) -> None:
    here, fake, made = panel
    controls = made.style.by_option()
    told = here.preset(ASKING, "chat", made.shown.value, "sad", "512")
    assert (told[controls["max_size"]]["value"], told[controls["emo"]]["value"]) == (512, "sad")
    assert "대화" in told[made.style.preset]["info"]
    fake.engine = DITTO
    assert here.preset(ASKING, "chat", made.shown.value, "neutral", "512")[controls["emo"]]["value"] == ""
    assert here.load(ASKING, "chat")[controls["emo"]]["value"] == ""


# --- the API


def test_a_portrait_is_registered_with_the_engines_framing(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_text("x")
    fake = FakeStudio()
    api = Api(studio_of(fake), tmp_path)
    given = {"source": {"path": str(tmp_path / "face.png")}, "label": "", "preset": "chat", "options": "{}"}
    with pytest.raises(gr.Error):
        api.preload(gr.Request(), given)
    assert (fake.asked[0].crop.crop_scale, fake.asked[0].crop.max_size) == (1.9, 512)
