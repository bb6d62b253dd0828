"""What annotators get of a round: `rounds/0003/` with items.csv, the images, a contact sheet and a manifest.

It follows from the database and the image files alone, so it can be made again, byte for byte.
"""

import csv
import glob
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from PIL import Image
from sqlalchemy import Connection

from alctl import objects
from alctl.annotation import Annotation, Assignment, Category
from alctl.errors import AlctlError
from alctl.format import FORMATS, LabelFormat, safe_cell
from alctl.images import BrokenImages, Source
from alctl.plugins import configured
from alctl.pool import categories, handouts, ledger, predictions, rounds, settings
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.sheet import SHEET, contact_sheet, thumbs
from alctl.untouched import marks_of_export, refuse_to_lose, refuse_to_lose_answers, untouched_in_export

Images = Literal["link", "symlink", "copy", "none"]
COLUMNS = ("item", "path", "image", "label", "annotator", "status", "seconds", "rank", "score", "why")
CONTROL = "control"
"""Why an item was picked that is there to compare the strategy with."""
PARTIAL = ".partial"
"""How the hidden folder ends in which an export is made."""
_NEEDED = {
    "classification": {"category"},
    "detection": {"bbox", "polygons", "mask"},
    "pose": {"keypoints"},
    "segmentation": {"polygons", "mask"},
}
"""Of which a format has to carry something, by the project's task."""
_LONGEST = 240
"""Bytes of a file name after its item; file systems take 255 in all."""


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
        with project.reading() as connection:
            out = _look(connection, project.folder, number, place, formats)
            untouched = untouched_in_export(connection, folder)
        tools = {file_of(name, tool) for name, tool in out.tools.items()}
        refuse_to_lose(folder, out.tables, tools, out.names, untouched)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*{PARTIAL}"):
            shutil.rmtree(stale)  # of an export that was killed
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PARTIAL, dir=folder.parent))
        try:
            partial.chmod(0o755)
            _write(partial, out, images, progress)
            refuse_to_lose_answers(folder, partial, untouched)
            with project.writing("export") as connection:
                handouts.add_files(connection, set(marks_of_export(partial).values()))
                for name in ("csv", *out.tools):
                    handouts.add(connection, round_id=number, tool=name, place=place, now=now())
            if folder.exists():
                shutil.rmtree(folder)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


class _Out(NamedTuple):
    """A round on its way out, as the database has it."""

    row: Mapping[str, Any]
    picks: Sequence[Mapping[str, Any]]
    listed: Sequence[Mapping[str, Any]]
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


def _look(connection: Connection, project: Path, number: int, place: str, formats: Sequence[str]) -> _Out:
    """Read everything about a round that its files tell."""
    row = rounds.round_row(connection, number)
    if row is None:
        last = rounds.next_round(connection) - 1
        raise AlctlError(
            f"there is no round {number}; " + (f"the last one is {last}" if last else "none was selected yet")
        )
    picks = rounds.picks(connection, number, recalled=False)
    if not picks:
        raise AlctlError(f"round {number} was recalled; nothing of it is out with annotators")
    state = required_state(connection, project)
    blind = row["strategy"] == ledger.RELABEL or any(pick["why"] == CONTROL for pick in picks)
    listed = _blinded(picks) if blind else picks
    said, names = predictions.of_round(connection, number), categories.effective_names(connection)
    earlier = [found.tool for found in handouts.find(connection, round_id=number) if found.place == place]
    return _Out(
        row,
        picks,
        listed,
        {file_name(pick) for pick in rounds.picks(connection, number)},
        _tables(listed, ledger.shares_of(connection, number)),
        {name: _tool(connection, name) for name in sorted({*formats, *earlier} - {"csv"})},
        [_assignment(pick, number, said.get(pick["item_id"]), names) for pick in listed],
        state["root"],
        state["task"],
        categories.as_categories(connection, living=True),
        categories.categories(connection),
    )


def _write(folder: Path, out: _Out, images: Images, progress: Progress) -> None:
    """Write all files of a round."""
    for name, table in out.tables.items():
        (folder / name).write_text(table, encoding="utf-8", newline="")
    (folder / "manifest.json").write_text(_manifest(out.row, out.picks, out.every), encoding="utf-8")
    sources = [Source(pick["item_id"], f"{out.root}/{pick['path']}", pick["digest"]) for pick in out.listed]
    _place(folder / "images", out.listed, sources, images)
    ranked = [pick for pick in out.listed if pick["rank"] is not None][:SHEET] or out.listed[:SHEET]
    thumbnails = _shown(sources[: len(ranked)], out.row["id"], progress)
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
        task = required_state(connection, project.folder)["task"]
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
    pick: Mapping[str, Any],
    number: int,
    said: predictions.Said | None,
    names: Sequence[str],
) -> Assignment:
    predicted: tuple[Annotation, ...] | None = None
    if said is not None and said.category_id:
        predicted = (Annotation(names[said.category_id - 1]),)
    elif said is not None:
        predicted = objects.named(said.annotations or "[]", names)
    return Assignment(
        pick["item_id"], pick["path"], f"images/{file_name(pick)}", pick["width"] or 0, pick["height"] or 0, number,
        pick["digest"].hex(), pick["score"], predicted, f"run {said.run_id}" if said and said.run_id else "",
    )  # fmt: skip


def _shown(sources: Sequence[Source], number: int, progress: Progress) -> list[Image.Image | None]:
    """Return the thumbnails of a round; one that cannot be made is an error, because the round is recorded."""
    try:
        return list(thumbs(sources, progress))
    except BrokenImages as broken:
        item, reason = next(iter(sorted(broken.reasons.items())))
        path = next(source.path for source in sources if source.id == item)
        count = f"{len(broken.reasons):,} images of round {number}"
        raise AlctlError(
            f"{count} cannot be shown any more; put the files back as they were indexed, or take the images out of the "
            f"round with `alctl recall {number} --item {item}`. The first is item {item}, {path}: {reason}"
        ) from broken


def _blinded(picks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the picks in the order of the items, without anything that tells the control from the rest."""
    blank = {"rank": None, "score": None, "why": ""}
    return [{**pick, **blank} for pick in sorted(picks, key=lambda pick: int(pick["item_id"]))]


def _tables(listed: Sequence[Mapping[str, Any]], shares: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Return the tables of a round by file name: items.csv, or one for each annotator with what is theirs."""
    if not shares:
        return {ledger.tables([])[0]: _table(listed)}
    own = [frozenset(items) for items in shares.values()]
    return {
        file: _table([pick for pick in listed if pick["item_id"] in mine], annotator)
        for file, annotator, mine in zip(ledger.tables([*shares]), shares, own, strict=True)
    }


def file_name(pick: Mapping[str, Any]) -> str:
    """Return the name of an image in an export: unique, and traceable to its item without the table.

    A name that would be too long for a file system loses the end of its stem.
    """
    path = PurePosixPath(pick["path"])
    stem = path.stem.encode()[: _LONGEST - len(path.suffix.encode())].decode(errors="ignore")
    return f"{pick['item_id']:07}_{stem}{path.suffix}"


def _table(picks: Sequence[Mapping[str, Any]], annotator: str = "") -> str:
    """Return a table that is ready to be filled in."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for pick in picks:
        rank = "" if pick["rank"] is None else pick["rank"]
        score = "" if pick["score"] is None else f"{pick['score']:.6g}"
        row = (
            pick["item_id"],
            pick["path"],
            f"images/{file_name(pick)}",
            "",
            annotator,
            "",
            "",
            rank,
            score,
            pick["why"],
        )
        writer.writerow(
            [safe_cell(cell) if isinstance(cell, str) and cell is not score else cell for cell in row]
        )
    return text.getvalue()


def _manifest(row: Mapping[str, Any], picks: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """Return how the round came about, as JSON."""
    entries = [
        {
            "item": pick["item_id"],
            "path": pick["path"],
            "image": f"images/{file_name(pick)}",
            "sha256": pick["digest"].hex(),
            "rank": pick["rank"],
            "score": pick["score"],
            "why": pick["why"],
        }
        for pick in picks
    ]
    about = {key if key != "id" else "round": value for key, value in row.items()}
    return json.dumps({**about, "categories": list(classes), "items": entries}, indent=1) + "\n"


def _place(folder: Path, picks: Sequence[Mapping[str, Any]], sources: Sequence[Source], how: Images) -> None:
    """Put the images in ``folder``: hard links cost no space; where they are impossible, copies."""
    if how == "none":
        return
    folder.mkdir()
    for pick, source in zip(picks, sources, strict=True):
        target = folder / file_name(pick)
        real = os.path.realpath(source.path)
        try:
            if how == "link":
                _link_or_copy(real, target)
            elif how == "symlink":
                target.symlink_to(real)
            else:
                shutil.copyfile(real, target)
        except OSError as error:
            gone = not os.path.lexists(source.path)
            hint = "; if the images have moved, run `alctl relink NEW_FOLDER`" if gone else ""
            raise AlctlError(f"cannot export {source.path} to {target}: {error.strerror}{hint}") from error


def _link_or_copy(source: str, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
