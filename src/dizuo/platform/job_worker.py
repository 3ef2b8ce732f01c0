"""The worker: hands the jobs of each lane to DBOS one after the other, and takes up those that a dead worker left.

DBOS keeps one workflow per job (docs/adr/0003), in tables of its own beside ours. What a job is, and how far it has
come, is in our rows; the worker only asks which job is next and has it run.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from dizuo.core.errors import UserError

logger = logging.getLogger(__name__)

# A queue of our own: DBOS looks into its internal one, where it would put the jobs of a dead worker, once a second.
_QUEUE = "dizuo.jobs"
_QUEUE_POLL_S = 0.25  # several queries each time
_POLL_S = 0.1  # how soon a job is seen that another process has submitted; one query
_ORPHAN_S = 5.0  # a workflow that DBOS claimed and then did not begin for so long is handed over again
_NOTICE_S = 10.0

# DBOS is one per process, and so is what its workflow calls.
_present: "JobWorker | None" = None
_only_one = threading.Lock()


class JobStopped(BaseException):
    """The worker is to stop: leaves the body of a job, which goes on at the next start.

    Not an Exception, so that neither the body nor DBOS takes it for a failure: the workflow stays pending.
    """


class JobWorker:
    """Runs jobs in threads of this process, one at a time in each lane. The caller holds the home's worker lock.

    `due` names the job that is due in each lane that has one; `run` does it, returns when it is over, and raises
    JobStopped soon after `stopping` is set.
    """

    def __init__(
        self,
        database_url: str,
        lanes: Sequence[str],
        due: Callable[[], Mapping[str, str]],
        run: Callable[[str], None],
        stopping: threading.Event,
    ) -> None:
        self._database_url = database_url
        self._lanes = lanes
        self._due = due
        self._run = run
        self._stopping = stopping
        self._wake = threading.Event()
        self._running: dict[str, str] = {}  # lane -> the job in hand
        self._idle = threading.Condition()
        self._hands = threading.Thread(target=self._hand_over_all, name="dizuo-jobs", daemon=True)

    def start(self) -> None:
        """Launches DBOS. Raises UserError when this process works for another home already."""
        global _present
        with _only_one:
            if _present is not None:
                raise UserError(
                    "This process does the jobs of another DIZUO_HOME already. Close that one first, or use another "
                    "process."
                )
            _load()
            try:
                _launch(self._database_url, len(self._lanes))
            except BaseException:
                _destroy()
                raise
            _present = self
        self._hands.start()

    def wake(self) -> None:
        """Says that a job has been submitted."""
        self._wake.set()

    def stop(self) -> None:
        """After `stopping` is set: returns when the jobs in hand have come to a safe place."""
        global _present
        self._wake.set()
        self._hands.join()
        with self._idle:
            while not self._idle.wait_for(lambda: not self._running, _NOTICE_S):
                logger.warning("waiting for job %s to come to a safe place", ", ".join(self._running.values()))
        with _only_one:
            _destroy()
            _present = None

    def _hand_over_all(self) -> None:
        handed: dict[str, tuple[str, float]] = {}  # lane -> the job that is due there, and since when
        while not self._stopping.is_set():
            try:
                # In this order: a job that ends between the two is in neither, and is not begun again.
                running = dict(self._running)
                due = self._due()
                for lane in self._lanes:
                    job = due.get(lane)
                    if job is None or job == running.get(lane):
                        handed.pop(lane, None)
                        continue
                    if job != handed.get(lane, ("", 0.0))[0]:
                        handed[lane] = job, time.monotonic()
                    _hand_over(job, lane, is_orphan=time.monotonic() - handed[lane][1] > _ORPHAN_S)
            except Exception:
                # A database that is locked or gone for a while; the jobs wait in it.
                logger.exception("the next job cannot be begun; trying again")
                self._stopping.wait(1)
            self._wake.wait(_POLL_S)
            self._wake.clear()

    def work(self, job_id: str, lane: str) -> None:
        """What the workflow does. Called by DBOS in a thread of its own."""
        with self._idle:
            # DBOS may begin a job twice when it was handed over twice: the second finds it over.
            self._idle.wait_for(lambda: lane not in self._running)
            if self._stopping.is_set():
                raise JobStopped
            self._running[lane] = job_id
        try:
            self._run(job_id)
        finally:
            with self._idle:
                del self._running[lane]
                self._idle.notify_all()
            self._wake.set()


def _work(job_id: str, lane: str = "") -> None:  # workflows that an older version began have no lane
    worker = _present
    if worker is None:
        raise JobStopped  # DBOS is being shut down around us
    worker.work(job_id, lane)


@cache
def _workflow() -> Callable[[str, str], None]:
    """The one workflow there is, registered with DBOS once per process."""
    from dbos import DBOS

    # Any number of recoveries: a laptop that is closed again and again must not end a long job.
    return DBOS.workflow(name="dizuo.job", max_recovery_attempts=None)(_work)


def _load() -> None:
    """Imports DBOS in a thread of its own, which Ctrl-C does not reach.

    Cut off in the middle of an import, some module is there in part for the life of the process, and the job that a
    person has just cancelled could not be followed to its end.
    """
    loader = threading.Thread(target=import_module, args=("dbos",), name="dizuo-import-dbos", daemon=True)
    loader.start()
    loader.join()


def _launch(database_url: str, n_lanes: int) -> None:
    from dbos import DBOS

    log = logging.getLogger("dbos")
    if not log.handlers:  # else DBOS adds a handler of its own, past our format
        log.addHandler(logging.NullHandler())
        log.propagate = True
    _launch_once(database_url)
    known = DBOS.retrieve_queue(_QUEUE)
    DBOS.register_queue(_QUEUE, worker_concurrency=n_lanes, polling_interval_sec=_QUEUE_POLL_S)
    if known is None or known.worker_concurrency != n_lanes:
        # DBOS looks for new queues once a second, but at a launch it looks at once.
        _destroy()
        _launch_once(database_url)


def _launch_once(database_url: str) -> None:
    from dbos import DBOS

    DBOS(
        config={
            "name": "dizuo",
            "system_database_url": database_url,
            # The same in every version and process, so that DBOS takes up whatever the last worker left.
            "application_version": "1",
            "executor_id": "worker",
            "log_level": "WARNING",
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": 0.05,  # we have none; a shutdown waits for this sleep
            "sys_db_pool_size": 4,
        }
    )
    _workflow()
    DBOS.launch()


def _destroy() -> None:
    """Shuts DBOS down, and lets go of its threads.

    A workflow that was begun twice, as on a busy machine, waits in a thread for what the other comes to: where that one
    was stopped it asks for ever, and the process could not end.
    """
    import dbos._dbos
    from dbos import DBOS
    from sqlalchemy import event

    running: Any = dbos._dbos._dbos_global_instance
    database = running._sys_db_field if running is not None else None
    DBOS.destroy()
    if database is not None:
        event.listen(database.engine, "do_connect", _refuse)


def _refuse(*_arguments: object) -> None:
    raise JobStopped


def _hand_over(job_id: str, lane: str, *, is_orphan: bool) -> None:
    """Sees to it that DBOS has a workflow for a job that is due and not running here."""
    from dbos import DBOS, SetWorkflowID

    known: Any = DBOS.get_workflow_status(job_id)
    if known is not None and known.status == "ENQUEUED":
        return
    if known is not None and known.status == "PENDING":
        if is_orphan:
            DBOS.resume_workflow(job_id, queue_name=_QUEUE)
        return
    if known is not None:  # it ended before our row did, or the job has been resumed since
        DBOS.delete_workflow(job_id)
    with SetWorkflowID(job_id):
        DBOS.enqueue_workflow(_QUEUE, _workflow(), job_id, lane)
