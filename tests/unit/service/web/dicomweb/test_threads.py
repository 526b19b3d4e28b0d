"""DICOMweb's threads: few, and none of those that the pages have."""

import threading
from functools import partial

import anyio
from anyio import to_thread

from service.web.dicomweb.threads import AT_ONCE, FewThreads


def test_however_many_wait_the_pages_have_all_their_threads() -> None:
    begun, release = threading.Semaphore(0), threading.Event()

    def block() -> None:
        begun.release()
        release.wait()

    async def main() -> None:
        shared = to_thread.current_default_thread_limiter()
        threads = FewThreads()
        async with anyio.create_task_group() as group:
            for _ in range(10 * AT_ONCE):
                group.start_soon(threads.run, block)
            try:
                for _ in range(AT_ONCE):
                    assert await to_thread.run_sync(partial(begun.acquire, timeout=30))
                assert not await to_thread.run_sync(partial(begun.acquire, timeout=0.2))
                assert shared.borrowed_tokens == 0
            finally:
                release.set()

    anyio.run(main)


def test_a_body_is_read_piece_by_piece_until_its_end() -> None:
    async def main() -> list[bytes]:
        return [piece async for piece in FewThreads().pieces(iter([b"a", b"", b"b"]))]

    assert anyio.run(main) == [b"a", b"", b"b"]
