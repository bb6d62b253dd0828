"""`alctl push`: a round to a running Label Studio, a task for each of its images.

What is there already is looked up first, so a push that was killed is finished by the next one, and nothing is there
twice.
"""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from alctl.annotators import handout, handout_files
from alctl.annotators.label_studio import place
from alctl.annotators.label_studio.server import Json, Server, ServerProject, TaskSummary
from alctl.database import categories, handouts, rounds
from alctl.errors import AlctlError
from alctl.labels.parsing.json_stream import elements
from alctl.labels.parsing.label_studio import config as label_config
from alctl.progress import Progress
from alctl.project import Project, now

BATCH = 250
"""Tasks in one request."""
IMAGES = 50
"""Image files in one request."""
BYTES = 1 << 25
"""Of tasks and images in one request, unless a single one is larger."""
PATIENCE = 60
"""Seconds that a server which imports in the background gets to show what it took."""
LOCK = "live.lock"


@dataclass(frozen=True)
class PushOptions:
    """How a round gets to a server."""

    address: str
    token_variable: str = ""
    title: str = ""
    """Of the server's project; empty: the one used before, or one named after this project."""
    upload: bool = False
    """Send the images themselves, to a server that cannot read them from disk."""
    dry_run: bool = False


@dataclass
class Pushed:
    """What a push did."""

    round: int
    place: str
    """Address of the server's project, or of the server where there is no project yet."""
    title: str
    images: int
    created: bool = False
    """Whether the server's project was made."""
    sent: int = 0
    present: int = 0
    """Tasks that were there already."""
    removed: int = 0
    """Tasks that an interrupted push had left a second time."""


class _ReadyTask(NamedTuple):
    """A task as it is exported, to be sent."""

    digest: str
    """Of the image, SHA-256 in hexadecimal."""
    image: Path
    body: Json
    """What the server gets, but for the address of the image."""


def push(project: Project, number: int, options: PushOptions, progress: Progress) -> Pushed:
    """Make a task of every image of a round that has none on the server yet."""
    with place.connect(options.address, options.token_variable) as server, project.held("push", LOCK):
        server.version()
        server.user()
        return _push(project, server, number, options, progress)


def _push(project: Project, server: Server, number: int, options: PushOptions, progress: Progress) -> Pushed:
    tasks, config = _handed_out(project, number, progress)
    found = place.find(project, server, options.title)
    if found is not None:
        _check_config(found, config, tasks)
    summaries = list(server.summaries(found.id, number)) if found is not None else []
    _refuse_strangers(summaries, tasks, found)
    there = {summary.digest for summary in summaries}
    missing = [task for task in tasks if task.digest not in there]
    title = found.title if found else options.title or place.default_title(project)
    result = Pushed(number, server.address, title, len(tasks), created=found is None)
    result.present = len(tasks) - len(missing)
    if options.dry_run:
        result.sent = len(missing)
        return result
    with _server_project(found, server, title, config) as project_id:
        root = "" if options.upload else _shown(project, server, project_id, missing)
    result.place = place.address_of(server, project_id)
    with project.recording("push", progress) as connection:
        handouts.add(connection, round_id=number, tool=place.TOOL, place=result.place, now=now())
    for batch in _batches(missing, upload=options.upload):
        progress("sending tasks", result.sent, len(missing))
        server.send(project_id, _addressed(server, project_id, batch, root))
        result.sent += len(batch)
    progress("sending tasks", result.sent, len(missing))
    result.removed = _tidy(server, project_id, number, {task.digest for task in tasks})
    return result


def _handed_out(project: Project, number: int, progress: Progress) -> tuple[list[_ReadyTask], str]:
    """Return the tasks of a round and the labeling configuration, from its export, which is made if need be."""
    folder = handout.folder_of(project, number)
    with project.reading() as connection:
        picks = rounds.picks(connection, number, recalled=False)
        classes = [found.name for found in categories.as_categories(connection, living=True)]
    names = [handout_files.file_name(pick) for pick in picks]
    file, config = folder / f"{place.TOOL}.json", folder / f"{place.TOOL}.xml"
    if not names or not _is_current(folder, names, classes):
        handout.export(project, number, progress, formats=[place.TOOL])
    if not names:
        raise AlctlError(f"every image of round {number} has been recalled; there is nothing to push")
    files = [file, *folder.glob(f"{place.TOOL}-*.json")]  # a large round has several
    by_name = {_name(task): task for part in files for _, task in elements(part)}
    if gone := [name for name in names if name not in by_name]:
        raise AlctlError(f"{file} lacks {gone[0]!r}; remove it and push again, which writes it anew")
    tasks = [
        _ReadyTask(str(by_name[name]["data"]["alctl_sha256"]), folder / "images" / name, by_name[name])
        for name in names
    ]
    return tasks, config.read_text(encoding="utf-8")


def _is_current(folder: Path, names: Sequence[str], classes: Sequence[str]) -> bool:
    """Tell whether an export has the files for Label Studio, all images, and the classes of today."""
    config = folder / f"{place.TOOL}.xml"
    if not ((folder / f"{place.TOOL}.json").is_file() and config.is_file()):
        return False
    told = {category.name for category in label_config.read_config(config).categories}
    return set(classes) <= told and all((folder / "images" / name).is_file() for name in names)


def _name(task: Json) -> str:
    """Return the name of a task's image in the export."""
    return unquote(str(task["data"][label_config.OBJECT])).rpartition("/")[2]


def _check_config(found: ServerProject, config: str, tasks: Sequence[_ReadyTask]) -> None:
    """Raise AlctlError if annotators could not give our classes in a project of the server, or not see the images."""
    theirs, ours = _meaning(found.label_config), _meaning(config)
    where = f"the project {found.title!r} of the server"
    advice = "correct its labeling interface, or push to another project with --name"
    if theirs.image != label_config.OBJECT:
        raise AlctlError(
            f"{where} does not show ${label_config.OBJECT}, where tasks have their image; {advice}"
        )
    have = {category.name for category in theirs.categories}
    if missing := [category.name for category in ours.categories if category.name not in have]:
        raise AlctlError(f"{where} lacks the class {', '.join(map(repr, missing))}; {advice}")
    if missing := [name for name in ours.keypoints if name not in theirs.keypoints]:
        raise AlctlError(f"{where} lacks the keypoint {', '.join(map(repr, missing))}; {advice}")
    tools = {result["from_name"] for task in tasks for result in _predicted(task) if "from_name" in result}
    if missing := sorted(name for name in tools if f'name="{name}"' not in found.label_config):
        raise AlctlError(
            f"{where} has no tool called {missing[0]!r}, which the predictions are for; {advice}"
        )


def _predicted(task: _ReadyTask) -> Iterator[Json]:
    """Yield what a model said of a task's image, a result at a time."""
    for prediction in task.body.get("predictions") or []:
        yield from prediction["result"]


def _meaning(config: str) -> label_config.LabelConfig:
    """Return what a labeling interface, as XML, lets annotators say."""
    with tempfile.TemporaryDirectory(prefix="alctl-") as folder:
        file = Path(folder, "config.xml")
        file.write_text(config, encoding="utf-8")
        return label_config.read_config(file)


def _refuse_strangers(
    summaries: Sequence[TaskSummary], tasks: Sequence[_ReadyTask], found: ServerProject | None
) -> None:
    """Stop if the tasks of this round there are not of this project: two projects may have the same title."""
    ours = {task.digest for task in tasks}
    if found and summaries and not any(summary.digest in ours for summary in summaries):
        raise AlctlError(
            f"the project {found.title!r} of the server holds a round {tasks[0].body['data']['alctl_round']} of other "
            "images: of another alctl project? Push to one of its own with --name"
        )


@contextmanager
def _server_project(found: ServerProject | None, server: Server, title: str, config: str) -> Iterator[int]:
    """Give the number of the server's project; one that is made now is deleted again if it turns out useless."""
    if found is not None:
        yield found.id
        return
    made = server.create_project(title, config)
    try:
        yield made.id
    except BaseException:
        with suppress(AlctlError):
            server.delete_project(made.id)
        raise


def _shown(project: Project, server: Server, project_id: int, missing: Sequence[_ReadyTask]) -> str:
    """Make sure that the server shows the images; return its document root."""
    if not missing:
        return ""
    if not place.connected(project, server, project_id):
        if problem := server.storage_problem(project_id, str(project.rounds)):
            raise AlctlError(
                f"{server.address} cannot show the images: {place.storage_advice(project, problem)}"
            )
        server.add_storage(project_id, str(project.rounds))
    if unseen := place.unseen(project, server, project_id, missing[0].image):
        raise AlctlError(f"{server.address} does not show the images: {unseen}")
    return place.document_root(server, project_id)


def _addressed(server: Server, project_id: int, batch: Sequence[_ReadyTask], root: str) -> list[Json]:
    """Return the tasks with the addresses of their images; without a document root the images are sent first."""
    if root:
        addresses = {task.digest: place.image_address(root, task.image) for task in batch}
    else:
        names = {f"{n:07}{task.image.suffix}": task for n, task in enumerate(batch)}
        kept = server.upload(project_id, {name: task.image for name, task in names.items()})
        addresses = {task.digest: kept[name] for name, task in names.items()}
    return [
        {**task.body, "data": {**task.body["data"], label_config.OBJECT: addresses[task.digest]}}
        for task in batch
    ]


def _batches(tasks: Sequence[_ReadyTask], *, upload: bool) -> Iterator[Sequence[_ReadyTask]]:
    """Yield the tasks in parts that a server takes at once."""
    batch: list[_ReadyTask] = []
    size = 0
    for task in tasks:
        own = len(json.dumps(task.body, allow_nan=False)) + (task.image.stat().st_size if upload else 0)
        if batch and (len(batch) == (IMAGES if upload else BATCH) or size + own > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += own
    if batch:
        yield batch


def _tidy(server: Server, project_id: int, number: int, wanted: set[str]) -> int:
    """Wait until all tasks are there; delete those that are there twice and that nobody has touched.

    A push that is killed while the server is busy with its last request may leave some.
    """
    end = time.monotonic() + PATIENCE
    summaries = list(server.summaries(project_id, number))
    while lacking := wanted - {summary.digest for summary in summaries}:
        if time.monotonic() > end:
            raise AlctlError(
                f"{server.address} took all tasks, but shows {len(lacking):,} of them not yet; push again later"
            )
        time.sleep(1)
        summaries = list(server.summaries(project_id, number))
    kept: set[str] = set()
    removed = 0
    for summary in sorted(summaries, key=lambda summary: (not summary.touched, summary.id)):
        if summary.digest in kept and summary.digest in wanted and not summary.touched:
            server.delete_task(summary.id)
            removed += 1
        kept.add(summary.digest)
    return removed
