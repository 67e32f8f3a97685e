"""The helper thread: same items, errors carried across, nothing left behind."""

import threading
import time

import pytest

from core.optimization.parallel_processing import overlap, with_progress


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "visavis-overlap"]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_same_items(depth: int) -> None:
    assert list(overlap(iter(range(50)), depth)) == list(range(50))
    assert not running()


@pytest.mark.parametrize("depth", [0, 2])
def test_error_arrives_after_the_items_before_it(depth: int) -> None:
    def broken():
        yield 1
        raise RuntimeError("broke")

    items = overlap(broken(), depth)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="broke"):
        next(items)
    assert not running()


@pytest.mark.parametrize("depth", [0, 2])
def test_close_stops_and_closes_upstream(depth: int) -> None:
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = overlap(endless(), depth)
    next(items)
    items.close()
    assert closed.is_set()
    assert not running()


def test_no_more_than_depth_is_made_ahead() -> None:
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    items = overlap(source(), 2)
    next(items)
    time.sleep(0.3)
    assert len(made) <= 4  # one given, two waiting, one in hand
    items.close()


def test_both_sides_run_at_once() -> None:
    def source():
        for i in range(10):
            time.sleep(0.02)
            yield i

    names = {threading.current_thread().name}

    def named():
        for i in source():
            names.add(threading.current_thread().name)
            yield i

    list(overlap(named(), 2))
    assert "visavis-overlap" in names


def test_work_reports_and_returns() -> None:
    def work(report) -> str:
        for i in range(4):
            report(i / 3)
        return "made"

    steps = with_progress(work)
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            assert stop.value == "made"
            break
    assert seen == [0, 1 / 3, 2 / 3, 1]


def test_work_that_fails_fails_here() -> None:
    def work(report) -> None:
        report(0.5)
        raise RuntimeError("broke")

    steps = with_progress(work)
    assert next(steps) == 0.5
    with pytest.raises(RuntimeError, match="broke"):
        next(steps)


def test_closing_stops_the_work_at_its_next_report() -> None:
    ended = threading.Event()

    def work(report) -> None:
        try:
            while True:
                report(0.0)
                time.sleep(0.01)
        finally:
            ended.set()

    steps = with_progress(work)
    next(steps)
    steps.close()
    assert ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "visavis-work"]
