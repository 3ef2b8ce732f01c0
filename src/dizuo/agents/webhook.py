"""One address of the owner's that is told what runs ask people: signed, tried again, and never in a run's way.

What was told, and what is still to be told, are rows; whoever is the worker sends them. Signed as Standard Webhooks
have it (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md), which receivers
have libraries for. An answer comes back through the API: nothing that is sent is a way in.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

import sqlalchemy as sa

from dizuo.agents.approvals import Approval, Approvals
from dizuo.agents.web import FetchFailed, Web, WebLimits, checked_address
from dizuo.core.documents import Note
from dizuo.core.errors import DizuoError, NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.gateway.remote_address import is_private
from dizuo.platform import schema
from dizuo.platform.database import Database
from dizuo.platform.secrets import Secrets
from dizuo.platform.secrets_kept import from_now

DeliveryStatus = Literal["waiting", "sent", "failed", "dropped"]

# Between tries, in seconds; the schedule that Standard Webhooks name. Three days, then it is given up.
RETRY_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
MOST_ARGUMENTS = 16_000  # characters; receivers take small bodies
_KEPT_DAYS = 30
_AT_ONCE = 8
_PREFIX = "whsec_"
_GONE = 410
_WHERE = "dizuo webhook show"

logger = logging.getLogger(__name__)
_webhook, _deliveries = schema.webhook, schema.webhook_deliveries


class WebhookInfo(Noun):
    """The webhook as it may be shown: never its secret."""

    url: str
    created_at: datetime
    problem: Note | None = None  # why nothing can be sent, or what went wrong last where it was given up
    waiting: int = 0  # deliveries that are still to be made
    failed: int = 0  # that were given up


class NewWebhook(Noun):
    """What is shown once."""

    webhook: WebhookInfo
    secret: str  # for the receiver, to check signatures with


class Delivery(Noun):
    """A question, and whether the address knows of it. `dropped`: answered before it could be told."""

    id: str
    run_id: str
    call_id: str
    status: DeliveryStatus
    tries: int
    due_at: datetime | None  # the next try
    problem: Note | None
    created_at: datetime
    ended_at: datetime | None


class Webhook:
    """The webhook of an instance. Blocking; thread-safe. One process of a home delivers."""

    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        approvals: Approvals,
        public_url: Callable[[], str],
        limits: WebLimits = WebLimits(seconds=15),
        retry_s: Sequence[float] = RETRY_S,
    ) -> None:
        """`public_url` says where people reach the pages."""
        self._database = database
        self._secrets = secrets
        self._approvals = approvals
        self._public_url = public_url
        self._limits = limits
        self._retry_s = retry_s

    # --- the address ------------------------------------------------------------------------------------------

    def get(self) -> WebhookInfo | None:
        """The webhook, if one is set."""
        row = self._row()
        if row is None:
            return None
        counted = sa.select(_deliveries.c.status, sa.func.count()).group_by(_deliveries.c.status)
        last = _deliveries.select().where(_deliveries.c.status.in_(("waiting", "failed")), _deliveries.c.tries > 0)
        with self._database.read() as connection:
            n = {status: count for status, count in connection.execute(counted)}
            latest = connection.execute(last.order_by(_deliveries.c.created_at.desc()).limit(1)).first()
        problem = Note(**latest.problem) if latest is not None and latest.problem else None
        try:
            self._key(row)
        except UserError as error:
            problem = Note.of(error)
        return WebhookInfo(
            url=row.url,
            created_at=row.created_at,
            problem=problem,
            waiting=n.get("waiting", 0),
            failed=n.get("failed", 0),
        )

    def set(self, url: str, secret: str = "") -> NewWebhook:
        """Names the address, in place of the one before. Without a `secret` one is made. What the one before could not
        be told is told to this one. Raises UserError for what cannot be used."""
        url = checked_address(url, _WHERE)
        secret = secret.strip() or _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
        _bytes_of(secret)
        values = {"url": url, "secret_cipher": self._secrets.encrypt(secret.encode()), "created_at": schema.now()}
        again = {"status": "waiting", "tries": 0, "due_at": schema.now(), "problem": sa.null(), "ended_at": None}
        with self._database.write() as connection:
            connection.execute(_webhook.delete())
            connection.execute(_webhook.insert().values(id=1, **values))
            connection.execute(_deliveries.update().where(_deliveries.c.status == "failed").values(again))
        made = self.get()
        assert made is not None
        return NewWebhook(webhook=made, secret=secret)

    def remove(self) -> WebhookInfo:
        """Takes the address away, with its secret; nothing is sent any more. Raises NotFound."""
        info = self._set()
        with self._database.write() as connection:
            connection.execute(_webhook.delete())
            waiting = _deliveries.update().where(_deliveries.c.status == "waiting")
            connection.execute(waiting.values(status="dropped", ended_at=schema.now()))
        return info

    def test(self) -> float:
        """Sends a message of the type `webhook.test`; seconds until it was taken.

        Raises NotFound, and UserError saying what went wrong.
        """
        self._set()
        row = self._row()
        assert row is not None
        body = _body("webhook.test", {"url": self._public_url()})
        begun_s = time.monotonic()
        try:
            asyncio.run(self._send(row.url, self._key(row), f"msg_test_{secrets.token_hex(8)}", body))
        except FetchFailed as error:
            raise UserError("The webhook was not told. {reason}", reason=Note.of(error)) from None
        return time.monotonic() - begun_s

    def deliveries(self, status: DeliveryStatus | None = None, limit: int = 50) -> Sequence[Delivery]:
        """What was told and what is to be told, the latest first."""
        found = _deliveries.select().order_by(_deliveries.c.created_at.desc(), _deliveries.c.id).limit(limit)
        if status is not None:
            found = found.where(_deliveries.c.status == status)
        with self._database.read() as connection:
            return [_delivery(row) for row in connection.execute(found)]

    # --- the worker -------------------------------------------------------------------------------------------

    def deliver(self, stopping: threading.Event) -> None:
        """Sends what is due."""
        hook = self._row()
        if hook is None:
            return
        self._note(self._approvals.waiting())
        with self._database.read() as connection:
            due = _deliveries.select().where(_deliveries.c.status == "waiting", _deliveries.c.due_at <= schema.now())
            rows = connection.execute(due.order_by(_deliveries.c.due_at)).all()
        if rows:
            asyncio.run(self._send_all(hook, rows, stopping))

    def _note(self, waiting: Sequence[Approval]) -> None:
        """Makes a row of each question that has none; drops what needs telling no more."""
        open_now = {_id(one): one for one in waiting}
        old = from_now(timedelta(days=-_KEPT_DAYS))
        found = sa.select(_deliveries.c.id, _deliveries.c.status, _deliveries.c.ended_at).where(
            (_deliveries.c.status == "waiting") | _deliveries.c.id.in_([*open_now]) | (_deliveries.c.ended_at < old)
        )
        with self._database.read() as connection:
            known = {row.id: row for row in connection.execute(found)}
        new = [
            {
                "id": id,
                "run_id": one.run_id,
                "call_id": one.call_id,
                "body": _body("approval.asked", self._said(one)),
                "status": "waiting",
                "tries": 0,
                "due_at": schema.now(),
                "created_at": schema.now(),
            }
            for id, one in open_now.items()
            if id not in known
        ]
        needless = [id for id, row in known.items() if row.status == "waiting" and id not in open_now]
        gone = [id for id, row in known.items() if row.ended_at and row.ended_at < old and id not in open_now]
        if not (new or needless or gone):
            return
        with self._database.write() as connection:
            if new:
                asking = {one["run_id"] for one in new}
                there = set(connection.scalars(sa.select(schema.runs.c.id).where(schema.runs.c.id.in_(asking))))
                if rows := [one for one in new if one["run_id"] in there]:
                    connection.execute(_deliveries.insert(), rows)
            dropped = _deliveries.update().where(_deliveries.c.id.in_(needless), _deliveries.c.status == "waiting")
            connection.execute(dropped.values(status="dropped", ended_at=schema.now()))
            connection.execute(_deliveries.delete().where(_deliveries.c.id.in_(gone)))

    def _said(self, one: Approval) -> Mapping[str, Any]:
        """What the address is told of a question."""
        told = one.model_dump(mode="json", include={"run_id", "goal", "call_id", "tool", "why"})
        cut, here = len(one.arguments) > MOST_ARGUMENTS, self._public_url()
        return {
            **told,
            "arguments": one.arguments[:MOST_ARGUMENTS],
            "arguments_cut": cut,
            "asked_at": one.asked_at.isoformat(),
            "expires_at": one.expires_at.isoformat() if one.expires_at else None,
            "page": f"{here}/runs/{one.run_id}#step-{one.step}",
            "answer": f"{here}/api/runs/{one.run_id}/answer",
        }

    async def _send_all(self, hook: Any, rows: "Sequence[sa.Row[Any]]", stopping: threading.Event) -> None:
        """Each once; what is under way at a stop is sent again later, with the same id."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(row: Any) -> None:
            async with room:
                problem, status = await self._try(hook, row)
            await asyncio.to_thread(self._tried, row, problem, status)

        sending = asyncio.gather(*(one(row) for row in rows))
        while not sending.done():
            if stopping.is_set():
                sending.cancel()
            await asyncio.wait([sending], timeout=0.1)
        with suppress(asyncio.CancelledError):
            sending.result()

    async def _try(self, hook: Any, row: Any) -> tuple[DizuoError | None, int]:
        try:
            await self._send(hook.url, self._key(hook), row.id, row.body)
        except DizuoError as error:
            return error, error.params.get("status", 0)
        return None, 0

    def _tried(self, row: Any, problem: DizuoError | None, status: int) -> None:
        """Writes down how a try went."""
        tries = row.tries + 1
        values: dict[str, Any] = {"tries": tries, "problem": sa.null()}
        if problem is None:
            values |= {"status": "sent", "ended_at": schema.now()}
        else:
            values["problem"] = Note.of(problem).model_dump(mode="json")
            if tries > len(self._retry_s) or status == _GONE:
                logger.error("the webhook is not told of %s, and not tried again: %s", row.id, problem)
                values |= {"status": "failed", "ended_at": schema.now()}
            else:
                logger.warning("the webhook is not told of %s yet: %s", row.id, problem)
                values["due_at"] = from_now(timedelta(seconds=self._retry_s[tries - 1]))
        with self._database.write() as connection:
            mine = (_deliveries.c.id == row.id) & (_deliveries.c.status == "waiting")
            connection.execute(_deliveries.update().where(mine).values(values))

    async def _send(self, url: str, key: bytes, id: str, body: str) -> None:
        """One request. Raises FetchFailed unless it is taken.

        An address of a private network is asked only where the owner has named it as such; what a name of the internet
        stands for must be public. Redirects lead nowhere: what is sent is for that address.
        """
        host = urlsplit(url).hostname or ""
        web = Web([host] if is_private(host) else (), self._limits)
        headers = {"Content-Type": "application/json", **signature(key, id, int(time.time()), body)}
        answer = await web.request("POST", url, headers=headers, body=body.encode(), follow=False)
        if 300 <= answer.status < 400:
            raise FetchFailed(
                "{host} redirects (status {status}), which is not followed.", host=host, status=answer.status
            )
        if not 200 <= answer.status < 300:
            raise FetchFailed("{host} answers with the status {status}.", host=host, status=answer.status)

    # ----------------------------------------------------------------------------------------------------------

    def _row(self) -> "sa.Row[Any] | None":
        with self._database.read() as connection:
            return connection.execute(_webhook.select()).first()

    def _set(self) -> WebhookInfo:
        info = self.get()
        if info is None:
            raise NotFound("No webhook is set. Set one: dizuo webhook set URL")
        return info

    def _key(self, row: Any) -> bytes:
        try:
            return _bytes_of(self._secrets.decrypt(row.secret_cipher).decode())
        except UserError as error:
            raise UserError("The secret of the webhook cannot be read. {reason}", reason=Note.of(error)) from None


def signature(key: bytes, id: str, timestamp: int, body: str) -> dict[str, str]:
    """The headers that Standard Webhooks sign a message with: HMAC-SHA256 over `id.timestamp.body`."""
    signed = hmac.new(key, f"{id}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def _bytes_of(secret: str) -> bytes:
    """Raises UserError for what is no secret of Standard Webhooks."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise UserError(
            "That is no secret of a webhook: it must be whsec_ and 24 to 64 bytes in base64. Leave it out, and one is "
            "made."
        )
    return key


def _id(one: Approval) -> str:
    return f"msg_{one.run_id}_{one.step}"


def _body(type: str, data: Mapping[str, Any]) -> str:
    said = {"type": type, "timestamp": datetime.now(UTC).isoformat(timespec="seconds"), "data": data}
    return json.dumps(said, ensure_ascii=False)


def _delivery(row: Any) -> Delivery:
    return Delivery(
        id=row.id,
        run_id=row.run_id,
        call_id=row.call_id,
        status=row.status,
        tries=row.tries,
        due_at=row.due_at if row.status == "waiting" else None,
        problem=Note(**row.problem) if row.problem else None,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
