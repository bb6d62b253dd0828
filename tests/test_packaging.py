"""The version, the linter's configuration and the size of files and functions."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNDOCUMENTED = "def area(width: int, height: int) -> int:\n    return width * height\n"


def test_the_top_of_the_changelog_is_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "docs" / "changelog.md").read_text(), re.MULTILINE)
    assert headings[0] == version


def lint(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", *options, "-"]
    return subprocess.run(command, check=False, input=UNDOCUMENTED, cwd=ROOT, capture_output=True, text=True)


def test_the_linter_reads_the_rules_of_this_project():
    ours = lint("--stdin-filename=alctl/area.py")
    assert ours.returncode == 1
    assert "D103" in ours.stdout
    assert lint("--isolated").returncode == 0


def test_every_module_has_at_most_350_lines():
    modules = sorted((ROOT / "alctl").rglob("*.py"))
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > 350} == {}


def test_at_most_13_modules_lie_outside_the_wings():
    assert len(list((ROOT / "alctl").glob("*.py"))) <= 13


def test_every_function_has_at_most_40_lines_or_says_why_it_is_longer():
    """A docstring says why in a sentence that starts with "Longer than 40 lines because"."""
    found = set()
    for path in (ROOT / "alctl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 40:
                words = " ".join((ast.get_docstring(node) or "").split())
                if "Longer than 40 lines because" not in words:
                    found.add(f"{path.relative_to(ROOT / 'alctl')} {node.name}")
    assert found == set()
