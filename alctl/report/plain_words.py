"""The report for readers who are no statisticians: one sentence on the model, and what the page's words mean."""

from collections.abc import Iterable

from alctl.report.blocks import Block, Figure, Gallery, List, Pairs, Section, Table, Text
from alctl.report.contents import Facts
from alctl.report.numbers_as_text import count

_WORDS = {
    "95 %": "An interval of 95 % is where the true number most likely lies: of 100 intervals made like this, 95 hold it. If "
    "the interval of a change holds 0, there may be no change at all.",
    "points": "Percentage points: from 70 % to 75 % are 5 points.",
    "accuracy": "The share of images that the model gives their right class.",
    "balanced accuracy": "The mean of the accuracies of all classes, so that a rare class counts as much as a frequent one.",
    "target loss": "How wrong the model is about an image, 0 being right and certain; being sure of something wrong costs most.",
    "predicted loss": "How wrong the model expects to be about an image, said without knowing the right answer.",
    "ranking accuracy": "Of two images, how often the one that is expected to be harder is harder; a coin would get 0.5.",
    "Spearman": "Whether two lists of numbers are in the same order: 1 is the same order, 0 no relation, -1 the opposite order.",
    "Pearson": "As Spearman, but for the numbers themselves: 1 is a straight line.",
    "entropy": "How undecided the model is between all classes.",
    "margin": "How near the model's second choice comes to its first.",
    "probe": "A small model, fitted in seconds, on top of a large network that is not trained further.",
    "control": "Images of a round that were drawn at random, so that chosen ones can be compared with them.",
    "candidates": "The unlabeled images that a round could choose from.",
    "reserved": "Images that the model never learns from, kept to measure it on.",
    "calibration error": "How far the model's certainty is from how often it is right, on average.",
    "McNemar": "A test on images that only one of two models gets right; p is how often luck alone would look like this, and "
    "less than 0.05 counts as a difference.",
    "Wilson": "How the interval of a share is computed; it also holds for few images, and for shares near 0 or 100 %.",
    "kappa": "How far two people agree beyond what guessing would give: 1 is always, 0 no more than guessing.",
    "Krippendorff": "The same for any number of people.",
    "embedding": "What a network makes of an image: a list of numbers that is similar for similar images.",
    "cosine": "How alike the embeddings of two images are: 1 is the same.",
}  # fmt: skip
"""What a word of the page means, in the order in which they are listed."""


def in_short(facts: Facts) -> str:
    """Return how good the model is in one sentence without a term of statistics; empty where nothing is measured."""
    last = next((point for point in facts.curve if facts.runs and point.run == facts.runs[-1].id), None)
    if last is None or last.low is None or last.high is None:
        return ""
    return (
        f"The model has learned from {count(last.labeled)} images and is right on {last.value:.0%} of those it has not seen; "
        f"as far as the {count(facts.measured)} {facts.split} images can tell, that is somewhere between {last.low:.0%} and "
        f"{last.high:.0%}."
    )


def glossary(shown: Iterable[Section]) -> list[Block]:
    """Return what the words mean that stand in these sections."""
    text = "\n".join(_text(block) for section in shown for block in section.blocks).lower()
    return [List([f"{word}: {meaning}" for word, meaning in _WORDS.items() if word.lower() in text])]


def _text(block: Block) -> str:
    """Return the words of a block that the report itself chose, and that stand in sight."""
    match block:
        case Text(text):
            return text
        case List(sentences):
            return "\n".join(sentences)
        case Table(columns, _, _):
            return "\n".join(columns)
        case Figure(svg, caption):
            return f"{svg}\n{caption}"
        case Gallery(title, _, note) | Pairs(title, _, note):
            return f"{title}\n{note}"
