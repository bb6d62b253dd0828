"""Any order of init, add, select, import, undo, recall and quarantine: the pool's rules hold after every step."""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import update

from alctl.annotators import ledger
from alctl.annotators.imports.undo import undo_import
from alctl.database import categories, items, labels
from alctl.database.tables import round_, selection
from alctl.dataset import index
from alctl.images.decode import BrokenImages
from alctl.rounds.pool import quarantine
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import check, status
from tests.examples import examples
from tests.project_files import make_images, make_project, no_progress, take, write_csv

ANNOTATORS = ("ann", "bob")
ANSWERS = ("cat", "dog", "skip", "unusable")


@dataclass
class Round:
    """What went out at once."""

    number: int
    items: set[int]
    after: int
    """The last import before it, where it sent out what had answers already."""
    recalled: set[int] = field(default_factory=set)
    late: bool = False

    @property
    def live(self) -> set[int]:
        """What was not recalled."""
        return self.items - self.recalled


class Pool(RuleBasedStateMachine):
    """The real project beside a model of it in plain Python."""

    @initialize(n=st.integers(2, 10), validation=st.integers(0, 2), test=st.integers(0, 2))
    def init(self, n: int, validation: int, test: int) -> None:
        self.folder = Path(mkdtemp(prefix="alctl-machine-"))
        make_images(self.folder / "images", n)
        self.project = make_project(
            self.folder / "project", self.folder / "images", validation=validation, test=test
        )
        self.items = n
        self.files = 0
        self.broken: set[int] = set()
        self.rounds: list[Round] = []
        self.last = 0
        self.resent = False
        self.batches: list[tuple[int, dict[tuple[int, str], str]]] = []
        with self.project.reading() as connection:
            usable = set(items.usable(connection, "pool").tolist())
        self.reserved = set(range(1, n + 1)) - usable

    @rule(n=st.integers(1, 3))
    def add(self, n: int) -> None:
        self.files += 1
        new = self.folder / "images" / f"more {self.files}"
        make_images(new, n, seed=self.files)
        report = index.add(
            self.project,
            index.folder_dataset(self.folder / "images", class_folders=False),
            index.Options(validation=0, test=0),
            no_progress,
        )
        assert report.counts["new"] == n
        self.items += n

    @rule(k=st.integers(1, 4), resend=st.booleans(), dry_run=st.booleans())
    def select(self, k: int, resend: bool, dry_run: bool) -> None:
        answered = {item for item, _ in self.in_force()}
        settled = {item for (item, _), answer in self.in_force().items() if answer != "skip"}
        taken = settled if resend else answered | self.live()
        free = set(range(1, self.items + 1)) - taken - self.reserved - self.broken
        options = SelectOptions(k, "random", resend=resend, dry_run=dry_run)
        chosen = select(self.project, options, no_progress)
        picked = [pick.item for pick in chosen.picks if pick.rank is not None]
        assert chosen.left == len(free)
        assert len(picked) == len(set(picked)) == min(k, len(free))
        assert set(picked) <= free
        along = {pick.item for pick in chosen.picks} - set(picked)
        assert along == self.reserved - self.broken - answered - self.live()
        if chosen.picks and not dry_run:
            self.rounds.append(Round(chosen.round, {*picked, *along}, self.last if resend else 0))
            self.resent |= resend

    @rule(
        rows=st.dictionaries(
            st.tuples(st.integers(1, 12), st.sampled_from(ANNOTATORS)), st.sampled_from(ANSWERS), max_size=5
        ),
        dry_run=st.booleans(),
    )
    def import_labels(self, rows: dict[tuple[int, str], str], dry_run: bool) -> None:
        known = {key: answer for key, answer in rows.items() if key[0] <= self.items}
        if not known:
            return  # a file without any answer is refused
        now = self.in_force()
        fresh = {key: answer for key, answer in known.items() if now.get(key) != answer}
        self.files += 1
        table = [
            (item, "" if answer in {"skip", "unusable"} else answer, name, "" if answer in {"cat", "dog"} else answer)
            for (item, name), answer in known.items()
        ]  # fmt: skip
        file = write_csv(
            self.folder / f"{self.files}.csv", [*table, ("", "", f"file {self.files}", "")],
            ("item", "label", "annotator", "status"),
        )  # fmt: skip
        again = {key: known[key] for key in known.keys() - fresh.keys() if self.asked_again(key, known)}
        result = take(self.project, file, dry_run=dry_run)
        assert result.added + result.changed == len(fresh)
        assert result.confirmed == len(again)
        assert result.unchanged == len(known) - len(fresh) - len(again)
        assert result.changed == len(fresh.keys() & now.keys())
        if result.batch is not None:
            assert not dry_run
            self.batches.append((result.batch, fresh | again))
            self.last = result.batch

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        batch, rows = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        assert undo_import(self.project, batch).labels == len(rows)

    @precondition(lambda self: self.rounds)
    @rule(data=st.data(), dry_run=st.booleans())
    def recall(self, data: st.DataObject, dry_run: bool) -> None:
        one = data.draw(st.sampled_from(self.rounds))
        some = data.draw(st.lists(st.sampled_from(sorted(one.items)), max_size=2))
        unanswered = one.live - self.answered_since(one)
        (found,) = ledger.recall(self.project, one.number, items=some, dry_run=dry_run)
        assert set(found.items) == (unanswered & set(some) if some else unanswered)
        if not dry_run:
            one.recalled |= set(found.items)

    @precondition(lambda self: self.rounds)
    @rule(data=st.data())
    def miss_the_due_date(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.rounds))
        with self.project.writing("test") as connection:
            long_ago = update(round_).where(round_.c.id == one.number).values(due_at="2026-01-01T00:00:00Z")
            connection.execute(long_ago)
        one.late = True

    @rule(item=st.integers(1, 12))
    def quarantine(self, item: int) -> None:
        if item <= self.items:
            quarantine(self.project, BrokenImages({item: "broken"}))
            self.broken.add(item)

    def in_force(self) -> dict[tuple[int, str], str]:
        """Return the newest answer of each annotator for each item, without undone imports."""
        return {key: answer for _, rows in self.batches for key, answer in rows.items()}

    def live(self) -> set[int]:
        """Return what went out and was not recalled."""
        return {item for one in self.rounds for item in one.live}

    def answered_since(self, one: Round) -> set[int]:
        """Return the items of a round that were answered after it was made, or cannot be used."""
        answers = {item for batch, rows in self.batches if batch > one.after for item, _ in rows}
        return (answers | self.broken) & one.items

    def asked_again(self, key: tuple[int, str], file: dict[tuple[int, str], str]) -> bool:
        """Tell whether a file that is about one round alone gives an answer again that this round asks for again."""
        newest = max(batch for batch, rows in self.batches if key in rows)
        about = {item for item, _ in file}
        return any(newest <= one.after and key[0] in one.live and about <= one.items for one in self.rounds)

    def holds(self) -> dict[int, set[str]]:
        """Return for each answered item the answers that may hold: the majority of those that are no skip."""
        votes: dict[int, Counter[str]] = {}
        for (item, _), answer in self.in_force().items():
            votes.setdefault(item, Counter())[answer] += 1
        found = {}
        for item, counts in votes.items():
            real = {a: n for a, n in counts.items() if a != "skip"} or dict(counts)
            found[item] = {a for a, n in real.items() if n == max(real.values())}
        return found

    @invariant()
    def labels_are_those_of_the_model(self) -> None:
        holds = self.holds()
        with self.project.reading() as connection:
            names = categories.categories(connection)
            found = {
                item: names[(category or 0) - 1]
                for split in ("pool", "validation", "test")
                for item, category, _ in labels.labeled_items(connection, split)
            }
        may = {i for i, answers in holds.items() if answers & {"cat", "dog"}} - self.broken
        must = {i for i, answers in holds.items() if answers <= {"cat", "dog"}} - self.broken
        assert must <= found.keys() <= may
        assert all(answer in holds[item] for item, answer in found.items())

    @invariant()
    def the_states_partition_the_pool(self) -> None:
        states = status(self.project).states
        counted = Counter(dict.fromkeys(states["pool"], 0))
        for row in states.values():
            counted.update(row)
        assert sum(counted.values()) == self.items
        assert sum(sum(states[split].values()) for split in ("validation", "test")) == len(self.reserved)
        answered = {item for item, _ in self.in_force()}
        nothing = set(range(1, self.items + 1)) - answered - self.live() - self.broken
        assert counted["unlabeled"] == len(nothing)
        in_time = {item for one in self.rounds if not one.late for item in one.live}
        assert counted["out"] == len(in_time - answered - self.broken)
        assert counted["overdue"] == len(self.live() - in_time - answered - self.broken)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        rows = ledger.overview(self.project)
        assert [row.id for row in rows] == [one.number for one in self.rounds]
        for row, one in zip(rows, self.rounds, strict=True):
            came = row.labeled + row.skipped + row.unusable
            assert came == row.answered + row.quarantined
            assert came + row.out + row.overdue + row.recalled == row.items == len(one.items)
            unanswered = len(one.live - self.answered_since(one))
            assert (row.out, row.overdue) == ((0, unanswered) if one.late else (unanswered, 0))

    @invariant()
    def nothing_was_sent_twice(self) -> None:
        with self.project.reading() as connection:
            rows = [tuple(row) for row in connection.execute(selection.select())]
        pairs = [row[:2] for row in rows]
        assert len(pairs) == len(set(pairs))
        assert Counter(pairs) == Counter((one.number, item) for one in self.rounds for item in one.items)
        out = Counter(item for one in self.rounds for item in one.live)
        assert self.resent or all(count == 1 for count in out.values())

    @invariant()
    def the_state_is_sound(self) -> None:
        assert check(self.project) == []

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.engine.dispose()
            shutil.rmtree(self.folder)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=examples(15), stateful_step_count=15)
