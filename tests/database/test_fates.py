"""What may happen to an answer of a file."""

from alctl.database.fates import FATES, MEANINGS, PASSED, PROBLEMS, STORED, in_sql


def test_every_fate_has_one_meaning():
    assert set(MEANINGS) == set(FATES)
    assert len(set(MEANINGS.values())) == len(FATES)


def test_an_answer_is_stored_or_passed_over_or_refused():
    assert len({*STORED, *PASSED, *PROBLEMS}) == len(STORED) + len(PASSED) + len(PROBLEMS) == len(FATES)


def test_statements_get_fates_as_text():
    assert in_sql("added", "over the edge") == "'added', 'over the edge'"
