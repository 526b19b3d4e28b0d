"""Run DICOMweb's blocking work in a few threads of its own, so that it cannot hold up the pages."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial, wraps
from typing import Final, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

AT_ONCE: Final = 4

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class FewThreads:
    """Runs functions in at most `AT_ONCE` threads; the rest waits without one."""

    def __init__(self) -> None:
        self._limiter = CapacityLimiter(AT_ONCE)

    async def run(
        self,
        function: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **named: _Arguments.kwargs,
    ) -> _Result:
        """Return what a function returns."""
        return await to_thread.run_sync(partial(function, *args, **named), limiter=self._limiter)

    def route(
        self, function: Callable[_Arguments, _Result]
    ) -> Callable[_Arguments, Awaitable[_Result]]:
        """Make a function one that runs here, with the parameters that FastAPI reads."""

        @wraps(function)
        async def in_thread(*args: _Arguments.args, **named: _Arguments.kwargs) -> _Result:
            return await self.run(function, *args, **named)

        return in_thread

    async def pieces(self, source: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Read a body piece by piece; between two pieces no thread is held."""
        following = partial(next, source, None)
        while (piece := await self.run(following)) is not None:
            yield piece
