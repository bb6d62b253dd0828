"""Rounds to and from a running Label Studio."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from alctl.annotators.imports.import_labels import ImportOptions, import_labels
from alctl.annotators.imports.problems import BadRowsError
from alctl.annotators.imports.undo import undo_import
from alctl.annotators.label_studio import PullOptions, PushOptions, place, pull, push, server
from alctl.database import categories, handouts, pre_annotations
from alctl.database.bulk import mappings
from alctl.errors import AlctlError
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import ENVIRONMENT, make_images, make_project, no_progress, run_alctl, small_project

TOKEN = "0123456789abcdef0123456789abcdef01234567"


# --- addresses and tokens ---------------------------------------------------------------------------------------------


def test_an_address_loses_its_last_slash_and_keeps_its_path():
    assert place.checked_address("https://labels.example.com/team/") == "https://labels.example.com/team"


@pytest.mark.parametrize("address", ["localhost:8080", "ftp://host", "http://", "", "http://host/?a=1"])
def test_what_is_not_the_address_of_a_server_is_refused(address):
    with pytest.raises(AlctlError, match="server"):
        place.checked_address(address)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(AlctlError, match="leave them out") as refused:
        place.checked_address("http://ann:secret@localhost:8080")
    assert "secret" not in str(refused.value)


def test_a_missing_token_is_asked_for_by_the_name_of_its_variable(monkeypatch):
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(AlctlError, match=r"LABEL_STUDIO_API_KEY.*keyring set alctl http://host"):
        place.find_token("http://host")
    with pytest.raises(AlctlError, match="environment variable MINE"):
        place.find_token("http://host", "MINE")


def test_the_token_comes_from_the_environment_without_the_line_end_of_a_file(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", f"{TOKEN}\n")
    monkeypatch.setenv("MINE", "other")
    assert place.find_token("http://host") == TOKEN
    assert place.find_token("http://host", "MINE") == "other"


def test_a_token_with_strange_characters_is_refused_unseen(monkeypatch):
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "schlüssel")
    with pytest.raises(AlctlError, match="not a token") as refused:
        place.find_token("http://host")
    assert "schl" not in str(refused.value)


def test_without_the_variable_the_system_s_keyring_is_asked(monkeypatch):
    keyring = pytest.importorskip("keyring", exc_type=ImportError)
    from keyring.backend import KeyringBackend

    def kept(_, service, user):
        return f"{TOKEN}\n" if (service, user) == ("alctl", "http://host") else None

    backend = type("Kept", (KeyringBackend,), {"priority": 1, "get_password": kept, "set_password": None})
    before = keyring.get_keyring()
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    keyring.set_keyring(backend())
    try:
        assert place.find_token("http://host") == TOKEN
        with pytest.raises(AlctlError, match="there is no token for http://other"):
            place.find_token("http://other")
    finally:
        keyring.set_keyring(before)


def test_without_the_sdk_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(AlctlError, match=r"pip install 'alctl\[label-studio\]'"):
        server.Server("http://host", TOKEN)


def test_the_server_s_project_is_named_after_the_folder_that_means_something(tmp_path):
    make_images(tmp_path / "images", 2)
    one = make_project(tmp_path / "birds" / "alctl-project", tmp_path / "images")
    other = make_project(tmp_path / ("owl" * 20), tmp_path / "images")
    assert place.default_title(one) == "alctl birds"
    assert place.default_title(other) == f"alctl {'owl' * 14}ow"  # Label Studio takes 50 characters


def test_pulling_a_round_that_was_never_pushed_says_so(tmp_path):
    project = small_project(tmp_path)
    select(project, SelectOptions(2, "random"), no_progress)
    with pytest.raises(AlctlError, match="round 1 was not pushed to any server; alctl push 1 --to URL"):
        pull(project, 1, PullOptions(), no_progress)


def test_a_round_at_several_servers_needs_to_be_told_which(tmp_path):
    project = small_project(tmp_path)
    select(project, SelectOptions(2, "random"), no_progress)
    with project.writing("test") as connection:
        for host in ("a", "b"):
            handouts.add(
                connection,
                round_id=1,
                tool=place.TOOL,
                place=f"http://{host}/projects/1",
                now="2026-01-01T00:00:00Z",
            )
    with pytest.raises(AlctlError, match="http://a/projects/1, http://b/projects/1; say which with --to"):
        pull(project, 1, PullOptions(), no_progress)


# --- servers that answer something else -------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: str, kind: str = "application/json", wait: float = 0) -> Iterator[str]:
    """Run a server that always gives the same answer, late unless it is closed before; yield its address."""
    closed = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            closed.wait(wait)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Location", "https://elsewhere.example.com/login")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        closed.set()
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def sdk() -> None:
    """Skip a test where the extra label-studio is not installed."""
    pytest.importorskip("label_studio_sdk", exc_type=ImportError)


def version_of(address: str, timeout: float = 5) -> str:
    with server.Server(address, TOKEN, timeout) as asked:
        return asked.version()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept the token.*Invalid token"),
        (403, "is not allowed to"),
        (404, "is this the address of a Label Studio"),
        (500, "failed with status 500"),
        (302, "sends on to https://elsewhere.example.com/login"),
    ],
)
@pytest.mark.usefixtures("sdk")
def test_a_refusal_becomes_a_sentence_without_the_token(status, said):
    with (
        answering(status, json.dumps({"detail": f"Invalid token. {TOKEN}"})) as address,
        pytest.raises(AlctlError, match=said) as refused,
    ):
        version_of(address)
    assert TOKEN not in str(refused.value)


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "[]", "{}", '{"release": 3}', ""])
@pytest.mark.usefixtures("sdk")
def test_what_answers_but_is_no_label_studio_is_told_from_one(body):
    with answering(200, body) as address, pytest.raises(AlctlError, match="Label Studio"):
        version_of(address)


@pytest.mark.usefixtures("sdk")
def test_a_server_that_does_not_answer_in_time_is_not_waited_for():
    with (
        answering(200, "{}", wait=60) as address,
        pytest.raises(AlctlError, match="more than 1 seconds to tell its version"),
    ):
        version_of(address, 1)


@pytest.mark.usefixtures("sdk")
def test_a_server_that_is_not_there_is_named():
    with pytest.raises(
        AlctlError, match=r"cannot reach http://127\.0\.0\.1:9 .*is Label Studio running there"
    ):
        version_of("http://127.0.0.1:9")


# --- a real Label Studio ----------------------------------------------------------------------------------------------

real = [pytest.mark.label_studio, pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def studio(tmp_path_factory):
    """A server that shows files below a folder in which tests make their projects."""
    from tests.label_studio_server import label_studio_server

    root = tmp_path_factory.mktemp("studio-files")
    with label_studio_server(tmp_path_factory.mktemp("studio"), root=root) as running:
        yield running


@pytest.fixture(scope="session")
def personal_token(studio):
    """Ann's; she can have only one."""
    return studio.ann.ask("POST", "/api/token/")["token"]


@pytest.fixture(scope="session")
def blind_studio(studio, personal_token, tmp_path_factory):
    """A server that shows no local files, with the same people and tokens."""
    from tests.label_studio_server import label_studio_server

    folder = tmp_path_factory.mktemp("blind-studio")
    with label_studio_server(folder, root=None, data=studio.data) as running:
        yield running


@pytest.fixture(scope="session")
def bob(studio):
    with studio.person("bob@example.com") as somebody:
        yield somebody


@pytest.fixture
def home(studio, request, monkeypatch):
    """A folder for this test's project, below the server's document root; its name is the project's title."""
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    folder = studio.root / request.node.name[-40:].strip("[]_").replace("[", "-")
    folder.mkdir()
    return folder


def detection(folder: Path, n: int, k: int, size: int = 100):
    """Make a project of ``n`` images with a round of ``k``."""
    make_images(folder / "images", n, size=size)
    project = make_project(folder / "alctl-project", folder / "images", task="detection")
    select(project, SelectOptions(k, "random"), no_progress)
    return project


def sent(project, studio, number=1, **options):
    return push(project, number, PushOptions(studio.address, **options), no_progress)


def pulled(project, number=1, **options):
    return pull(project, number, PullOptions(**options), no_progress)


def box(name: str, *, x: float = 60, y: float = 20, w: float = 20, h: float = 40, rotation: float = 0):
    """Return the region that the browser sends for a rectangle, in percent."""
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": rotation, "rectanglelabels": [name]}
    return {
        "id": f"r{x}", "type": "rectanglelabels", "from_name": "box", "to_name": "image", "original_width": 100,
        "original_height": 100, "image_rotation": 0, "value": value,
    }  # fmt: skip


def labels_of(project) -> dict[tuple[int, str], list[tuple[str, list[object]]]]:
    """Return the history of each item and annotator: status and boxes, oldest first."""
    with project.reading() as connection:
        rows = mappings(connection, "SELECT item_id, annotator, status, annotations FROM label ORDER BY id")
    found: dict[tuple[int, str], list[tuple[str, list[object]]]] = {}
    for row in rows:
        boxes = [thing["bbox"] for thing in json.loads(row["annotations"] or "[]")]
        found.setdefault((row["item_id"], row["annotator"]), []).append((row["status"], boxes))
    return found


def cursor_of(project) -> str | None:
    with project.reading() as connection:
        return handouts.find(connection, tool=place.TOOL)[-1].cursor


class TestPush:
    pytestmark = real

    def test_a_round_is_there_once_however_often_it_is_pushed(self, studio, home):
        project = detection(home, 8, 5)
        first, second = sent(project, studio), sent(project, studio)
        assert (first.created, first.sent, first.present) == (True, 5, 0)
        assert (second.created, second.sent, second.present, second.place) == (False, 0, 5, first.place)
        tasks = studio.tasks(first.place)
        assert len({task["data"]["alctl_sha256"] for task in tasks}) == len(tasks) == 5
        assert [len(studio.projects(f"alctl {home.name}"))] == [1]

    def test_annotators_see_the_images_of_the_export(self, studio, home, bob):
        project = detection(home, 4, 2)
        for task in studio.tasks(sent(project, studio).place):
            seen = bob.http.get(task["data"]["image"])
            assert seen.status_code == 200
            assert seen.content == (home / "images" / task["data"]["path"]).read_bytes()

    def test_a_second_round_goes_to_the_same_project_even_if_it_was_renamed(self, studio, home):
        project = detection(home, 8, 3)
        first = sent(project, studio)
        studio.ann.ask("PATCH", f"/api/projects/{first.place.rpartition('/')[2]}", json={"title": "Ours"})
        select(project, SelectOptions(2, "random"), no_progress)
        second = sent(project, studio, 2)
        assert (second.place, second.sent, second.title) == (first.place, 2, "Ours")
        assert [task["data"]["alctl_round"] for task in studio.tasks(first.place)] == [1, 1, 1, 2, 2]

    def test_a_push_that_was_killed_is_finished_by_the_next_one(self, studio, home):
        project = detection(home, 700, 700, size=8)
        command = [
            sys.executable,
            "-m",
            "alctl",
            "push",
            "1",
            "--to",
            studio.address,
            "-p",
            str(project.folder),
        ]
        environment = {**ENVIRONMENT, "LABEL_STUDIO_API_KEY": TOKEN}
        killed = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        title, there = f"alctl {home.name}", 0
        while not there and killed.poll() is None:
            there = sum(project["task_number"] for project in studio.projects(title))
        os.kill(killed.pid, signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        result = sent(project, studio)
        assert 0 < result.present < 700
        digests = [task["data"]["alctl_sha256"] for task in studio.tasks(result.place)]
        assert len(digests) == len(set(digests)) == 700

    def test_a_class_that_was_merged_is_not_missed_on_the_server(self, studio, home):
        project = detection(home, 8, 3)
        with project.writing("test") as connection:
            categories.merge(connection, 2, 1)
        first = sent(project, studio)
        untouched = (project.rounds / "0001" / "label-studio.json").stat().st_ino
        assert (first.sent, sent(project, studio).present) == (3, 3)
        assert (project.rounds / "0001" / "label-studio.json").stat().st_ino == untouched
        config = studio.ann.ask("GET", f"/api/projects/{first.place.rpartition('/')[2]}")["label_config"]
        assert '"cat"' in config
        assert '"dog"' not in config

    def test_of_tasks_that_are_there_twice_the_one_without_work_goes(self, studio, home):
        project = detection(home, 4, 3)
        where = sent(project, studio).place
        again = [{"data": task["data"]} for task in studio.tasks(where)]
        studio.ann.ask("POST", f"/api/projects/{where.rpartition('/')[2]}/import", json=again)
        twice = studio.tasks(where)
        worked_on = twice[3]["id"]
        studio.ann.annotate(worked_on, [box("cat")])
        assert sent(project, studio).removed == 3
        left = [task["id"] for task in studio.tasks(where)]
        assert left == sorted({worked_on, *(task["id"] for task in twice[1:3])})

    def test_predictions_go_with_the_tasks(self, studio, home):
        project = detection(home, 4, 2)
        with project.reading() as connection:
            sent_items = mappings(connection, "SELECT item_id FROM selection ORDER BY item_id")
        said = canonical_json.dumps([(Annotation("cat", bbox=(10, 20, 30, 40)), 1)], ordered=True)
        with project.writing("test") as connection:
            pre_annotations.write(connection, 1, [(sent_items[0]["item_id"], None, said)])
        tasks = studio.tasks(sent(project, studio).place)
        shown = {task["data"]["alctl_item"]: task["predictions"] for task in tasks}
        value = shown[sent_items[0]["item_id"]][0]["result"][0]["value"]
        assert [value[key] for key in ("x", "y", "width", "height")] == [10, 20, 30, 40]
        assert shown[sent_items[1]["item_id"]] == []

    @pytest.mark.parametrize("task", ["classification", "pose", "segmentation"])
    def test_every_task_has_a_configuration_that_the_server_takes(self, studio, home, task):
        make_images(home / "images", 4)
        project = make_project(home / "alctl-project", home / "images", task=task)
        with project.writing("test") as connection:
            categories.learn_keypoints(connection, {1: ("nose", "tail")} if task == "pose" else {})
        select(project, SelectOptions(2, "random"), no_progress)
        where = sent(project, studio).place
        assert [len(studio.tasks(where)), sent(project, studio).sent] == [2, 0]
        config = studio.ann.ask("GET", f"/api/projects/{where.rpartition('/')[2]}")["label_config"]
        assert all(f'"{name}"' in config for name in ("cat", "dog"))
        assert ('"nose"' in config) == (task == "pose")

    def test_a_dry_run_leaves_nothing_behind(self, studio, home):
        project = detection(home, 4, 2)
        result = sent(project, studio, dry_run=True)
        assert (result.sent, result.place) == (2, studio.address)
        assert studio.projects(f"alctl {home.name}") == []
        with project.reading() as connection:
            assert handouts.find(connection, tool=place.TOOL, round_id=1)[0:] == [
                row
                for row in handouts.find(connection, tool=place.TOOL)
                if not handouts.is_address(row.place)
            ]

    @pytest.mark.filterwarnings("ignore:The `parse_obj` method:DeprecationWarning")  # of the SDK's own
    def test_a_personal_access_token_is_taken_too(self, studio, personal_token, home, monkeypatch):
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", personal_token)
        assert personal_token.count(".") == 2
        assert sent(detection(home, 4, 2), studio).sent == 2

    def test_a_server_that_takes_no_legacy_tokens_says_so(self, blind_studio, personal_token, home):
        project = detection(home, 4, 2)
        with (
            blind_studio.without_legacy_tokens(personal_token),
            pytest.raises(AlctlError, match=r"legacy token") as refused,
        ):
            sent(project, blind_studio, upload=True)
        assert TOKEN not in str(refused.value)

    def test_a_wrong_token_is_named_as_the_reason_and_nothing_happens(self, studio, home):
        project = detection(home, 4, 2)
        wrong = {"LABEL_STUDIO_API_KEY": TOKEN[::-1]}
        done = run_alctl("push", 1, "--to", studio.address, "-p", project.folder, env=wrong)
        assert done.returncode == 1
        assert "does not accept the token" in done.stderr
        assert TOKEN[::-1] not in done.stdout + done.stderr
        assert studio.projects(f"alctl {home.name}") == []

    def test_a_project_that_lacks_a_class_is_not_pushed_to(self, studio, home):
        config = (
            '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
            '<Label value="cat"/></RectangleLabels></View>'
        )
        studio.ann.ask("POST", "/api/projects", json={"title": "Only cats", "label_config": config})
        project = detection(home, 4, 2)
        with pytest.raises(AlctlError, match="'Only cats' of the server lacks the class 'dog'"):
            sent(project, studio, title="Only cats")
        assert studio.projects("Only cats")[0]["task_number"] == 0

    def test_the_rounds_of_two_projects_with_the_same_title_are_not_mixed(self, studio, home):
        sent(detection(home / "one", 4, 2), studio, title=home.name)
        make_images(home / "two" / "images", 4, size=100, seed=1)
        other = make_project(home / "two" / "alctl-project", home / "two" / "images", task="detection")
        select(other, SelectOptions(2, "random"), no_progress)
        with pytest.raises(AlctlError, match="of another alctl project"):
            sent(other, studio, title=home.name)
        assert studio.projects(home.name)[0]["task_number"] == 2

    def test_a_title_that_the_server_would_not_take_is_refused_before_anything_is_made(self, studio, home):
        project = detection(home, 4, 2)
        with pytest.raises(AlctlError, match="no title of more than 50 characters"):
            sent(project, studio, title="t" * 51)

    def test_images_outside_the_document_root_are_refused_with_what_to_do(self, studio, home, tmp_path):
        project = detection(tmp_path / home.name, 4, 2)
        root = f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={project.folder}"
        with pytest.raises(AlctlError, match=f"it is {studio.root} now: start Label Studio with {root}"):
            sent(project, studio)
        assert studio.projects(f"alctl {home.name}") == []

    def test_a_server_without_local_files_is_told_from_one_with(self, blind_studio, home):
        project = detection(home, 4, 2)
        with pytest.raises(AlctlError, match=r"LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true.*--upload"):
            sent(project, blind_studio)
        assert blind_studio.projects(f"alctl {home.name}") == []

    def test_uploaded_images_need_no_local_files(self, blind_studio, home):
        project = detection(home, 130, 120, size=8)
        result = sent(project, blind_studio, upload=True)
        assert (result.sent, sent(project, blind_studio, upload=True).sent) == (120, 0)
        for task in blind_studio.tasks(result.place)[::20]:
            seen = blind_studio.ann.http.get(task["data"]["image"])
            assert seen.content == (home / "images" / task["data"]["path"]).read_bytes()
        blind_studio.ann.annotate(blind_studio.tasks(result.place)[0]["id"], [])
        answer = pulled(project)
        assert (answer.tasks, answer.out) == (1, 119)


class TestPull:
    pytestmark = real

    def test_what_two_people_did_comes_once_and_changes_become_history(self, studio, home, bob):
        project = detection(home, 8, 5)
        tasks = studio.tasks(sent(project, studio).place)
        item = [task["data"]["alctl_item"] for task in tasks]
        first = studio.ann.annotate(tasks[0]["id"], [box("cat"), box("dog", x=5, w=10)])
        bob.annotate(tasks[0]["id"], [box("cat", x=70)])
        bob.annotate(tasks[1]["id"], [box("cat", rotation=90)])
        studio.ann.annotate(tasks[2]["id"], [], skip=True)
        last = bob.annotate(tasks[3]["id"], [])

        result = pulled(project)
        assert (result.tasks, result.imported.added, result.imported.changed, result.out) == (4, 5, 0, 1)
        ann, other = "ann@example.com", "bob@example.com"
        assert labels_of(project) == {
            (item[0], ann): [("labeled", [[5, 20, 10, 40], [60, 20, 20, 40]])],
            (item[0], other): [("labeled", [[70, 20, 20, 40]])],
            (item[1], other): [("labeled", [[20, 20, 40, 20]])],
            (item[2], ann): [("skip", [])],
            (item[3], other): [("labeled", [])],
        }
        again = pulled(project)
        assert (again.tasks, again.imported, again.deleted) == (0, None, 0)

        place = f"/api/annotations/{first}/"
        before = studio.ann.ask("GET", place)["updated_at"][:19]  # an answer's time is kept to the second
        while studio.ann.ask("PATCH", place, json={"result": [box("dog")]})["updated_at"][:19] == before:
            pass
        third = pulled(project)
        assert (third.tasks, third.imported.added, third.imported.changed, third.imported.unchanged) == (
            1,
            0,
            1,
            1,
        )
        assert [boxes for _, boxes in labels_of(project)[item[0], ann]] == [
            [[5, 20, 10, 40], [60, 20, 20, 40]],
            [[60, 20, 20, 40]],
        ]

        bob.ask("DELETE", f"/api/annotations/{last}/")
        fourth = pulled(project)
        assert (fourth.tasks, fourth.deleted) == (0, 1)
        assert labels_of(project)[item[3], other] == [("labeled", [])]

    def test_a_dry_run_takes_nothing_and_the_next_pull_everything(self, studio, home):
        project = detection(home, 4, 2)
        tasks = studio.tasks(sent(project, studio).place)
        studio.ann.annotate(tasks[0]["id"], [box("cat")])
        tried = pulled(project, dry_run=True)
        assert (tried.tasks, tried.imported.added, tried.file, cursor_of(project)) == (1, 1, None, None)
        assert labels_of(project) == {}
        assert not (project.folder / "pulled").exists()
        assert pulled(project).imported.added == 1

    def test_what_could_not_be_imported_is_pulled_again(self, studio, home):
        project = detection(home, 4, 2)
        where = sent(project, studio).place
        number, tasks = where.rpartition("/")[2], studio.tasks(where)
        config = studio.ann.ask("GET", f"/api/projects/{number}")["label_config"]
        wider = config.replace('<Label value="cat"', '<Label value="owl"/><Label value="cat"')
        studio.ann.ask("PATCH", f"/api/projects/{number}", json={"label_config": wider})
        studio.ann.annotate(tasks[0]["id"], [box("owl")])
        with pytest.raises(BadRowsError, match="owl"):
            pulled(project)
        assert (labels_of(project), cursor_of(project)) == ({}, None)
        studio.ann.annotate(tasks[1]["id"], [box("cat")])
        assert pulled(project, add_classes=True).imported.added == 2

    def test_skip_bad_takes_the_good_answers_and_shows_the_others(self, studio, home):
        project = detection(home, 4, 2)
        where = sent(project, studio).place
        number, tasks = where.rpartition("/")[2], studio.tasks(where)
        config = studio.ann.ask("GET", f"/api/projects/{number}")["label_config"]
        wider = config.replace('<Label value="cat"', '<Label value="owl"/><Label value="cat"')
        studio.ann.ask("PATCH", f"/api/projects/{number}", json={"label_config": wider})
        studio.ann.annotate(tasks[0]["id"], [box("owl")])
        studio.ann.annotate(tasks[1]["id"], [box("cat")])
        token = {"LABEL_STUDIO_API_KEY": TOKEN}
        done = run_alctl("pull", 1, "--skip-bad", "-p", project.folder, env=token)
        assert done.returncode == 0, done.stderr
        assert "1 added" in done.stdout
        assert "1 rows rejected, written to" in done.stderr
        assert f"task {tasks[0]['id']}" in done.stdout
        assert "class 'owl' is not in the class list" in done.stdout
        assert len(list((project.folder / "pulled").rglob("*.rejected.csv"))) == 1

    def test_what_was_pulled_can_be_imported_again_after_it_was_taken_back(self, studio, home):
        project = detection(home, 4, 2)
        tasks = studio.tasks(sent(project, studio).place)
        studio.ann.annotate(tasks[0]["id"], [box("cat")])
        first = pulled(project)
        assert undo_import(project, first.imported.batch).labels == 1
        assert (pulled(project).tasks, pulled(project).out) == (0, 2)
        again = import_labels(project, Path(first.file), ImportOptions())
        assert (again.format, again.added, pulled(project).out) == ("label-studio", 1, 1)

    def test_only_the_tasks_of_the_round_are_taken(self, studio, home):
        project = detection(home, 8, 3)
        where = sent(project, studio).place
        select(project, SelectOptions(2, "random"), no_progress)
        sent(project, studio, 2)
        for task in studio.tasks(where):
            studio.ann.annotate(task["id"], [])
        first, second = pulled(project, 1), pulled(project, 2)
        assert (first.tasks, first.out, second.tasks, second.out) == (3, 0, 2, 0)

    def test_a_project_that_was_deleted_on_the_server_is_missed(self, studio, home):
        project = detection(home, 4, 2)
        where = sent(project, studio).place
        studio.ann.ask("DELETE", f"/api/projects/{where.rpartition('/')[2]}/")
        with pytest.raises(AlctlError, match=f"{where} is gone"):
            pulled(project)

    def test_the_command_names_what_is_still_out(self, studio, home):
        project = detection(home, 6, 3)
        tasks = studio.tasks(sent(project, studio).place)
        studio.ann.annotate(tasks[0]["id"], [box("dog")])
        token = {"LABEL_STUDIO_API_KEY": TOKEN}
        done = run_alctl("pull", 1, "-p", project.folder, env=token)
        assert done.returncode == 0, done.stderr
        assert "1 tasks of" in done.stdout
        assert "1 added" in done.stdout
        assert "2 of the round's 3 images are still out" in done.stdout
        found = json.loads(run_alctl("pull", 1, "-p", project.folder, "--json", env=token).stdout)
        assert (found["tasks"], found["out"], found["imported"]) == (0, 2, None)


@pytest.mark.parametrize("where", ["studio", "blind_studio"])
@pytest.mark.label_studio
@pytest.mark.timeout(900)
def test_the_doctor_asks_the_server(where, home, request):
    from alctl.annotators.label_studio.doctor import checks

    running = request.getfixturevalue(where)
    project = detection(home, 4, 2)
    before = checks(project, "label-studio", running.address)
    assert [check.ok for check in before] == [True, True, False]
    assert "alctl push" in before[-1].advice
    sent(project, running, upload=where == "blind_studio")
    after = checks(project, "label-studio", running.address)
    if where == "studio":
        assert all(check.ok for check in after), after
        assert len(after) == 7
    else:
        missing = [check for check in after if not check.ok]
        assert ["SERVING_ENABLED=true" in check.advice for check in missing] == [True, False, True]
