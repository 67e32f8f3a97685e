"""A blocking generator pulled from the event loop: in order, on one thread, closed whatever happens."""

import asyncio
import threading
from collections.abc import Generator

import pytest

from server.pump import pumped


class Source:
    """Counts to `count`; knows the threads that it ran on and whether it was closed."""

    def __init__(self, count: int = 5, fail_at: int = -1) -> None:
        self.threads: set[str] = set()
        self.closed, self.pulled = False, 0
        self._count, self._fail_at = count, fail_at

    def items(self) -> Generator[int, None, None]:
        try:
            for index in range(self._count):
                self.threads.add(threading.current_thread().name)
                if index == self._fail_at:
                    raise ValueError("broken")
                self.pulled += 1
                yield index
        finally:
            self.threads.add(threading.current_thread().name)
            self.closed = True


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("visavis-pump")]


def left() -> bool:
    """Whether a thread is left, once it had time to go."""
    for thread in threading.enumerate():
        if thread.name.startswith("visavis-pump"):
            thread.join(5)
    return bool(running())


def test_items_come_in_order_on_one_thread() -> None:
    source = Source()

    async def take() -> list[int]:
        async with pumped(source.items()) as stream:
            return [item async for item in stream]

    assert asyncio.run(take()) == list(range(5))
    assert source.closed and len(source.threads) == 1 and source.threads != {"MainThread"}
    assert not left()


def test_nothing_is_pulled_ahead() -> None:
    source = Source(100)

    async def take() -> None:
        async with pumped(source.items()) as stream:
            async for item in stream:
                assert source.pulled == item + 1
                if item == 3:
                    break

    asyncio.run(take())
    assert source.closed and source.pulled == 4 and not left()


def test_an_error_reaches_the_loop() -> None:
    source = Source(fail_at=2)

    async def take() -> None:
        async with pumped(source.items()) as stream:
            async for _ in stream:
                pass

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(take())
    assert source.closed and not left()


def test_cancelling_in_the_middle_of_a_step_closes_it_behind_that() -> None:
    """The step that is under way cannot be stopped; nothing runs beside it."""
    begun, go_on, source = threading.Event(), threading.Event(), Source()

    def slow() -> Generator[int, None, None]:
        try:
            for item in source.items():
                begun.set()
                go_on.wait(5)
                yield item
        finally:
            source.closed = True

    async def take() -> None:
        async def pull() -> None:
            async with pumped(slow()) as stream:
                async for _ in stream:
                    pass

        task = asyncio.create_task(pull())
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        await asyncio.sleep(0.05)
        assert not source.closed and not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(take())
    assert source.closed and not left()
