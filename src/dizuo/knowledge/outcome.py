"""What came of a job that put files into a knowledge base, counted; every face shows the same."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dizuo.core.documents import ItemStatus, Note, ParseReport
from dizuo.core.errors import UserError
from dizuo.core.jobs import JobItem, JobStatus
from dizuo.core.messages import Noun

if TYPE_CHECKING:
    from dizuo.platform.jobs import Jobs

# Formats of reports that are no document's: an archive that was unpacked, a folder in which things were passed over.
ARCHIVE, FOLDER = "archive", "folder"

_PAGE = 1000


class Failure(Noun):
    """A file that is not in, and why."""

    source: str
    error: Note


class FileReport(Noun):
    """A file that was dealt with, and what was read of it."""

    source: str
    status: ItemStatus
    report: ParseReport | None


class AddOutcome(Noun):
    """Files by how they ended. `reports` holds those that are in, `failed` those that are not."""

    job: str
    status: JobStatus
    error: Note | None
    added: int
    changed: int
    unchanged: int
    removed: int
    cancelled: int
    failed: tuple[Failure, ...]
    reports: tuple[FileReport, ...]

    def raise_if_nothing_came_of_it(self) -> None:
        """Raises UserError when the job failed as a whole, or every one of its files did."""
        if self.status == "failed" and self.error:
            raise UserError(self.error.template, **self.error.params)
        if self.failed and not (self.added or self.changed or self.unchanged or self.removed or self.cancelled):
            first = self.failed[0]
            if len(self.failed) == 1:
                raise UserError("{source} could not be added: {reason}", source=first.source, reason=first.error)
            raise UserError(
                "None of the {count} files could be added. The first was {source}: {reason}",
                count=len(self.failed),
                source=first.source,
                reason=first.error,
            )


def outcome(jobs: "Jobs", job_id: str) -> AddOutcome:
    """What has come of a job so far. Raises NotFound."""
    job = jobs.get(job_id)
    counts: Counter[str] = Counter()
    failed: list[Failure] = []
    reports: list[FileReport] = []
    for item in _all_items(jobs, job_id):
        counts[item.status] += item.report is None or item.report.format not in (ARCHIVE, FOLDER)
        if item.status == "failed":
            failed.append(Failure(source=item.source, error=item.error or Note(template="Unknown error.")))
        elif item.report is not None or item.status == "removed":
            reports.append(FileReport(source=item.source, status=item.status, report=item.report))
    return AddOutcome(
        job=job.id,
        status=job.status,
        error=job.error,
        added=counts["added"],
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        removed=counts["removed"],
        cancelled=counts["cancelled"],
        failed=tuple(failed),
        reports=tuple(reports),
    )


def _all_items(jobs: "Jobs", job_id: str) -> Iterator[JobItem]:
    offset = 0
    while page := jobs.items(job_id, limit=_PAGE, offset=offset):
        yield from page
        offset += len(page)
