"""What has to be set up before annotators' tools can show the images; with a server, see test_live.py."""

import json

import pytest

from alctl.annotators import handout
from alctl.annotators.label_studio.doctor import checks
from alctl.annotators.label_studio.place import ROOT, SWITCH
from alctl.errors import AlctlError
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import no_progress, small_project
from tests.warm import run_warm


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a round whose images are exported."""
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.delenv(ROOT, raising=False)
    made = small_project(tmp_path, 4)
    select(made, SelectOptions(2, "random"), no_progress)
    handout.export(made, 1, no_progress)
    return made


def missing(project):
    return {check.name: check.advice for check in checks(project, "label-studio") if not check.ok}


def test_without_any_set_up_the_variables_to_set_are_named(project):
    found = missing(project)
    assert list(found) == [f"{SWITCH} is true here", f"{ROOT} is set here"]
    assert f"export {ROOT}={project.folder}" in found[f"{ROOT} is set here"]


def test_a_folder_above_the_rounds_is_right(project, monkeypatch):
    monkeypatch.setenv(SWITCH, "true")
    for root in (project.folder, project.folder.parent):
        monkeypatch.setenv(ROOT, str(root))
        assert missing(project) == {}


def test_a_folder_that_only_links_to_one_above_the_rounds_is_right_too(project, monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(project.folder)
    monkeypatch.setenv(SWITCH, "1")
    monkeypatch.setenv(ROOT, str(tmp_path / "link"))
    assert missing(project) == {}


def test_the_folder_of_the_rounds_itself_is_not_enough(project, monkeypatch):
    """Label Studio refuses a storage connection to its document root itself."""
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setenv(ROOT, str(project.rounds))
    [advice] = missing(project).values()
    assert f"{project.rounds} has to lie below" in advice
    assert f"{ROOT}={project.folder}" in advice


def test_a_document_root_that_does_not_exist_is_told_from_one_elsewhere(project, monkeypatch, tmp_path):
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setenv(ROOT, str(tmp_path / "nowhere"))
    assert f"{tmp_path / 'nowhere'} is a folder" in missing(project)
    (tmp_path / "nowhere").mkdir()
    assert list(missing(project)) == [f"{project.rounds} lies below {tmp_path / 'nowhere'}"]


def test_a_round_that_is_not_exported_is_missed(project, monkeypatch):
    for image in project.rounds.glob("*/images/*"):
        image.unlink()
    assert "alctl export ROUND --format label-studio" in missing(project)["a round is exported"]


def test_other_tools_need_nothing(project):
    assert checks(project, "csv") == []


def test_an_unknown_format_is_refused_with_the_ones_there_are(project):
    with pytest.raises(AlctlError, match=r"none of the formats.*did you mean 'label-studio'"):
        checks(project, "label-studo")


def test_a_server_that_cannot_be_asked_is_on_the_list(project, monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "0" * 40)
    [check] = checks(project, "label-studio", "http://ann:secret@localhost")
    assert (check.ok, "secret" in check.name + check.advice) == (False, False)


@pytest.mark.slow
def test_the_command_fails_as_long_as_something_is_missing(project):
    folder, right = project.folder, {SWITCH: "true", ROOT: str(project.folder)}
    failed = run_warm("doctor", "-p", folder)
    assert failed.returncode == 1
    assert f"missing  {SWITCH} is true here" in failed.stdout
    done = run_warm("doctor", "-p", folder, env=right)
    assert (done.returncode, "missing" in done.stdout) == (0, False)
    said = json.loads(run_warm("doctor", "-p", folder, "--json", env=right).stdout)
    assert all(check["ok"] for check in said["checks"])
    other = run_warm("doctor", "-p", folder, "--format", "csv")
    assert (other.returncode, "needs nothing" in other.stdout) == (0, True)
