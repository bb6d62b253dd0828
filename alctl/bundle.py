"""What annotators get of a round: `rounds/0003/` with items.csv, the images, a contact sheet and a manifest.

It follows from the database and the image files alone, so it can be made again, byte for byte.
"""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from PIL import Image, ImageDraw

from alctl.errors import AlctlError
from alctl.format import safe_cell
from alctl.images import BrokenImages, Source, read_image
from alctl.pool import items, rounds
from alctl.progress import Progress
from alctl.project import Project, required_state

Images = Literal["link", "symlink", "copy", "none"]
COLUMNS = ("item", "path", "image", "label", "annotator", "status", "seconds", "rank", "score", "why")
CONTROL = "control"
"""Why an item was picked that is there to compare the strategy with."""
SHEET = 200
"""Images on the contact sheet."""
_OURS = frozenset({"items.csv", "manifest.json", "contact_sheet.jpg", "images"})
_TILE, _CAPTION, _ACROSS = 128, 28, 10
_LONGEST = 240
"""Bytes of a file name after its item; file systems take 255 in all."""


def folder_of(project: Project, number: int) -> Path:
    """Return the export folder of a round."""
    return project.rounds / f"{number:04}"


def export(
    project: Project, number: int, progress: Progress, *, images: Images = "link", target: Path | None = None
) -> Path:
    """Write a round's folder, whole or not at all; a filled-in items.csv is never overwritten.

    A round with a control is blind: nothing but manifest.json says which images the strategy wanted.
    """
    with project.reading() as connection:
        row = rounds.round_row(connection, number)
        if row is None:
            last = rounds.next_round(connection) - 1
            raise AlctlError(
                f"there is no round {number}; "
                + (f"the last one is {last}" if last else "none was selected yet")
            )
        picks = rounds.picks(connection, number)
        root = required_state(connection, project.folder)["root"]
        categories = items.categories(connection)
    folder = target or folder_of(project, number)
    listed = _blinded(picks) if any(pick["why"] == CONTROL for pick in picks) else picks
    table = _table(listed)
    _refuse_to_lose(folder, table, {file_name(pick) for pick in picks})
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        (partial / "items.csv").write_text(table, encoding="utf-8", newline="")
        (partial / "manifest.json").write_text(_manifest(row, picks, categories), encoding="utf-8")
        sources = [Source(pick["item_id"], f"{root}/{pick['path']}", pick["digest"]) for pick in listed]
        _place(partial / "images", listed, sources, images)
        ranked = [pick for pick in listed if pick["rank"] is not None][:SHEET] or listed[:SHEET]
        thumbnails = _shown(sources[: len(ranked)], number, progress)
        contact_sheet(ranked, thumbnails).save(partial / "contact_sheet.jpg", quality=85)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


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


def _refuse_to_lose(folder: Path, table: str, names: AbstractSet[str]) -> None:
    """Stop if the folder holds an items.csv that somebody has filled in, or things that are not an export."""
    if not folder.exists():
        return
    existing = folder / "items.csv"
    if not existing.is_file():
        raise AlctlError(f"{folder} exists and is not an export of alctl; choose another folder with --to")
    images = (
        {entry.name for entry in (folder / "images").iterdir()} if (folder / "images").is_dir() else set()
    )
    if strange := sorted(({entry.name for entry in folder.iterdir()} - _OURS) | (images - names)):
        raise AlctlError(
            f"{folder} holds {strange[0]!r}, which is not alctl's; move it away, or export with --to"
        )
    if existing.read_bytes() != table.encode():
        raise AlctlError(
            f"{existing} has been filled in or changed; import it first, or export to another folder with --to"
        )


def file_name(pick: Mapping[str, Any]) -> str:
    """Return the name of an image in an export: unique, and traceable to its item without the table.

    A name that would be too long for a file system loses the end of its stem.
    """
    path = PurePosixPath(pick["path"])
    stem = path.stem.encode()[: _LONGEST - len(path.suffix.encode())].decode(errors="ignore")
    return f"{pick['item_id']:07}_{stem}{path.suffix}"


def _table(picks: Sequence[Mapping[str, Any]]) -> str:
    """Return items.csv, ready to be filled in."""
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
            "",
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


def _manifest(row: Mapping[str, Any], picks: Sequence[Mapping[str, Any]], categories: Sequence[str]) -> str:
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
    return json.dumps({**about, "categories": list(categories), "items": entries}, indent=1) + "\n"


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


def thumbs(sources: Sequence[Source], progress: Progress, keep: int = SHEET) -> Iterator[Image.Image | None]:
    """Decode images for looking at, in order; past the first ``keep`` only to see that they decode.

    At the end `BrokenImages` names those that do not.
    """
    reasons: dict[int, str] = {}

    def small(position: int) -> Image.Image | None:
        try:
            image = read_image(sources[position], _TILE)
        except BrokenImages as error:
            reasons.update(error.reasons)
            return None
        image.thumbnail((_TILE, _TILE))
        return image if position < keep else None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(sources), 1_000):
            part = range(start, min(start + 1_000, len(sources)))
            for position, image in zip(part, pool.map(small, part), strict=True):
                yield image
                progress("looking at images", position + 1, len(sources))
    if reasons:
        raise BrokenImages(reasons)


def contact_sheet(
    picks: Sequence[Mapping[str, Any]],
    thumbnails: Sequence[Image.Image | None],
    said: Mapping[int, str] | None = None,
) -> Image.Image:
    """Draw the thumbnails in rank order, each with its rank, item and score, and what is ``said`` of the item."""
    rows = -(-len(picks) // _ACROSS)
    pitch = _TILE + 8
    caption = _CAPTION if said is None else _CAPTION + 12
    sheet = Image.new("RGB", (_ACROSS * pitch + 8, rows * (pitch + caption) + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (pick, image) in enumerate(zip(picks, thumbnails, strict=True)):
        x, y = 8 + i % _ACROSS * pitch, 8 + i // _ACROSS * (pitch + caption)
        if image is not None:
            larger = _TILE // max(image.size)
            shown = image.resize((image.width * larger, image.height * larger)) if larger > 1 else image
            sheet.paste(shown, (x + (_TILE - shown.width) // 2, y + (_TILE - shown.height) // 2))
        place = f"#{pick['rank']}" if pick["rank"] else pick["why"]
        score = f"  {pick['score']:.3g}" if pick["rank"] and pick["score"] else ""
        draw.text((x, y + _TILE + 2), f"{place}{score}", fill="black")
        draw.text((x, y + _TILE + 13), f"item {pick['item_id']}", fill="#666666")
        if said is not None:
            draw.text((x, y + _TILE + 25), _shortened(draw, said.get(pick["item_id"], "")), fill="#0b5cad")
    return sheet


def _shortened(draw: ImageDraw.ImageDraw, text: str) -> str:
    """Return as much of the text, on one line, as fits below a thumbnail."""
    text = " ".join(text.split())[:_TILE]
    if draw.textlength(text) <= _TILE:
        return text
    while text and draw.textlength(f"{text}…") > _TILE:
        text = text[:-1]
    return f"{text}…"
