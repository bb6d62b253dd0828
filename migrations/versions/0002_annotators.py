"""Recorded class changes, a ledger of what is out, pre-annotations, weights of annotators."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("category") as table:
        table.add_column(sa.Column("merged_into", sa.Integer(), nullable=True))
        table.add_column(sa.Column("keypoints", sa.JSON(), nullable=True))
        table.add_column(sa.Column("skeleton", sa.JSON(), nullable=True))
        table.create_foreign_key(
            op.f("fk_category_merged_into_category"), "category", ["merged_into"], ["id"]
        )
    op.add_column("label", sa.Column("made_at", sa.String(length=32), nullable=True))
    op.add_column("label", sa.Column("place", sa.Text(), nullable=True))
    op.add_column("round", sa.Column("due_at", sa.String(length=32), nullable=True))
    op.add_column("selection", sa.Column("recalled_at", sa.String(length=32), nullable=True))
    op.create_table(
        "category_change",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=10), nullable=False),
        sa.Column("category_id", sa.Integer(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["category_id"], ["category.id"], name=op.f("fk_category_change_category_id_category")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_category_change")),
    )
    op.create_table(
        "setting",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
    )
    op.create_table(
        "handout",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("tool", sa.String(length=40), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_handout_round_id_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handout")),
    )
    op.create_table(
        "handed_out",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_handed_out")),
    )
    op.create_table(
        "prediction",
        sa.Column("round_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("category_id", sa.Integer(), nullable=True),
        sa.Column("annotations", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["category_id"], ["category.id"], name=op.f("fk_prediction_category_id_category")
        ),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_prediction_item_id_item")),
        sa.ForeignKeyConstraint(["round_id"], ["round.id"], name=op.f("fk_prediction_round_id_round")),
        sa.ForeignKeyConstraint(
            ["run_id"], ["training_run.id"], name=op.f("fk_prediction_run_id_training_run")
        ),
        sa.PrimaryKeyConstraint("round_id", "item_id", name=op.f("pk_prediction")),
    )
    op.create_table(
        "annotator",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_annotator")),
    )
