"""Fuzz one format's reader: any bytes are read, refused record by record, or refused as a whole with an AlctlError.

    pip install -e '.[dev,fuzz]'
    python tests/fuzz/formats.py coco -max_total_time=600

Bytes become the file, or the one file in a folder that a format reads most of its text from. What a reader yields goes
through the importer's own checks too, so that a shape that only looks fine is found. A crash is kept as a file
and becomes a test beside the format. benchmarks/results/fuzz.md says how long each reader was fuzzed.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["alctl"]):
    from alctl.annotators.imports.check import CheckedAnswers
    from alctl.annotators.imports.class_list import ClassList
    from alctl.errors import AlctlError
    from alctl.labels.annotation import LabeledImage
    from alctl.labels.format import FORMATS

    for loaded in FORMATS.names():
        FORMATS.load(loaded)

import numpy as np
from PIL import Image

INNER = {
    "yolo": (
        "labels/train/a.txt",
        {"data.yaml": b"names: [cat, dog]\nkpt_shape: [2, 3]\ntrain: images/train\n"},
    ),
    "voc": ("Annotations/a.xml", {}),
    "masks": ("SegmentationClass/a.png", {"labelmap.txt": b"background:0,0,0::\ncat:128,0,0::\n"}),
    "folders": ("cat/a.png", {}),
}
"""Formats that read a folder: which of its files the bytes are, and what else is in it."""
OPTIONS: dict[str, dict[str, Any]] = {
    "voc": {"origin": 1},
    "label-studio": {"keypoints": "nose,tail"},
    "csv-objects": {"label": "cat"},
}
SECOND = {"yolo": "data.yaml", "masks": "labelmap.txt"}
"""A second file that every other input becomes."""


def laid_out(folder: Path, name: str, data: bytes) -> Path:
    """Write the bytes where the format reads them; return what is to be imported."""
    if name not in INNER:
        file = folder / f"labels{FORMATS.load(name).suffix}"
        file.write_bytes(data)
        return file
    place, others = INNER[name]
    root = folder / "labels"
    files = {**others, place: data}
    if name in SECOND and data[:1] < b"\x80":
        files = {**others, place: _usual(name), SECOND[name]: data[1:]}
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def _usual(name: str) -> bytes:
    if name == "yolo":
        return b"0 0.5 0.5 0.25 0.25\n"
    with tempfile.SpooledTemporaryFile() as stream:
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(stream, "PNG")
        stream.seek(0)
        return stream.read()


def one_input(name: str, data: bytes) -> None:
    """Read the bytes as a format, and put what comes out through the importer."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        path = laid_out(Path(temporary), name, data)
        reader = FORMATS.load(name)(**OPTIONS.get(name, {}))
        reader.recognise(path)
        for task in ("classification", "detection", "pose", "segmentation"):
            checked = CheckedAnswers(task, ClassList({"cat": 1}, {}, 1, {}, add=True), "")
            try:
                for row in checked.rows(record for record in reader.read(path) if known(record)):
                    assert isinstance(row, tuple)
            except AlctlError:
                return


def known(record: object) -> bool:
    """Look at what a record promises beyond its types."""
    if isinstance(record, LabeledImage):
        assert isinstance(record.path, str)
        assert record.item is None or (isinstance(record.item, int) and abs(record.item) < 2**63)
        assert record.seconds is None or record.seconds >= 0
        record.path.encode("utf-8")
    return True


if __name__ == "__main__":
    format_name = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: one_input(format_name, data))
    atheris.Fuzz()
