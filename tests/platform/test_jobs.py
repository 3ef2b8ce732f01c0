"""What durable jobs promise, on both databases. Real DBOS, real processes, real kills."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.jobs import Job
from dizuo.platform import job_worker, schema
from dizuo.platform import jobs as jobs_module
from dizuo.platform.database import Database
from dizuo.platform.home_lock import WorkerLock
from dizuo.platform.job_worker import JobStopped, JobWorker
from dizuo.platform.jobs import JobContext, Jobs


def items(n: int) -> list[tuple[str, dict[str, int]]]:
    return [(f"file {k}", {"k": k}) for k in range(n)]


def finishing(database: Database, before: Callable[[JobContext, int], None] = lambda _c, _k: None):
    """A body that finishes its items one by one."""

    def body(context: JobContext) -> None:
        while waiting := context.waiting(5):
            for item in waiting:
                context.check()
                before(context, item.args["k"])
                with database.write() as connection:
                    context.finish_item(connection, item, "added")

    return body


# Policy that no database has a part in: once is enough.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_worker, "_POLL_S", 0.05)
    monkeypatch.setattr(job_worker, "_QUEUE_POLL_S", 0.05)


@pytest.fixture
def jobs(database: Database, home: Path) -> Iterator[Jobs]:
    opened = Jobs(database, home)
    opened.register("work", finishing(database))
    yield opened
    opened.close()


def submit(jobs: Jobs, n: int, subject: str = "kb") -> Job:
    return jobs.submit("work", subject=subject, args={"of": subject}, items=items(n))


def finish(jobs: Jobs, job: Job) -> Job:
    return list(jobs.watch(job.id))[-1]


def wait_for(what: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def test_a_job_is_done_item_by_item_in_order(jobs: Jobs) -> None:
    job = submit(jobs, 12)
    assert (job.status, job.total, job.finished) == ("queued", 12, 0)
    over = finish(jobs, job)
    assert (over.status, over.finished, over.failed, over.stage) == ("done", 12, 0, "")
    assert over.started_at
    assert over.finished_at
    assert over.created_at <= over.started_at <= over.finished_at
    assert [(i.position, i.source, i.status) for i in jobs.items(job.id)] == [
        (k, f"file {k}", "added") for k in range(12)
    ]


@on_sqlite
def test_submitting_listing_and_cancelling_do_not_load_dbos(database: Database, home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dizuo.platform.database import Database\n"
        "from dizuo.platform.jobs import Jobs\n"
        f"jobs = Jobs(Database({database.url!r}), Path({str(home)!r}))\n"
        "job = jobs.submit('work', subject='kb', args={}, items=[('a', {})])\n"
        "assert jobs.list(active=True) == [job]; assert jobs.cancel(job.id).status == 'cancelled'; jobs.close()\n"
        "assert not {'dbos', 'opentelemetry'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_jobs_are_done_one_after_the_other_in_the_order_they_came(jobs: Jobs, database: Database) -> None:
    seen: list[tuple[str, int]] = []
    jobs.register("work", finishing(database, lambda c, k: seen.append((c.args["of"], k))))
    submitted = [submit(jobs, 3, subject) for subject in ("one", "two", "three")]
    assert [finish(jobs, job).status for job in submitted] == ["done"] * 3
    assert seen == [(subject, k) for subject in ("one", "two", "three") for k in range(3)]


def test_a_job_in_a_lane_of_its_own_holds_up_no_other(jobs: Jobs, database: Database) -> None:
    """A training of hours, and a document that wants in meanwhile."""
    let_go = threading.Event()
    seen: list[str] = []

    def long(context: JobContext, _k: int) -> None:
        seen.append(context.subject)
        assert let_go.wait(30)

    jobs.register("train", finishing(database, long), lane="train")
    first, second = (jobs.submit("train", subject=one, args={}, items=items(1)) for one in ("first", "second"))
    wait_for(lambda: jobs.start() and seen == ["first"])
    assert finish(jobs, submit(jobs, 2)).status == "done"
    assert [jobs.get(one.id).status for one in (first, second)] == ["running", "queued"]
    let_go.set()
    assert [finish(jobs, one).status for one in (first, second)] == ["done", "done"]


def test_of_several_lanes_a_job_takes_the_one_of_its_subject_or_the_emptiest(jobs: Jobs, database: Database) -> None:
    kinds = ("run.0", "run.1", "run.2")
    let_go = threading.Event()
    seen: list[str] = []

    def body(context: JobContext, _k: int) -> None:
        seen.append(context.subject)
        assert context.subject != "long" or let_go.wait(30)

    for kind in kinds:
        jobs.register(kind, finishing(database, body), lane=kind)
    submitted = [jobs.submit(kinds, subject=one, args={}, items=items(1)) for one in ("long", "b", "c", "long", "d")]
    assert [one.kind for one in submitted] == ["run.0", "run.1", "run.2", "run.0", "run.1"]
    jobs.start()
    wait_for(lambda: {"long", "b", "c", "d"} <= set(seen))
    assert seen.count("long") == 1, "a subject has one job in hand at a time"
    for one in (submitted[1], submitted[2], submitted[4]):
        finish(jobs, one)
    later = [jobs.submit(kinds, subject=one, args={}, items=items(1)) for one in ("e", "f")]
    assert [one.kind for one in later] == ["run.1", "run.2"], "those before are over"
    let_go.set()
    assert {finish(jobs, one).status for one in (*submitted, *later)} == {"done"}


def test_lists_are_newest_first_and_filtered(jobs: Jobs) -> None:
    first, second, third = submit(jobs, 1), submit(jobs, 1, "other"), submit(jobs, 1)
    jobs.cancel(first.id)
    assert [j.id for j in jobs.list()] == [third.id, second.id, first.id]
    assert [j.id for j in jobs.list(subject="kb", active=True)] == [third.id]
    assert [j.id for j in jobs.list(active=False)] == [first.id]
    assert [j.id for j in jobs.list(limit=1)] == [third.id]


def test_an_unknown_job_is_refused_with_the_command_that_lists_them(jobs: Jobs) -> None:
    for call in (jobs.get, jobs.cancel, jobs.resume, lambda id: next(jobs.watch(id))):
        with pytest.raises(NotFound, match="dizuo job list"):
            call("nothing")


def test_items_that_a_body_adds_come_after_the_others(jobs: Jobs, database: Database) -> None:
    def body(context: JobContext) -> None:
        while waiting := context.waiting(1):
            with database.write() as connection:
                if waiting[0].source == "archive":
                    context.add_items(connection, [("inner 0", {}), ("inner 1", {})])
                context.finish_item(connection, waiting[0], "added")

    jobs.register("work", body)
    job = finish(jobs, jobs.submit("work", subject="kb", args={}, items=[("archive", {}), ("last", {})]))
    assert (job.total, job.finished) == (4, 4)
    assert [i.source for i in jobs.items(job.id)] == ["archive", "last", "inner 0", "inner 1"]


def test_a_failed_item_keeps_its_reason_and_the_others_go_on(jobs: Jobs, database: Database) -> None:
    def body(context: JobContext) -> None:
        for item in context.waiting(9):
            bad = UserError("{path} is broken.", path=Path("a.pdf")) if item.args["k"] == 1 else None
            with database.write() as connection:
                context.finish_item(connection, item, "failed" if bad else "added", error=bad)

    jobs.register("work", body)
    job = finish(jobs, submit(jobs, 3))
    assert (job.status, job.finished, job.failed) == ("done", 3, 1)
    [failed] = jobs.items(job.id, status="failed")
    assert str(failed.error) == "a.pdf is broken."


def test_progress_is_rolled_back_with_the_transaction_of_its_item(jobs: Jobs, database: Database) -> None:
    def body(context: JobContext) -> None:
        with suppress(ZeroDivisionError), database.write() as connection:
            context.finish_item(connection, context.waiting(1)[0], "added")
            raise ZeroDivisionError
        assert jobs.get(context.job_id).finished == 0
        finishing(database)(context)

    jobs.register("work", body)
    assert finish(jobs, submit(jobs, 2)).finished == 2


@on_sqlite
def test_an_item_cannot_end_twice(jobs: Jobs, database: Database) -> None:
    def body(context: JobContext) -> None:
        [item] = context.waiting(1)
        for _twice in range(2):
            with database.write() as connection:
                context.finish_item(connection, item, "added")

    jobs.register("work", body)
    job = finish(jobs, submit(jobs, 1))
    assert (job.status, job.finished) == ("failed", 1)


def test_a_queued_job_is_cancelled_at_once_with_its_items(jobs: Jobs) -> None:
    job = jobs.cancel(submit(jobs, 2).id)
    assert job.status == "cancelled"
    assert job.over
    assert [i.status for i in jobs.items(job.id)] == ["cancelled"] * 2
    assert [j.status for j in jobs.watch(job.id)] == ["cancelled"]


def test_a_running_job_is_cancelled_at_its_next_check_and_keeps_what_is_in(jobs: Jobs, database: Database) -> None:
    def hold(context: JobContext, k: int) -> None:
        if k == 3:
            jobs.cancel(context.job_id)
            wait_for(lambda: raises_cancelled(context))

    jobs.register("work", finishing(database, hold))
    job = finish(jobs, submit(jobs, 8))
    assert (job.status, job.finished) == ("cancelled", 4)
    assert [i.status for i in jobs.items(job.id)] == ["added"] * 4 + ["cancelled"] * 4


def raises_cancelled(context: JobContext) -> bool:
    try:
        context.check()
    except jobs_module.JobCancelled:
        return True
    return False


def test_a_job_whose_worker_died_is_cancelled_at_once(jobs: Jobs, database: Database) -> None:
    job = submit(jobs, 2)
    with database.write() as connection:
        connection.execute(schema.jobs.update().values(status="running"))
    assert jobs.cancel(job.id).status == "cancelled"


def test_a_fault_in_the_body_fails_the_job_with_its_reason_and_a_traceback_in_the_log(
    jobs: Jobs, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.register("work", finishing(database, lambda _c, k: [1, 2][k] and None))
    job = finish(jobs, submit(jobs, 3))
    assert (job.status, job.finished) == ("failed", 2)
    assert job.error
    assert "IndexError" in str(job.error)
    assert f"dizuo job resume {job.id}" in str(job.error)
    assert any(record.exc_info and record.exc_info[0] is IndexError for record in caplog.records)


def test_a_failed_job_is_resumed_with_what_still_waits(jobs: Jobs, database: Database) -> None:
    jobs.register("work", finishing(database, lambda _c, k: [1, 2][k] and None))
    job = finish(jobs, submit(jobs, 5))
    seen: list[int] = []
    jobs.register("work", finishing(database, lambda _c, k: seen.append(k)))
    over = finish(jobs, jobs.resume(job.id))
    assert (over.status, over.finished, over.error) == ("done", 5, None)
    assert seen == [2, 3, 4]
    with pytest.raises(Conflict, match="this one is done"):
        jobs.resume(job.id)


@on_sqlite
def test_a_body_that_leaves_items_waiting_does_not_end_as_done(jobs: Jobs) -> None:
    jobs.register("work", lambda _context: None)
    assert finish(jobs, submit(jobs, 1)).status == "failed"


@on_sqlite
def test_a_user_s_mistake_is_told_as_it_is(jobs: Jobs) -> None:
    def body(_context: JobContext) -> None:
        raise UserError("The moon is {what}.", what="full")

    jobs.register("work", body)
    assert str(finish(jobs, submit(jobs, 1)).error) == "The moon is full."


@on_sqlite
def test_a_kind_that_nobody_knows_fails_by_name(jobs: Jobs) -> None:
    job = finish(jobs, jobs.submit("dream", subject="", args={}, items=[]))
    assert job.status == "failed"
    assert "'dream'" in str(job.error)


def trouble(kind: str) -> Exception:
    if kind == "disk":
        return OSError(28, "No space left on device")
    import sqlite3

    return sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


@on_sqlite
@pytest.mark.parametrize("kind", ["disk", "database"])
def test_a_full_disk_is_waited_for(jobs: Jobs, database: Database, kind: str) -> None:
    tries: list[int] = []

    def body(context: JobContext) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise trouble(kind)
        finishing(database)(context)

    jobs.register("work", body)
    job = finish(jobs, submit(jobs, 2))
    assert (job.status, job.finished, len(tries)) == ("done", 2, 3)


@on_sqlite
def test_a_disk_that_stays_full_fails_the_job_and_keeps_what_waits(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "_PATIENCE_S", 0.3)

    def full(_context: JobContext, k: int) -> None:
        if k == 1:
            raise trouble("disk")

    jobs.register("work", finishing(database, full))
    job = finish(jobs, submit(jobs, 3))
    assert (job.status, job.finished) == ("failed", 1)
    assert "No space left" in str(job.error)
    assert f"dizuo job resume {job.id}" in str(job.error)
    assert [i.status for i in jobs.items(job.id)] == ["added", "waiting", "waiting"]


@on_sqlite
def test_a_job_whose_end_cannot_be_written_goes_on_when_it_can(
    jobs: Jobs, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the database itself is full: nobody could be told of a failure."""
    monkeypatch.setattr(jobs_module, "_PATIENCE_S", 0)
    end, tries = jobs_module._end, []

    def full_at_first(*args: Any, **kwargs: Any) -> bool:
        tries.append(1)
        if len(tries) < 3:
            raise trouble("database")
        return end(*args, **kwargs)

    def full(_context: JobContext, k: int) -> None:
        if k == 1 and len(tries) < 2:
            raise trouble("database")

    monkeypatch.setattr(jobs_module, "_end", full_at_first)
    jobs.register("work", finishing(database, full))
    job = finish(jobs, submit(jobs, 3))
    assert (job.status, job.finished, len(tries)) == ("done", 3, 3)


def test_a_database_that_is_locked_or_gone_for_a_moment_loses_nothing(jobs: Jobs, database: Database) -> None:
    """SQLite: somebody holds the write lock for half a second. PostgreSQL: every connection is cut."""

    def disturb(_context: JobContext, k: int) -> None:
        if k != 2 or disturbed:
            return
        disturbed.append(k)
        if database.is_sqlite:
            held = sa.create_engine(database.url).connect()
            held.exec_driver_sql("BEGIN IMMEDIATE")
            threading.Timer(0.5, lambda: (held.rollback(), held.close(), held.engine.dispose())).start()
        else:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid() AND datname = "
            with database.read() as connection:
                connection.exec_driver_sql(cut + "current_database()")

    disturbed: list[int] = []
    jobs.register("work", finishing(database, disturb))
    job = finish(jobs, submit(jobs, 6))
    assert disturbed
    assert (job.status, job.finished) == ("done", 6)
    assert finish(jobs, submit(jobs, 2)).status == "done", "the worker goes on"


@on_sqlite
def test_the_time_left_is_reckoned_from_the_rate(jobs: Jobs, database: Database) -> None:
    def slow(context: JobContext, _k: int) -> None:
        time.sleep(0.1)
        context.stage("reading")

    jobs.register("work", finishing(database, slow))
    states = list(jobs.watch(submit(jobs, 20).id))
    reckoned = [(s.finished, s.eta_s) for s in states if s.eta_s is not None]
    assert reckoned
    for finished, eta_s in reckoned:
        assert eta_s == pytest.approx((20 - finished) * 0.1, abs=1.0)
    assert states[-1].eta_s is None
    assert any(s.stage == "reading" for s in states)


@on_sqlite
def test_what_is_done_of_an_unfinished_item_counts_for_the_time_left(jobs: Jobs, database: Database) -> None:
    def large(context: JobContext, _k: int) -> None:
        for tenth in range(10):
            time.sleep(0.2)
            context.stage(f"{tenth}0%", ahead=tenth / 10)

    jobs.register("work", finishing(database, large))
    states = list(jobs.watch(submit(jobs, 2).id))
    early = [s.eta_s for s in states if s.finished == 0 and s.eta_s is not None]
    assert early, "not one item is finished, and yet it is known"
    assert 1.2 < early[-1] < 8, "about 2.2 s, and more where the machine is busy; with whole items only, none is known"


def test_one_process_of_a_home_is_the_worker_and_another_takes_over(jobs: Jobs, database: Database, home: Path) -> None:
    assert jobs.start()
    other = Jobs(database, home)
    other.register("work", finishing(database))
    assert not other.start()
    assert finish(jobs, other.submit("work", subject="kb", args={}, items=items(1))).status == "done"
    jobs.close()
    assert finish(other, submit(other, 1)).status == "done"
    other.close()


@on_sqlite
def test_a_process_that_works_for_another_home_says_so(jobs: Jobs, database: Database, tmp_path: Path) -> None:
    jobs.start()
    other = Jobs(database, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="another DIZUO_HOME"):
        other.start()
    assert WorkerLock(tmp_path / "elsewhere").acquire(), "the lock was let go of"


def test_a_job_that_dbos_claimed_and_never_began_is_begun_all_the_same(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, missed = JobWorker.work, []

    def miss_the_first(worker: JobWorker, job_id: str, lane: str) -> None:
        if not missed:
            missed.append(job_id)
            raise JobStopped
        work(worker, job_id, lane)

    monkeypatch.setattr(JobWorker, "work", miss_the_first)
    monkeypatch.setattr(job_worker, "_ORPHAN_S", 0.3)
    job = submit(jobs, 2)
    assert finish(jobs, job).status == "done"
    assert missed == [job.id]


def test_a_job_of_which_dbos_knows_nothing_goes_on(jobs: Jobs, database: Database) -> None:
    """As after a restore: the rows say that it was running, and there is no workflow."""
    job = submit(jobs, 2)
    with database.write() as connection:
        connection.execute(schema.jobs.update().values(status="running"))
    assert finish(jobs, job).finished == 2


def test_closing_stops_at_a_check_and_the_next_start_goes_on(database: Database, home: Path) -> None:
    half = threading.Event()

    def slow(_context: JobContext, k: int) -> None:
        if k == 5:
            half.set()
        time.sleep(0.02)

    first = Jobs(database, home)
    first.register("work", finishing(database, slow))
    job = submit(first, 20)
    first.start()
    assert half.wait(30)
    first.close()
    assert first.get(job.id).status == "running"
    second = Jobs(database, home)
    seen: list[int] = []
    second.register("work", finishing(database, lambda _c, k: seen.append(k)))
    over = finish(second, job)
    second.close()
    assert (over.status, over.finished) == ("done", 20)
    assert seen == list(range(20 - len(seen), 20))


def test_closing_leaves_no_thread_behind(database: Database, home: Path) -> None:
    before = set(threading.enumerate())
    opened = Jobs(database, home)
    opened.register("work", finishing(database))
    finish(opened, submit(opened, 1))
    opened.close()
    wait_for(lambda: set(threading.enumerate()) <= before, timeout_s=5)


def test_closing_ends_whoever_waits_for_a_job_that_was_stopped(database: Database, home: Path) -> None:
    """As DBOS itself does in a thread, where a job was begun twice; the thread would hold up the end of the process."""
    from dbos import DBOS

    begun = threading.Event()

    def slow(_context: JobContext, _k: int) -> None:
        begun.set()
        time.sleep(0.02)

    opened = Jobs(database, home)
    opened.register("work", finishing(database, slow))
    job = submit(opened, 1000)
    opened.start()
    assert begun.wait(30)
    told: list[BaseException] = []

    def wait() -> None:
        try:
            DBOS.retrieve_workflow(job.id).get_result()
        except BaseException as error:
            told.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    opened.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert [type(one) for one in told] == [JobStopped]


def test_a_forked_child_does_not_keep_the_lock_of_a_dead_parent(home: Path) -> None:
    lock = WorkerLock(home)
    assert lock.acquire()
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(0)
    lock.release()
    try:
        wait_for(WorkerLock(home).acquire)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


_WORKER = """
import sys, time
from pathlib import Path
from dizuo.platform.database import Database
from dizuo.platform.jobs import Jobs
database = Database(sys.argv[1])
def body(context):
    while waiting := context.waiting(8):
        for item in waiting:
            context.check()
            time.sleep(0.005)
            with database.write() as connection:
                context.finish_item(connection, item, "added")
jobs = Jobs(database, Path(sys.argv[2]))
jobs.register("work", body)
print(jobs.start(), flush=True)
time.sleep(120)
"""


@pytest.mark.slow
def test_a_killed_worker_s_job_goes_on_by_itself_and_no_item_ends_twice(
    jobs: Jobs, database: Database, home: Path
) -> None:
    job = submit(jobs, 300)
    for kill_at in (60, 140):
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER, database.url, str(home)], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout
        with worker.stdout:
            assert worker.stdout.readline() == "True\n"
            assert not jobs.start(), "there is a worker"
            wait_for(lambda at=kill_at: jobs.get(job.id).finished >= at)
            worker.kill()
            worker.wait()
    started_s = time.monotonic()
    over = finish(jobs, job)  # watching makes this process the worker
    assert (over.status, over.total, over.finished, over.failed) == ("done", 300, 300, 0)
    assert {i.status for i in jobs.items(job.id, limit=1000)} == {"added"}
    assert time.monotonic() - started_s < 20
