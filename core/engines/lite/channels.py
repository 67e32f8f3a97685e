"""The motion of the lite engine: one float32 row per video frame, (n, len(Channel)).

Motion parts write these rows, the renderer draws them; nothing else passes between the two.
"""

from enum import IntEnum

import numpy as np


class Channel(IntEnum):
    """Columns of a motion row, with their unit and range; all are 0 at rest."""

    OPEN = 0  # lip opening, 0..1, absolute: 0 lips touch, 1 gap of 0.26 eye distances
    SPREAD = 1  # corners drawn apart (as in "see"), 0..1
    ROUND = 2  # corners drawn together, lips forward ("two"), 0..1
    PRESS = 3  # lips pressed on each other (m, b, p), 0..1
    TUCK = 4  # lower lip under the upper teeth (f, v), 0..1
    TALK = 5  # 0: the source's own mouth; 1: the channels above rule absolutely
    SMILE_L = 6  # mouth corner up, -1..1 (negative: down); left is the image's left
    SMILE_R = 7
    SNEER = 8  # upper lip and nose wings raised, 0..1
    BROW_IN = 9  # inner brows up, -1..1
    BROW_OUT = 10  # outer brows up, -1..1
    LID_L = 11  # 0 the source's lids, 1 closed, negative wider, -0.3..1
    LID_R = 12
    GAZE_X = 13  # eye turned, degrees, positive to the image's right
    GAZE_Y = 14  # positive down
    PITCH = 15  # head turned against the source, degrees, positive nods down
    YAW = 16  # positive turns to the image's right
    ROLL = 17  # positive is clockwise in the image
    SHIFT_X = 18  # head moved, in eye distances, positive to the image's right
    SHIFT_Y = 19  # positive down


WIDTH = len(Channel)
TURN = 32.0  # degrees, of all three angles together; a picture turned further tears
_RANGES = dict.fromkeys(Channel, (0.0, 1.0)) | {
    Channel.SMILE_L: (-1, 1), Channel.SMILE_R: (-1, 1), Channel.BROW_IN: (-1, 1), Channel.BROW_OUT: (-1, 1),
    Channel.LID_L: (-0.3, 1), Channel.LID_R: (-0.3, 1), Channel.GAZE_X: (-20, 20), Channel.GAZE_Y: (-20, 20),
    **dict.fromkeys(list(Channel)[Channel.PITCH :], (-np.inf, np.inf)),
}  # fmt: skip
LOWEST, HIGHEST = np.array(list(_RANGES.values()), np.float32).T
SPEECH = slice(Channel.OPEN, Channel.TUCK + 1)
LIPS = slice(Channel.OPEN, Channel.SNEER + 1)
POSE = slice(Channel.PITCH, Channel.SHIFT_Y + 1)
ANGLES = slice(Channel.PITCH, Channel.ROLL + 1)


def rest(n: int) -> np.ndarray:
    """Rows of a face at rest: zeros (n, WIDTH) float32."""
    return np.zeros((n, WIDTH), np.float32)
