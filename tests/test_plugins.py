"""Finding plugins: by file, by entry point of another distribution, and what is said when there is none."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alctl.errors import AlctlError
from alctl.labels.format import FORMATS, LabelFormat
from alctl.model.strategy import STRATEGIES, QueryStrategy
from alctl.model.task import TASKS
from alctl.plugins import Plugins, unknown

SHOUT = """
from alctl.labels.format import LabelFormat

class Shout(LabelFormat):
    carries = frozenset({"category"})
    def recognise(self, path): return ""
    def read(self, path): return iter(())
    def write(self, images, path, categories): path.write_text("!")
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages, with one that brings a label format called ``shout``."""
    (tmp_path / "loud_formats.py").write_text(SHOUT)
    info = tmp_path / "loud_formats-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-formats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[alctl.formats]\nshout = loud_formats:Shout\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield info
    sys.modules.pop("loud_formats", None)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package for plugins, with a name of its own."""
    folder = tmp_path / f"plugins_{abs(hash(tmp_path))}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return folder


@pytest.mark.parametrize("plugins", [FORMATS, STRATEGIES, TASKS], ids=lambda plugins: plugins.package)
def test_every_plugin_can_be_loaded_and_keeps_the_contract(plugins):
    assert plugins.names()
    assert plugins.names() == sorted(set(plugins.names()))
    for name in plugins.names():
        assert name == name.lower().replace("_", "-")
        assert issubclass(plugins.load(name), plugins.base)


def test_names_are_listed_without_importing_a_plugin(package):
    (package / "explosive_one.py").write_text("raise RuntimeError('imported')")
    plugins = Plugins(package.name, LabelFormat)
    assert plugins.names() == ["explosive-one"]
    with pytest.raises(RuntimeError, match="imported"):
        plugins.load("explosive-one")


def test_an_unknown_name_lists_the_choices_and_the_nearest():
    with pytest.raises(AlctlError) as error:
        STRATEGIES.load("learning_loss")
    sentence = str(error.value)
    assert sentence.startswith("'learning_loss' is none of the strategies: ")
    assert sentence.endswith("; did you mean 'learning-loss'?")
    assert all(name in sentence for name in STRATEGIES.names())
    for name in ("", "../csv", "__init__", "Random", "os.path"):
        with pytest.raises(AlctlError, match="none of the strategies"):
            STRATEGIES.load(name)


def test_without_a_near_name_none_is_suggested():
    assert unknown("xyz", ["cat", "dog"], "classes") == "'xyz' is none of the classes: cat, dog"


def test_a_plugin_of_another_distribution_is_found_by_its_entry_point(elsewhere, tmp_path):
    assert "shout" in FORMATS.names()
    FORMATS.load("shout")().write([], tmp_path / "x", [])
    assert (tmp_path / "x").read_text() == "!"
    assert "shout" not in STRATEGIES.names()


def test_a_file_of_alctl_comes_before_an_entry_point_of_the_same_name(elsewhere):
    (elsewhere / "entry_points.txt").write_text("[alctl.formats]\ncsv = loud_formats:Shout\n")
    assert FORMATS.load("csv").__module__ == "alctl.labels.formats.csv"


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("no_such_module:Shout", r"'shout' of loud-formats .*no_such_module"),
        ("loud_formats:Whisper", r"'shout' of loud-formats .*Whisper"),
        ("pathlib:Path", r"'shout' of loud-formats .*is not a LabelFormat"),
        ("os:sep", r"'shout' of loud-formats .*is not a LabelFormat"),
    ],
)
def test_a_foreign_plugin_that_cannot_be_used_is_named_with_its_distribution(elsewhere, target, sentence):
    (elsewhere / "entry_points.txt").write_text(f"[alctl.formats]\nshout = {target}\n")
    with pytest.raises(AlctlError, match=sentence):
        FORMATS.load("shout")


@pytest.mark.parametrize("classes", [0, 2])
def test_a_file_holds_exactly_one_plugin(package, classes):
    source = "from alctl.labels.format import LabelFormat\n" + "".join(
        f"class C{i}(LabelFormat):\n    def recognise(self, path): ...\n    def read(self, path): ...\n"
        "    def write(self, *rest): ...\n"
        for i in range(classes)
    )  # fmt: skip
    (package / "some.py").write_text(source + "class Helper: pass\n")
    with pytest.raises(AlctlError, match=f"exactly one LabelFormat, not {classes}"):
        Plugins(package.name, LabelFormat).load("some")


def test_a_plugin_may_import_another_and_have_an_abstract_base(package):
    (package / "base.py").write_text(
        "from alctl.model.strategy import QueryStrategy\nclass Half(QueryStrategy):\n    pass\n"
        "class Whole(Half):\n    def query(self, *rest): ...\n"
    )
    (package / "child.py").write_text(
        f"from {package.name}.base import Whole\nclass Child(Whole):\n    pass\n"
    )
    plugins = Plugins(package.name, QueryStrategy)
    assert plugins.load("base").__name__ == "Whole"
    assert plugins.load("child").__name__ == "Child"
