"""Rows are written a batch at a time; none is lost while they cannot be."""

import threading
import time

import pytest

from dizuo.platform import batched as batched_module
from dizuo.platform.batched import Batched


def test_rows_are_written_together_and_soon() -> None:
    written: list[list[int]] = []
    came = threading.Event()
    batched: Batched[int] = Batched("numbers", lambda rows: (written.append(rows), came.set())[0])
    for number in range(100):
        batched.add(number)
    assert came.wait(5)
    batched.close()
    assert [number for rows in written for number in rows] == list(range(100))
    assert len(written) < 50


def test_what_cannot_be_written_waits_in_its_order() -> None:
    written: list[int] = []
    broken = [True]

    def write(rows: list[int]) -> None:
        if broken[0]:
            raise OSError("full")
        written.extend(rows)

    batched: Batched[int] = Batched("numbers", write)
    batched.add(1)
    time.sleep(0.3)
    batched.add(2)
    broken[0] = False
    batched.close()
    assert written == [1, 2]


def test_the_end_waits_for_no_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched_module, "FLUSH_S", 60.0)
    batched: Batched[int] = Batched("numbers", lambda _rows: None)
    batched.add(1)
    started_s = time.monotonic()
    batched.close()
    assert time.monotonic() - started_s < 20
