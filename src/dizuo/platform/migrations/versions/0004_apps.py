"""Apps and what people are asked: runs that belong to apps and to other runs, a webhook, tasks of other agents; and
what counts the changes of users, keys, providers and routes."""

import secrets

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    # Added in place: SQLite makes a table anew by deleting it, and the steps of the runs would go with it.
    op.add_column("runs", sa.Column("app", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("parent_id", sa.String(length=40), nullable=False, server_default=""))
    op.add_column("runs", sa.Column("key_id", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_runs_parent_id"), "runs", ["parent_id"], unique=False)
    is_approval = sa.text("kind IN ('asked', 'answered')")
    is_open = sa.text("status != 'ended'")
    op.create_index("ix_runs_open", "runs", ["id"], unique=False, sqlite_where=is_open, postgresql_where=is_open)
    op.create_index(
        "ix_run_steps_approvals",
        "run_steps",
        ["run_id", "number"],
        unique=False,
        sqlite_where=is_approval,
        postgresql_where=is_approval,
    )
    op.create_table(
        "webhook",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret_cipher", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("call_id", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.String(length=32), nullable=False),
        sa.Column("problem", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_webhook_deliveries_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(op.f("ix_webhook_deliveries_status"), "webhook_deliveries", ["status"], unique=False)
    op.create_table(
        "a2a_tasks",
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("context_id", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_a2a_tasks_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_a2a_tasks")),
    )
    op.create_index(op.f("ix_a2a_tasks_context_id"), "a2a_tasks", ["context_id"], unique=False)
    changes = op.create_table(
        "changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_changes")),
    )
    # Not 0: after a restore it must not be a number that was there before.
    op.bulk_insert(changes, [{"id": 1, "number": secrets.randbits(62)}])
