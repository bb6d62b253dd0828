"""What annotators get of a round: `rounds/0003/` with items.csv, the images, a contact sheet and a manifest.

It follows from the database and the image files alone, so it can be made again, byte for byte.
"""

import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Connection

from alctl.annotators.handout_files import Images, blinded, decoded, file_name, manifest, place_images, tables
from alctl.annotators.untouched_files import (
    marks_of_export,
    refuse_to_lose,
    refuse_to_lose_answers,
    untouched_in_export,
)
from alctl.database import (
    categories,
    handouts,
    pre_annotations,
    rounds,
    rounds_out,
    settings,
)
from alctl.database.rounds import CONTROL
from alctl.errors import AlctlError
from alctl.files import clear_after_kill, whole_folder
from alctl.images.contact_sheet import SHEET, contact_sheet
from alctl.images.decode import Source
from alctl.images.levels import Levels
from alctl.labels import canonical_json
from alctl.labels.annotation import Annotation, Assignment, Category
from alctl.labels.format import FORMATS, LabelFormat
from alctl.plugins import configured
from alctl.progress import Progress
from alctl.project import Project, now, required_state

_NEEDED = {
    "classification": {"category"},
    "detection": {"bbox", "polygons", "mask"},
    "pose": {"keypoints"},
    "segmentation": {"polygons", "mask"},
}
"""Of which a format has to carry something, by the project's task."""


def folder_of(project: Project, number: int) -> Path:
    """Return the export folder of a round."""
    return project.rounds / f"{number:04}"


def export(
    project: Project,
    number: int,
    progress: Progress,
    *,
    images: Images = "link",
    target: Path | None = None,
    formats: Sequence[str] = (),
) -> Path:
    """Write a round's folder, whole or not at all; what annotators have filled in is never overwritten.

    Beside items.csv it holds what the tools of ``formats``, and those of earlier exports to this folder, open.
    A round of several annotators has a table for each instead, which does not tell what others have too.
    A round with a control, or of labeled images, is blind: nothing but manifest.json says why an image is in it.
    """
    folder = target or folder_of(project, number)
    place = str(folder.absolute()) if target else folder.relative_to(project.folder).as_posix()
    with project.held("export", "export.lock"):
        clear_after_kill(folder)
        with project.reading() as connection:
            out = _look(connection, project.folder, number, place, formats)
            untouched = untouched_in_export(connection, folder)
        tools = {file_of(name, tool) for name, tool in out.tools.items()}
        refuse_to_lose(folder, out.tables, tools, out.names, untouched)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_folder(folder, replace=True) as partial:
            _write(partial, out, images, progress)
            refuse_to_lose_answers(folder, partial, untouched)
            with project.recording("export", progress) as connection:
                handouts.add_files(connection, set(marks_of_export(partial).values()))
                for name in ("csv", *out.tools):
                    handouts.add(connection, round_id=number, tool=name, place=place, now=now())
    return folder


class _Out(NamedTuple):
    """A round on its way out, as the database has it."""

    row: rounds.Round
    picks: Sequence[rounds.Pick]
    listed: Sequence[rounds.Pick]
    """The picks as annotators may see them."""
    names: AbstractSet[str]
    """The files of all images that ever were in the round."""
    tables: Mapping[str, str]
    tools: Mapping[str, LabelFormat]
    given: Sequence[Assignment]
    root: str
    task: str
    classes: Sequence[Category]
    """Those that labels may have."""
    every: Sequence[str]
    ranges: Levels
    """What black and white are in images of more than 8 bits."""


def _look(connection: Connection, project: Path, number: int, place: str, formats: Sequence[str]) -> _Out:
    """Read everything about a round that its files tell."""
    row = rounds.find_round(connection, number)
    if row is None:
        last = rounds.next_round(connection) - 1
        raise AlctlError(
            f"there is no round {number}; " + (f"the last one is {last}" if last else "none was selected yet")
        )
    picks = rounds.picks(connection, number, recalled=False)
    if not picks:
        raise AlctlError(
            f"round {number} was recalled, or its images are gone; nothing of it is out with annotators"
        )
    state = required_state(connection, project)
    blind = row.strategy == rounds_out.RELABEL or any(pick.why == CONTROL for pick in picks)
    listed = blinded(picks) if blind else picks
    said, names = pre_annotations.of_round(connection, number), categories.effective_names(connection)
    earlier = [found.tool for found in handouts.find(connection, round_id=number) if found.place == place]
    return _Out(
        row,
        picks,
        listed,
        {file_name(pick) for pick in rounds.picks(connection, number)},
        tables(listed, rounds_out.shares_of(connection, number)),
        {name: _tool(connection, name) for name in sorted({*formats, *earlier} - {"csv"})},
        [_assignment(pick, row, said.get(pick.item_id), names) for pick in listed],
        state.root,
        state.task,
        categories.as_categories(connection, living=True),
        categories.categories(connection),
        settings.levels(connection),
    )


def _write(folder: Path, out: _Out, images: Images, progress: Progress) -> None:
    """Write all files of a round."""
    for name, table in out.tables.items():
        (folder / name).write_text(table, encoding="utf-8", newline="")
    (folder / "manifest.json").write_text(manifest(out.row, out.picks, out.every), encoding="utf-8")
    sources = [Source(pick.item_id, f"{out.root}/{pick.path}", pick.digest) for pick in out.listed]
    place_images(folder / "images", out.listed, sources, images)
    ranked = [pick for pick in out.listed if pick.rank is not None][:SHEET] or out.listed[:SHEET]
    thumbnails = decoded(sources[: len(ranked)], out.row.id, out.ranges, progress)
    contact_sheet(ranked, thumbnails).save(folder / "contact_sheet.jpg", quality=85)
    for name, tool in out.tools.items():
        tool.hand_out(out.given, folder / file_of(name, tool), out.classes, out.task)


def formats_of(project: Project, given: str, options: Mapping[str, str]) -> list[str]:
    """Return the names in "label-studio,cvat", each of which can hold the project's labels.

    Options go to the only one and are remembered by the project.
    """
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    kinds = {name: FORMATS.load(name) for name in names}
    with project.reading() as connection:
        task = required_state(connection, project.folder).task
        classes = categories.as_categories(connection, living=True)
        tools = {name: _tool(connection, name, options) for name in names}
    if options and len(names) != 1:
        raise AlctlError("--option needs exactly one --format that it is for")
    for name in kinds.keys() - {"csv"}:
        if task in _NEEDED and not _NEEDED[task] & kinds[name].carries:
            raise AlctlError(
                f"{name} cannot hold what the task of this project, {task}, asks for; choose another --format"
            )
        with tempfile.TemporaryDirectory() as folder:  # better now than after a round was selected for it
            tools[name].hand_out([], Path(folder) / file_of(name, tools[name]), classes, task)
    if options:
        with project.writing("export") as connection:
            known = settings.read(connection, f"format.{names[0]}") or {}
            settings.write(connection, f"format.{names[0]}", {**known, **options})
    return names


def file_of(name: str, tool: LabelFormat) -> str:
    """Return the name of a format's file or folder in an export."""
    return f"{name}{tool.suffix}"


def _tool(
    connection: Connection, name: str, options: Mapping[str, str] = MappingProxyType({})
) -> LabelFormat:
    """Return a format with the options that the project remembers, and these."""
    known = settings.read(connection, f"format.{name}") or {}
    return configured(FORMATS.load(name), {**known, **options}, f"format {name!r}")


def _assignment(
    pick: rounds.Pick,
    row: rounds.Round,
    said: pre_annotations.Said | None,
    names: Sequence[str],
) -> Assignment:
    predicted: tuple[Annotation, ...] | None = None
    if said is not None and said.category_id:
        predicted = (Annotation(names[said.category_id - 1]),)
    elif said is not None:
        predicted = canonical_json.named(said.annotations or "[]", names)
    return Assignment(
        pick.item_id, pick.path, f"images/{file_name(pick)}", pick.width or 0, pick.height or 0, row.id,
        pick.digest.hex(), pick.score, predicted, f"run {said.run_id}" if said and said.run_id else "",
        said.confidence if said else None, row.strategy,
    )  # fmt: skip
