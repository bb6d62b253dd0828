"""The contract of a label format: files from annotators into neutral records, and back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from alctl.annotation import LabeledImage, Refusal
from alctl.plugins import Plugins


class LabelFormat(ABC):
    """One label format, both directions."""

    carries: ClassVar[frozenset[str]]
    """Which of "category", "bbox", "keypoints", "segmentation" survive in it."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[LabeledImage | Refusal]:
        """Stream the file's answers in order, and a Refusal for each record that cannot be read.

        Rows that nobody has answered yet are not yielded. A file that is not this format at all raises AlctlError.
        """

    @abstractmethod
    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[str]) -> None:
        """Write the records so that `read` gives them back."""


FORMATS = Plugins("alctl.formats", LabelFormat)


_FORMULA = ("=", "+", "-", "@")


def safe_cell(value: object) -> object:
    """Return a CSV cell that no spreadsheet runs as a formula: such text gets an apostrophe in front.

    So does text that begins with a space, which nobody could tell from an untidy file when it comes back.
    """
    return f"'{value}" if isinstance(value, str) and _risky(value) else value


def plain_cell(text: str) -> str:
    """Undo `safe_cell`."""
    return text[1:] if text.startswith("'") and _risky(text) else text


def _risky(text: str) -> bool:
    begin = text.lstrip("'")[:1]
    return begin.isspace() or begin in _FORMULA
