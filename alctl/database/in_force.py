"""Which label holds: the SQL of "in force" and of the consensus of several annotators."""

_UNDONE = "(SELECT id FROM import_batch WHERE undone_at IS NOT NULL)"


_CLASS = """CASE WHEN label.category_id IN (SELECT id FROM category WHERE merged_into IS NOT NULL)
    THEN (SELECT merged_into FROM category AS k WHERE k.id = label.category_id) ELSE label.category_id END"""
"""The class that a label counts as since a merge; where nothing is merged, this costs no look into the class list."""


IN_FORCE = f"""(SELECT id, item_id, annotator, status, {_CLASS} AS category_id, annotations FROM label
  WHERE import_id NOT IN {_UNDONE} AND NOT EXISTS (SELECT 1 FROM label AS later
    WHERE later.item_id = label.item_id AND later.annotator = label.annotator AND later.id > label.id
      AND later.import_id NOT IN {_UNDONE}))"""
"""The newest label of each annotator for each item, without undone imports."""


_VOTES = "round(CAST(sum(coalesce(w.weight, 1)) AS numeric), 9)"
"""Rounded, so that equal sums are equal in whatever order they were added."""


def consensus_of(answers: str) -> str:
    """Return SQL for what holds among answers, of which each annotator gave one for an item: a subquery."""
    return f"""(SELECT v.item_id, v.status, v.category_id, l.annotations FROM (
    SELECT f.item_id, f.status, f.category_id, max(f.id) AS newest, row_number() OVER (PARTITION BY f.item_id
      ORDER BY CASE f.status WHEN 'skip' THEN 1 ELSE 0 END, {_VOTES} DESC, max(f.id) DESC) AS place
    FROM {answers} AS f LEFT JOIN annotator AS w ON w.name = f.annotator
    GROUP BY f.item_id, f.status, f.category_id) AS v
  LEFT JOIN label AS l ON l.id = v.newest WHERE v.place = 1)"""


CONSENSUS = consensus_of(IN_FORCE)
"""What holds for each answered item: the majority of its annotators, each with their weight, ties to the newest; a skip abstains.

Objects are those of the newest; where annotators drew different ones, `labeled_items` chooses among them.
"""


def membership(column: str, split: str) -> str:
    """Return SQL that is true for the items of a split: "pool", or one that ``:split`` names."""
    if split == "pool":
        return f"{column} NOT IN (SELECT item_id FROM reserved)"
    return f"{column} IN (SELECT item_id FROM reserved WHERE split = :split)"
