"""Sound, emotion, eyes and face -> the rows that condition the motion model.

A row is audio 1024 | emotion 8 | eye openness 2 | eye balls 6 | canonical keypoints 63, less what the
model does not use; the order of antgroup/ditto-talkinghead e9191cf6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.atomic_components.loop import mirror_index
from core.option_values import is_weights

_EMOTIONS = 8
_CHOSEN = 8.0  # the logit of a chosen emotion; the others have 0


def emotion_vectors(rows: Sequence[Sequence[int | float]]) -> np.ndarray:
    """Rows of labels 0..7 -> (m, 8) float32, each the softmax of 8 at the chosen labels and 0 elsewhere.

    Rows of eight numbers are such vectors already.
    """
    if is_weights(rows[0]):
        return np.array(rows, np.float32)
    logits = np.zeros((len(rows), _EMOTIONS))
    for logit, labels in zip(logits, rows, strict=True):
        logit[[int(label) for label in labels]] = _CHOSEN
    weights = np.exp(logits)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Face:
    """What the motion model is told of the source: eye_open (f, 2), eye_ball (f, 6) per frame; sc (63,)."""

    eye_open: np.ndarray
    eye_ball: np.ndarray
    sc: np.ndarray


@dataclass(frozen=True)
class ConditionRows:
    """Makes rows for any stretch of a clip. `emotions` (m, 8) goes by frame and starts again at its end;
    the flags leave out what a model was not trained with."""

    face: Face
    emotions: np.ndarray
    eyes_of_first_frame: bool = False
    use_emo: bool = True
    use_eye_open: bool = True
    use_eye_ball: bool = True
    use_sc: bool = True

    def __call__(self, audio: np.ndarray, start: int) -> np.ndarray:
        """Features (n, 1024) of the frames from `start` on -> (n, 1103) float32.

        Frames before the clip, with negative numbers, count as frame 0.
        """
        frames = np.arange(start, start + len(audio)).clip(0)
        eyes = [0 if self.eyes_of_first_frame else mirror_index(i, len(self.face.eye_open)) for i in frames]
        parts = [audio]
        if self.use_emo:
            parts.append(self.emotions[frames % len(self.emotions)])
        if self.use_eye_open:
            parts.append(self.face.eye_open[eyes])
        if self.use_eye_ball:
            parts.append(self.face.eye_ball[eyes])
        if self.use_sc:
            parts.append(np.repeat(self.face.sc.reshape(1, -1), len(audio), axis=0))
        return np.concatenate(parts, axis=1).astype(np.float32)
