"""What a report's page shows of facts written by hand: charts, tables that fit, words that are explained, commands."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from alctl.database.items import Unusable
from alctl.report import markdown, near_duplicates, page, plain_words
from alctl.report.blocks import Figure, List, Pairs, Section, Table, Text
from alctl.report.contents import Advice, ClassBalance, CurvePoint, ShownPair
from alctl.report.evaluation import class_accuracy
from alctl.report.facts import missing
from alctl.report.model_contents import Confusion
from alctl.report.model_sections import CLASSES, curve, per_class
from alctl.report.sections import COLUMNS
from alctl.rounds.answer import NEAR_DUPLICATES
from alctl.status import NextStep
from tests.report.by_hand import LATER, ROUND, RUN, facts

POINTS = [CurvePoint(1, 100, 0.5, 0.4, 0.6), CurvePoint(2, 200, 0.7, 0.6, 0.8)]


def chart(*points: CurvePoint) -> Figure:
    (figure,) = curve(facts(curve=points))
    assert isinstance(figure, Figure)
    return figure


def test_a_band_is_named_where_one_is_drawn():
    two, one = chart(*POINTS), chart(POINTS[0])
    assert 'class="band"' in two.svg
    assert "The band is chance" in two.caption
    assert 'class="band"' not in one.svg
    assert re.search(r'<g class="s1"[^>]*><line ', one.svg)
    assert "The bar is chance" in one.caption
    without = chart(*(replace(point, low=None, high=None) for point in POINTS))
    assert 'class="band"' not in without.svg
    assert "chance" not in without.caption


def test_classes_come_worst_first_and_those_without_images_are_named():
    found = class_accuracy([[8, 2, 0], [1, 1, 0], [0, 0, 0]], ["cat", "dog", "emu"])
    shown = facts(class_accuracy=found)
    _, table, lacking = per_class(shown)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["dog", "cat"]
    assert table.rows[1] == ["cat", "10", "8", "80% (49%–94%)", "89% (57%–98%)", "dog"]
    assert lacking == Text("Without a test image nothing can be said of: emu.")


def test_words_are_explained_that_the_page_uses():
    def words(said: str) -> list[str]:
        (block,) = plain_words.glossary([Section("a", "A", [Text(said)])])
        assert isinstance(block, List)
        return [sentence.partition(":")[0] for sentence in block.sentences]

    assert words("Spearman 0.9, with a 95 % interval") == ["95 %", "Spearman"]
    assert words("Nothing is trained yet.") == []


def test_the_page_says_in_one_sentence_how_good_the_model_is():
    said = plain_words.in_short(facts(curve=POINTS))
    assert "has learned from 200 images and is right on 70% of those it has not seen" in said
    assert "somewhere between 60% and 80%" in said
    assert plain_words.in_short(facts()) == ""


@pytest.mark.parametrize("render", [page.render, markdown.render])
def test_commands_are_as_they_are_typed_here(render):
    known = facts(runs=[])
    known = replace(
        known, missing=missing(known), advice=Advice("", (), NextStep("alctl pull 3", "round 3 <is> out"))
    )
    arguments: tuple[Any, ...] = ({},) if render is page.render else ()
    text = render(known, *arguments, typed=lambda command: f"{command} -p 'a & b'")
    for command in ("alctl pull 3", "alctl train"):
        assert f"{command} -p " in text
    assert "a & b" not in text or render is markdown.render
    assert "round 3 <is> out" not in text


def pair(item: int, *, apart: bool) -> ShownPair:
    return ShownPair(item, f"{item}.png", item + 1, f"{item + 1}.png", 0.9, labeled=False, apart=apart)


def test_similar_images_are_shown_as_pairs_where_that_tells_something():
    """Of the newest round, to choose a threshold, and of the rounds that left some out."""
    params = {NEAR_DUPLICATES: {"groups": 0, "cosine": 0.92, "left_out": 0, "labeled": 0, "repeated": 0}}
    rounds = [
        replace(ROUND, id=1, params=params, pairs=[pair(1, apart=True)]),
        replace(ROUND, id=2, pairs=[pair(1, apart=False), pair(3, apart=True)]),
        replace(ROUND, id=3, params=params, pairs=[pair(1, apart=True)]),
    ]
    found = near_duplicates.blocks(rounds)
    assert found[0] == Text("Round 3: no near-duplicates (cosine 0.92 or more) among the candidates.")
    newest, second = (block for block in found if isinstance(block, Pairs))
    assert newest.title.startswith("Round 3")
    assert newest.note.startswith("None of them is alike enough to be left out")
    assert second.note.startswith("Of the first 1 pair the left image was left out")
    known = facts(rounds=rounds)
    html = page.render(replace(known, missing=missing(known)), {})
    assert html.count('<ul class="gallery pairs">') == 2
    assert html.count("stands for it") == 1


# --- in a browser -----------------------------------------------------------------------------------------------------

_MEASURE = """<script>
const wide = [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth);
const said = wide.map(e => e.closest("section").id + " " + e.scrollWidth + " of " + e.clientWidth);
document.title = JSON.stringify([innerWidth, document.documentElement.scrollWidth, said]);
</script>"""


def test_no_table_is_cut_at_1280_pixels(tmp_path):
    """Also the widest: as many classes and rounds as are shown, with long names, and all metrics of a network."""
    browser = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if browser is None:
        pytest.skip("there is no chromium to open the page in")
    names = [f"long-sleeved shirt, number {i}, of the winter" for i in range(CLASSES)]
    table = [[1234 if i == j else 123 for j in range(CLASSES)] for i in range(CLASSES)]
    metrics = (
        "accuracy",
        "balanced_accuracy",
        "target_loss",
        "ranking_accuracy",
        "entropy_ranking_accuracy",
        "margin_ranking_accuracy",
        "spearman",
        "pearson",
    )
    config = {"model": "probe on efficientnet-lite0", "lr": 0.1}
    runs = [
        replace(run, config=config, metrics={"test": dict.fromkeys(metrics, 0.1234)}) for run in (RUN, LATER)
    ]
    rounds = dict.fromkeys(range(1, COLUMNS + 1), 1000)
    known = facts(
        unusable=[Unusable(1, "folder/" * 30 + "x" * 200, "it is no image " * 9)],
        classes=names,
        runs=runs,
        curve=POINTS,
        confusion=Confusion(table, []),
        class_accuracy=class_accuracy(table, names),
        balance=[ClassBalance(name, 12_345, 1_234, 1_234, rounds) for name in names],
    )
    html = page.render(replace(known, missing=missing(known)), {})
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html).replace(
        "</body>", f"{_MEASURE}</body>"
    )
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
            "--window-size=1280,900", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, encoding="utf-8", timeout=180, check=True,
    )  # fmt: skip
    title = re.findall(r"<title>(.*?)</title>", done.stdout)[0]  # the others name dots of charts
    width, page_width, cut = json.loads(title)
    assert (width, cut) == (1280, [])
    assert page_width <= width
