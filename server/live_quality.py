"""How good the pictures of a live session may be, by what its line and its player bear."""

from typing import NamedTuple

from server.protocol_v2 import Report

_CALM = 5  # judgements in a row without trouble before the quality rises
_BLOCKED = 0.25  # of the time: a line that takes so long is full
_STARVED_S, _BEHIND_S = 0.04, 1.5  # what a player has in hand; how much of what was sent it has not got
_DEEP = 2**20  # bytes that the client has not confirmed


class Step(NamedTuple):
    """`crf` for H.264, `image` 0..100 for pictures; one picture in `divisor` is new."""

    crf: int
    image: int
    divisor: int


LADDER = (Step(23, 85, 1), Step(28, 75, 1), Step(33, 60, 1), Step(33, 60, 2))


class Quality:
    """One step of the ladder at a time. Told from the event loop; `step` may be read on any thread."""

    def __init__(self) -> None:
        self._level = self._calm = 0
        self.forget()

    @property
    def step(self) -> Step:
        return LADDER[self._level]

    def forget(self) -> None:
        """Another player, or none, has the stream now."""
        self._behind_s, self._in_hand_s = 0.0, 1.0
        self._dropped = self._dropped_before = 0

    def heard(self, report: Report, until: float) -> None:
        """What the client says of its player, when media up to `until` (seconds) was sent."""
        self._behind_s = until - report.played_s - report.buffered_s
        self._in_hand_s = report.buffered_s if report.played_s else 1.0  # not begun yet: not starved
        self._dropped = report.dropped

    def judge(self, blocked: float, depth: int) -> None:
        """One step down in trouble, one up after some calm: to be asked once a second.

        `blocked` is the part of the time that sending waited for the client, `depth` the bytes that it has
        not confirmed.
        """
        dropped, self._dropped_before = self._dropped > self._dropped_before, self._dropped
        starved = self._in_hand_s < _STARVED_S
        if blocked > _BLOCKED or depth > _DEEP or self._behind_s > _BEHIND_S or starved or dropped:
            self._level, self._calm = min(self._level + 1, len(LADDER) - 1), 0
            return
        self._calm += 1
        if self._calm >= _CALM:
            self._level, self._calm = max(self._level - 1, 0), 0
