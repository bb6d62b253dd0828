"""What a section of a report is made of, before it becomes HTML or Markdown. All strings in it are plain text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Text(NamedTuple):
    """A paragraph."""

    text: str


class List(NamedTuple):
    """Sentences, one below the other."""

    sentences: Sequence[str]


class Table(NamedTuple):
    """Rows of cells; the first column names the row, the others are numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shades: Sequence[Sequence[float]] = ()
    """For each cell how strongly it is coloured, 0 to 1; empty for a plain table."""


class Figure(NamedTuple):
    """A chart; its caption says what it shows, its SVG is made of nothing but numbers and escaped text."""

    svg: str
    caption: str


class Picture(NamedTuple):
    """One image with what is said about it."""

    item: int
    path: str
    lines: Sequence[str]
    wrong: bool = False


class Gallery(NamedTuple):
    """Images under a heading."""

    title: str
    pictures: Sequence[Picture]
    note: str = ""


class Pair(NamedTuple):
    """Two images that are seen side by side, and what is said about both."""

    first: Picture
    second: Picture
    line: str


class Pairs(NamedTuple):
    """Pairs of images under a heading."""

    title: str
    pairs: Sequence[Pair]
    note: str = ""


Block = Text | List | Table | Figure | Gallery | Pairs


@dataclass(frozen=True)
class Section:
    """One heading and what is below it."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
