"""Conversations, kept: whose they are, what was said, and where each answer stands in the documents."""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from dizuo.core.documents import Answer
from dizuo.core.errors import NotFound, UserError
from dizuo.core.messages import Noun
from dizuo.platform import schema
from dizuo.platform.database import Database


class Thread(Noun):
    """A conversation with one knowledge base."""

    id: str
    knowledge: str  # the knowledge base's name; it may have been removed since
    title: str
    created_at: datetime
    updated_at: datetime


class ThreadMessage(Noun):
    """One thing said. `answer` holds an assistant's citations; None when it was stopped midway."""

    id: int
    role: Literal["user", "assistant"]
    content: str
    answer: Answer | None
    created_at: datetime


class Threads:
    """The conversations of every user. Another user's thread is not found. Blocking; safe between processes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, user_id: int, knowledge: str, title: str) -> Thread:
        """An empty conversation. Raises UserError when the title says nothing."""
        thread_id = "thread_" + secrets.token_hex(12)
        at = schema.now()
        values = {"title": _checked_title(title), "knowledge": knowledge, "created_at": at, "updated_at": at}
        with self._database.write() as connection:
            connection.execute(schema.threads.insert().values(id=thread_id, user_id=user_id, **values))
        return self.get(user_id, thread_id)

    def list(self, user_id: int, limit: int = 100) -> Sequence[Thread]:
        """A user's conversations, the one last spoken in first."""
        table = schema.threads
        rows = table.select().where(table.c.user_id == user_id).order_by(table.c.updated_at.desc(), table.c.id)
        with self._database.read() as connection:
            return [_thread(row) for row in connection.execute(rows.limit(limit))]

    def get(self, user_id: int, thread_id: str) -> Thread:
        """One conversation. Raises NotFound, for another user's as well."""
        with self._database.read() as connection:
            return self._thread(connection, user_id, thread_id)

    def messages(self, user_id: int, thread_id: str) -> Sequence[ThreadMessage]:
        """What was said, in order. Raises NotFound."""
        table = schema.thread_messages
        rows = table.select().where(table.c.thread_id == thread_id).order_by(table.c.id)
        with self._database.read() as connection:
            self._thread(connection, user_id, thread_id)
            return [_message(row) for row in connection.execute(rows)]

    def append(
        self,
        user_id: int,
        thread_id: str,
        role: Literal["user", "assistant"],
        content: str,
        answer: Answer | None = None,
    ) -> None:
        """Adds what was said, and makes the conversation the latest. Raises NotFound."""
        at = schema.now()
        values = {
            "thread_id": thread_id,
            "role": role,
            "content": content.replace("\0", ""),  # PostgreSQL keeps no NUL in text
            "answer": answer.model_dump(mode="json") if answer else sa.null(),
            "created_at": at,
        }
        with self._database.write() as connection:
            self._thread(connection, user_id, thread_id)
            connection.execute(schema.thread_messages.insert().values(**values))
            connection.execute(schema.threads.update().where(schema.threads.c.id == thread_id).values(updated_at=at))

    def delete_last_answer(self, user_id: int, thread_id: str) -> None:
        """Takes back what was answered to the last question, whole or stopped midway. Raises NotFound."""
        table = schema.thread_messages
        of_thread = table.c.thread_id == thread_id
        questions = sa.select(sa.func.max(table.c.id)).where(of_thread, table.c.role == "user")
        with self._database.write() as connection:
            self._thread(connection, user_id, thread_id)
            last_question = connection.scalar(questions) or 0
            connection.execute(table.delete().where(of_thread, table.c.id > last_question))

    def rename(self, user_id: int, thread_id: str, title: str) -> None:
        """Gives the conversation another title. Raises NotFound, and UserError when the title says nothing."""
        table = schema.threads
        with self._database.write() as connection:
            self._thread(connection, user_id, thread_id)
            connection.execute(table.update().where(table.c.id == thread_id).values(title=_checked_title(title)))

    def delete(self, user_id: int, thread_id: str) -> None:
        """Removes the conversation with all that was said. Raises NotFound."""
        with self._database.write() as connection:
            self._thread(connection, user_id, thread_id)
            connection.execute(schema.threads.delete().where(schema.threads.c.id == thread_id))

    @staticmethod
    def _thread(connection: sa.Connection, user_id: int, thread_id: str) -> Thread:
        table = schema.threads
        own = table.select().where(table.c.id == thread_id, table.c.user_id == user_id)
        row = connection.execute(own).first()
        if row is None:
            raise NotFound("There is no conversation {thread!r}. List them: dizuo thread list", thread=thread_id[:80])
        return _thread(row)


def _checked_title(title: str) -> str:
    clean = " ".join(title.split())
    clean = "".join(c for c in clean if c.isprintable())[:200]
    if not clean:
        raise UserError("A conversation needs a title.")
    return clean


def _thread(row: Any) -> Thread:
    return Thread(**{field: getattr(row, field) for field in Thread.model_fields})


def _message(row: Any) -> ThreadMessage:
    return ThreadMessage(**{field: getattr(row, field) for field in ThreadMessage.model_fields})
