"""What the ledger says was spent, read so that the same rows are not added up again and again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from dizuo.platform import schema

# Sums are carried on from the last row seen. On PostgreSQL a row can come to light behind one with a higher number,
# when its transaction took longer; such rows are found when everything is added up afresh.
_AFRESH_S = 600.0


class Group(NamedTuple):
    """Rows of the ledger that count towards the same limits."""

    user_id: int | None
    key_id: int | None
    app: str
    currency: str

    def belongs_to(self, subject: str, subject_id: str) -> bool:
        """Whether a limit of that subject holds for them."""
        whose = {"user": self.user_id, "key": self.key_id, "app": self.app}
        return subject == "all" or str(whose[subject]) == subject_id


@dataclass(slots=True)
class _Sum:
    read_at: float
    last_id: int = 0
    groups: dict[Group, float] = field(default_factory=dict)


class Spending:
    """The sums of the periods that budgets are for. Not thread-safe."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    def since(self, connection: sa.Connection, start: str) -> Mapping[Group, float]:
        """What was spent since the period's start."""
        now, calls = time.monotonic(), schema.calls.c
        self._sums = {one: kept for one, kept in self._sums.items() if now - kept.read_at <= _AFRESH_S}
        last_id = connection.scalar(sa.select(sa.func.max(calls.id))) or 0
        known = self._sums.get(start)
        if known is None or last_id < known.last_id:  # less than there was: a backup was restored
            known = self._sums[start] = _Sum(now)
        query = (
            sa.select(calls.user_id, calls.key_id, calls.app, calls.currency, sa.func.sum(calls.cost))
            .where(calls.at >= start, calls.id > known.last_id, calls.cost > 0)
            .group_by(calls.user_id, calls.key_id, calls.app, calls.currency)
        )
        for *whose, cost in connection.execute(query):
            group = Group(*whose)
            known.groups[group] = known.groups.get(group, 0.0) + cost
        known.last_id = last_id
        return known.groups

    @staticmethod
    def recent(connection: sa.Connection, start: str) -> dict[Group, tuple[int, int]]:
        """Requests and tokens since then, those aside that were refused, and tokens of answers that were kept."""
        calls = schema.calls.c
        asked = sa.case((sa.or_(calls.cache != "", calls.attempts == 0), 0), else_=1)
        tokens = sa.func.sum((calls.prompt_tokens + calls.completion_tokens) * asked)
        requests = sa.func.sum(sa.case((calls.kind == "indexing", 0), else_=1))  # part of another request
        query = (
            sa.select(calls.user_id, calls.key_id, calls.app, requests, tokens)
            .where(calls.at >= start, calls.status != "refused")
            .group_by(calls.user_id, calls.key_id, calls.app)
        )
        return {
            Group(user, key, app, ""): (int(n_requests or 0), int(n_tokens or 0))
            for user, key, app, n_requests, n_tokens in connection.execute(query)
        }
