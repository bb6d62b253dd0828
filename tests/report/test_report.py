"""`alctl report` on a real small project in which every name that a person may choose tries to be code."""

import json
import os
import re
import shlex
import shutil
import subprocess
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sqlalchemy import text

from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.database import labels, rounds, training_runs
from alctl.project import Project, connect
from alctl.report.facts import Options, gather
from alctl.report.pictures import thumbnails
from alctl.report.sections import TITLES
from alctl.report.write import as_plain, make
from alctl.rounds import train_plan, train_run, trained_model
from alctl.rounds.network_model import NetworkModel
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from alctl.status import next_step
from tests.fakes import tiny
from tests.project_files import make_project, no_progress, take, write_csv
from tests.warm import run_warm

EVIL = "<script>alert(1)"
CLASSES = [f"{EVIL}|`{digit}`" for digit in range(4)]
ANNOTATORS = ['"><img src=x onerror=alert(1)>', "</td><script>alert(2)</script>"]


def write_digits(folder: Path, n: int) -> dict[str, str]:
    """Write digits 0 to 3 as PNG files under hostile names; return the class of each."""
    folder.mkdir()
    digits = load_digits(n_class=4)
    answers = {}
    for i in range(n):
        name = f"{EVIL}<!--' onerror='a\" onerror=\"b{i:03}.png"
        Image.fromarray(np.round(digits.images[i] * (255 / 16)).astype(np.uint8)).save(folder / name)
        answers[name] = CLASSES[digits.target[i]]
    (folder / f"{EVIL}broken.png").write_bytes(b"no image")
    return answers


def annotate(project: Project, number: int, answers: dict[str, str]) -> None:
    """Answer a round, a quarter of it twice, and every ninth second answer otherwise."""
    folder = project.folder.parent
    with project.reading() as connection:
        picks = rounds.picks(connection, number)
    rows: list[tuple[Any, ...]] = [(p.item_id, answers[p.path], ANNOTATORS[0], 6.0) for p in picks]
    rows += [
        (p.item_id, CLASSES[0] if i % 9 == 0 else answers[p.path], ANNOTATORS[1], "")
        for i, p in enumerate(picks[::4])
    ]
    header = ("item", "label", "annotator", "seconds")
    import_labels(project, write_csv(folder / f"{number}.csv", rows, header), ImportOptions())


def train(project: Project, **changes: Any) -> None:
    plan = train_plan.plan_training(project, tiny(epochs=8, width=8, **changes), None)
    list(train_run.run_training(project, plan, no_progress))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after two rounds, the second with a random control."""
    folder = tmp_path_factory.mktemp("report")
    answers = write_digits(folder / "images", 240)
    made = make_project(folder / "<b>my & project", folder / "images", classes=CLASSES, test=60)
    for number, (strategy, control) in enumerate([("", 0.0), ("learning-loss", 0.25)], start=1):
        select(made, SelectOptions(40, strategy, device="cpu", guard=False, control=control), no_progress)
        annotate(made, number, answers)
        train(made)
    return made


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Project:
    """The same project, to be changed by one test."""
    return connect(Path(shutil.copytree(project.folder, tmp_path / "project")))


def report(project: Project, form: Any = "html", **options: Any) -> str:
    return make(project, form, Options(device="cpu", **options), no_progress)[0]


def facts_of(project: Project, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = as_plain(gather(project, Options(device="cpu", **options), no_progress))
    return found


class Page(HTMLParser):
    """All tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_holds_every_section_and_no_code_and_calls_nowhere(project):
    html = report(project, cost_per_hour=20)
    page = Page(html)
    assert [title for title in TITLES if f"<h2>{title}</h2>" not in html] == []
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert re.match(r"data:|#", attributes.get(name) or "#"), (tag, attributes)
    assert not re.search(r"https?:|@import|url\(", html)
    shown = "".join(page.text)
    for words in (*CLASSES[:1], *ANNOTATORS, EVIL, "<b>my & project"):
        assert words in shown


def test_a_page_that_shows_everything_has_its_charts_and_pictures(project):
    page = Page(report(project, cost_per_hour=20))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    assert (
        len(pictures)
        == len([a for a in pictures if (a["src"] or "").startswith("data:image/png;base64,")])
        >= 24
    )
    assert "cannot be read" not in "".join(page.text)


def test_the_page_is_the_same_every_time_but_for_the_date(project):
    first, second = (re.sub(r"<time>.*?</time>", "", report(project, cost_per_hour=20)) for _ in range(2))
    assert first == second


def test_markdown_holds_every_section_and_its_words_are_plain(project):
    written = report(project, "md", cost_per_hour=20)
    assert [title for title in TITLES if f"## {title}\n" not in written] == []
    assert not re.search(r"(?<!\\)<", written)
    for line in written.splitlines():
        if line.startswith("| "):
            assert line.endswith(" |")


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head(project):
    cells = None
    for line in report(project, "md").splitlines():
        found = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
        assert cells is None or found is None or found == cells, line
        cells = found


# --- what it says -----------------------------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_project(project):
    facts = facts_of(project, cost_per_hour=36)
    assert facts["project"] == "<b>my & project"
    assert facts["advice"]["next"] == vars(next_step(project))
    assert sum(row["images"] for row in facts["class_accuracy"]) == 60
    assert facts["states"]["pool"]["labeled"] == 80
    assert facts["split"] == "test"
    assert [(run["labeled"], run["round"]) for run in facts["runs"]] == [(40, 1), (80, 2)]
    assert [(row["images"], row["control"], row["reserved"]) for row in facts["rounds"]] == [
        (40, 0, 60),
        (40, 10, 0),
    ]
    assert [row["path"] for row in facts["unusable"]] == [f"{EVIL}broken.png"]
    assert facts["time"]["mean_seconds"] == 6
    assert facts["time"]["cost_per_label"] == pytest.approx(0.06)
    assert sum(row["pool"] for row in facts["balance"]) == 80
    assert {sum(row["rounds"][n] for row in facts["balance"]) for n in ("1", "2")} == {40}
    assert facts["problems"] == []


def test_what_the_last_model_says_agrees_with_what_was_recorded_when_it_was_trained(project):
    facts = facts_of(project)
    recorded = facts["runs"][-1]["metrics"]["test"]
    table = np.array(facts["confusion"]["table"])
    assert np.trace(table) / table.sum() == pytest.approx(recorded["accuracy"])
    assert facts["losses"]["spearman"] == pytest.approx(recorded["spearman"])
    assert facts["losses"]["ranking_accuracy"] == pytest.approx(recorded["ranking_accuracy"])
    assert np.mean(facts["losses"]["true"]) == pytest.approx(recorded["target_loss"], abs=1e-4)
    assert sum(b["images"] for b in facts["calibration"]["bins"]) == table.sum() == 60
    assert facts["calibration"]["bins"][0].keys() == {"from", "to", "images", "confidence", "accuracy"}
    sure = [entry["probability"] for name in ("least", "most") for entry in facts["certain"][name]]
    assert sure[:12] == sorted(sure[:12])
    assert max(sure[:12]) <= min(sure[12:])
    assert all(entry["said"] != entry["true"] for entry in facts["certain"]["mistakes"])


def test_the_gain_compares_the_last_two_models_image_by_image(project):
    facts = facts_of(project)
    first, last = (run["metrics"]["test"]["accuracy"] for run in facts["runs"])
    gain = facts["gain"]
    assert (gain["how"], gain["images"], gain["from_labeled"], gain["to_labeled"]) == ("paired", 60, 40, 80)
    assert gain["gain"]["value"] == pytest.approx(last - first)
    assert gain["per_100"]["low"] == pytest.approx(gain["gain"]["low"] * 100 / 40)
    assert facts["advice"]["verdict"].startswith(
        "Another round is worth it" if gain["gain"]["low"] > 0
        else "The last labels made the model worse" if gain["gain"]["high"] < 0
        else "The last labels are equal to nothing so far"
    )  # fmt: skip


def test_the_control_is_compared_by_the_model_that_chose_the_round(project):
    (arm,) = facts_of(project)["control"]
    assert (arm["round"], arm["run"], arm["labeled"]) == (2, 1, 40)
    assert (arm["picked_images"], arm["control_images"]) == (30, 10)
    with project.reading() as connection:
        run = training_runs.every_run(connection)[0]
        picks = rounds.picks(connection, 2)
    model = trained_model.model_of(project, run, "cpu")
    assert isinstance(model, NetworkModel)
    root = project.state().root
    for why in ("picked", "control"):
        wrong = 0
        for pick in (p for p in picks if p.why == why):
            with Image.open(f"{root}/{pick.path}") as image:
                pixels = model.task.encode_image(image)
            raw = model.trained(_batch(pixels))[0].raw
            wrong += model.task.decode(raw, [(8, 8)])[0][0].category != _class_of(project, pick.item_id)
        assert arm[why]["value"] == pytest.approx(wrong / arm[f"{why}_images"])


def _batch(pixels):
    return torch.from_numpy(pixels.copy())[None]


def _class_of(project: Project, item: int) -> str:
    with project.reading() as connection:
        found = {row[0]: row[1] for row in labels.labeled_items(connection, "pool")}
    return CLASSES[(found[item] or 0) - 1]


def test_annotators_who_share_images_are_compared(project):
    found = facts_of(project)["agreement"]
    (pair,) = found["pairs"]
    assert set(pair["annotators"]) == set(ANNOTATORS)
    assert pair["items"] == 25 + 10
    assert 0.5 < pair["kappa"] < 1
    assert found["alpha"] == pytest.approx(pair["kappa"], abs=0.05)


# --- at every stage ---------------------------------------------------------------------------------------------------


def small(folder: Path, n: int = 60, **options: Any) -> tuple[Project, dict[str, str]]:
    answers = write_digits(folder / "images", n)
    return make_project(folder / "project", folder / "images", classes=CLASSES, **options), answers


def test_a_new_project_is_told_what_is_missing(tmp_path):
    made, _ = small(tmp_path)
    facts = facts_of(made)
    assert facts["advice"]["verdict"].startswith("Nothing is labeled yet")
    assert "alctl train" in facts["missing"]["curve"]
    assert "alctl status" in facts["missing"]["rounds"]
    assert all(f"<h2>{title}</h2>" in report(made) for title in TITLES)
    assert report(made, "md").count("\n## ") == len(TITLES)


def test_labels_without_a_model(tmp_path):
    made, answers = small(tmp_path)
    select(made, SelectOptions(10), no_progress)
    annotate(made, 1, answers)
    facts = facts_of(made)
    assert "train before you label more" in facts["advice"]["verdict"]
    assert facts["missing"].keys() >= {"curve", "runs", "losses", "confusion"}
    assert "balance" not in facts["missing"]
    assert "no answer yet" not in report(made)


def test_a_model_without_labeled_test_images(tmp_path):
    made, answers = small(tmp_path)
    select(made, SelectOptions(20), no_progress)
    annotate(made, 1, answers)
    train(made)
    facts = facts_of(made)
    assert "No reserved image is labeled" in facts["advice"]["verdict"]
    assert "No validation or test image" in facts["missing"]["losses"]
    assert "runs" not in facts["missing"]
    assert "<h2>Calibration</h2>" in report(made)


def test_one_run_is_no_curve_yet(tmp_path):
    made, answers = small(tmp_path, validation=10)
    select(made, SelectOptions(20), no_progress)
    annotate(made, 1, answers)
    train(made, loss_weight=0)
    facts = facts_of(made)
    assert (facts["split"], facts["gain"], len(facts["curve"])) == ("validation", None, 1)
    assert "One point is no curve" in facts["advice"]["verdict"]
    assert "no loss prediction module" in facts["missing"]["losses"]
    assert "takes a loss prediction module" in report(made)


def test_without_the_earlier_weights_the_recorded_accuracies_are_compared(copy):
    (copy.folder / "models" / "run-0001.safetensors").unlink()
    facts = facts_of(copy)
    assert facts["gain"]["how"] == "unpaired"
    assert facts["control"] == []
    assert len(facts["problems"]) == 1
    assert "run 1 are gone" in facts["problems"][0]
    assert any("could not be asked again" in sentence for sentence in facts["advice"]["reasons"])
    assert "run 1 are gone" in report(copy)


def test_without_any_weights_the_page_still_shows_what_was_recorded(copy):
    shutil.rmtree(copy.folder / "models")
    facts = facts_of(copy)
    assert len(facts["curve"]) == 2
    assert "could not be asked" in facts["missing"]["confusion"]
    assert "<svg" in report(copy)


def test_images_that_are_gone_leave_a_gap_and_say_so(copy):
    shutil.rmtree(copy.folder / "cache")
    with copy.writing("test") as connection:
        connection.execute(text("UPDATE project SET root = '/nowhere'"))
    html = report(copy)
    assert "alctl relink" in html
    assert html.count("cannot be read</span>") >= 24
    assert "<img" not in html


def test_an_image_of_a_class_that_the_model_never_saw_is_a_mistake(copy):
    with copy.reading() as connection:
        item = labels.labeled_items(connection, "test")[0][0]
    rows = [(item, "new class", who) for who in ("a", "b", "c", "d")]
    take(copy, write_csv(copy.folder / "new.csv", rows, ("item", "label", "annotator")), add_classes=True)
    facts = facts_of(copy)
    table = np.array(facts["confusion"]["table"])
    assert table.shape == (5, 5)
    assert table[4].sum() == 1
    assert facts["losses"]["images"] == 59
    assert facts["gain"]["images"] == 60


def test_large_images_become_small_pictures_and_small_ones_stay_as_they_are(tmp_path):
    (tmp_path / "images").mkdir()
    for name, size in (("large.png", (800, 400)), ("small.png", (8, 4))):
        Image.effect_noise(size, 50).save(tmp_path / "images" / name)
    made = make_project(tmp_path / "project", tmp_path / "images")
    large, small_ = thumbnails(made, [1, 2], no_progress).values()
    assert (large.small, small_.small) == (False, True)
    sizes = []
    for thumbnail in (large, small_):
        with Image.open(BytesIO(b64decode(thumbnail.data.partition(",")[2]))) as image:
            sizes.append((image.format, image.size))
    assert sizes == [("JPEG", (160, 80)), ("PNG", (8, 4))]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_writes_the_page_and_says_the_verdict(project, tmp_path):
    done = run_warm("report", "-p", project.folder, "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>")
    assert facts_of(project)["advice"]["verdict"] in done.stdout
    assert "report.html" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_json_and_markdown_go_to_standard_output_or_to_a_file(project, tmp_path):
    printed = run_warm("report", "-p", project.folder, "--json", "--device", "cpu")
    assert json.loads(printed.stdout)["gain"]["how"] == "paired"
    run_warm("report", "-p", project.folder, "--format", "md", "--out", tmp_path / "a.md", "--device", "cpu")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# \\<b\\>my \\& project\n")


def test_a_file_that_cannot_be_written_is_named(project, tmp_path):
    done = run_warm("report", "-p", project.folder, "--out", tmp_path / "no" / "r.html", "--device", "cpu")
    assert done.returncode == 1
    assert "there is no folder" in done.stderr


def test_the_page_opens_with_what_the_system_has_for_it(project, tmp_path):
    """A pipe waits for the program that is started, which the command does not wait for."""
    folder = tmp_path / "programs"
    folder.mkdir()
    os.mkfifo(tmp_path / "opened")
    (folder / "xdg-open").write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(tmp_path / "opened"))}\n')
    (folder / "xdg-open").chmod(0o755)
    options = ("-p", project.folder, "--device", "cpu", "--open")
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = run_warm("report", *options, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == "report.html\n"
    nowhere = run_warm("report", *options, cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert (nowhere.returncode, "nothing here opens report.html" in nowhere.stderr) == (0, True)
    printed = run_warm("report", *options, "--json")
    assert (printed.returncode, "name one with --out" in printed.stderr) == (1, True)


# --- in a browser -----------------------------------------------------------------------------------------------------


def browser() -> str:
    found = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if found is None:
        pytest.skip("there is no chromium to open the page in")
    return found


@pytest.mark.slow
def test_a_browser_shows_the_whole_page_and_has_nothing_to_complain_about(project, tmp_path):
    file = tmp_path / "report.html"
    file.write_text(report(project, cost_per_hour=20), encoding="utf-8")
    done = subprocess.run(
        [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, encoding="utf-8", timeout=180, check=True,
    )  # fmt: skip
    page = Page(done.stdout)
    assert [title for title in TITLES if title not in page.text] == []
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert {tag for tag, _ in page.tags} >= {"svg", "img", "table", "polyline"}
