"""Fades and controls in the motion of the lite engine."""

import numpy as np
import pytest

from core.atomic_components.controls import fade_alpha, with_total
from core.engines.lite.channels import HIGHEST, LOWEST, POSE, TURN, Channel, rest
from core.engines.lite.controls import controlled
from core.option_table import parse_options


def driven(n: int) -> np.ndarray:
    """Rows of a face that talks and nods."""
    rows = rest(n)
    rows[:, Channel.OPEN] = 0.5
    rows[:, Channel.TALK] = 1
    rows[:, POSE] = 2.0
    return rows


def run(n: int = 40, is_image: bool = True, **values: object) -> np.ndarray:
    return np.stack(list(controlled(driven(n), parse_options(values), is_image)))


def test_fade_schedule_is_dittos() -> None:
    assert [fade_alpha(i, None, 4, -1) for i in range(6)] == [0, 0.25, 0.5, 0.75, None, None]
    assert [fade_alpha(i, 10, -1, 4) for i in range(4, 10)] == [None, 1, 0.75, 0.5, 0.25, 0]
    assert fade_alpha(2, 4, 4, 4) == 0.25, "the fade-out rules where both meet"


@pytest.mark.parametrize("hold", [0, 1, 5, 50])
def test_totals_are_known_in_time(hold: int) -> None:
    seen = list(with_total(range(20), hold))
    assert [item for item, _ in seen] == list(range(20))
    assert [total for _, total in seen] == [None] * max(20 - hold, 0) + [20] * min(hold, 20)


def test_nothing_asked_nothing_changed() -> None:
    np.testing.assert_array_equal(run(), driven(40))


def test_fades_act_on_their_keys_without_a_fade_type() -> None:
    rows = run(fade_in=10, fade_out=10)
    assert rows[0, Channel.OPEN] == 0
    assert rows[0, Channel.TALK] == 0
    assert rows[-1, Channel.OPEN] == 0
    assert rows[20, Channel.OPEN] == 0.5
    assert (rows[:, Channel.PITCH] == 2).all(), "pose is not among the default keys"
    assert run(fade_in=10, fade_out_keys="pitch")[0, Channel.PITCH] == 0


def test_d0_fades_to_the_first_frame() -> None:
    np.testing.assert_allclose(run(fade_in=10, fade_type="d0"), driven(40))


def test_deltas_and_factors() -> None:
    rows = run(delta_pitch=3, ctrl_info={5: {"delta_pitch": -1, "alpha_pitch": 0}, 6: {"vad_alpha": 0}})
    assert rows[0, Channel.PITCH] == 5
    assert rows[5, Channel.PITCH] == -1, "a frame's own value replaces the clip's"
    assert rows[6, Channel.OPEN] == 0
    assert rows[6, Channel.TALK] == 0
    assert run(ctrl_info={3: {"alpha_exp": 0.5}})[3, Channel.OPEN] == 0.25


def test_fade_alpha_of_one_frame() -> None:
    rows = run(ctrl_info={7: {"fade_alpha": 0.5}, 8: {"fade_alpha": 0.5, "fade_out_keys": ["roll"]}})
    assert rows[7, Channel.OPEN] == 0.25
    assert rows[8, Channel.OPEN] == 0.5
    assert rows[8, Channel.ROLL] == 1.0


def test_a_video_keeps_its_own_head() -> None:
    assert not run(is_image=False)[:, POSE].any()
    assert run(is_image=False, use_d_keys="exp,yaw")[0, Channel.YAW] == 2
    rows = run(use_d_keys={"exp": 1, "pitch": 0.5})
    assert rows[0, Channel.PITCH] == 1
    assert rows[0, Channel.ROLL] == 0


def test_factors_and_offsets_stay_within_what_can_be_drawn() -> None:
    strong = {frame: {"alpha_exp": 3} for frame in range(40)}
    rows = run(use_d_keys={"exp": 3}, ctrl_info=strong, delta_pitch=-30, delta_yaw=-30, delta_roll=30)
    assert (rows >= LOWEST).all()
    assert (rows <= HIGHEST).all()
    assert rows[0, Channel.OPEN] == 1
    turns = np.linalg.norm(rows[:, Channel.PITCH : Channel.ROLL + 1], axis=1)
    np.testing.assert_allclose(turns, TURN, rtol=1e-5)
    assert run(delta_yaw=28)[0, Channel.YAW] == 30, "one turn alone is not held back"
