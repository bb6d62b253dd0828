"""`alctl embed` and what `alctl status` says of it, through the real command."""

from pathlib import Path

import pytest

from tests.project_files import make_images, run_alctl, small_project
from tests.warm import run_warm, warm_json


def test_embed_says_how_long_it_takes_then_what_it_did_and_status_what_is_lacking(tmp_path):
    project = small_project(tmp_path, 5)
    before = run_warm("status", "--project", project.folder)
    assert "embedding" not in before.stdout

    planned = run_warm("embed", "--dry-run", "--device", "cpu", "--project", project.folder)
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr.startswith("efficientnet-lite0: 5 images × 0.")
    assert "nothing was computed" in planned.stdout

    done = run_warm("embed", "--device", "cpu", "--project", project.folder)
    assert done.returncode == 0, done.stderr
    assert "5 images have an embedding of 1,280 numbers now" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("next: alctl select --k")
    assert "lack" not in run_warm("status", "--project", project.folder).stdout

    make_images(tmp_path / "images" / "more", 2, seed=8)
    run_warm("add", tmp_path / "images", "--project", project.folder)
    after = run_warm("status", "--project", project.folder)
    assert (
        f"2 images lack an embedding by efficientnet-lite0; `alctl embed -p {project.folder}`" in after.stdout
    )
    told = warm_json("status", "--project", project.folder)["embedding"]
    assert told == {"backbone": "efficientnet-lite0", "embedded": 5, "lacking": 2}


@pytest.mark.slow
def test_embed_tells_programs_the_same_in_json(tmp_path):
    project = small_project(tmp_path, 3)
    arguments = ("embed", "--device", "cpu", "--size", "64", "--project", project.folder)
    planned = warm_json(*arguments, "--dry-run")
    assert (planned["to_embed"], planned["already"]) == (3, 0)
    assert planned["seconds"] > 0
    done = warm_json(*arguments)
    assert (done["embedded"], done["dimension"], done["excluded"], done["quarantined"]) == (3, 1280, 0, {})
    assert warm_json(*arguments)["already"] == 3


def test_status_of_a_project_with_embeddings_never_imports_torch(tmp_path):
    project = small_project(tmp_path, 2)
    assert run_warm("embed", "--device", "cpu", "--size", "32", "--project", project.folder).returncode == 0
    blocked = tmp_path / "blocked"
    (blocked / "torch").mkdir(parents=True)
    (blocked / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')")
    root = Path(__file__).parents[2]
    done = run_alctl("status", "--project", project.folder, env={"PYTHONPATH": f"{blocked}:{root}"})
    assert done.returncode == 0, done.stderr


def test_a_backbone_that_does_not_exist_is_a_sentence(tmp_path):
    project = small_project(tmp_path, 1)
    done = run_warm("embed", "--backbone", "dinosaur", "--project", project.folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no backbone 'dinosaur'; there are efficientnet-lite0")
