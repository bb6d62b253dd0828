"""`simulate --mine`: the project's own labels replayed, what of it is kept, and what is refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from alctl.cli.own_labels import labels_words
from alctl.database import settings
from alctl.errors import AlctlError
from alctl.images.embeddings import Key
from alctl.project import Project
from alctl.report.facts import Options, gather
from alctl.report.write import make
from alctl.rounds import own_simulation
from alctl.rounds.embed import EmbedOptions, embed, plan_embedding
from alctl.rounds.own_simulation import LabelsSaved, Measured, Rival
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.simulation import mine
from alctl.simulation.mine import MineOptions, judge
from tests.project_files import no_progress, paths_of, small_project, take, write_csv
from tests.warm import run_warm

CLASSES = ("cat", "dog", "eel")
BUDGETS = (6, 12, 24)
ASKED: dict[str, dict[str, object]] = {"uherding": {}, "margin": {}}


def labeled_project(
    folder: Path, n: int = 120, *, embedded: bool = True, chosen: int = 0, **options
) -> Project:
    """A project whose images have a class and a vector each; ``chosen`` of them were picked by a strategy."""
    project = small_project(folder, n, classes=CLASSES, **options)
    rng = np.random.default_rng(0)
    classes = rng.integers(3, size=n)
    vectors = 0.7 * rng.normal(size=(3, 6))[classes] + rng.normal(size=(n, 6))
    paths = paths_of(project)
    if embedded:
        header = ("path", *(f"v{i}" for i in range(6)))
        rows = [(paths[i], *row) for i, row in enumerate(vectors.tolist(), start=1)]
        file = write_csv(folder / "vectors.csv", rows, header)
        embed(project, plan_embedding(project, EmbedOptions(f"table:{file}")), no_progress)
    if chosen:
        select(project, SelectOptions(chosen, "uherding"), no_progress)
    given = write_csv(folder / "labels.csv", [(i, CLASSES[c]) for i, c in enumerate(classes, start=1)])
    take(project, given)
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with 120 labels, 10 of them of test images."""
    return labeled_project(tmp_path_factory.mktemp("mine"), test=10)


def plan(project: Project, asked: MineOptions, told=None):
    return mine.plan(project, asked, no_progress, told)


def options(trials: int = 2, **changes) -> MineOptions:
    return MineOptions(**{"strategies": ASKED, "trials": trials, "budgets": BUDGETS, **changes})


def played(project: Project, trials: int = 2, *, look: bool = True, **changes):
    planned = plan(project, options(trials, **changes))
    done = list(mine.run(project, planned, no_progress))
    return done, judge(project, planned, look=look)


@pytest.fixture
def fresh(project: Project):
    own_simulation.file_of(project).unlink(missing_ok=True)
    return project


def test_every_arm_of_every_trial_is_replayed_and_kept(fresh):
    done, found = played(fresh)
    assert len(done) == 2 * (4 + 2)
    assert (found.images, found.pool, found.test, found.classes) == (110, 77, 33, 3)  # test images stay out
    assert (found.trials, found.budgets, found.looks) == (2, BUDGETS, (2,))
    assert own_simulation.read(fresh) == found
    assert list(found.curves) == ["random", "uherding", "margin"]


def test_the_numbers_are_those_of_a_few_lines(fresh):
    _, found = played(fresh, 3)
    of = {(one.arm, one.trial): np.array(one.accuracy) for one in found.replayed}
    width = np.diff(BUDGETS)

    def area(curve):
        return float(((curve[1:] + curve[:-1]) / 2 * width).sum() / width.sum())

    raw = []
    for rival in found.rivals:
        base = [np.mean([of[f"random{k}", t] for k in ("", " 2", " 3", " 4")], axis=0) for t in (1, 2, 3)]
        differences = [area(of[rival.strategy, t]) - area(base[t - 1]) for t in (1, 2, 3)]
        error = np.std(differences, ddof=1) * np.sqrt(1 / 3 + 33 / 77)
        mean, half = np.mean(differences), stats.t.ppf(0.975, 2) * error
        assert (rival.area.value, rival.area.low, rival.area.high) == pytest.approx(
            (mean, mean - half, mean + half)
        )
        raw.append(2 * stats.t.sf(abs(mean) / error, 2))
    low, high = sorted(raw)
    adjusted = {low: min(1, 2 * low), high: min(1, max(2 * low, high))}
    assert [rival.p for rival in found.rivals] == pytest.approx([adjusted[p] for p in raw])


def test_more_trials_go_on_from_what_is_there_and_count_as_another_look(fresh):
    _, first = played(fresh, 2)
    done, more = played(fresh, 3)
    assert len(done) == 6
    assert more.replayed[: len(first.replayed)] == first.replayed
    assert more.looks == (2, 3)
    again, same = played(fresh, 3)
    assert again == []
    assert same.looks == (2, 3)
    assert same.rivals == more.rivals
    _, earlier = played(fresh, 2)
    assert [one.area for one in earlier.rivals] == [one.area for one in first.rivals]
    for one, was in zip(earlier.rivals, first.rivals, strict=True):
        assert one.p == pytest.approx(min(1, 2 * was.p))


def test_a_plan_is_no_look_at_the_verdicts(fresh):
    _, found = played(fresh, 5, look=False)
    assert found.looks == ()
    needed = mine.trials_that_tell(found.rivals[0], found)
    assert list(needed) == [1, 2, 3, 5]
    assert needed[1] is None  # 33 images that measure cannot show 1 point, however often they are drawn
    assert 100 * found.rivals[0].at_best > 1


@pytest.mark.slow
def test_a_kill_loses_at_most_a_trial(fresh):
    planned = plan(fresh, options(2))
    stopped = mine.run(fresh, planned, no_progress)
    for _ in range(9):  # one trial and half of the next
        next(stopped)
    stopped.close()
    assert len(plan(fresh, options(2)).left) == 6
    done, found = played(fresh)
    assert len(done) == 6
    own_simulation.file_of(fresh).unlink()
    assert played(fresh)[1].replayed == found.replayed


def test_other_labels_begin_anew(tmp_path):
    project = labeled_project(tmp_path, 110)
    played(project, 1)
    assert plan(project, options(1)).left == []
    take(project, write_csv(tmp_path / "more.csv", [(1, "dog"), (2, "dog"), (3, "dog")]))
    assert len(plan(project, options(1)).left) == 6


def test_an_arm_can_be_added(fresh):
    played(fresh, 1)
    done, found = played(fresh, 1, strategies={"uherding": {"sigma": "0.5"}})
    assert [name for _, name, _ in done] == ["uherding(sigma=0.5)"]
    assert [one.strategy for one in found.rivals] == ["uherding(sigma=0.5)"]


def test_too_few_labels_are_refused_with_the_reason(tmp_path):
    project = labeled_project(tmp_path, 99)
    with pytest.raises(AlctlError, match="99 labeled images are too few to replay: about 30 would be left"):
        plan(project, options())


@pytest.mark.slow
def test_images_without_an_embedding_get_one_once_it_was_said_how_long_that_takes(tmp_path):
    project = labeled_project(tmp_path, 100, embedded=False)
    with pytest.raises(
        AlctlError, match=r"100 images lack an embedding by efficientnet-lite0, about .* first"
    ):
        plan(project, options())
    said: list[str] = []
    planned = plan(project, options(), said.append)
    assert planned.known.vectors.shape == (100, 1280)
    assert len(said) == 1
    assert plan(project, options()).found.key == planned.found.key


def test_a_model_that_learned_these_labels_is_refused(tmp_path):
    project = labeled_project(tmp_path, 100)
    with project.writing("test") as connection:
        settings.write(
            connection, settings.EMBEDDING, {"name": "model", "key": asdict(Key("model", "", {}, 8))}
        )
    with pytest.raises(AlctlError, match="nothing could be hidden from it"):
        plan(project, options())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategies": {"learning-loss": {}}}, "a probe has none"),
        ({"strategies": {"random": {}}}, "nothing to compare with random"),
        ({"strategies": {"uherdin": {}}}, "did you mean 'uherding'"),
        ({"budgets": (50,)}, "--budgets must be two numbers"),
        ({"budgets": (10, 78)}, "between 1 and 77"),
    ],
)
def test_what_cannot_be_replayed_is_refused(fresh, changes, words):
    with pytest.raises(AlctlError, match=words):
        plan(fresh, options(**changes))


def test_the_usual_budgets_are_labels_a_class(fresh):
    assert plan(fresh, options(budgets=())).found.budgets == (3, 6, 9, 12, 18, 24, 36, 48)


def test_images_that_a_strategy_chose_are_counted(tmp_path):
    project = labeled_project(tmp_path, 110, chosen=20)
    assert plan(project, options()).found.chosen == 20
    played(project, 1)
    text, _ = make(project, "md", Options(device="cpu"), no_progress)
    assert "A strategy chose 20 of these images, so they are no random part of the pool" in text


def test_labels_saved_are_said_with_their_interval_and_its_limits():
    found = LabelsSaved(160, 110.4, False, Measured(49.6, 12.0, 88.2), 0)
    rival = Rival("uherding", Measured(0.04, 0.01, 0.07), 0.03, 0.01, "", found, 0.03, 0.02)
    assert labels_words(rival) == "what random reached with 160 labels took it 110, 50 fewer (95 %: 12 to 88)"
    found = LabelsSaved(160, 20, True, Measured(140, None, None), 3)
    assert labels_words(replace(rival, labels=found)) == (
        "what random reached with 160 labels took it at most 20, at least 140 fewer; 3 trials never got there: medians"
    )


def test_the_report_shows_it(fresh):
    _, found = played(fresh)
    facts = gather(fresh, Options(device="cpu"), no_progress)
    assert facts.own_simulation == found
    text, _ = make(fresh, "md", Options(device="cpu"), no_progress)
    assert "Strategies on your own labels" in text
    assert "uherding is not told apart from random: with so many images and splits" in text
    plain = json.loads(make(fresh, "json", Options(device="cpu"), no_progress)[0])
    assert plain["own_simulation"]["budgets"] == list(BUDGETS)


def test_a_damaged_file_is_named_and_the_report_goes_on(fresh):
    played(fresh, 1)
    file = own_simulation.file_of(fresh)
    file.write_text('{"key": 3}')
    with pytest.raises(AlctlError, match=r"mine.json is damaged; delete it"):
        plan(fresh, options())
    assert "mine.json is damaged" in str(gather(fresh, Options(device="cpu"), no_progress).problems)


def command(project: Project, *words: str):
    return run_warm("simulate", "--mine", "-p", project.folder, "--budgets", "6,12", *words)


@pytest.mark.slow
def test_the_command_replays_plans_and_says_what_it_would_do(fresh):
    dry = command(fresh, "--trials", "1", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "110 images tell little" in dry.stdout
    assert not own_simulation.file_of(fresh).exists()
    done = command(fresh, "--trials", "2", "--strategy", "uherding", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rivals"][0]["strategy"] == "uherding"
    shown = command(fresh, "--trials", "2", "--strategy", "uherding")
    assert "uherding is not told apart from random so far" in shown.stdout
    assert "in most trials it never reached what random did" in shown.stdout
    planned = command(fresh, "--plan", "--strategy", "uherding")
    assert "never" in planned.stdout
    assert planned.returncode == 0, planned.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--k", "5"), "no use for --k"),
        (("pictures",), "no use for pictures"),
        (("--epochs", "3"), "no use for --epochs"),
        (("--strategy", "uherding", "--param", "margin.x=1"), "is not STRATEGY.NAME=VALUE of one of"),
        (("--budgets", "many"), "is not a list of numbers"),
    ],
)
def test_what_mine_has_no_use_for_is_refused(fresh, words, said):
    done = command(fresh, *words)
    assert done.returncode == 1
    assert said in " ".join(done.stderr.split())


def test_without_mine_images_have_to_be_named(tmp_path):
    done = run_warm("simulate", cwd=tmp_path)
    assert done.returncode == 1
    assert "or replay the labels of this project" in " ".join(done.stderr.split())
    done = run_warm("simulate", "digits", "--plan", cwd=tmp_path)
    assert "--plan is for `alctl simulate --mine`" in done.stderr
