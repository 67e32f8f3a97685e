"""A short source video for a long clip."""


def mirror_index(index: int, size: int) -> int:
    """The source frame, 0..size-1, for frame `index` of a clip: forth, back, forth, ..., ends shown twice.

    Negative indices go on backwards.
    """
    at = index % (2 * size)
    return min(at, 2 * size - 1 - at)
