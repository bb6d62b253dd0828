"""CSV with the class of each image: one row an answer; labels/parsing/table.py finds separators and columns."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alctl.errors import AlctlError
from alctl.labels.annotation import Category, LabeledImage, Note, Record, Refusal
from alctl.labels.format import LabelFormat
from alctl.labels.parsing import table
from alctl.labels.spreadsheet_cells import safe_cell


@dataclass(frozen=True)
class Csv(LabelFormat):
    """A table with an item or path, and a label or a status in each row; other columns are ignored."""

    columns: str = ""
    """Which columns are which, where their names do not say it: ``image=id_code,label=diagnosis``."""

    carries = frozenset({"category", "status", "annotator"})
    suffix = ".csv"

    def recognise(self, path: Path) -> str:
        """A table is one whose first line names an item or a path, and a label or a status, and no coordinates."""
        try:
            _, header = next(table.rows(path), (0, []))
            table.columns_of(path, header, given=self.columns)
        except AlctlError:
            return ""
        return (
            ""
            if table.coordinates_of(header, self.columns)
            else f"a table with the columns {', '.join(header)}"
        )

    def read(self, path: Path) -> Iterator[Record]:
        """Yield an answer for each row with a label or a status; rows that are still blank are counted."""
        rows = table.rows(path)
        _, header = next(rows, (0, []))
        columns = table.columns_of(path, header, given=self.columns)
        blank = 0
        for line, cells in rows:
            if len(cells) > len(header) or table.cut_off(columns, cells):
                yield Refusal(line, table.wrong_width(cells, header))
            elif (answer := table.answer_of(columns, cells, line)) is not None:
                yield answer
            else:
                blank += any(cells)
        if blank:
            yield Note(table.BLANK, blank)

    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write one row an image; a cell that a spreadsheet would take for a formula is quoted with an apostrophe."""
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(table.COLUMNS)
            for image in images:
                label = image.annotations[0].category if image.annotations else ""
                status = "" if image.status == "labeled" else image.status
                seconds = "" if image.seconds is None else image.seconds
                cells = (image.item or "", image.path, label, image.annotator, status, seconds, image.digest)
                writer.writerow([safe_cell(cell) for cell in cells])
