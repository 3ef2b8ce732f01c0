"""Questions to the ledger: what was asked, by whom, and what it took."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa
from pydantic import Field

from dizuo.core.errors import UserError
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.database import Database

By = Literal["model", "user", "key", "app", "day"]
BYS: tuple[By, ...] = get_args(By)
MOST_DAYS = 3_660


class Sums(Noun):
    """What some calls took together."""

    calls: int = 0
    failed: int = 0  # cancelled ones are not among them
    refused: int = 0
    kept: int = 0  # answered from what was kept: no model was asked
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    estimated: int = 0  # calls whose tokens nobody reported
    costs: dict[str, float] = Field(default_factory=dict)  # by currency
    unpriced: int = 0  # calls that took something for which no price is known
    cpu_s: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class UsageRow(Sums):
    """The sums of one model, user, key, app or day."""

    id: str  # of the user or key; else the name
    name: str  # "" for what came without one, and for users and keys that are gone


class UsagePoint(Sums):
    """The sums of one model on one day (UTC)."""

    day: str
    model: str


class UsageReport(Noun):
    """What the calls of some days took. Days are those of UTC."""

    since: str
    until: str  # the last day, today
    by: By
    total: Sums
    rows: Sequence[UsageRow]  # the dearest first; days in their order


class UsageBook:
    """Sums over the ledger. Blocking."""

    def __init__(self, database: Database, flush: Callable[[], None]) -> None:
        """`flush` writes down what the ledger still holds in memory."""
        self._database = database
        self._flush = flush

    def report(self, by: str = "model", days: int = 30, user_id: int | None = None) -> UsageReport:
        """The sums of the last days, today included; of one user where an id is given.

        Raises UserError for an unknown grouping or number of days.
        """
        known: By | None = next((one for one in BYS if one == by), None)
        if known is None:
            raise UserError("Usage is summed by one of {known}, not by {by!r}.", known=", ".join(BYS), by=by[:40])
        calls = schema.calls.c
        column = {
            "model": calls.model,
            "user": calls.user_id,
            "key": calls.key_id,
            "app": calls.app,
            "day": sa.func.substr(calls.at, 1, 10),
        }[known]
        since, until = _span(days)
        names = self._names(known)
        groups: dict[str, Sums] = {}
        total = Sums()
        for (key,), sums in self._sums((column,), since, user_id):
            name = "" if key is None else str(key)
            groups[name] = _added(groups.get(name, Sums()), sums)
            total = _added(total, sums)
        rows = [UsageRow(id=id, name=names.get(id, "") if known in ("user", "key") else id, **sums.model_dump())
                for id, sums in groups.items()]  # fmt: skip
        if known == "day":
            rows.sort(key=lambda row: row.id)
        else:
            rows.sort(key=lambda row: (-sum(row.costs.values()), -row.tokens, -row.calls, row.id))
        return UsageReport(since=since, until=until, by=known, total=total, rows=rows)

    def points(self, days: int = 30, user_id: int | None = None) -> Sequence[UsagePoint]:
        """The sums of each model on each day that has any, in the order of days."""
        since, _until = _span(days)
        calls = schema.calls.c
        points: dict[tuple[str, str], Sums] = {}
        for (day, model), sums in self._sums((sa.func.substr(calls.at, 1, 10), calls.model), since, user_id):
            points[day, model] = _added(points.get((day, model), Sums()), sums)
        return [UsagePoint(day=day, model=model, **sums.model_dump()) for (day, model), sums in sorted(points.items())]

    def csv(self, by: str = "model", days: int = 30, user_id: int | None = None) -> str:
        """The report as a table for a spreadsheet: a row for each group and currency, lines ending as RFC 4180 says."""
        report = self.report(by, days, user_id)
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow([report.by, "id", *_COLUMNS, "currency", "cost"])
        for row in report.rows:
            for number, (currency, cost) in enumerate(sorted(row.costs.items()) or [("", "")]):
                # Further currencies of a group have rows of their own, in which nothing counts twice.
                sums = [getattr(row, column) if not number else 0 for column in _COLUMNS]
                writer.writerow([_cell(row.name), _cell(row.id), *sums, currency, cost])
        return out.getvalue()

    def _sums(self, columns: Sequence[Any], since: str, user_id: int | None) -> Iterator[tuple[tuple[Any, ...], Sums]]:
        self._flush()
        calls = schema.calls.c

        def number_of(condition: Any) -> Any:
            return sa.func.sum(sa.case((condition, 1), else_=0))

        kept = sa.or_(calls.cache != "", calls.attempts == 0) & (calls.status == "ok")
        query = (
            sa.select(
                *columns,
                calls.currency,
                sa.func.count().label("calls"),
                number_of(calls.status == "failed").label("failed"),
                number_of(calls.status == "refused").label("refused"),
                number_of(kept).label("kept"),
                # What an answer that was kept says it took was taken once, when it was made.
                sa.func.sum(sa.case((kept, 0), else_=calls.prompt_tokens)).label("prompt_tokens"),
                sa.func.sum(sa.case((kept, 0), else_=calls.completion_tokens)).label("completion_tokens"),
                sa.func.sum(sa.case((kept, 0), else_=calls.cached_tokens)).label("cached_tokens"),
                number_of(calls.estimated).label("estimated"),
                sa.func.sum(calls.cost).label("cost"),
                number_of(calls.cost.is_(None)).label("unpriced"),
                sa.func.sum(calls.cpu_s).label("cpu_s"),
            )
            .where(calls.at >= since)
            .group_by(*columns, calls.currency)
        )
        if user_id is not None:
            query = query.where(calls.user_id == user_id)
        with self._database.read() as connection:
            for row in connection.execute(query):
                found = dict(row._mapping)
                group = tuple(row)[: len(columns)]
                costs = {found["currency"]: found["cost"]} if found["cost"] else {}
                fields = {name: found[name] for name in Sums.model_fields if name != "costs"}
                yield group, Sums(**fields, costs=costs)

    def _names(self, by: By) -> dict[str, str]:
        table = {"user": schema.users, "key": schema.api_keys}.get(by)
        if table is None:
            return {}
        with self._database.read() as connection:
            return {str(id): name for id, name in connection.execute(sa.select(table.c.id, table.c.name))}


_COLUMNS = (
    "calls", "failed", "refused", "kept", "prompt_tokens", "completion_tokens", "cached_tokens", "estimated",
    "unpriced", "cpu_s",
)  # fmt: skip


def _span(days: int) -> tuple[str, str]:
    if not 1 <= days <= MOST_DAYS:
        raise UserError("days is {days}; it must be from 1 to {most}.", days=days, most=MOST_DAYS)
    today = datetime.now(UTC).date()
    return (today - timedelta(days=days - 1)).isoformat(), today.isoformat()


def _added(one: Sums, other: Sums) -> Sums:
    fields = {name: getattr(one, name) + getattr(other, name) for name in Sums.model_fields if name != "costs"}
    costs = {
        currency: one.costs.get(currency, 0.0) + other.costs.get(currency, 0.0)
        for currency in sorted({*one.costs, *other.costs})
    }
    return Sums(**fields, costs=costs)


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: https://owasp.org/www-community/attacks/CSV_Injection"""
    return f"'{text}" if text.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text
