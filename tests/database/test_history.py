"""What `report` asks of the past, on both databases."""

import numpy as np
from sqlalchemy import update

from alctl.database import history, items
from alctl.database.bulk import insert_rows, run
from alctl.database.connection import writing
from alctl.database.tables import label, unusable
from tests.pools import NOW, answer, pool, reserve, send, write_run


def test_agreement_counts_each_pair_of_annotators_once_by_what_is_in_force(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        answer(connection, [(1, "ann", "dog"), (5, "ann", "cat")])
        answer(connection, [
            (1, "ann", "cat"), (1, "bob", "cat"), (1, "cyd", "dog"), (2, "bob", "owl"), (2, "ann", "cat"),
            (3, "ann", "skip"), (3, "bob", "cat"), (4, "bob", "dog"),
        ])  # fmt: skip
        rows = history.agreement(connection)
    got = {(r.one, r.other, r.one_says, r.other_says, r.answers, r.n) for r in rows}
    assert got == {
        ("ann", "bob", 1, 1, 3, 1),
        ("ann", "bob", 1, 3, 2, 1),
        ("ann", "cyd", 1, 2, 3, 1),
        ("bob", "cyd", 1, 2, 3, 1),
    }


def test_answers_of_a_round_are_what_holds_now(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        number = send(connection, [1, 2, 3])
        answer(
            connection,
            [(1, "ann", "cat"), (1, "bob", "cat"), (1, "cyd", "dog"), (2, "ann", "skip"), (5, "ann", "owl")],
        )
        rows = history.answers_of_round(connection, number)
    assert [(r.item_id, r.status, r.name, r.annotators) for r in rows] == [
        (1, "labeled", "cat", 3),
        (2, "skip", None, 1),
    ]


def test_classes_of_a_round_leave_out_what_is_reserved_or_unusable(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        reserve(connection, "test", [1])
        insert_rows(connection, unusable, [(2, "broken")])
        number = send(connection, [1, 2, 3, 4, 5])
        answer(connection, [(i, "ann", "cat" if i < 5 else "owl") for i in range(1, 6)])
        rows = history.labels_per_class(connection)
    assert [(r.round_id, r.name, r.n) for r in rows] == [(number, "cat", 2), (number, "owl", 1)]


def test_time_counts_for_the_round_that_sent_the_item_last_before_its_answer(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        send(connection, [1, 2, 3])
        batch = answer(connection, [(1, "ann", "cat"), (2, "ann", "cat"), (2, "bob", "dog")])
        send(connection, [3, 4])
        answer(connection, [(3, "ann", "cat"), (9, "ann", "cat")])
        undone = answer(connection, [(4, "bob", "cat")])
        connection.execute(update(label).where(label.c.import_id == batch).values(seconds=10.0))
        connection.execute(update(label).where(label.c.item_id == 3).values(seconds=4.0))
        run(connection, "UPDATE import_batch SET undone_at = :now WHERE id = :batch", now=NOW, batch=undone)
        people = history.time_per_annotator(connection)
        per_round = history.time_per_round(connection)
    assert [(r.annotator, r.answers, r.timed, r.seconds) for r in people] == [
        ("ann", 4, 3, 24.0),
        ("bob", 1, 1, 10.0),
    ]
    assert [(r.round_id, r.answers, r.timed, r.seconds) for r in per_round] == [
        (1, 3, 3, 30.0),
        (2, 1, 1, 4.0),
    ]


def test_the_newest_round_that_a_run_learned_from(url):
    with pool(url, 9) as engine, writing(engine) as connection:
        send(connection, [1, 2])
        send(connection, [3])
        for number, learned in ((1, [8]), (2, [1, 2, 8]), (3, [1, 2, 3])):
            write_run(connection, number, learned)
        assert history.rounds_learned(connection) == {2: 1, 3: 2}
        assert [row.id for row in history.every_round(connection)] == [1, 2]


def test_what_was_labeled_before_a_round_and_the_rest_are_apart_and_usable(url):
    with pool(url, 40) as engine, writing(engine) as connection:
        reserve(connection, "test", [1, 2])
        insert_rows(connection, unusable, [(3, "broken")])
        answer(connection, [(i, "ann", "cat") for i in (1, 3, 4, 5)])
        send(connection, [6, 7])
        answer(connection, [(6, "ann", "cat"), (7, "ann", "dog")])
        number = send(connection, [8, 9])
        answer(connection, [(8, "ann", "cat")])
        before = history.learned_before(connection, number).tolist()
        rest = history.rest(connection, [*before, 8, 9], 100, 7, number)
        some = history.rest(connection, [*before, 8, 9], 10, 7, number)
        assert before == [4, 5, 6, 7]
        assert rest.tolist() == list(range(10, items.size(connection) + 1))
        assert len(some) == 10
        assert np.isin(some, rest).all()
        assert some.tolist() == history.rest(connection, [*before, 8, 9], 10, 7, number).tolist()
