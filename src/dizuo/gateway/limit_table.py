"""The rows of limits: whose they are, and what they may say."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import sqlalchemy as sa

from dizuo.core.errors import Conflict, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.gateway.prices import CURRENCIES, Currency
from dizuo.platform import schema
from dizuo.platform.database import Database

Subject = Literal["all", "user", "key", "app"]
Period = Literal["day", "month", "total"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
PERIODS: tuple[Period, ...] = get_args(Period)

_LARGEST = 2_000_000_000
_WHOLE = ("requests_per_minute", "tokens_per_minute", "concurrency")


class Limit(Noun):
    """What one subject may take. None: as much as it likes."""

    subject: Subject
    subject_id: str = ""  # the user's or key's id, the app's name; "" for all
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None
    budget: float | None = None
    currency: Currency = "USD"
    period: Period = "month"
    warn_at: float = 0.8  # share of the budget


class LimitTable:
    """The table `limits`. Blocking."""

    def __init__(self, database: Database, currency: Currency) -> None:
        """Budgets are in `currency` where none is given."""
        self._database = database
        self._currency: Currency = currency

    @staticmethod
    def read(connection: sa.Connection) -> Sequence[Limit]:
        """All of them."""
        rows = connection.execute(schema.limits.select()).mappings()
        return [Limit(**{name: value for name, value in row.items() if name != "id"}) for row in rows]

    def names(self) -> Mapping[tuple[str, str], str]:
        """What the users and keys are called, by subject and id."""
        found: dict[tuple[str, str], str] = {}
        with self._database.read() as connection:
            for subject, table in (("user", schema.users), ("key", schema.api_keys)):
                rows = connection.execute(sa.select(table.c.id, table.c.name))
                found |= {(subject, str(id)): name for id, name in rows}
        return found

    def keys_of(self, user_id: int) -> Sequence[int]:
        """The ids of a user's keys."""
        keys = schema.api_keys.c
        with self._database.read() as connection:
            return connection.scalars(sa.select(keys.id).where(keys.user_id == user_id)).all()

    def set(self, subject: str, subject_id: str = "", **values: Any) -> Limit:
        """Sets what is given of a subject's limit, and leaves the rest as it was; None lifts a limit.

        A user is named by name, a key by its id. Raises UserError for wrong values, NotFound for an unknown subject.
        """
        whose = self._resolved(subject, subject_id)
        old = self._stored(*whose) or Limit(subject=whose[0], subject_id=whose[1], currency=self._currency)
        limit = _checked(Limit.model_validate({**old.model_dump(), **_checked_values(values)}))
        limits = schema.limits
        with self._database.write() as connection:
            connection.execute(limits.delete().where(limits.c.subject == whose[0], limits.c.subject_id == whose[1]))
            connection.execute(limits.insert().values(limit.model_dump()))
        return limit

    def remove(self, subject: str, subject_id: str = "") -> Limit:
        """Lifts all limits of a subject. Raises NotFound where it has none."""
        whose = self._resolved(subject, subject_id, gone=True)
        limit = self._stored(*whose)
        if limit is None:
            raise NotFound("There is no limit for {subject} {id!r}. List them: dizuo limit list",
                           subject=subject, id=subject_id[:80])  # fmt: skip
        limits = schema.limits
        with self._database.write() as connection:
            connection.execute(limits.delete().where(limits.c.subject == whose[0], limits.c.subject_id == whose[1]))
        return limit

    def _stored(self, subject: str, subject_id: str) -> Limit | None:
        limits = schema.limits.c
        with self._database.read() as connection:
            query = schema.limits.select().where(limits.subject == subject, limits.subject_id == subject_id)
            row = connection.execute(query).mappings().first()
        return None if row is None else Limit(**{name: value for name, value in row.items() if name != "id"})

    def _resolved(self, subject: str, subject_id: str, *, gone: bool = False) -> tuple[Subject, str]:
        """Subject and id as the table has them. Those that are `gone` may still be named by id."""
        known: Subject | None = next((one for one in SUBJECTS if one == subject), None)
        given = subject_id.strip()
        if known is None:
            raise UserError("{subject!r} has no limits; they are for one of {known}.", subject=subject[:40],
                            known=", ".join(SUBJECTS))  # fmt: skip
        if known == "all":
            if given:
                raise UserError("A limit for all is for nobody in particular; leave {id!r} out.", id=given[:80])
            return known, ""
        if known == "app":
            if not 1 <= len(given) <= 64 or not given.isprintable():
                raise UserError("{id!r} is not the name of an app.", id=given[:80])
            return known, given
        assert known in ("user", "key")
        table = schema.users if known == "user" else schema.api_keys
        with self._database.read() as connection:
            rows = connection.execute(table.select().with_only_columns(table.c.id, table.c.name)).all()
        by_id = {str(row.id): str(row.id) for row in rows}
        by_name = {row.name: str(row.id) for row in rows} if known == "user" else {}
        found = by_name.get(given) or by_id.get(given) or (given if gone and given.isdecimal() else None)
        if found is None:
            names = ", ".join(list(by_name or by_id)[:20]) or "-"
            raise NotFound("There is no {subject} {id!r}. There are: {names}.", subject=known, id=given[:80],
                           names=names)  # fmt: skip
        return known, found


def _checked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in values.items():
        wrong = value is not None and (
            (name in _WHOLE and not (type(value) is int and 0 < value <= _LARGEST))
            or (name == "budget" and not 0 <= value <= 1e9)
            or (name == "warn_at" and not 0 <= value <= 1)
        )
        if wrong:
            raise UserError(
                "{name} is {value!r}. Requests, tokens and concurrency are whole numbers above 0, a budget is a number "
                "from 0, warn_at a share from 0 to 1.",
                name=name,
                value=value,
            )
        if name == "period" and value not in PERIODS:
            raise UserError("period is {value!r}; it must be one of {known}.", value=value, known=", ".join(PERIODS))
        if name == "currency" and value not in CURRENCIES:
            raise UserError("{currency!r} is not a currency of prices; there are {known}.", currency=str(value)[:20],
                            known=", ".join(CURRENCIES))  # fmt: skip
    return dict(values)


def _checked(limit: Limit) -> Limit:
    if all(getattr(limit, name) is None for name in (*_WHOLE, "budget")):
        raise Conflict("That leaves nothing limited. To lift a limit altogether: dizuo limit remove")
    return limit
