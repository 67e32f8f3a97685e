"""A face beside its lips: blinks, moods, stillness in silence, and the same again for the same seed."""

import numpy as np
import pytest

from core.engines.lite.behaviour import BLINK, Behaviour, blinks, mood
from core.engines.lite.channels import POSE, Channel
from core.option_table import parse_options
from core.option_values import EMOTIONS


def speech(n: int, voiced: bool = True) -> np.ndarray:
    """Lip rows (n, 6) of something like syllables."""
    rows = np.zeros((n, 6), np.float32)
    if voiced:
        swell = np.clip(np.sin(np.arange(n) / 3), 0, 1)
        rows[:, 0], rows[:, 5] = 0.6 * swell, swell
    return rows


def run(
    rows: np.ndarray, seed: int = 1, drive_eye: bool = True, open_at_rest: bool = False, **values: object
):
    options = parse_options(values)
    face = Behaviour(options.expression, drive_eye, open_at_rest, np.random.default_rng(seed))
    return np.stack([face.step(row) for row in rows])


def test_same_seed_same_motion() -> None:
    rows = speech(200)
    np.testing.assert_array_equal(run(rows), run(rows))
    assert np.abs(run(rows) - run(rows, seed=2)).max() > 0.1


def starts(gaps: object, n: int = 1000) -> list[int]:
    wave = blinks(gaps, np.random.default_rng(0))  # type: ignore[arg-type]
    lids = np.array([next(wave) for _ in range(n)])
    return [i for i in range(1, n) if lids[i] == BLINK[0] and lids[i - 1] == 0]


def test_blink_schedule() -> None:
    assert starts(-1) == []
    assert set(np.diff(starts(50))) == {50}
    assert all(60 <= gap <= 100 for gap in np.diff(starts(0)))
    assert set(np.diff(starts((20, 30)))) == {20, 30}


def test_drive_eye_off_keeps_the_eyes() -> None:
    rows = run(speech(300), drive_eye=False, emo="surprise")
    assert not rows[:, Channel.BROW_IN : Channel.GAZE_Y + 1].any()
    assert run(speech(300))[:, Channel.LID_L].max() > 0.9


def test_silence_closes_and_returns_to_the_source() -> None:
    sound = np.concatenate([speech(50), speech(100, voiced=False)])
    rows = run(sound)
    assert rows[20:45, Channel.TALK].min() == 1
    assert rows[-1, Channel.TALK] == 0
    assert (run(sound, open_at_rest=True)[:, Channel.TALK] == 1).all(), "bared teeth stay covered"


def test_speaking_moves_the_head_more() -> None:
    still = np.abs(np.diff(run(speech(500, voiced=False))[:, POSE], axis=0)).mean()
    talking = np.abs(np.diff(run(speech(500))[:, POSE], axis=0)).mean()
    assert talking > 1.5 * still > 0


def test_gaze_meets_the_viewer() -> None:
    rows = run(speech(600))
    assert np.corrcoef(rows[:, Channel.YAW], rows[:, Channel.GAZE_X])[0, 1] < -0.2


@pytest.mark.parametrize("name", [name for name in EMOTIONS if name != "neutral"])
def test_every_emotion_differs_from_neutral_and_all_others(name: str) -> None:
    pose = mood((EMOTIONS.index(name),))
    for other in EMOTIONS:
        if other != name:
            assert np.abs(pose - mood((EMOTIONS.index(other),))).max() > 0.2
    assert np.abs(run(speech(60), emo=name)[-1] - run(speech(60))[-1]).max() > 0.2


def test_emotions_by_frame_and_mixed() -> None:
    happy, sad = EMOTIONS.index("happy"), EMOTIONS.index("sad")
    np.testing.assert_allclose(mood((happy, sad)), (mood((happy,)) + mood((sad,))) / 2, atol=1e-6)
    rows = run(speech(80), emo=[["happy"]] * 40 + [["sad"]] * 40)
    assert rows[38, Channel.SMILE_L] > 0.5
    assert rows[79, Channel.SMILE_L] < -0.5
