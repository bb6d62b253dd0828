"""Whether an image without objects was looked at. Tools write one for every image of a task, opened or not.

So no format takes it for "nothing there" unless the user says so, by the option ``empty``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from alctl.labels.annotation import LabeledImage, Record

UNLABELED = "images without objects were left as not labeled yet; --option empty=true takes them as looked at"


def answered(records: Iterable[Record], notes: Counter[str], *, empty: bool) -> Iterator[Record]:
    """Pass records on, but images without objects only if ``empty`` says that they were looked at; count the others."""
    for record in records:
        bare = isinstance(record, LabeledImage) and record.status == "labeled" and not record.annotations
        if bare and not empty:
            notes[UNLABELED] += 1
        else:
            yield record
