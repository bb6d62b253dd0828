"""The sentences for answers that are refused; that each is the right one is tested beside what refuses them."""

from string import Formatter

from alctl.annotators.imports.problems import SENTENCES, BadRowsError, Problem, place_of
from alctl.database.fates import PROBLEMS


def test_every_problem_has_a_sentence_of_its_own():
    assert set(SENTENCES) == set(PROBLEMS)
    assert len(set(SENTENCES.values())) == len(PROBLEMS)


def test_every_sentence_names_what_is_wrong():
    for sentence in SENTENCES.values():
        assert any(name for _, name, _, _ in Formatter().parse(sentence))


def test_a_place_is_named_as_the_file_has_it():
    assert place_of(Problem(7, "")) == "line 7"
    assert place_of(Problem(2, "", "labels/a.txt")) == "labels/a.txt, line 2"
    assert place_of(Problem(0, "", "task 12")) == "task 12"
    assert place_of(Problem(0, "")) == "the file"


def test_rows_with_the_same_problem_share_a_line_of_the_error(tmp_path):
    error = BadRowsError(tmp_path / "l.csv", [Problem(n, "no such class") for n in range(2, 7)])
    assert "5 problems" in str(error)
    assert "lines 2, 3, 4 and 2 more: no such class" in str(error)
