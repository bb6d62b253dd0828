"""What annotators get of a round: `rounds/0003/` with items.csv, the images, a contact sheet and a manifest.

It follows from the database and the image files alone, so it can be made again, byte for byte.
"""

import csv
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image
from sqlalchemy import Connection

from alctl import objects
from alctl.annotation import Annotation, Assignment
from alctl.errors import AlctlError
from alctl.format import FORMATS, LabelFormat, safe_cell
from alctl.images import BrokenImages, Source
from alctl.plugins import configured
from alctl.pool import categories, handouts, ledger, predictions, rounds, settings
from alctl.progress import Progress
from alctl.project import Project, now, required_state
from alctl.sheet import SHEET, contact_sheet, thumbs

Images = Literal["link", "symlink", "copy", "none"]
COLUMNS = ("item", "path", "image", "label", "annotator", "status", "seconds", "rank", "score", "why")
CONTROL = "control"
"""Why an item was picked that is there to compare the strategy with."""
_OURS = frozenset({"manifest.json", "contact_sheet.jpg", "images"})
_BESIDE = re.compile(r"label-studio\.xml|label-studio-[0-9]+\.json|cvat-labels\.json")
"""What formats write beside their file."""
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
    with project.reading() as connection:
        row = rounds.round_row(connection, number)
        if row is None:
            last = rounds.next_round(connection) - 1
            raise AlctlError(
                f"there is no round {number}; "
                + (f"the last one is {last}" if last else "none was selected yet")
            )
        picks = rounds.picks(connection, number, recalled=False)
        if not picks:
            raise AlctlError(f"round {number} was recalled; nothing of it is out with annotators")
        shares = ledger.shares_of(connection, number)
        state = required_state(connection, project.folder)
        root = state["root"]
        tools = _tools(connection, number, place, formats)
        said = predictions.of_round(connection, number)
        classes = categories.as_categories(connection, living=True)
        every, effective = categories.categories(connection), categories.effective_names(connection)
    blind = row["strategy"] == ledger.RELABEL or any(pick["why"] == CONTROL for pick in picks)
    listed = _blinded(picks) if blind else picks
    tables = _tables(listed, shares)
    _refuse_to_lose(folder, tables, {file_name(pick) for pick in picks}, set(map(file_of, tools)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        for name, table in tables.items():
            (partial / name).write_text(table, encoding="utf-8", newline="")
        (partial / "manifest.json").write_text(_manifest(row, picks, every), encoding="utf-8")
        sources = [Source(pick["item_id"], f"{root}/{pick['path']}", pick["digest"]) for pick in listed]
        _place(partial / "images", listed, sources, images)
        ranked = [pick for pick in listed if pick["rank"] is not None][:SHEET] or listed[:SHEET]
        thumbnails = _shown(sources[: len(ranked)], number, progress)
        contact_sheet(ranked, thumbnails).save(partial / "contact_sheet.jpg", quality=85)
        given = [_assignment(pick, number, said.get(pick["item_id"]), effective) for pick in listed]
        for tool in tools:
            tool.hand_out(given, partial / file_of(tool), classes, state["task"])
        _refuse_to_lose_answers(folder, partial)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    with project.writing("export") as connection:
        for name in ("csv", *map(name_of, tools)):
            handouts.add(connection, round_id=number, tool=name, place=place, now=now())
    return folder


def formats_of(project: Project, given: str, options: Mapping[str, str]) -> list[str]:
    """Return the names in "label-studio,cvat"; options go to the only one and are remembered by the project."""
    names = [name.strip() for name in given.split(",") if name.strip()]
    kinds = {name: FORMATS.load(name) for name in names}
    if options:
        if len(names) != 1:
            raise AlctlError("--option needs exactly one --format that it is for")
        with project.writing("export") as connection:
            known = settings.read(connection, f"format.{names[0]}") or {}
            configured(kinds[names[0]], {**known, **options}, f"format {names[0]!r}")
            settings.write(connection, f"format.{names[0]}", {**known, **options})
    return names


def name_of(tool: LabelFormat) -> str:
    """Return the name of a format."""
    return type(tool).__module__.rpartition(".")[2].replace("_", "-")


def file_of(tool: LabelFormat) -> str:
    """Return the name of a format's file or folder in an export."""
    return f"{name_of(tool)}{tool.suffix}"


def _tools(connection: Connection, number: int, place: str, formats: Sequence[str]) -> list[LabelFormat]:
    """Return the formats asked for now and those of earlier exports to the same place, with remembered options."""
    earlier = [found.tool for found in handouts.find(connection, round_id=number) if found.place == place]
    names = sorted({*formats, *earlier} - {"csv"})
    return [
        configured(FORMATS.load(name), settings.read(connection, f"format.{name}") or {}, f"format {name!r}")
        for name in names
    ]


def _assignment(
    pick: Mapping[str, Any],
    number: int,
    said: tuple[int | None, str | None] | None,
    names: Sequence[str],
) -> Assignment:
    predicted: tuple[Annotation, ...] | None = None
    if said is not None:
        category_id, text = said
        predicted = (
            (Annotation(names[category_id - 1]),) if category_id else objects.named(text or "[]", names)
        )
    return Assignment(
        pick["item_id"], pick["path"], f"images/{file_name(pick)}", pick["width"] or 0, pick["height"] or 0, number,
        pick["digest"].hex(), pick["score"], predicted,
    )  # fmt: skip


def _refuse_to_lose_answers(folder: Path, partial: Path) -> None:
    """Stop if a tool's file in the folder is not as it was exported: somebody has worked in it."""
    for path in sorted(folder.rglob("*")) if folder.exists() else ():
        name = path.relative_to(folder)
        if path.is_dir() or name.parts[0] in _OURS:
            continue
        if not (partial / name).is_file() or (partial / name).read_bytes() != path.read_bytes():
            raise AlctlError(
                f"{path} is not as it was exported; import it first, or export to another folder with --to"
            )


def _shown(sources: Sequence[Source], number: int, progress: Progress) -> list[Image.Image | None]:
    """Return the thumbnails of a round; one that cannot be made is an error, because the round is recorded."""
    try:
        return list(thumbs(sources, progress))
    except BrokenImages as broken:
        item, reason = next(iter(sorted(broken.reasons.items())))
        path = next(source.path for source in sources if source.id == item)
        count = f"{len(broken.reasons):,} images of round {number}"
        raise AlctlError(
            f"{count} cannot be shown any more; put the files back as they were indexed. "
            f"The first is item {item}, {path}: {reason}"
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


def _refuse_to_lose(
    folder: Path, tables: Mapping[str, str], names: AbstractSet[str], theirs: AbstractSet[str]
) -> None:
    """Stop if the folder holds a table that somebody has filled in, or things that are not an export."""
    if not folder.exists():
        return
    existing = {folder / name: text for name, text in tables.items() if (folder / name).is_file()}
    if not existing:
        raise AlctlError(f"{folder} exists and is not an export of alctl; choose another folder with --to")
    images = (
        {entry.name for entry in (folder / "images").iterdir()} if (folder / "images").is_dir() else set()
    )
    here = {entry.name for entry in folder.iterdir()}
    if strange := sorted(
        {name for name in here - _OURS - set(tables) - theirs if not _BESIDE.fullmatch(name)}
        | (images - names)
    ):
        raise AlctlError(
            f"{folder} holds {strange[0]!r}, which is not alctl's; move it away, or export with --to"
        )
    for file, table in existing.items():
        if file.read_bytes() != table.encode():
            raise AlctlError(
                f"{file} has been filled in or changed; import it first, or export to another folder with --to"
            )


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
            raise AlctlError(f"cannot export {source.path} to {target}: {error.strerror}") from error


def _link_or_copy(source: str, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
