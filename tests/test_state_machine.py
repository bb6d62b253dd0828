"""Any order of init, add, select, import, undo and quarantine: the pool's rules hold after every step."""

import shutil
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alctl import ingest
from alctl.exchange import undo_import
from alctl.images import BrokenImages
from alctl.pool import categories, items, labels
from alctl.rounds import SelectOptions, select
from alctl.runs import quarantine
from alctl.schema import selection
from alctl.status import check, status
from tests.project_files import make_images, make_project, no_progress, take, write_csv

ANNOTATORS = ("ann", "bob")
ANSWERS = ("cat", "dog", "skip", "unusable")


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
        self.sent: Counter[int] = Counter()
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
        report = ingest.add(
            self.project,
            ingest.folder_dataset(self.folder / "images", class_folders=False),
            ingest.Options(validation=0, test=0),
            no_progress,
        )
        assert report.counts["new"] == n
        self.items += n

    @rule(k=st.integers(1, 4), resend=st.booleans(), dry_run=st.booleans())
    def select(self, k: int, resend: bool, dry_run: bool) -> None:
        answered = {item for item, _ in self.in_force()}
        settled = {item for (item, _), answer in self.in_force().items() if answer != "skip"}
        taken = settled if resend else answered | set(self.sent)
        free = set(range(1, self.items + 1)) - taken - self.reserved - self.broken
        options = SelectOptions(k, "random", resend=resend, dry_run=dry_run)
        chosen = select(self.project, options, no_progress)
        picked = [pick["item"] for pick in chosen.picks if pick["rank"] is not None]
        assert chosen.left == len(free)
        assert len(picked) == len(set(picked)) == min(k, len(free))
        assert set(picked) <= free
        along = {pick["item"] for pick in chosen.picks} - set(picked)
        assert along <= self.reserved - self.broken
        if not dry_run:
            self.sent.update(pick["item"] for pick in chosen.picks)
            self.resent |= resend

    @rule(
        rows=st.dictionaries(
            st.tuples(st.integers(1, 12), st.sampled_from(ANNOTATORS)), st.sampled_from(ANSWERS), max_size=5
        ),
        dry_run=st.booleans(),
    )
    def import_labels(self, rows: dict[tuple[int, str], str], dry_run: bool) -> None:
        known = {key: answer for key, answer in rows.items() if key[0] <= self.items}
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
        result = take(self.project, file, dry_run=dry_run)
        assert result.added + result.changed == len(fresh)
        assert result.unchanged == len(known) - len(fresh)
        assert result.changed == len(fresh.keys() & now.keys())
        if result.batch is not None:
            assert not dry_run
            self.batches.append((result.batch, fresh))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        batch, rows = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        assert undo_import(self.project, batch) == len(rows)

    @rule(item=st.integers(1, 12))
    def quarantine(self, item: int) -> None:
        if item <= self.items:
            quarantine(self.project, BrokenImages({item: "broken"}))
            self.broken.add(item)

    def in_force(self) -> dict[tuple[int, str], str]:
        """Return the newest answer of each annotator for each item, without undone imports."""
        return {key: answer for _, rows in self.batches for key, answer in rows.items()}

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
        states = status(self.project)["states"]
        counted = Counter(dict.fromkeys(states["pool"], 0))
        for row in states.values():
            counted.update(row)
        assert sum(counted.values()) == self.items
        assert sum(sum(states[split].values()) for split in ("validation", "test")) == len(self.reserved)
        answered = {item for item, _ in self.in_force()}
        nothing = set(range(1, self.items + 1)) - answered - set(self.sent) - self.broken
        assert counted["unlabeled"] == len(nothing)
        assert counted["out"] == len(set(self.sent) - answered - self.broken)

    @invariant()
    def nothing_was_sent_twice(self) -> None:
        with self.project.reading() as connection:
            rows = [tuple(row) for row in connection.execute(selection.select())]
        pairs = [row[:2] for row in rows]
        assert len(pairs) == len(set(pairs))
        assert Counter(row[1] for row in rows) == self.sent
        assert self.resent or all(count == 1 for count in self.sent.values())

    @invariant()
    def the_state_is_sound(self) -> None:
        assert check(self.project) == []

    def teardown(self) -> None:
        if hasattr(self, "project"):
            self.project.engine.dispose()
            shutil.rmtree(self.folder)


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
