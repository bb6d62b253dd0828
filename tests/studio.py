"""Files of Label Studio, made by hand for tests."""

import json
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from alctl.labels.annotation import Annotation, Category, LabeledImage, Note, Record, Refusal
from alctl.labels.formats.label_studio import LabelStudio
from alctl.labels.parsing.label_studio import brush_masks

NUMBERS = count()


def near(numbers: Any) -> Any:
    """Return what is equal to these numbers but for rounding."""
    return pytest.approx(numbers)


def read(tasks: object, options: dict[str, str] | None = None, config: str = "") -> list[Record]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "export.json"
        file.write_text(json.dumps(tasks))
        if config:
            file.with_suffix(".xml").write_text(config)
        return list(LabelStudio(**(options or {})).read(file))


def answers(records: Iterable[Record]) -> list[LabeledImage]:
    """Return the answers; there must be no refusal."""
    records = list(records)
    assert not [record for record in records if isinstance(record, Refusal)]
    return [record for record in records if isinstance(record, LabeledImage)]


def refusal(records: Iterable[Record]) -> str:
    (record,) = [record for record in records if not isinstance(record, Category | Note)]
    assert isinstance(record, Refusal)
    return record.problem


def notes(records: Iterable[Record]) -> dict[str, int]:
    return {record.what: record.times for record in records if isinstance(record, Note)}


def task(*results: object, data: object = None, **more: object) -> list[dict[str, Any]]:
    """Return a file with one task and one annotation."""
    annotation = {"id": 40, "was_cancelled": False, "result": list(results), **more}
    return [{"id": 12, "data": data or {"image": "a.jpg"}, "annotations": [annotation]}]


def region(kind: str, value: dict[str, Any], *names: str, **more: object) -> dict[str, Any]:
    labels = {kind: list(names)} if names else {}
    size = {"original_width": 1000, "original_height": 500, "image_rotation": 0}
    return {
        "id": f"r{next(NUMBERS)}",
        "type": kind,
        "value": {**value, **labels},
        "from_name": "l",
        "to_name": "i",
        **size,
        **more,
    }


def box(*names: str, **more: Any) -> dict[str, Any]:
    value = {
        key: more.pop(key, number)
        for key, number in (("x", 10), ("y", 10), ("width", 20), ("height", 40), ("rotation", 0))
    }
    return region("rectanglelabels", value, *names, **more)


def point(name: str, x: float = 10, y: float = 10, **more: object) -> dict[str, Any]:
    return region("keypointlabels", {"x": x, "y": y, "width": 0.5}, name, **more)


def stroke(mask: np.ndarray, name: str = "ant", **more: object) -> dict[str, Any]:
    height, width = mask.shape
    value = {"format": "rle", "rle": brush_masks.of_mask(mask)}
    return region("brushlabels", value, name, **{"original_width": width, "original_height": height, **more})


def only(records: Iterable[Record]) -> Annotation:
    (answer,) = answers(records)
    (annotation,) = answer.annotations
    return annotation
