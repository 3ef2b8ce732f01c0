"""The tables. The same on SQLite and PostgreSQL; the keyword index alone differs (`knowledge/keywords.py`).

Times are UTC ISO-8601 text with microseconds: sorts right on both databases and needs no driver's opinion.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def now() -> str:
    """The time as the tables keep it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


LARGEST = 2**31 - 1  # number that every database holds in an Integer


def storable(text: str) -> str:
    """The text without what neither UTF-8 nor PostgreSQL can hold: halves of a surrogate pair, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


# --- changes --------------------------------------------------------------------------------------------------

changes = Table(  # one row; see changes.py
    "changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# --- identity -------------------------------------------------------------------------------------------------

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("role", String(16), nullable=False),  # owner | member
    Column("password_hash", Text),  # Argon2id; null until the person has set one
    Column("created_at", String(32), nullable=False),
)

login_links = Table(  # one-time: the first is made at first start, for the owner
    "login_links",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("used_at", String(32)),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
)

login_failures = Table(  # for the rate limit on login
    "login_failures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("who", String(128), nullable=False, index=True),  # "user:NAME" or "address:IP"
    Column("at", String(32), nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("prefix", String(16), nullable=False),  # shown in lists; the rest is never kept
    Column("key_hash", String(64), nullable=False, unique=True),  # SHA-256; keys carry 256 random bits
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("last_used_at", String(32)),
    Column("revoked_at", String(32)),
    Column("expires_at", String(32)),
    Column("scopes", JSON),  # what it may be used for, by name; null: for all that its user may do
    Column("models", JSON),  # patterns of the models that it may ask; null: all
    Column("uncached", Boolean, nullable=False, server_default=sa.false()),  # kept out of the cache of answers
    Column("old_hash", String(64), index=True),  # of the secret before the last rotation, good until then
    Column("old_until", String(32)),
)

# --- durable jobs ---------------------------------------------------------------------------------------------

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),  # also the DBOS workflow id
    Column("kind", String(32), nullable=False),
    Column("args", JSON, nullable=False),
    Column("subject", String(128), nullable=False, server_default=""),  # what it works on: a knowledge base's name
    Column("status", String(16), nullable=False),  # queued | running | done | failed | cancelled
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("total", Integer, nullable=False, default=0),
    Column("finished", Integer, nullable=False, default=0),
    Column("failed", Integer, nullable=False, default=0),
    Column("stage", Text, nullable=False, default=""),  # what it is doing right now, for people
    Column("eta_s", Float),  # seconds left, as the worker last reckoned
    Column("error", JSON),  # {"template", "params"} when it failed
    Column("user_id", Integer, ForeignKey("users.id", ondelete="SET NULL")),
    Column("created_at", String(32), nullable=False),
    Column("started_at", String(32)),
    Column("finished_at", String(32)),
)

job_items = Table(
    "job_items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("args", JSON, nullable=False),
    Column("status", String(16), nullable=False),  # core.documents.ItemStatus
    Column("report", JSON),  # ParseReport
    Column("error", JSON),  # {"template", "params"}
    UniqueConstraint("job_id", "position"),
    Index("ix_job_items_job_status", "job_id", "status"),
)

# --- knowledge ------------------------------------------------------------------------------------------------

knowledge = Table(
    "knowledge",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("version", Integer, nullable=False, default=0),
    Column("created_at", String(32), nullable=False),
)

documents = Table(
    "documents",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("knowledge_id", Integer, ForeignKey("knowledge.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("media_type", String(128), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("blob", String(64), nullable=False, index=True),  # SHA-256 of the file, its name in blobs/
    Column("report", JSON, nullable=False),
    Column("meta", JSON, nullable=False),
    Column("added_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
    # What was extracted; citations count its characters. Last, since SQLite reads through it to what comes behind.
    Column("text", Text, nullable=False),
    UniqueConstraint("knowledge_id", "source"),
    Index("uq_documents_knowledge_name", "knowledge_id", "name", unique=True),
)

chunks = Table(
    "chunks",
    metadata,
    Column("row", Integer, primary_key=True),  # what the indexes count by
    Column("id", String(40), nullable=False, unique=True),
    Column("knowledge_id", Integer, ForeignKey("knowledge.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("document_id", String(40), ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),  # order within the document
    Column("kind", String(8), nullable=False),
    Column("heading", Text, nullable=False),
    Column("page", Integer),
    Column("start", Integer, nullable=False),
    Column("end", Integer, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_chunks_document_position", "document_id", "position"),
    sqlite_autoincrement=True,  # a row number is never used twice, so an index can tell new from known
)

vectors = Table(  # no row for a chunk that the embedder does not understand
    "vectors",
    metadata,
    Column("row", Integer, ForeignKey("chunks.row", ondelete="CASCADE"), primary_key=True),
    Column("knowledge_id", Integer, nullable=False),
    Column("model", String(128), nullable=False),
    Column("vector", LargeBinary, nullable=False),  # float32, little-endian
    Index("ix_vectors_knowledge_model", "knowledge_id", "model"),
)

# --- conversations --------------------------------------------------------------------------------------------

threads = Table(
    "threads",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE")),
    Column("knowledge", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
    Index("ix_threads_user_updated", "user_id", "updated_at"),
)

thread_messages = Table(
    "thread_messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("thread_id", String(40), ForeignKey("threads.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("answer", JSON),  # core.documents.Answer of an assistant's message
    Column("created_at", String(32), nullable=False),
)

# --- the gateway ----------------------------------------------------------------------------------------------

providers = Table(
    "providers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),  # what model names begin with
    Column("preset", String(32), nullable=False),  # the entry of the catalogue it was made from, or ""
    Column("base_url", Text, nullable=False),
    Column("key_cipher", LargeBinary),  # encrypted; null: none is needed, or it comes from the environment
    Column("models", JSON),  # the names that it listed when last asked; null: never
    Column("checked_at", String(32)),
    Column("created_at", String(32), nullable=False),
)

routes = Table(  # a name of one's own for several models
    "routes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("targets", JSON, nullable=False),  # [{"model", "weight"}]: shared by weight and load
    Column("fallbacks", JSON, nullable=False),  # [model]: in turn, when no target answers
    Column("options", JSON, nullable=False),  # timeouts and retries that differ from the usual
    Column("created_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
)

model_health = Table(  # what the breakers of gateway/breaker.py know; rows of a day
    "model_health",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("open_until", String(32)),  # null: the breaker is closed
    Column("paused_until", String(32)),  # the provider's own wish
    Column("trips", Integer, nullable=False),
    Column("last_error", JSON),  # core.documents.Note
    Column("changed_at", String(32), nullable=False),
)

prices = Table(
    "prices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", String(128), nullable=False, unique=True),  # a name, or a pattern with * at its end
    Column("currency", String(3), nullable=False),
    Column("input", Float, nullable=False),  # a million tokens of the prompt
    Column("cached_input", Float),  # a million that the provider had kept
    Column("output", Float, nullable=False),  # a million tokens written
    Column("cpu_hour", Float, nullable=False),  # an hour of processor time of this machine
    Column("dated", String(10), nullable=False),  # the day on which this was the price
    Column("source", Text, nullable=False),
)

limits = Table(
    "limits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", String(8), nullable=False),  # key | user | app | all
    Column("subject_id", String(64), nullable=False),  # "" for all
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrency", Integer),
    Column("budget", Float),
    Column("currency", String(3), nullable=False),
    Column("period", String(8), nullable=False),  # day | month | total
    Column("warn_at", Float, nullable=False),  # share of the budget
    UniqueConstraint("subject", "subject_id"),
)

calls = Table(  # the ledger: a row for each call of a model
    "calls",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trace_id", String(32), nullable=False, index=True),
    Column("at", String(32), nullable=False, index=True),
    Column("user_id", Integer),  # kept when the user is gone: money was spent
    Column("key_id", Integer),
    Column("app", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("asked", String(128), nullable=False),  # the name that was asked for
    Column("model", String(128), nullable=False),  # the one that answered
    Column("status", String(16), nullable=False),  # ok | failed | refused | cancelled
    Column("error", String(32), nullable=False),
    Column("cache", String(16), nullable=False),  # exact | normalised | semantic, or ""
    Column("attempts", Integer, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("estimated", Boolean, nullable=False),  # the tokens: nobody reported them
    Column("cost", Float),  # null: no price is known
    Column("currency", String(3), nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("first_s", Float),  # until the first piece of the answer
    Column("total_s", Float, nullable=False),
)

traces = Table(
    "traces",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("at", String(32), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("face", String(8), nullable=False),
    Column("user_id", Integer),
    Column("key_id", Integer),
    Column("app", String(128), nullable=False),
    Column("model", String(128), nullable=False),  # the one that answered, or was asked to
    Column("status", String(16), nullable=False),  # ok | failed | refused | cancelled
    Column("error", String(64), nullable=False),
    Column("total_s", Float, nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    # [[name, start_ns since the first, duration_ns, number of its parent, attributes, error]]. Lists leave it out.
    Column("spans", JSON, nullable=False),
    Index("ix_traces_user_at", "user_id", "at"),
)

cache_entries = Table(
    "cache_entries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("scope", String(64), nullable=False),  # digest of all that must be the same, the last question apart
    Column("exact", String(64), nullable=False),  # digest of the question
    Column("normalised", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("question", Text, nullable=False),
    Column("language", String(8), nullable=False),
    Column("embedder", String(128), nullable=False),  # "" without a vector
    Column("vector", LargeBinary),  # float32, little-endian
    Column("events", JSON, nullable=False),  # the answer
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False, index=True),
    Column("used_at", String(32), nullable=False, index=True),
    Column("hits", Integer, nullable=False),
    UniqueConstraint("scope", "exact"),
    Index("ix_cache_entries_scope_normalised", "scope", "normalised"),
)

cache_sources = Table(  # what a kept answer cites
    "cache_sources",
    metadata,
    Column("entry_id", Integer, ForeignKey("cache_entries.id", ondelete="CASCADE"), primary_key=True),
    Column("document_id", String(40), primary_key=True, index=True),
)


def unused_id(connection: sa.Connection, table: Table, column: str) -> int | None:
    """A number for a new user or key that neither has nor had anything in the ledger, the traces and the runs; None
    where the database never gives a number twice by itself.

    SQLite gives the highest number again after its row is gone. Whoever got it would be taken for who had it before.
    """
    if connection.dialect.name != "sqlite":
        return None
    kept = (calls, traces, runs)
    seen = [sa.select(sa.func.max(table.c.id)), *(sa.select(sa.func.max(one.c[column])) for one in kept)]
    return 1 + max(connection.scalar(query) or 0 for query in seen)


# --- agents ---------------------------------------------------------------------------------------------------

IS_OPEN = "status != 'ended'"

runs = Table(
    "runs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), index=True),
    Column("goal", Text, nullable=False),
    Column("model", String(128), nullable=False),
    Column("app", String(64), nullable=False),  # the app that it is a run of, or ""
    Column("parent_id", String(40), nullable=False, index=True),  # the run that has called it, or ""
    Column("key_id", Integer),  # the API key that it was started with, whose limits hold; the key may be gone
    Column("status", String(16), nullable=False),  # agents.journal.RunStatus
    Column("reason", String(16), nullable=False),  # why it ended, or ""
    Column("policy", JSON, nullable=False),
    Column("knowledge", String(64), nullable=False),  # the knowledge base that it may search, or ""
    Column("forked_from", String(40), nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("changed_at", String(32), nullable=False),
    Index("ix_runs_open", "id", sqlite_where=sa.text(IS_OPEN), postgresql_where=sa.text(IS_OPEN)),
)

IS_APPROVAL = "kind IN ('asked', 'answered')"

run_steps = Table(  # append-only
    "run_steps",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),  # 1, 2, …
    Column("kind", String(16), nullable=False),
    Column("data", Text, nullable=False),  # JSON of agents.steps, without what is as usual
    Column("at", String(32), nullable=False),
    # Few steps are these, and they are looked for every second.
    Index(
        "ix_run_steps_approvals",
        "run_id",
        "number",
        sqlite_where=sa.text(IS_APPROVAL),
        postgresql_where=sa.text(IS_APPROVAL),
    ),
)

webhook = Table(  # where it is told that runs wait for people: at most one row
    "webhook",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret_cipher", LargeBinary, nullable=False),  # encrypted
    Column("created_at", String(32), nullable=False),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(64), primary_key=True),  # the same at every try: receivers know it again
    Column("run_id", String(40), ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("call_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("status", String(16), nullable=False, index=True),  # agents.webhook.DeliveryStatus
    Column("tries", Integer, nullable=False),
    Column("due_at", String(32), nullable=False),
    Column("problem", JSON),  # core.documents.Note: what went wrong at the last try
    Column("created_at", String(32), nullable=False),
    Column("ended_at", String(32)),
)

a2a_tasks = Table(  # runs that agents of others asked for
    "a2a_tasks",
    metadata,
    Column("run_id", String(40), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("context_id", String(128), nullable=False, index=True),  # the conversation, as they name it
)

tool_servers = Table(  # programs and addresses of others whose operations are tools
    "tool_servers",
    metadata,
    Column("name", String(32), primary_key=True),  # what its tools' names begin with
    Column("kind", String(16), nullable=False),  # agents.tool_servers.Kind
    Column("command", JSON, nullable=False),  # the program and its arguments, or []
    Column("url", Text, nullable=False),  # or ""
    Column("description", Text, nullable=False),  # where the OpenAPI description of it lies, or ""
    Column("secrets_cipher", LargeBinary),  # its headers, or the variables of its program, encrypted; null: none
    Column("listed", JSON),  # agents.listed.ListedTool as it had them when last asked; null: never
    Column("approved", JSON, nullable=False),  # those that its owner has approved, as they were then
    Column("problem", JSON),  # core.documents.Note: what went wrong when last asked
    Column("checked_at", String(32)),
    Column("approved_at", String(32)),
    Column("created_at", String(32), nullable=False),
)

memories = Table(
    "memories",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),  # fact | episode
    Column("about", String(100), nullable=False),  # what a fact is about; one fact for each
    Column("text", Text, nullable=False),
    Column("source", String(40), nullable=False),  # the run it comes from, or "" for a person
    Column("confidence", Float, nullable=False),
    Column("importance", Float, nullable=False),
    Column("embedder", String(128), nullable=False),
    Column("vector", LargeBinary),  # float32, of unit length
    Column("created_at", String(32), nullable=False),
    Column("used_at", String(32), nullable=False),
    Index("ix_memories_user_about", "user_id", "about"),
)
