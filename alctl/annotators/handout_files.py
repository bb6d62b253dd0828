"""The files of a round's folder: tables, manifest and images."""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image

from alctl.database import rounds_out
from alctl.database.rounds import Pick, Round
from alctl.errors import AlctlError
from alctl.images.contact_sheet import thumbnails
from alctl.images.decode import MissingImages, Source, gone
from alctl.images.levels import Levels
from alctl.labels.spreadsheet_cells import safe_cell
from alctl.progress import Progress

Images = Literal["link", "symlink", "copy", "none"]


COLUMNS = ("item", "path", "image", "label", "annotator", "status", "seconds", "rank", "score", "why")


_LONGEST = 240
"""Bytes of a file name after its item; file systems take 255 in all."""


def decoded(
    sources: Sequence[Source], number: int, ranges: Levels, progress: Progress
) -> list[Image.Image | None]:
    """Return the thumbnails of a round; one that cannot be made is an error, because the round is recorded."""
    made = thumbnails(sources, progress, ranges)
    if made.missing:
        raise MissingImages(made.missing)
    if made.broken:
        item, reason = min(made.broken.items())
        path = next(source.path for source in sources if source.id == item)
        count = f"{len(made.broken):,} images of round {number}"
        raise AlctlError(
            f"{count} cannot be shown any more; put the files back as they were indexed, or take the images out of the "
            f"round with `alctl recall {number} --item {item}`. The first is item {item}, {path}: {reason}"
        )
    return made.images


def blinded(picks: Sequence[Pick]) -> list[Pick]:
    """Return the picks in the order of the items, without anything that tells the control from the rest."""
    ordered = sorted(picks, key=lambda pick: pick.item_id)
    return [replace(pick, rank=None, score=None, why="") for pick in ordered]


def tables(listed: Sequence[Pick], shares: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Return the tables of a round by file name: items.csv, or one for each annotator with what is theirs."""
    if not shares:
        return {rounds_out.tables([])[0]: _table(listed)}
    own = [frozenset(items) for items in shares.values()]
    return {
        file: _table([pick for pick in listed if pick.item_id in mine], annotator)
        for file, annotator, mine in zip(rounds_out.tables([*shares]), shares, own, strict=True)
    }


def file_name(pick: Pick) -> str:
    """Return the name of an image in an export: unique, and traceable to its item without the table.

    A name that would be too long for a file system loses the end of its stem.
    """
    path = PurePosixPath(pick.path)
    stem = path.stem.encode()[: _LONGEST - len(path.suffix.encode())].decode(errors="ignore")
    return f"{pick.item_id:07}_{stem}{path.suffix}"


def _table(picks: Sequence[Pick], annotator: str = "") -> str:
    """Return a table that is ready to be filled in."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for pick in picks:
        rank = "" if pick.rank is None else pick.rank
        score = "" if pick.score is None else f"{pick.score:.6g}"
        row = (
            pick.item_id,
            pick.path,
            f"images/{file_name(pick)}",
            "",
            annotator,
            "",
            "",
            rank,
            score,
            pick.why,
        )
        writer.writerow(
            [safe_cell(cell) if isinstance(cell, str) and cell is not score else cell for cell in row]
        )
    return text.getvalue()


def manifest(row: Round, picks: Sequence[Pick], classes: Sequence[str]) -> str:
    """Return how the round came about, as JSON."""
    entries = [
        {
            "item": pick.item_id,
            "path": pick.path,
            "image": f"images/{file_name(pick)}",
            "sha256": pick.digest.hex(),
            "rank": pick.rank,
            "score": pick.score,
            "why": pick.why,
        }
        for pick in picks
    ]
    about = {key if key != "id" else "round": value for key, value in vars(row).items()}
    return (
        json.dumps({**about, "categories": list(classes), "items": entries}, indent=1, allow_nan=False) + "\n"
    )


def place_images(folder: Path, picks: Sequence[Pick], sources: Sequence[Source], how: Images) -> None:
    """Put the images in ``folder``: hard links cost no space; where they are impossible, copies."""
    if missing := gone(sources):
        raise MissingImages(missing)
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
