"""`alctl pull`: labels from a running Label Studio.

A list of the tasks without their contents is read each time; the contents of those only whose annotations are not yet
in the files of earlier pulls. Those files, in ``pulled/`` in the project, are exports of Label Studio as it would
write them, and the record of what was imported.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alctl.annotators.imports.import_labels import Imported, ImportOptions, import_labels
from alctl.annotators.label_studio import place
from alctl.annotators.label_studio.push import LOCK
from alctl.annotators.label_studio.server import Json, Server, Task, TaskSummary
from alctl.database import counts, handouts
from alctl.database.handouts import Handout
from alctl.errors import AlctlError
from alctl.files import whole_file
from alctl.labels.parsing.json_stream import elements
from alctl.progress import Progress
from alctl.project import Project

CHUNK = 100
"""Tasks whose annotations are fetched in one request."""
FIELDS = (
    "id", "data", "created_at", "updated_at", "annotations", "completed_by", "email", "result", "was_cancelled",
    "ground_truth", "lead_time", "unique_id", "parent_prediction", "parent_annotation",
)  # fmt: skip
"""What a pulled file keeps of tasks and annotations; the rest changes without anybody having annotated anything."""


@dataclass(frozen=True)
class PullOptions:
    """From where a round's answers come, and how they are taken."""

    address: str = ""
    """Of the server, where the round was pushed to several."""
    token_variable: str = ""
    add_classes: bool = False
    skip_bad: bool = False
    dry_run: bool = False


@dataclass
class Pulled:
    """What a pull did."""

    round: int
    place: str
    tasks: int = 0
    """With annotations that are new, or have changed since the last pull."""
    deleted: int = 0
    """Annotations that were pulled once and are no longer on the server; their labels stay here."""
    images: int = 0
    out: int = 0
    """Images of the round that nobody has answered yet."""
    file: str | None = None
    imported: Imported | None = None


def pull(project: Project, number: int, options: PullOptions, progress: Progress) -> Pulled:
    """Import what annotators have done in a round since the last pull, as one import that can be undone."""
    handout = _handout(project, number, options.address)
    with (
        place.connect(place.split_address(handout.place)[0], options.token_variable) as server,
        project.held("pull", LOCK),
    ):
        server.version()
        result = _pull(project, server, handout, options, progress)
    result.images, result.out = _still_out(project, number)
    return result


def _pull(
    project: Project, server: Server, handout: Handout, options: PullOptions, progress: Progress
) -> Pulled:
    number, (_, project_id) = handout.round_id, place.split_address(handout.place)
    result = Pulled(number, handout.place)
    found = server.project(project_id)
    if found is None:
        raise AlctlError(
            f"{handout.place} is gone from the server; what was pulled from it is in {project.folder / 'pulled'}"
        )
    # Before the list: what changes while the list is read is then newer than the cursor, and comes next time.
    newest = _time(server.newest(project_id, number))
    summaries = list(server.summaries(project_id, number))
    known = _known(project, handout)
    result.deleted = len(set(known) - {made for summary in summaries for made in summary.annotations})
    changed = [summary.id for summary in summaries if _has_news(summary, handout.cursor or "", known)]
    result.tasks = len(changed)
    if changed:
        with _pulled_file(project, handout, newest, keep=not options.dry_run) as file:
            file.with_suffix(".xml").write_text(found.label_config, encoding="utf-8")
            _download(server, project_id, changed, file, progress)
            result.imported = import_labels(project, file, _import_options(options, number), progress)
        result.file = None if options.dry_run else str(file)
    if newest and not options.dry_run:
        with project.recording("pull", progress) as connection:
            handouts.set_cursor(connection, handout.id, newest)
    return result


def _import_options(options: PullOptions, number: int) -> ImportOptions:
    return ImportOptions(
        format=place.TOOL,
        round=number,
        add_classes=options.add_classes,
        skip_bad=options.skip_bad,
        dry_run=options.dry_run,
    )


def _handout(project: Project, number: int, address: str) -> Handout:
    """Return where the round was pushed to; AlctlError if nowhere, or to several places."""
    with project.reading() as connection:
        found = handouts.find(connection, round_id=number, tool=place.TOOL)
    base = place.checked_address(address) if address else ""
    pushed = [
        row
        for row in found
        if handouts.is_address(row.place) and base in ("", place.split_address(row.place)[0])
    ]
    if not pushed:
        raise AlctlError(
            f"round {number} was not pushed to {base or 'any server'}; alctl push {number} --to URL does it"
        )
    if len(pushed) > 1:
        places = ", ".join(row.place for row in pushed)
        raise AlctlError(f"round {number} was pushed to {places}; say which with --to")
    return pushed[0]


def _time(text: str) -> str:
    """Return a time as the server writes it in a form that sorts as text."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise AlctlError(f"the server gave {text!r} as a time; nothing was pulled") from error
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _has_news(summary: TaskSummary, cursor: str, known: Mapping[int, str]) -> bool:
    """Tell whether a task holds an annotation that was not pulled as it is now.

    Equal times are looked at again: two changes may fall into the same instant.
    """
    fresh = any(known.get(number) != _time(when) for number, when in summary.annotations.items())
    return fresh and _time(summary.updated_at) >= cursor


def _folder(project: Project, handout: Handout) -> Path:
    """Return where the files of a round's pulls are."""
    return project.folder / "pulled" / f"{handout.round_id:04}"


def _prefix(handout: Handout) -> str:
    """Return with what the names of the files start that were pulled from one project of a server."""
    return f"{place.TOOL}-{handout.id}-"


def _known(project: Project, handout: Handout) -> dict[int, str]:
    """Return when each annotation that was pulled and imported had been changed last.

    A file newer than the cursor was pulled, but its import failed.
    """
    known: dict[int, str] = {}
    for file in sorted(_folder(project, handout).glob(f"{_prefix(handout)}*.json")):
        if file.stem.removeprefix(_prefix(handout)).partition("-")[0] > _in_name(handout.cursor or ""):
            continue
        for _, task in elements(file):
            known.update({made["id"]: _time(made["updated_at"]) for made in task["annotations"]})
    return known


def _in_name(time: str) -> str:
    """Return a time as a file name has it: Windows forbids colons."""
    return time.replace(":", "").replace("-", "")


@contextmanager
def _pulled_file(project: Project, handout: Handout, newest: str, *, keep: bool) -> Iterator[Path]:
    """Give the name of a file to write and import; unless ``keep``, it is gone afterwards."""
    if not keep:
        with tempfile.TemporaryDirectory(prefix="alctl-") as temporary:
            yield Path(temporary, f"{place.TOOL}.json")
        return
    folder = _folder(project, handout)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{_prefix(handout)}{_in_name(newest)}"
    # A file of this instant whose import failed may be replaced; one that was imported stays.
    count = len(list(folder.glob(f"{name}*.json"))) if newest == handout.cursor else 0
    yield folder / f"{name}{f'-{count + 1}' if count else ''}.json"


def _download(
    server: Server, project_id: int, numbers: Sequence[int], file: Path, progress: Progress
) -> None:
    """Write the tasks ``numbers`` of the server with all their annotations to a file, whole or not at all."""
    emails = server.emails()
    with whole_file(file) as partial, partial.open("w", encoding="utf-8") as stream:
        begin = "["
        for start in range(0, len(numbers), CHUNK):
            progress("pulling tasks", start, len(numbers))
            for task in server.tasks(project_id, numbers[start : start + CHUNK], FIELDS):
                stream.write(f"{begin}\n{json.dumps(_kept(task, emails), ensure_ascii=False)}")
                begin = ","
        stream.write("\n]\n" if begin == "," else "[]\n")
    progress("pulling tasks", len(numbers), len(numbers))


def _kept(task: Task, emails: Mapping[int, str]) -> Json:
    """Return a task as it is recorded: the same annotations always give the same text.

    Annotators get their e-mail addresses, because their numbers mean other people on another server.
    """
    annotations = []
    for made in sorted(task.annotations, key=lambda made: int(made["id"])):
        kept = {key: made[key] for key in FIELDS if key in made}
        who = kept.get("completed_by")
        if isinstance(who, int) and who in emails:
            kept["completed_by"] = {"id": who, "email": emails[who]}
        annotations.append(kept)
    content = {key: task.content[key] for key in FIELDS if key in task.content}
    return {**content, "annotations": annotations}


def _still_out(project: Project, number: int) -> tuple[int, int]:
    """Return how many images a round has, and how many of them nobody has answered."""
    with project.reading() as connection:
        row = next(row for row in counts.per_round(connection) if row.id == number)
    return row.items, row.out
