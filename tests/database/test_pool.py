"""The pool's questions: who may be selected, what is reserved, which label holds, in which state every item is."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from alctl.chance import stream
from alctl.database import (
    categories,
    counts,
    in_force,
    items,
    labels,
    rounds,
    rounds_out,
    staged_labels,
    staged_matches,
    staged_problems,
)
from alctl.database.bulk import insert_rows, run, scalar
from alctl.database.connection import writing
from alctl.database.random_order import RandomOrder
from alctl.database.staged_labels import StagedLabel
from alctl.database.tables import item, reserved
from tests.pools import CLASSES, NOW, answer, pool, reserve, send, write_run

SEED, ROUND = 7, 3


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """A pool of 100 items in a writing transaction."""
    with pool(url, 100) as engine, writing(engine) as connection:
        yield connection


def subset(connection: Connection, n: int, *, resend: bool = False) -> list[int]:
    found = rounds.subset(connection, n, SEED, ROUND, resend=resend).tolist()
    assert found == sorted(set(found))
    return [int(i) for i in found]


def in_order(n: int) -> list[int]:
    return [int(i) for i in RandomOrder(n, stream(SEED, "subset", ROUND)).ids(0, n)]


def test_a_subset_is_the_first_free_items_of_the_random_order(connection):
    order = in_order(100)
    reserve(connection, "test", order[0:3])
    items.quarantine(connection, {order[4]: "broken"})
    answer(connection, [(order[5], "ann", "cat"), (order[6], "ann", "skip"), (order[7], "ann", "unusable")])
    send(connection, order[8:12])
    free = [order[3], *order[12:]]
    for n in (1, 2, 10, len(free)):
        assert subset(connection, n) == sorted(free[:n])
    for n in (0, len(free) + 1, 5_000):
        assert subset(connection, n) == sorted(free)
    assert rounds.unlabeled(connection) == len(free)


def test_what_others_are_labeled_as_does_not_move_the_subset(connection):
    order = in_order(100)
    before = subset(connection, 20)
    answer(connection, [(i, "ann", random.Random(i).choice(CLASSES)) for i in order[50:]])
    assert subset(connection, 20) == before


def test_an_item_that_drops_out_is_replaced_by_the_next_and_nothing_else_moves(connection):
    order = in_order(100)
    before = subset(connection, 20)
    answer(connection, [(order[7], "ann", "cat")])
    after = subset(connection, 20)
    assert set(before) - set(after) == {order[7]}
    assert set(after) - set(before) == {order[20]}


def test_another_round_or_seed_has_another_subset(connection):
    found = {
        tuple(rounds.subset(connection, 20, seed, number).tolist()) for seed in (1, 2) for number in (1, 2, 3)
    }
    assert len(found) == 6


def test_resending_offers_what_is_out_or_was_skipped_and_nothing_that_is_answered(connection):
    answer(connection, [(1, "ann", "cat"), (2, "ann", "skip"), (3, "ann", "unusable")])
    answer(connection, [(4, "ann", "skip"), (4, "bob", "dog"), (5, "ann", "skip"), (5, "bob", "skip")])
    send(connection, [1, 2, 6, 7])
    reserve(connection, "validation", [8])
    assert set(range(1, 9)) & set(subset(connection, 0)) == set()
    assert set(range(1, 9)) & set(subset(connection, 0, resend=True)) == {2, 5, 6, 7}


def test_an_answer_that_became_a_skip_can_be_sent_again_and_the_other_way_round(connection):
    first = answer(connection, [(1, "ann", "cat"), (2, "ann", "skip")])
    second = answer(connection, [(1, "ann", "skip"), (2, "ann", "cat")])
    assert {1, 2} & set(subset(connection, 0, resend=True)) == {1}
    labels.undo(connection, second, NOW)
    assert {1, 2} & set(subset(connection, 0, resend=True)) == {2}
    labels.undo(connection, first, NOW)
    assert {1, 2} & set(subset(connection, 0)) == {1, 2}


def test_a_large_pool_gives_the_same_subset_by_blocks_and_by_looking_at_everything(tmp_path):
    n = 30_000
    with pool(f"sqlite:///{tmp_path / 'a.db'}", n) as engine, writing(engine) as connection:
        order = in_order(n)
        send(connection, order[:25_000])
        free = order[25_000:]
        assert subset(connection, 100) == sorted(free[:100])
        assert subset(connection, 4_999) == sorted(free[:4_999])
        assert subset(connection, 5_001) == subset(connection, 0) == sorted(free)


@pytest.mark.slow
def test_few_free_items_of_very_many_are_found_in_the_same_order(tmp_path):
    n = 600_000
    with pool(f"sqlite:///{tmp_path / 'a.db'}", n) as engine, writing(engine) as connection:
        order = in_order(n)
        taken = order[: n - 1_000]
        insert_rows(connection, reserved, ((i, "test") for i in sorted(taken)))
        for wanted in (1, 500, 1_000, 2_000):
            assert subset(connection, wanted) == sorted(order[n - 1_000 :][:wanted])


def test_an_empty_selection_of_a_full_pool_is_empty(connection):
    send(connection, range(1, 101))
    assert subset(connection, 10) == subset(connection, 0) == []
    assert rounds.unlabeled(connection) == 0
    assert len(subset(connection, 10, resend=True)) == 10


def test_reserved_items_are_random_usable_and_never_ones_that_were_used_before(connection):
    items.quarantine(connection, dict.fromkeys(range(1, 21), "broken"))
    send(connection, range(21, 41))
    write_run(connection, 1, range(41, 61))
    assert items.reserve(connection, "test", 15, seed=1) == 15
    assert items.reserve(connection, "validation", 100, seed=1) == 25
    kept = dict(run(connection, "SELECT item_id, split FROM reserved").all())
    assert set(kept) == set(range(61, 101))
    assert sorted(kept.values()) == ["test"] * 15 + ["validation"] * 25
    assert counts.broken_invariants(connection) == []


def test_reserving_follows_the_seed_and_the_split(connection):
    def drawn(split: Any, seed: int) -> set[int]:
        items.reserve(connection, split, 30, seed)
        found = {row[0] for row in run(connection, "SELECT item_id FROM reserved")}
        run(connection, "DELETE FROM reserved")
        return found

    assert drawn("test", 1) == drawn("test", 1)
    assert len({frozenset(drawn(split, seed)) for split in ("test", "validation") for seed in (1, 2)}) == 4


def consensus(connection: Connection) -> dict[int, str]:
    rows = run(connection, f"SELECT item_id, status, category_id FROM {in_force.CONSENSUS} AS c")
    return {row[0]: CLASSES[row[2] - 1] if row[2] else row[1] for row in rows}


OPINIONS = {
    "a:cat": "cat",
    "a:cat b:dog c:cat": "cat",
    "a:cat b:cat c:dog": "cat",
    "a:cat b:dog": "dog",
    "a:dog b:cat": "cat",
    "a:cat b:dog c:dog d:cat": "cat",
    "a:cat b:dog a:dog": "dog",
    "a:cat b:dog a:cat": "dog",
    "a:cat a:dog b:cat": "cat",
    "a:cat b:skip c:skip": "cat",
    "a:skip": "skip",
    "a:cat a:skip": "skip",
    "a:cat b:unusable": "unusable",
    "a:unusable b:cat": "cat",
    "a:unusable b:unusable c:cat": "unusable",
    "a:cat b:dog c:owl": "owl",
}
"""What annotators say one after the other, and what then holds."""


def test_the_majority_holds_a_tie_goes_to_the_newest_and_a_skip_abstains(connection):
    for step in range(4):  # an import each, as they come in
        said = [(id_, opinions.split()[step:]) for id_, opinions in enumerate(OPINIONS, start=1)]
        answer(connection, [(id_, *rest[0].split(":")) for id_, rest in said if rest])
    assert consensus(connection) == dict(enumerate(OPINIONS.values(), start=1))
    assert labels.labeled_items(connection, "pool") == [
        (id_, CLASSES.index(holds) + 1, None)
        for id_, holds in enumerate(OPINIONS.values(), start=1)
        if holds in CLASSES
    ]


def test_an_unchanged_answer_is_no_new_row_and_gets_no_newer(connection):
    answer(connection, [(1, "ann", "cat"), (1, "bob", "dog")])
    answer(connection, [(1, "ann", "cat")])
    assert run(connection, "SELECT count(*) FROM label").scalar() == 2
    assert consensus(connection) == {1: "dog"}


def test_undone_imports_vanish_from_every_answer_and_leave_the_history(connection):
    answer(connection, [(1, "ann", "cat"), (2, "ann", "cat")])
    batch = answer(connection, [(1, "ann", "dog"), (3, "ann", "owl"), (3, "bob", "owl")])
    assert consensus(connection) == {1: "dog", 2: "cat", 3: "owl"}
    assert labels.undo(connection, batch, NOW) == 3
    assert consensus(connection) == {1: "cat", 2: "cat"}
    assert labels.labeled_items(connection, "pool") == [(1, 1, None), (2, 1, None)]
    assert counts.count(connection).classes["owl"] == {"pool": 0, "validation": 0, "test": 0}
    assert 3 in subset(connection, 0)
    assert run(connection, "SELECT count(*) FROM label").scalar() == 5
    answer(connection, [(1, "ann", "dog")])
    assert consensus(connection)[1] == "dog"


def test_labels_of_reserved_items_never_train_and_unusable_items_never_do(connection):
    reserve(connection, "test", [1])
    reserve(connection, "validation", [2])
    items.quarantine(connection, {3: "broken"})
    answer(connection, [(i, "ann", "cat") for i in (1, 2, 3, 4)])
    assert labels.labeled_items(connection, "pool") == [(4, 1, None)]
    assert labels.labeled_items(connection, "test") == [(1, 1, None)]
    assert labels.labeled_items(connection, "validation") == [(2, 1, None)]
    assert counts.count(connection).classes["cat"] == {"pool": 1, "validation": 1, "test": 1}


def test_the_states_are_what_they_are_called(connection):
    reserve(connection, "test", [1, 2])
    items.quarantine(connection, {3: "broken", 4: "broken"})
    answer(connection, [(1, "ann", "cat"), (4, "ann", "cat"), (5, "ann", "skip"), (6, "ann", "unusable")])
    answer(connection, [(7, "ann", "dog"), (8, "ann", "dog")])
    send(connection, [3, 7, 9, 10])
    table = counts.count(connection).states
    assert table["test"] == {
        "labeled": 1,
        "out": 0,
        "overdue": 0,
        "unlabeled": 1,
        "skipped": 0,
        "unusable": 0,
    }
    assert table["pool"] == {
        "labeled": 2, "out": 2, "overdue": 0, "unlabeled": 90, "skipped": 1, "unusable": 3,
    }  # fmt: skip
    assert rounds.unlabeled(connection) == 90
    assert [(row.answered, row.quarantined) for row in counts.per_round(connection)] == [(1, 1)]
    assert [row.out for row in counts.per_round(connection)] == [2]


def test_after_any_history_the_states_partition_the_pool(url):
    """Two hundred random steps against a model in plain Python."""
    rng = random.Random(5)
    with pool(url, 40) as engine, writing(engine) as connection:
        reserve(connection, "test", [1, 2, 3])
        history: dict[int, list[tuple[int, str, str]]] = {}  # batch: (item, annotator, answer)
        out: dict[int, set[int]] = {}  # round: what it sent and nobody recalled
        broken: set[int] = set()
        for _ in range(200):
            step = rng.random()
            if step < 0.5:
                row = (rng.randint(1, 40), rng.choice("abc"), rng.choice([*CLASSES, "skip", "unusable"]))
                batch = answer(connection, [row])
                new = scalar(connection, "SELECT count(*) FROM label WHERE import_id = :batch", batch=batch)
                history[batch] = [row] * new  # an unchanged answer is none
            elif step < 0.7 and history:
                batch = rng.choice(list(history))
                labels.undo(connection, batch, NOW)
                del history[batch]
            elif step < 0.9:
                picked = subset(connection, rng.randint(1, 3), resend=rng.random() < 0.2)
                if picked:
                    out[send(connection, picked)] = set(picked)
            elif step < 0.95 and any(out.values()):
                number = rng.choice([number for number, sent in out.items() if sent])
                back = rng.sample(sorted(out[number]), rng.randint(1, len(out[number])))
                rounds_out.recall(connection, number, back, NOW)
                out[number] -= set(back)
            else:
                one = rng.randint(4, 40)
                items.quarantine(connection, {one: "broken"})
                broken.add(one)
            expected = modelled(history, set().union(*out.values()), broken)
            table = counts.count(connection).states
            assert {state: sum(table[split][state] for split in table) for state in counts.STATES} == {
                state: sum(1 for i in range(1, 41) if expected[i] == state) for state in counts.STATES
            }
            free = [i for i in range(4, 41) if expected[i] == "unlabeled"]
            assert subset(connection, 0) == free
            again = [i for i in range(4, 41) if expected[i] in {"unlabeled", "out", "skipped"}]
            assert subset(connection, 0, resend=True) == again
            assert rounds.unlabeled(connection) == len(free)
            assert [row[0] for row in labels.labeled_items(connection, "pool")] == [
                i for i in range(4, 41) if expected[i] == "labeled"
            ]
            broken_rules = set(counts.broken_invariants(connection))
            assert broken_rules <= {"an item without a digest is not marked unusable"}


def modelled(
    history: dict[int, list[tuple[int, str, str]]], sent: set[int], broken: set[int]
) -> dict[int, str]:
    """Return the state of each of 40 items, from what is still in force."""
    in_force: dict[int, dict[str, tuple[int, str]]] = {}
    for batch in sorted(history):
        for id_, who, what in history[batch]:
            in_force.setdefault(id_, {})[who] = (batch, what)
    states = {}
    for i in range(1, 41):
        votes: dict[str, list[int]] = {}
        for batch, what in in_force.get(i, {}).values():
            votes.setdefault(what, []).append(batch)
        ranked = sorted(votes, key=lambda v: (v == "skip", -len(votes[v]), -max(votes[v])))
        answer_ = ranked[0] if ranked else None
        if i in broken or answer_ == "unusable":
            states[i] = "unusable"
        elif answer_ in CLASSES:
            states[i] = "labeled"
        elif answer_ == "skip":
            states[i] = "skipped"
        else:
            states[i] = "out" if i in sent else "unlabeled"
    return states


def test_quarantining_twice_keeps_the_first_reason(connection):
    items.quarantine(connection, {1: "truncated"})
    items.quarantine(connection, {1: "changed", 2: "changed"})
    assert [(row.id, row.reason) for row in items.unusable_items(connection)] == [
        (1, "truncated"),
        (2, "changed"),
    ]


def test_items_are_fetched_in_the_order_of_the_ids(connection):
    ids = np.array([17, 3, 99, 3])
    assert [(i.id, i.path) for i in items.fetch(connection, ids)] == [
        (17, "17.jpg"),
        (3, "3.jpg"),
        (99, "99.jpg"),
        (3, "3.jpg"),
    ]
    assert items.fetch(connection, np.array([], dtype=np.int64)) == []


def test_other_statements_go_on_while_and_after_paths_are_streamed(connection):
    seen = [(id_, items.size(connection)) for id_, _ in items.paths(connection)]
    assert sorted(seen) == [(i, 100) for i in range(1, 101)]
    assert staged_matches.ids_of_paths(connection, ["5.jpg", "nothing.jpg"]) == {"5.jpg": 5}


def test_paths_are_matched_to_items_and_to_duplicates_of_items(connection):
    run(connection, "INSERT INTO duplicate VALUES ('copy of 5.jpg', 5)")
    names = ["5.jpg", "copy of 5.jpg", "5.JPG", "", "100.jpg", "100.jpg"]
    assert staged_matches.ids_of_paths(connection, names) == {"5.jpg": 5, "copy of 5.jpg": 5, "100.jpg": 100}


def test_problems_name_the_other_line_even_when_every_row_has_one(connection):
    n = 20_000
    rows = [
        StagedLabel(k, k + 2, "", 1 + k % 100, "", None, f"ann{k // 200}", "labeled", 1 + k // 100 % 2)
        for k in range(n)
    ]  # fmt: skip
    staged_labels.stage(connection, rows)
    staged_matches.match_exactly(connection)
    staged_matches.mark_unknown(connection)
    staged_problems.mark_misfits(connection)
    staged_problems.mark_repeats(connection)
    found = staged_problems.problems(connection)
    assert len(found) == n
    assert {row.fate for row in found} == {"contradiction"}
    assert all(abs((row.other_line or 0) - row.line) == 100 for row in found)


def test_unsent_reserved_items_are_those_nobody_has_seen(connection):
    reserve(connection, "test", [5, 1, 2, 3])
    reserve(connection, "validation", [4])
    items.quarantine(connection, {1: "broken"})
    answer(connection, [(2, "ann", "cat")])
    send(connection, [3])
    assert rounds.unsent_reserved(connection) == [(4, "validation"), (5, "test")]


def test_classes_are_appended_and_keep_their_order(connection):
    assert categories.add_categories(connection, ["dog", "ant", "ant", "cat", "bee"]) == ["ant", "bee"]
    assert categories.categories(connection) == ["cat", "dog", "owl", "ant", "bee"]


def test_invariants_notice_what_they_are_for(url):
    with pool(url, 5) as engine, writing(engine) as connection:
        assert counts.broken_invariants(connection) == []
        insert_rows(connection, item, [(9, "9.jpg", None, None, None)])
        send(connection, [1, 2])
        reserve(connection, "test", [1])
        assert counts.broken_invariants(connection) == [
            "item ids have gaps",
            "an item without a digest is not marked unusable",
            "a reserved item was picked as a training candidate",
        ]


def test_the_digests_are_those_of_the_usable_items_or_of_the_others(connection):
    items.quarantine(connection, {3: "broken", 50: "broken"})
    ids, digests = items.digests(connection)
    assert ids.tolist() == [i for i in range(1, 101) if i not in {3, 50}]
    assert digests.tobytes() == b"".join(i.to_bytes(32, "big") for i in ids.tolist())
    assert items.count_usable(connection) == 98
    assert items.digests(connection, unusable=True)[0].tolist() == [3, 50]
