"""What a key, a user, an app, or all together may take: requests and tokens a minute, calls at once, money.

Checking costs microseconds and no query: every process counts what passes through it. What others spent comes from the
ledger, which is read at start and, while calls come, every few seconds (`refresh`); so several processes agree to
within that time, except on calls at once, which each counts for itself. Days and months are those of UTC.

A call is let in as long as something is left, since what it takes is known only at its end: a limit can be passed by
the calls that are under way when it is reached. Its prompt is reckoned in advance, so that it cannot be by many.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dizuo.core import traces
from dizuo.core.documents import Note
from dizuo.core.errors import BudgetSpent, TooMany
from dizuo.core.messages import Noun
from dizuo.gateway.limit_table import SUBJECTS, Limit, LimitTable, Period
from dizuo.gateway.prices import Currency, Prices, convert
from dizuo.gateway.spending import Group, Spending
from dizuo.gateway.windows import SECONDS, Window
from dizuo.platform.catalogue import _
from dizuo.platform.database import Database
from dizuo.platform.identity import User

log = logging.getLogger(__name__)

_FRESH_S = 5.0  # how long what other processes do may go unseen


class Standing(Noun):
    """A limit, whose it is, and how much of its budget is spent."""

    limit: Limit
    name: str  # of the user or key; "" where it is gone
    spent: float
    share: float  # of the budget; 0 without one
    warned: bool
    ends_at: datetime | None  # when the budget is new


@dataclass(slots=True)
class _Tally:
    """A limit and what counts towards it in this process."""

    limit: Limit
    requests: Window
    tokens: Window
    other_requests: int = 0  # of the last minute, in other processes
    other_tokens: int = 0
    reckoned: int = 0  # tokens of prompts that are under way
    in_flight: int = 0
    spent: float = 0.0
    since: float = 0.0  # of it, what came since the ledger was asked
    start: str = ""  # of the budget's period


@dataclass(slots=True)
class _Book:
    """The limits in force, by whom they are for."""

    tallies: dict[tuple[str, str], _Tally] = field(default_factory=dict)

    def of(self, user_id: int | None, key_id: int | None, app: str) -> list[_Tally]:
        wanted = (("all", ""), ("user", str(user_id)), ("key", str(key_id)), ("app", app))
        return [self.tallies[one] for one in wanted if one in self.tallies]

    def of_trace(self, trace: traces.Trace | None) -> list[_Tally]:
        return self.of(trace.user_id, trace.key_id, trace.app) if trace else self.of(None, None, "")


class Limits:
    """The limits of an instance. Thread-safe."""

    def __init__(
        self,
        database: Database,
        prices: Prices,
        flush: Callable[[], None],
        currency: Currency = "USD",
        cny_per_usd: float = 7.1,
    ) -> None:
        """`flush` writes down what the ledger holds in memory; budgets without a currency are in `currency`."""
        self._prices = prices
        self.currency = currency
        self._database = database
        self._table = LimitTable(database, currency)
        self._flush = flush
        self._cny_per_usd = cny_per_usd
        self._spending = Spending()
        self._book = _Book()
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._read_at = float("-inf")

    # --- at every call ----------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is nothing to hold a call to, and that was seen just now."""
        return not self._book.tallies and not self.stale

    @property
    def stale(self) -> bool:
        """Whether it is time to see what other processes did."""
        return time.monotonic() - self._read_at > _FRESH_S

    def check(self) -> None:
        """Raises as `admitted` does where the trace that is under way has no room now. Counts nothing. Blocking."""
        self.freshen()
        with self._lock:
            for tally in self._book.of_trace(traces.current.get()):
                _check(tally, int(time.monotonic()), datetime.now(UTC))

    @contextmanager
    def admitted(self, tokens: int = 0) -> Iterator[None]:
        """Around a call of a model, whose prompt has about so many tokens, for the trace that is under way.

        Raises TooMany, which says which limit is reached and when there is room again; BudgetSpent for money.
        """
        trace = traces.current.get()
        with self._lock:
            tallies = self._book.of_trace(trace)
            second, today = int(time.monotonic()), datetime.now(UTC)
            for tally in tallies:
                _check(tally, second, today)
            for tally in tallies:
                tally.requests.add(second, 1)
                tally.in_flight += 1
                tally.reckoned += tokens
            if trace is not None and tallies:
                trace.headers.update(_headers(tallies, second))
        try:
            yield
        finally:
            if tallies:
                with self._lock:
                    for tally in tallies:
                        tally.in_flight -= 1
                        tally.reckoned -= tokens

    def count(self, row: Mapping[str, Any]) -> None:
        """Takes a row of the ledger into account, as it is made."""
        if not self._book.tallies or row["status"] == "refused":
            return
        kept = row["cache"] or not row["attempts"]
        tokens = 0 if kept else row["prompt_tokens"] + row["completion_tokens"]
        second, today = int(time.monotonic()), datetime.now(UTC)
        with self._lock:
            for tally in self._book.of(row["user_id"], row["key_id"], row["app"]):
                tally.tokens.add(second, tokens)
                if row["cost"] and tally.limit.budget is not None:
                    _begin_period(tally, today)
                    cost = convert(row["cost"], row["currency"], tally.limit.currency, self._cny_per_usd)
                    tally.spent += cost
                    tally.since += cost

    def freshen(self) -> None:
        """Refreshes when it is time; beside what goes on here, where that is an event loop.

        Nobody waits for another's refresh but at the very first.
        """
        if not self.stale:
            return
        if self._loaded and _in_event_loop():
            threading.Thread(target=self._freshen, name="dizuo-limits", daemon=True).start()
        else:
            self._freshen()

    def _freshen(self) -> None:
        if not self._refreshing.acquire(blocking=not self._loaded):
            return
        try:
            if self.stale:
                self._read()
        except Exception:
            if not self._loaded:
                raise
            log.exception("the limits cannot be read; they stay as they were")
        finally:
            self._refreshing.release()

    def refresh(self) -> None:
        """Reads prices and limits, and what all processes spent and did in the last minute. Blocking."""
        with self._refreshing:
            self._read()

    @property
    def _loaded(self) -> bool:
        return self._read_at > float("-inf")

    def _read(self) -> None:
        self._prices.refresh()
        with self._lock:
            for tally in self._book.tallies.values():
                tally.since = 0.0
        # Whatever was counted until here is in the table now. What is written between this and the reading counts
        # twice until the next refresh: never too little.
        self._flush()
        now = datetime.now(UTC)
        with self._database.read() as connection:
            limits = self._table.read(connection)
            starts = {_start(limit.period, now) for limit in limits if limit.budget is not None}
            spent = {start: self._spending.since(connection, start) for start in starts}
            paced = any(limit.requests_per_minute or limit.tokens_per_minute for limit in limits)
            minute_ago = (now - timedelta(seconds=SECONDS)).isoformat(timespec="microseconds")
            recent = self._spending.recent(connection, minute_ago) if paced else {}
        with self._lock:
            self._book = self._updated(limits, spent, recent, now)
            self._read_at = time.monotonic()

    def _updated(
        self,
        limits: Sequence[Limit],
        spent: Mapping[str, Mapping[Group, float]],
        recent: Mapping[Group, tuple[int, int]],
        now: datetime,
    ) -> _Book:
        book, second = _Book(), int(time.monotonic())
        for limit in limits:
            whose = (limit.subject, limit.subject_id)
            tally = self._book.tallies.get(whose) or _Tally(limit, Window(second), Window(second))
            tally.limit = limit
            requests = sum(count for group, (count, _tokens) in recent.items() if group.belongs_to(*whose))
            tokens = sum(tokens for group, (_count, tokens) in recent.items() if group.belongs_to(*whose))
            tally.other_requests = max(0, requests - tally.requests.at(second))
            tally.other_tokens = max(0, tokens - tally.tokens.at(second))
            if limit.budget is not None:
                tally.start = _start(limit.period, now)
                tally.spent = tally.since + sum(
                    convert(amount, group.currency, limit.currency, self._cny_per_usd)
                    for group, amount in spent[tally.start].items()
                    if group.belongs_to(*whose)
                )
            book.tallies[whose] = tally
        return book

    # --- for people -------------------------------------------------------------------------------------------

    def list(self) -> Sequence[Standing]:
        """Every limit and how it stands: all first, then users, keys and apps."""
        self.refresh()
        names = self._table.names()
        with self._lock:
            tallies = [(tally.limit, tally.spent) for tally in self._book.tallies.values()]
        now = datetime.now(UTC)
        standings = [
            Standing(
                limit=limit,
                name=limit.subject_id if limit.subject == "app" else names.get((limit.subject, limit.subject_id), ""),
                spent=spent,
                share=_share(limit, spent),
                warned=limit.budget is not None and _share(limit, spent) >= limit.warn_at,
                ends_at=_end(limit.period, now) if limit.budget is not None else None,
            )
            for limit, spent in tallies
        ]
        return sorted(standings, key=lambda one: (SUBJECTS.index(one.limit.subject), one.name, one.limit.subject_id))

    def converted(self, amount: float, currency: str) -> float:
        """An amount in the currency of the setting, by the rate of the setting."""
        return convert(amount, currency, self.currency, self._cny_per_usd)

    def standings_for(self, user: User) -> Sequence[Standing]:
        """Those that are the user's to see: the owner sees all of them, a member what holds for them or for all."""
        everything = self.list()
        if user.role == "owner":
            return everything
        own = {("all", ""), ("user", str(user.id)), *(("key", str(id)) for id in self._table.keys_of(user.id))}
        return [one for one in everything if (one.limit.subject, one.limit.subject_id) in own]

    def set(self, subject: str, subject_id: str = "", **values: Any) -> Limit:
        """As `LimitTable.set` says; in force at once in this process, within seconds in others."""
        limit = self._table.set(subject, subject_id, **values)
        self.refresh()
        return limit

    def remove(self, subject: str, subject_id: str = "") -> Limit:
        """As `LimitTable.remove` says."""
        limit = self._table.remove(subject, subject_id)
        self.refresh()
        return limit


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check(tally: _Tally, second: int, today: datetime) -> None:
    limit = tally.limit
    if limit.budget is not None:
        _begin_period(tally, today)
        if tally.spent >= limit.budget:
            raise _spent(limit, today)
    if limit.concurrency is not None and tally.in_flight >= limit.concurrency:
        raise TooMany(
            "{whose} may make {limit} calls at once, and as many are under way. Try again when one has ended.",
            whose=_whose(limit),
            limit=limit.concurrency,
            seconds=1,
        )
    if limit.requests_per_minute is not None:
        over = tally.requests.at(second) + tally.other_requests + 1 - limit.requests_per_minute
        if over > 0:
            seconds = tally.requests.free_in(over)
            raise TooMany(
                "{whose} may make {limit} requests a minute, and has. There is room again in {seconds} s.",
                whose=_whose(limit),
                limit=limit.requests_per_minute,
                seconds=seconds,
            )
    if limit.tokens_per_minute is not None:
        over = tally.tokens.at(second) + tally.other_tokens + tally.reckoned + 1 - limit.tokens_per_minute
        if over > 0:
            seconds = tally.tokens.free_in(over)
            raise TooMany(
                "{whose} may use {limit} tokens a minute, and has. There is room again in {seconds} s.",
                whose=_whose(limit),
                limit=limit.tokens_per_minute,
                seconds=seconds,
            )


def _spent(limit: Limit, today: datetime) -> BudgetSpent:
    end = _end(limit.period, today)
    amount = f"{limit.budget:g} {limit.currency}"
    if end is None:
        return BudgetSpent(
            _("{whose} has spent its budget of {amount}. The owner can raise it: dizuo limit set"),
            whose=_whose(limit),
            amount=amount,
        )
    text = {
        "day": _("{whose} has spent its budget of {amount} a day. It is new at {when} UTC; the owner can raise it."),
        "month": _(
            "{whose} has spent its budget of {amount} a month. It is new at {when} UTC; the owner can raise it."
        ),
    }[limit.period]
    seconds = max(1, int((end - today).total_seconds()) + 1)
    when = end.strftime("%Y-%m-%d %H:%M")
    return BudgetSpent(text, whose=_whose(limit), amount=amount, when=when, seconds=seconds)


def _whose(limit: Limit) -> Note:
    match limit.subject:
        case "key":
            return Note(template=_("This key"))
        case "user":
            return Note(template=_("This user"))
        case "app":
            return Note(template=_("The app {name}"), params={"name": limit.subject_id})
        case _:
            return Note(template=_("This instance"))


def _headers(tallies: Sequence[_Tally], second: int) -> dict[str, str]:
    """What the answer says of limits, as OpenAI's does: of each kind the one with least left; and budgets near end."""
    headers: dict[str, str] = {}
    for kind, limit_of, used_of, window_of in (
        (
            "requests",
            lambda t: t.limit.requests_per_minute,
            lambda t: t.requests.sum + t.other_requests,
            lambda t: t.requests,
        ),
        (
            "tokens",
            lambda t: t.limit.tokens_per_minute,
            lambda t: t.tokens.at(second) + t.other_tokens + t.reckoned,
            lambda t: t.tokens,
        ),
    ):
        held = [(max(0, limit_of(tally) - used_of(tally)), tally) for tally in tallies if limit_of(tally) is not None]
        if held:
            left, tally = min(held, key=lambda one: one[0])
            window = window_of(tally)
            headers[f"x-ratelimit-limit-{kind}"] = str(limit_of(tally))
            headers[f"x-ratelimit-remaining-{kind}"] = str(left)
            headers[f"x-ratelimit-reset-{kind}"] = f"{window.empty_in()}s"
    near = [
        f"{tally.limit.subject}: {_share(tally.limit, tally.spent):.0%} of {tally.limit.budget:g} "
        f"{tally.limit.currency} ({tally.limit.period})"
        for tally in tallies
        if tally.limit.budget is not None and _share(tally.limit, tally.spent) >= tally.limit.warn_at
    ]
    return headers | ({"X-Dizuo-Budget-Warning": "; ".join(near)} if near else {})


def _share(limit: Limit, spent: float) -> float:
    if limit.budget is None:
        return 0.0
    return spent / limit.budget if limit.budget else 1.0


def _begin_period(tally: _Tally, today: datetime) -> None:
    start = _start(tally.limit.period, today)
    if tally.start != start:
        tally.start, tally.spent, tally.since = start, 0.0, 0.0


def _start(period: Period, now: datetime) -> str:
    """When the period began, as the tables keep times; all of them are later than ""."""
    return {"day": f"{now:%Y-%m-%d}", "month": f"{now:%Y-%m-01}", "total": ""}[period]


def _end(period: Period, now: datetime) -> datetime | None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1) if period == "month" else None
