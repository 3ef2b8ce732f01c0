"""Keys that are kept out of the cache."""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("uncached", sa.Boolean(), server_default=sa.false(), nullable=False))
