"""What a manifest says of an image beside its label and split."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "item_columns",
        sa.Column("item_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("columns", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_item_columns_item_id_item")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_item_columns")),
    )
