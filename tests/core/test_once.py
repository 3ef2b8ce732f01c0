"""A property that threads share is computed once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dizuo.core.once import once


class Maker:
    @once
    def made(self) -> object:
        time.sleep(0.02)  # long enough for every thread to find nothing there yet
        return object()


def test_threads_that_come_first_together_get_the_same_object() -> None:
    maker, together = Maker(), threading.Barrier(4)

    def take(_: int) -> object:
        together.wait()
        return maker.made

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(take, range(4)))) == 1
    assert Maker().made is not maker.made
