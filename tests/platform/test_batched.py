"""Rows are written a batch at a time; none is lost while they cannot be."""

import gc
import logging
import threading
import time
import weakref

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


def test_an_outage_is_told_once_with_how_many_rows_wait_and_then_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(batched_module, "FLUSH_S", 0.0)
    monkeypatch.setattr(batched_module, "_RETRY_S", 0.001)
    monkeypatch.setattr(batched_module, "MOST_WAITING", 2)
    tries, enough, broken, written = [0], threading.Event(), [True], threading.Event()

    def write(rows: list[int]) -> None:
        tries[0] += 1
        if tries[0] > 4:
            enough.set()
        if broken[0]:
            raise OSError("gone")
        assert rows == [2, 3]
        written.set()

    batched: Batched[int] = Batched("numbers", write)
    with caplog.at_level(logging.WARNING, "dizuo.platform.batched"):
        with batched._lock:
            batched._waiting += [1, 2]
        batched.add(3)
        assert enough.wait(5)
        broken[0] = False
        assert written.wait(5)
        batched.close()
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "the numbers cannot be written; 2 rows wait",
        "the numbers can be written again after 0 s; rows lost: 1",
    ]


def test_a_thread_ends_when_nobody_has_what_it_writes_for_any_more() -> None:
    class Owner:
        def __init__(self) -> None:
            self.written = threading.Event()
            self.rows: Batched[int] = Batched("numbers", self._write)

        def _write(self, _rows: list[int]) -> None:
            self.written.set()

    owner = Owner()
    owner.rows.add(1)
    assert owner.written.wait(5)
    thread, gone = owner.rows._thread, weakref.ref(owner)
    assert thread is not None
    del owner
    gc.collect()
    thread.join(5)
    assert (thread.is_alive(), gone()) == (False, None)
