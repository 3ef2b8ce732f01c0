"""Durable jobs as the faces show them."""

from datetime import datetime
from typing import Any, Literal

from dizuo.core.documents import ItemStatus, Note, ParseReport
from dizuo.core.messages import Noun

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


class Job(Noun):
    """Work that survives the process. `finished` counts items that ended in any way, `failed` those that failed."""

    id: str
    kind: str
    subject: str  # what it works on: a knowledge base's name
    status: JobStatus
    total: int
    finished: int
    failed: int
    stage: str  # what it is doing right now
    eta_s: float | None  # seconds left at the present rate; None while unknown
    cancel_requested: bool
    error: Note | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def over(self) -> bool:
        return self.status in ("done", "failed", "cancelled")


class JobItem(Noun):
    """One unit of a job: a file to add."""

    id: int
    position: int
    source: str
    args: dict[str, Any]
    status: ItemStatus
    report: ParseReport | None
    error: Note | None
