"""The tables. The same on SQLite and PostgreSQL; the keyword index alone differs (`knowledge/keywords.py`).

Times are UTC ISO-8601 text with microseconds: sorts right on both databases and needs no driver's opinion.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
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
