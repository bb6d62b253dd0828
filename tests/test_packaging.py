"""The version, the linter's configuration and the size of files."""

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
