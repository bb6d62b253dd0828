"""What every label format can do: recognise its files, read what annotators said from them, and write it back."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from alctl.labels.annotation import Assignment, Category, LabeledImage, Record
from alctl.plugins import Plugins


class LabelFormat(ABC):
    """One label format, both directions. A subclass is a frozen dataclass: its fields are its options."""

    carries: ClassVar[frozenset[str]]
    """Which of "category" (of the whole image), "bbox", "keypoints", "polygons" and "mask" survive in it, "crowd" and
    "difficult" (the marks), "status" (skipped or unusable) and "annotator" (several for one image)."""
    suffix: ClassVar[str]
    """Of the file that `write` makes, such as ".json"; empty if it makes a folder."""

    @abstractmethod
    def recognise(self, path: Path) -> str:
        """Say what ``path`` is, such as "COCO instances", if it is this format; else return an empty string.

        Looks at names and at the first part of a file only, and never raises.
        """

    @abstractmethod
    def read(self, path: Path) -> Iterator[Record]:
        """Stream the file's answers in order, a Refusal for each record that cannot be read, and its classes.

        Rows that nobody has answered yet are not yielded. A file that is not this format at all, or is cut off,
        raises AlctlError. The whole file is never in memory.
        """

    @abstractmethod
    def write(self, images: Iterable[LabeledImage], path: Path, categories: Sequence[Category]) -> None:
        """Write the records so that `read` gives them back; the order of the classes is the order of their ids."""

    def hand_out(
        self, assignments: Iterable[Assignment], path: Path, categories: Sequence[Category], task: str
    ) -> None:
        """Write what annotators' tools open: images with nothing on them yet, or with the model's predictions."""
        self.write(map(_as_labeled, assignments), path, categories)


def _as_labeled(assignment: Assignment) -> LabeledImage:
    return LabeledImage(
        assignment.image,
        assignment.predictions or (),
        item=assignment.item,
        width=assignment.width,
        height=assignment.height,
        digest=assignment.digest,
    )


FORMATS = Plugins("alctl.labels.formats", LabelFormat)
