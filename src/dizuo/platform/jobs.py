"""Durable jobs: accepted work that is done, whatever happens to the process that does it.

A job and its items are rows (docs/adr/0003). Any process of a home may submit and watch; one of them, the worker, does
the jobs of each lane in the order in which they came. A body finishes an item in the transaction that makes its result
visible, so a job that is killed at any moment goes on with the first item that has no status.
"""

import errno
import logging
import secrets
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dizuo.core.documents import ItemStatus, Note, ParseReport
from dizuo.core.errors import Conflict, DizuoError, NotFound, UserError
from dizuo.core.jobs import Job, JobItem, JobStatus
from dizuo.core.traces import Trace, traced
from dizuo.platform import schema, telemetry
from dizuo.platform.chores import Chore, Chores
from dizuo.platform.database import Database
from dizuo.platform.home_lock import WorkerLock
from dizuo.platform.job_worker import JobStopped, JobWorker

logger = logging.getLogger(__name__)

_jobs, _items = schema.jobs, schema.job_items
_ACTIVE = ("queued", "running")
_WATCH_S = 0.1
_CHECK_S = 0.1  # how often a body's `check` asks the database
_RATE_WINDOW_S = 60.0  # what the ETA is reckoned from: long enough for several batches, short enough to follow a change
_RATE_AFTER_S = 1.0
_PATIENCE_S = 60.0  # how long a database that is locked, full or gone may stay so before the job fails
_PASSING_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_PASSING_SQLITE = ("locked", "full", "disk I/O", "unable to open")


class JobCancelled(Exception):
    """Somebody has cancelled the job that runs. Leaves the body."""


class JobContext:
    """What the body of a job sees of it. Used by one thread."""

    def __init__(self, database: Database, job: Job, args: Mapping[str, Any], stopping: threading.Event) -> None:
        self.job_id = job.id
        self.kind = job.kind
        self.subject = job.subject
        self.args = args
        self._database = database
        self._stopping = stopping
        self._total = job.total
        self.finished = job.finished
        self._ahead = 0.0
        self._rate = deque([(time.monotonic(), float(job.finished))])
        self._cancelled = False
        self._checked_s = float("-inf")
        self._staged = ""

    def waiting(self, n: int) -> Sequence[JobItem]:
        """The first `n` items that have no status yet."""
        rows = _items.select().where(_items.c.job_id == self.job_id, _items.c.status == "waiting")
        with self._database.read() as connection:
            return [_item(row) for row in connection.execute(rows.order_by(_items.c.position).limit(n))]

    def check(self) -> None:
        """Raises JobCancelled when somebody has cancelled the job. Call it often; it is cheap."""
        if self._stopping.is_set():
            raise JobStopped
        now_s = time.monotonic()
        if not self._cancelled and now_s - self._checked_s >= _CHECK_S:
            self._checked_s = now_s
            with self._database.read() as connection:
                asked = connection.scalar(sa.select(_jobs.c.cancel_requested).where(_jobs.c.id == self.job_id))
            self._cancelled = asked is not False  # None: the job is gone
        if self._cancelled:
            raise JobCancelled

    def stage(self, text: str, ahead: float = 0.0) -> None:
        """Says what the job is doing right now, for people.

        `ahead`: what is done of items that are not finished, in items; an ETA that counted whole ones only would
        grow for as long as a large file takes.
        """
        if text == self._staged:
            return
        self._staged = text
        self._ahead = ahead
        with self._database.write() as connection:
            changes = {"stage": text, "eta_s": self._eta_s()}
            connection.execute(_jobs.update().where(_jobs.c.id == self.job_id).values(changes))

    def add_items(self, connection: sa.Connection, items: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """More items, as (source, args), after those that are there; in the caller's transaction."""
        if not items:
            return
        last = connection.scalar(sa.select(sa.func.max(_items.c.position)).where(_items.c.job_id == self.job_id))
        _insert_items(connection, self.job_id, items, first=0 if last is None else last + 1)
        grown = _jobs.update().where(_jobs.c.id == self.job_id).values(total=_jobs.c.total + len(items))
        self._total = connection.execute(grown.returning(_jobs.c.total)).scalar_one()

    def finish_item(
        self,
        connection: sa.Connection,
        item: JobItem,
        status: ItemStatus,
        report: ParseReport | None = None,
        error: DizuoError | None = None,
    ) -> None:
        """Gives an item its status and counts it, in the transaction that makes its result visible."""
        ended = connection.execute(
            _items.update()
            .where(_items.c.id == item.id, _items.c.status == "waiting")
            .values(
                status=status,
                report=report.model_dump(mode="json") if report else sa.null(),
                error=Note.of(error).model_dump(mode="json") if error else sa.null(),
            )
        )
        if ended.rowcount != 1:
            raise RuntimeError(f"item {item.id} of job {self.job_id} has ended before")
        counted = (
            _jobs.update()
            .where(_jobs.c.id == self.job_id)
            .values(
                finished=_jobs.c.finished + 1, failed=_jobs.c.failed + int(status == "failed"), eta_s=self._eta_s(1)
            )
        )
        row = connection.execute(counted.returning(_jobs.c.total, _jobs.c.finished)).one()
        self._total, self.finished = row.total, row.finished
        self._ahead = max(0.0, self._ahead - 1)
        telemetry.observe_item(self.kind, status)

    def _eta_s(self, just_finished: int = 0) -> float | None:
        """Seconds left at the rate of the last minute; None while there is nothing to reckon from."""
        now_s = time.monotonic()
        done = self.finished + max(float(just_finished), self._ahead)
        if done > self._rate[-1][1]:
            self._rate.append((now_s, done))
        while len(self._rate) > 2 and self._rate[1][0] < now_s - _RATE_WINDOW_S:
            self._rate.popleft()
        since_s, before = self._rate[0]
        if now_s - since_s < _RATE_AFTER_S or done <= before:
            return None
        return round(max(0.0, self._total - done) * (now_s - since_s) / (done - before), 1)


Body = Callable[[JobContext], None]


class Jobs:
    """The durable jobs of one home. Blocking; safe to use from several threads and processes."""

    def __init__(self, database: Database, home: Path, keep_trace: Callable[[Trace], None] = telemetry.export) -> None:
        self._database = database
        self._keep = keep_trace
        self._bodies: dict[str, Body] = {}
        self._lanes: dict[str, str] = {}  # kind -> lane
        self._lock = WorkerLock(home)
        self._worker: JobWorker | None = None
        self._starting = threading.Lock()
        self._closed = threading.Event()
        self._chores = Chores(self._closed)

    def register(self, kind: str, body: Body, *, lane: str = "") -> None:
        """What does the jobs of a kind: takes waiting items and finishes them until none is left.

        Jobs of one lane are done one after the other; lanes go side by side. Register before the start.
        """
        self._bodies[kind] = body
        self._lanes[kind] = lane

    def register_chore(self, name: str, chore: Chore, *, every_s: float) -> None:
        """What the worker does now and then besides: see `platform/chores.py`. Register before the start."""
        self._chores.register(name, chore, every_s)

    # --- the worker -------------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Makes this process the worker of the home; False when another one is.

        Cheap to call again and again: whoever does takes over when the other dies. Raises UserError when this process
        is the worker of another home.
        """
        with self._starting:
            if self._worker is not None:
                return True
            if self._closed.is_set() or not self._lock.acquire():
                return False
            lanes = sorted({"", *self._lanes.values()})
            worker = JobWorker(self._database.url, lanes, self._due, self._run, self._closed)
            try:
                worker.start()
            except BaseException:
                self._lock.release()
                raise
            self._worker = worker
            self._chores.start()
            return True

    def close(self) -> None:
        """Ends the worker, if this process is it, when the jobs in hand have come to a safe place."""
        self._closed.set()
        with self._starting:
            self._chores.join()
            if self._worker is not None:
                self._worker.stop()
                self._worker = None
            self._lock.release()

    # --- what every process may do ----------------------------------------------------------------------------

    def submit(
        self,
        kind: str | Sequence[str],
        *,
        subject: str,
        args: Mapping[str, Any],
        items: Sequence[tuple[str, Mapping[str, Any]]],
        user_id: int | None = None,
    ) -> Job:
        """Accepts a job with its items, as (source, args). When this returns it is safe, and some worker will do it.

        Of several kinds, which do the same in lanes of their own, it gets that of the other jobs about its subject,
        so that these come one after the other; where there are none, the one with the fewest jobs.
        """
        job_id = secrets.token_hex(8)
        with self._database.write() as connection:
            kind = kind if isinstance(kind, str) else _least_busy(connection, kind, subject)
            connection.execute(
                _jobs.insert().values(
                    id=job_id,
                    kind=kind,
                    args=dict(args),
                    subject=subject,
                    status="queued",
                    cancel_requested=False,
                    total=len(items),
                    finished=0,
                    failed=0,
                    stage="",
                    user_id=user_id,
                    created_at=schema.now(),
                )
            )
            _insert_items(connection, job_id, items, first=0)
        self._wake()
        return self.get(job_id)

    def get(self, id: str) -> Job:
        """One job. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(_jobs.select().where(_jobs.c.id == id)).first()
        if row is None:
            raise NotFound("There is no job {id!r}. To see those there are: dizuo job list", id=id)
        return _job(row)

    def list(
        self, subject: str | None = None, active: bool | None = None, limit: int = 50, *, kind: str | None = None
    ) -> Sequence[Job]:
        """Jobs, newest first. `active`: True those that are not over, False those that are."""
        rows = _jobs.select()
        if kind is not None:
            rows = rows.where(_jobs.c.kind == kind)
        if subject is not None:
            rows = rows.where(_jobs.c.subject == subject)
        if active is not None:
            rows = rows.where(_jobs.c.status.in_(_ACTIVE) if active else _jobs.c.status.not_in(_ACTIVE))
        with self._database.read() as connection:
            newest_first = rows.order_by(_jobs.c.created_at.desc(), _jobs.c.id).limit(limit)
            return [_job(row) for row in connection.execute(newest_first)]

    def items(self, id: str, status: ItemStatus | None = None, limit: int = 100, offset: int = 0) -> Sequence[JobItem]:
        """The items of a job in their order."""
        rows = _items.select().where(_items.c.job_id == id)
        if status is not None:
            rows = rows.where(_items.c.status == status)
        with self._database.read() as connection:
            page = rows.order_by(_items.c.position).limit(limit).offset(offset)
            return [_item(row) for row in connection.execute(page)]

    def cancel(self, id: str) -> Job:
        """Stops a job: at once while it waits, at its body's next check while it runs. What is in stays in.

        Raises NotFound. A job that is over stays as it is.
        """
        with self._database.write() as connection:
            if not _end(connection, id, "cancelled", only_from=("queued",)):
                running = (_jobs.c.id == id) & (_jobs.c.status == "running")
                connection.execute(_jobs.update().where(running).values(cancel_requested=True))
        with self._starting:
            if self._worker is None and self._lock.acquire():
                # Its worker died, and nobody is there who would come to a check.
                try:
                    with self._database.write() as connection:
                        _end(connection, id, "cancelled", only_from=("running",))
                finally:
                    self._lock.release()
        return self.get(id)

    def resume(self, id: str) -> Job:
        """Goes on with a job that failed, with the items that still wait. Raises NotFound, and Conflict otherwise."""
        again = {"status": "queued", "error": sa.null(), "finished_at": None, "eta_s": None, "stage": ""}
        with self._database.write() as connection:
            failed = (_jobs.c.id == id) & (_jobs.c.status == "failed")
            resumed = connection.execute(_jobs.update().where(failed).values(again)).rowcount
        job = self.get(id)
        if not resumed:
            raise Conflict("Only a job that failed can be resumed; this one is {status}.", status=job.status)
        self._wake()
        return job

    def watch(self, id: str) -> Iterator[Job]:
        """The job at every change until it is over; makes this process the worker where no other one is.

        Ends early when this is closed. Raises NotFound.
        """
        last: Job | None = None
        answered_s = time.monotonic()
        while True:
            try:
                job = self.get(id)
                if not job.over:
                    self.start()
                answered_s = time.monotonic()
            except Exception as error:
                # The worker waits for such a database, and so does whoever looks on.
                if passing(error) is None or time.monotonic() - answered_s > _PATIENCE_S:
                    raise
            else:
                if job != last:
                    yield job
                    last = job
                if job.over:
                    return
            if self._closed.wait(_WATCH_S):
                return

    # --- what the worker calls --------------------------------------------------------------------------------

    def _wake(self) -> None:
        if (worker := self._worker) is not None:
            worker.wake()

    def _due(self) -> Mapping[str, str]:
        """The job that is due in each lane: the one that was begun, then the oldest."""
        with self._database.read() as connection:
            return {row.lane: row.id for row in connection.execute(self._first_of_lanes)}

    @cached_property
    def _first_of_lanes(self) -> sa.Select[Any, Any]:
        """One query for all lanes, made once: it runs ten times a second."""
        own = {kind: lane for kind, lane in self._lanes.items() if lane}
        # Kinds that nobody knows are in the lane "" as well: they fail by name.
        lane = sa.case(own, value=_jobs.c.kind, else_="") if own else sa.literal("")
        order = ((_jobs.c.status == "running").desc(), _jobs.c.created_at, _jobs.c.id)
        place = sa.func.row_number().over(partition_by=lane, order_by=order)
        active = sa.select(_jobs.c.id, lane.label("lane"), place.label("place")).where(_jobs.c.status.in_(_ACTIVE))
        found = active.subquery()
        return sa.select(found.c.id, found.c.lane).where(found.c.place == 1)

    def _run(self, id: str) -> None:
        """Does a job from where it stands to its end. Returns when it is over."""
        token = telemetry.request_id.set(f"job-{id}")
        since_s = time.monotonic()
        try:
            while True:
                try:
                    return self._run_once(id)
                except DBAPIError as error:
                    # Not even its end can be written. A job that would have failed goes on when that has passed.
                    logger.warning("the state of job %s cannot be written, trying again: %s", id, error.orig)
                    self._pause(since_s)
        finally:
            telemetry.request_id.reset(token)

    def _run_once(self, id: str) -> None:
        with self._database.write() as connection:
            row = _begin(connection, id)
        if row is None:
            return  # cancelled while it waited, or ended just before a kill
        job = _job(row)
        trace = Trace(f"job {job.kind}", "job", user_id=row.user_id, app=job.subject)
        with telemetry.observed_job(job.kind), traced(trace, self._keep):
            trace.spans[0].attributes["dizuo.job"] = id
            trace.status = "cancelled"  # a stop of the process leaves through here
            status, error = self._do(JobContext(self._database, job, row.args, self._closed))
            trace.status = "ok" if status == "done" else "failed" if status == "failed" else "cancelled"
        with self._database.write() as connection:
            _end(connection, id, status, only_from=("running",), error=error)
        telemetry.observe_job_end(job.kind, status)
        logger.info("job %s (%s, %s): %s", id, job.kind, job.subject, status)

    def _do(self, context: JobContext) -> tuple[JobStatus, Note | None]:
        """How the body ended. What may pass by itself is waited for; JobStopped goes through."""
        body = self._bodies.get(context.kind)
        if body is None:
            return "failed", Note(
                template="This version of Dizuo does not know jobs of the kind {kind!r}.", params={"kind": context.kind}
            )
        troubled_s: float | None = None
        finished = context.finished
        while True:
            try:
                body(context)
                if context.waiting(1):
                    raise RuntimeError(f"the body of {context.kind} returned while items waited")
                return "done", None
            except JobCancelled:
                return "cancelled", None
            except Exception as error:
                reason = passing(error)
                if reason is None and isinstance(error, UserError):
                    return "failed", Note.of(error)
                if reason is None:
                    logger.exception("job %s failed", context.job_id)
                    what = f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
                    return "failed", Note(
                        template="The job met a fault in Dizuo ({what}); the log has the details. What waits is kept: "
                        "dizuo job resume {job}",
                        params={"what": what, "job": context.job_id},
                    )
                if troubled_s is None or context.finished > finished:
                    troubled_s, finished = time.monotonic(), context.finished
                if time.monotonic() - troubled_s > _PATIENCE_S:
                    logger.exception("job %s cannot go on", context.job_id)
                    return "failed", Note(
                        template="The job could not go on: {reason}. What is in stays in, and what waits is kept. When "
                        "that is mended: dizuo job resume {job}",
                        params={"reason": reason, "job": context.job_id},
                    )
                logger.warning("job %s waits, trying again: %s", context.job_id, reason)
                self._pause(troubled_s)

    def _pause(self, since_s: float) -> None:
        """Waits longer the longer it has been going on. Raises JobStopped when we are to stop."""
        if self._closed.wait(min(10.0, 0.2 + (time.monotonic() - since_s) / 2)):
            raise JobStopped


# --- rows -----------------------------------------------------------------------------------------------------


def _least_busy(connection: sa.Connection, kinds: Sequence[str], subject: str) -> str:
    """The kind of a job about the subject that is not over; else that with the fewest such jobs."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(4715003)"))
    active = _jobs.c.kind.in_(kinds) & _jobs.c.status.in_(_ACTIVE)
    found = connection.execute(sa.select(_jobs.c.kind, _jobs.c.subject).where(active)).all()
    same = next((row.kind for row in found if row.subject == subject), None)
    counts = Counter(row.kind for row in found)
    return same or min(kinds, key=lambda kind: counts[kind])


def _begin(connection: sa.Connection, id: str) -> sa.Row[Any] | None:
    """The row of a job that is not over, marked as running."""
    begun = {"status": "running", "started_at": sa.func.coalesce(_jobs.c.started_at, schema.now())}
    due = (_jobs.c.id == id) & _jobs.c.status.in_(_ACTIVE)
    return connection.execute(_jobs.update().where(due).values(begun).returning(*_jobs.c)).first()


def _end(
    connection: sa.Connection, id: str, status: JobStatus, *, only_from: Sequence[JobStatus], error: Note | None = None
) -> bool:
    """Ends a job that is in one of the states; whether it was. The items of a failed one go on waiting."""
    ended = {
        "status": status,
        "error": error.model_dump(mode="json") if error else sa.null(),
        "stage": "",
        "eta_s": None,
        "cancel_requested": status == "cancelled",
        "finished_at": schema.now(),
    }
    due = (_jobs.c.id == id) & _jobs.c.status.in_(only_from)
    if connection.execute(_jobs.update().where(due).values(ended)).rowcount != 1:
        return False
    if status == "cancelled":
        left = (_items.c.job_id == id) & (_items.c.status == "waiting")
        connection.execute(_items.update().where(left).values(status="cancelled"))
    return True


def _insert_items(
    connection: sa.Connection, job_id: str, items: Sequence[tuple[str, Mapping[str, Any]]], *, first: int
) -> None:
    rows = [
        {"job_id": job_id, "position": position, "source": source, "args": dict(args), "status": "waiting"}
        for position, (source, args) in enumerate(items, first)
    ]
    if rows:
        connection.execute(_items.insert(), rows)


def _job(row: sa.Row[Any]) -> Job:
    return Job(**{field: getattr(row, field) for field in Job.model_fields})


def _item(row: sa.Row[Any]) -> JobItem:
    return JobItem(**{field: getattr(row, field) for field in JobItem.model_fields})


def passing(error: BaseException | None) -> str | None:
    """What is wrong, when it is something that may pass by itself: a full disk, a database locked or gone.

    Also when that is what led to the error. A body lets such an error through; its items are not to blame.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _PASSING_ERRNO:
            return str(error.strerror)
        if isinstance(error, PoolTimeout):
            return "no connection to the database is free"
        if isinstance(error, OperationalError):
            # SQLite says "operational" of a missing table, too, which waiting does not mend.
            text = str(error.orig).strip()
            if not isinstance(error.orig, sqlite3.OperationalError) or any(sign in text for sign in _PASSING_SQLITE):
                return text
        error = error.__cause__ or error.__context__
    return None
