"""A generator that blocks, pulled from the event loop: every step runs on one thread of its own."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


class _End:
    """Stands for the end of the items: StopIteration cannot pass through a future."""


_END = _End()


@asynccontextmanager
async def pumped(items: Generator[T, None, None]) -> AsyncGenerator[AsyncGenerator[T, None], None]:
    """`async with pumped(generator) as stream: async for item in stream`.

    The next item is asked for when the one before is dealt with: whoever is slow slows the generator. On the
    way out the generator is closed on its thread, behind the step that may be under way, and the thread ends.
    """
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, thread_name_prefix="visavis-pump")

    async def stream() -> AsyncGenerator[T, None]:
        while not isinstance(item := await loop.run_in_executor(worker, next, items, _END), _End):
            yield item

    try:
        yield stream()
    finally:
        closing = loop.run_in_executor(worker, items.close)
        worker.shutdown(wait=False)
        await asyncio.shield(closing)
