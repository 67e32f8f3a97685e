"""What a face does beside its lips: blinks, looks, nods on stressed words, sways, and shows a mood.

All of it is causal and drawn from the session's random generator, one draw after the other, so that
it does not depend on how the sound is cut into chunks.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from core.engines.lite.channels import WIDTH, Channel, rest
from core.option_values import EMOTIONS, is_weights
from core.options import Expression
from core.types import FPS

BLINK = (0.45, 0.95, 1.0, 0.85, 0.5, 0.22, 0.06)  # lid closure: shut in 80 ms, open in 160 ms
TALK_HOLD = 15  # frames of silence before the source's own mouth may come back
TALK_RELEASE = 1 / 20

# Facial actions of the eight emotions, after the action units of EMFACS (Ekman & Friesen 1983).
_MOODS: dict[str, dict[Channel, float]] = {
    "angry": {Channel.BROW_IN: -1.0, Channel.BROW_OUT: -0.1, Channel.SNEER: 0.25, Channel.LID_L: 0.1,
              Channel.LID_R: 0.1, Channel.SMILE_L: -0.6, Channel.SMILE_R: -0.6, Channel.PITCH: 1.5},
    "disgust": {Channel.SNEER: 0.9, Channel.BROW_IN: -0.6, Channel.BROW_OUT: -0.3, Channel.LID_L: 0.25,
                Channel.LID_R: 0.25, Channel.SMILE_L: -0.6, Channel.SMILE_R: -0.6},
    "fear": {Channel.BROW_IN: 1.0, Channel.BROW_OUT: 0.35, Channel.LID_L: -0.3, Channel.LID_R: -0.3,
             Channel.SMILE_L: -0.3, Channel.SMILE_R: -0.3, Channel.PITCH: -1.5},
    "happy": {Channel.SMILE_L: 0.85, Channel.SMILE_R: 0.85, Channel.LID_L: 0.12, Channel.LID_R: 0.12,
              Channel.BROW_OUT: 0.2, Channel.BROW_IN: 0.1},
    "neutral": {},
    "sad": {Channel.SMILE_L: -1.0, Channel.SMILE_R: -1.0, Channel.BROW_IN: 0.85, Channel.BROW_OUT: -0.4,
            Channel.LID_L: 0.2, Channel.LID_R: 0.2, Channel.PITCH: 3.0},
    "surprise": {Channel.BROW_IN: 1.0, Channel.BROW_OUT: 1.0, Channel.LID_L: -0.3, Channel.LID_R: -0.3,
                 Channel.PITCH: -2.0},
    "contempt": {Channel.SMILE_R: 0.8, Channel.SNEER: 0.1, Channel.LID_L: 0.15, Channel.LID_R: 0.15,
                 Channel.BROW_OUT: 0.2, Channel.PITCH: -1.5, Channel.ROLL: 2.0},
}  # fmt: skip


def mood(emotions: Sequence[int | float]) -> np.ndarray:
    """The pose (WIDTH,) of one emotion, the mean of several, or eight of them by their weights."""
    weights = np.bincount(np.array(emotions, int), minlength=len(EMOTIONS)) / len(emotions)
    if is_weights(emotions):
        weights = np.array(emotions)
    pose = rest(1)[0]
    for emotion, weight in zip(EMOTIONS, weights, strict=True):
        for channel, value in _MOODS[emotion].items():
            pose[channel] += value * weight
    return pose


def blinks(gaps: int | tuple[int, ...], rng: np.random.Generator) -> Iterator[float]:
    """Lid closure 0..1, frame by frame, without end: `delta_eye_open_n` in the words of Ditto.

    -1 never; 0 at random, 60 to 100 frames apart; n every n frames; a list in turn.
    """
    turn = 0
    while True:
        if isinstance(gaps, tuple):
            gap = gaps[turn % len(gaps)]
        else:
            gap = int(rng.integers(60, 101)) if gaps == 0 else max(gaps, len(BLINK))
        turn += 1
        start = gap // 2 if turn == 1 else gap  # the first blink comes soon: a still face looks dead
        yield from (0.0 for _ in range(start - (len(BLINK) if turn > 1 else 0)))
        yield from BLINK if gaps != -1 else (0.0,) * len(BLINK)


class Sway:
    """A head that is never quite still: slow sines of random phase on each axis of the pose."""

    # degrees for the angles, eye distances for the shifts
    SIZE = np.array([0.7, 1.1, 0.6, 0.012, 0.010], np.float64)

    def __init__(self, rng: np.random.Generator) -> None:
        self._hz = rng.uniform((0.05, 0.13, 0.27), (0.10, 0.22, 0.42), (5, 3))
        self._phase = rng.uniform(0, 2 * math.pi, (5, 3))
        self._weight = np.array([0.55, 0.3, 0.15])

    def at(self, index: int) -> np.ndarray:
        """Pose offsets (5,) of a frame: pitch, yaw, roll, shift x, shift y."""
        waves = np.sin(2 * math.pi * self._hz * (index / FPS) + self._phase)
        return self.SIZE * (waves @ self._weight)


class Accents:
    """Nods and raised brows on stressed syllables, found where the voice swells."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._fast = self._slow = 0.0
        self._since = 0
        self._age = self._length = 0
        self._nod = self._brow = 0.0

    def step(self, voice: float) -> tuple[float, float, float]:
        """Voice 0..1 of a frame -> (nod in degrees, brows 0..1, how much it speaks 0..1)."""
        self._fast += 0.5 * (voice - self._fast)
        self._slow += (0.06 if voice > self._slow else 0.02) * (voice - self._slow)
        self._since += 1
        if self._fast > self._slow + 0.12 and self._fast > 0.3 and self._since > 14:
            self._since = self._age = 0
            self._length = int(self._rng.integers(11, 17))
            self._nod = float(self._rng.uniform(0.8, 2.4))
            self._brow = float(self._rng.uniform(0.2, 0.55)) if self._rng.random() < 0.4 else 0.0
        if self._age >= self._length:
            return 0.0, 0.0, self._slow
        self._age += 1
        swing = math.sin(math.pi * self._age / (self._length + 1)) ** 2
        return self._nod * swing, self._brow * swing, self._slow


class Gaze:
    """Eyes that stay on the viewer while the head moves, with small jumps now and then."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left = 0
        self._at = np.zeros(2)

    def step(self, pitch: float, yaw: float) -> tuple[float, float]:
        """Head angles -> gaze angles (x, y), degrees."""
        if self._left == 0:
            self._left = int(self._rng.integers(20, 70))
            self._at = self._rng.normal(0, (1.6, 0.8), 2) if self._rng.random() < 0.6 else np.zeros(2)
        self._left -= 1
        return float(self._at[0] - yaw), float(self._at[1] - pitch)


class Behaviour:
    """One session's face: a row of speech in, a motion row (WIDTH,) out, per frame.

    `open_at_rest`: the source bares its teeth; its own mouth is then never shown, since silence
    must close the mouth. `drive_eye`: whether lids, gaze and brows move.
    """

    def __init__(
        self, expression: Expression, drive_eye: bool, open_at_rest: bool, rng: np.random.Generator
    ) -> None:
        sway, accent, gaze, blink = rng.spawn(4)
        self._drive_eye = drive_eye
        self._open_at_rest = open_at_rest
        self._moods = [mood(labels) for labels in expression.emo]
        self._mood = self._moods[0].copy()
        self._blinks = blinks(expression.delta_eye_open_n, blink)
        self._sway, self._accents, self._gaze = Sway(sway), Accents(accent), Gaze(gaze)
        self._index = 0
        self._quiet = TALK_HOLD
        self._talk = 1.0 if open_at_rest else 0.0

    def step(self, speech: np.ndarray) -> np.ndarray:
        """Speech (6,): open, spread, round, press, tuck, voice -> motion row (WIDTH,)."""
        row = rest(1)[0]
        row[: len(speech) - 1] = speech[:-1]
        row[Channel.TALK] = self._talking(speech)
        nod, brow, level = self._accents.step(float(speech[-1]))
        pose = self._sway.at(self._index) * (0.55 + 0.9 * level)
        row[Channel.PITCH : Channel.SHIFT_Y + 1] = pose
        row[Channel.PITCH] += nod
        row[Channel.SHIFT_Y] += 0.004 * math.sin(2 * math.pi * 0.23 * self._index / FPS)  # breath
        self._mood += 0.15 * (self._moods[self._index % len(self._moods)] - self._mood)
        row += self._mood
        row[Channel.BROW_IN] += brow
        row[Channel.BROW_OUT] += brow
        blink = next(self._blinks)
        if self._drive_eye:
            for lid in (Channel.LID_L, Channel.LID_R):
                row[lid] += (1 - row[lid]) * blink
            row[Channel.GAZE_X], row[Channel.GAZE_Y] = self._gaze.step(row[Channel.PITCH], row[Channel.YAW])
        else:
            row[Channel.BROW_IN : Channel.GAZE_Y + 1] = 0
        self._index += 1
        assert row.shape == (WIDTH,)
        return row

    def _talking(self, speech: np.ndarray) -> float:
        self._quiet = 0 if speech[:5].max() > 0.06 else self._quiet + 1
        if self._open_at_rest:
            return 1.0
        step = 0.5 if self._quiet < TALK_HOLD else -TALK_RELEASE
        self._talk = min(1.0, max(0.0, self._talk + step))
        return self._talk
