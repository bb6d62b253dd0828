"""The tables. What can be derived (labeled, out with annotators, unlabeled) is never stored.

Items are append-only and their ids run from 1 to the number of items without a gap, so that a random subset of
10 million can be drawn by id and their number is the highest id. What sets a few items apart (reserved for
validation or test, unusable) has a small table of its own, so that no question about the pool reads all of it.
"""

from sqlalchemy import (
    JSON,
    CheckConstraint,
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
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

project = Table(
    "project",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="one"), primary_key=True, autoincrement=False),
    Column("root", Text, nullable=False),  # absolute folder that item.path is relative to
    Column("task", String(40), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("created_at", String(32), nullable=False),
)

category = Table(
    "category",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # frozen; the model's output index + 1
    Column("name", Text, nullable=False, unique=True),
    Column(
        "merged_into", ForeignKey("category.id")
    ),  # the class that it counts as since a merge; itself: taken back
    Column("keypoints", JSON),  # names of the keypoints of its objects, in order
    Column("skeleton", JSON),  # pairs of keypoints that are joined, 0-based
)

category_change = Table(
    "category_change",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("action", String(10), nullable=False),  # add, rename, merge, keypoints, import, undo
    Column("category_id", ForeignKey("category.id"), nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("created_at", String(32), nullable=False),
)

setting = Table(
    "setting",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSON, nullable=False),  # what was asked once and holds from then on
)

item = Table(
    "item",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False, unique=True),
    Column("digest", LargeBinary(32), unique=True),  # SHA-256 of the file; null while it cannot be read
    Column("width", Integer),  # pixels, upright (EXIF orientation applied)
    Column("height", Integer),
)

duplicate = Table(
    "duplicate",
    metadata,
    Column("path", Text, primary_key=True),  # a file with the same bytes as the item's
    Column("item_id", ForeignKey("item.id"), nullable=False),
)

reserved = Table(
    "reserved",
    metadata,
    Column("item_id", ForeignKey("item.id"), primary_key=True, autoincrement=False),
    Column(
        "split", String(10), CheckConstraint("split IN ('validation', 'test')", name="split"), nullable=False
    ),
)

unusable = Table(
    "unusable",
    metadata,
    Column("item_id", ForeignKey("item.id"), primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
)

item_columns = Table(
    "item_columns",
    metadata,
    Column("item_id", ForeignKey("item.id"), primary_key=True, autoincrement=False),
    Column(
        "columns", Text, nullable=False
    ),  # what a manifest says of it beside label and split, a JSON object
)

import_batch = Table(
    "import_batch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("file", Text, nullable=False),
    Column("digest", String(64), nullable=False),  # SHA-256 of the file and of --annotator, hexadecimal
    Column("format", String(40), nullable=False),
    Column("counts", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("undone_at", String(32)),  # an undone import keeps its labels, but they are no longer in force
)

label = Table(
    "label",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # rises with time
    Column("item_id", ForeignKey("item.id"), nullable=False),
    Column("import_id", ForeignKey("import_batch.id"), nullable=False),
    Column("annotator", Text, nullable=False),
    Column(
        "status",
        String(10),
        CheckConstraint("status IN ('labeled', 'skip', 'unusable')", name="status"),
        nullable=False,
    ),
    Column("category_id", ForeignKey("category.id")),  # the whole-image class
    Column("annotations", Text),  # objects with geometry, canonical JSON; classes by id
    Column("seconds", Float),
    Column("created_at", String(32), nullable=False),
    Column("made_at", String(32)),  # when the annotator gave it, where the file tells
    Column("place", Text),  # where in the file it stands
    Index(None, "item_id", "annotator", "id"),
    Index(None, "import_id"),
)

training_run = Table(
    "training_run",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column(
        "fingerprint", String(64), nullable=False
    ),  # of labels, settings and seed: what the weights follow from
    Column("seed", Integer, nullable=False),
    Column("config", JSON, nullable=False),
    Column("categories", JSON, nullable=False),
    Column("labeled", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("environment", JSON, nullable=False),
    Column("file", Text, nullable=False),  # of the weights, relative to the project
    Column("digest", String(64), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", String(32), nullable=False),
)

training_item = Table(
    "training_item",
    metadata,
    Column("run_id", ForeignKey("training_run.id"), primary_key=True),
    Column("item_id", ForeignKey("item.id"), primary_key=True),
)

round_ = Table(
    "round",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("strategy", String(40), nullable=False),
    Column("params", JSON, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("requested", Integer, nullable=False),
    Column("candidates", Integer, nullable=False),  # how many unlabeled items were in the subset
    Column("run_id", ForeignKey("training_run.id")),
    Column("created_at", String(32), nullable=False),
    Column("due_at", String(32)),
)

selection = Table(
    "selection",
    metadata,
    Column("round_id", ForeignKey("round.id"), primary_key=True),
    Column("item_id", ForeignKey("item.id"), primary_key=True),
    Column("rank", Integer),  # 1 is best; null for the reserved items that go out with the first round
    Column("score", Float),
    Column("why", Text, nullable=False),
    Column("recalled_at", String(32)),  # taken back from the annotators unanswered; may be selected again
    Index(None, "item_id"),
    Index("uq_selection_round_id_rank", "round_id", "rank", unique=True),
)

handout = Table(
    "handout",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("round_id", ForeignKey("round.id"), nullable=False),
    Column("tool", String(40), nullable=False),  # the format of the files, or the server they were pushed to
    Column("place", Text, nullable=False),  # folder or address
    Column("cursor", Text),  # how far answers have been pulled
    Column("created_at", String(32), nullable=False),
)

handed_out = Table(
    "handed_out",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256, with the name where it tells the image
)
"""Files of exports as annotators got them: one that is still the same is nobody's work."""

prediction = Table(
    "prediction",
    metadata,
    Column("round_id", ForeignKey("round.id"), primary_key=True),
    Column("item_id", ForeignKey("item.id"), primary_key=True),
    Column("category_id", ForeignKey("category.id")),
    Column("annotations", Text),
    Column("run_id", ForeignKey("training_run.id")),  # whose model said it
    Column("confidence", Float),  # the probability that it gives the class
)
"""What annotators were given to correct, to see how much they changed."""

annotator = Table(
    "annotator",
    metadata,
    Column("name", Text, primary_key=True),
    Column("weight", Float, nullable=False),  # of a vote in the consensus; 1 where there is no row
)
