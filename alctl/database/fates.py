"""What happens to each answer of a file that is imported: every possible fate, with what it means."""

from typing import Final, Literal, get_args

StoredFate = Literal["added", "changed", "confirmed", "older"]
"""The answer goes into the history of labels."""
PassedFate = Literal["unchanged", "outdated", "outside", "left"]
"""Nothing is wrong with the answer, and nothing is stored."""
ProblemFate = Literal[
    "unknown item",
    "two names",
    "other path",
    "other image",
    "trouble",
    "other size",
    "no size",
    "over the edge",
    "contradiction",
    "repeated",
]
"""The answer is refused, with a sentence (`annotators.imports.problems`)."""
Fate = StoredFate | PassedFate | ProblemFate
"""The column ``fate`` of staged answers; NULL while an answer may still become any of these."""

STORED: Final[tuple[StoredFate, ...]] = get_args(StoredFate)
PASSED: Final[tuple[PassedFate, ...]] = get_args(PassedFate)
PROBLEMS: Final[tuple[ProblemFate, ...]] = get_args(ProblemFate)
FATES: Final[tuple[Fate, ...]] = (*STORED, *PASSED, *PROBLEMS)

MEANINGS: Final[dict[Fate, str]] = {
    "added": "the annotator's first answer to this image",
    "changed": "another answer than the one that this annotator has in force for the image, which it replaces",
    "confirmed": "the same answer once more, to a round that asked for it once more",
    "older": "the file holds a newer answer of the same annotator to the same image; this one goes before it into the "
    "history",
    "unchanged": "the answer that is in force already",
    "outdated": "given before the answer that is in force, which stays",
    "outside": "its image did not go out with the round that was asked for",
    "left": "its image is not in the pool, and such answers were to be left",
    "unknown item": "its image is not in the pool, or may be several images of it",
    "two names": "the file gives its image two names, which are those of two images of the pool",
    "other path": "the image with the number that the file gives has another path than the file says",
    "other image": "the image with the number that the file gives has other bytes than the file says",
    "trouble": "wrong in itself; the column ``trouble`` holds the sentence",
    "other size": "the file is about an image of another width or height",
    "no size": "its shapes are fractions of the image's size, and the image cannot be read",
    "over the edge": "an object reaches over the image's edge by more than a rounding",
    "contradiction": "the file holds another answer of the same annotator to the same image, and no time tells which "
    "is newer",
    "repeated": "the file holds the same answer of the same annotator to the same image before",
}


def in_sql(*fates: Fate) -> str:
    """Return fates as SQL has them, such as ``'added', 'changed'``: mypy knows every name that a statement uses."""
    return ", ".join(f"'{fate}'" for fate in fates)
