"""How sure the model was of what annotators were given to correct."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("prediction", sa.Column("confidence", sa.Float(), nullable=True))
