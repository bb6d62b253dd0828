"""Files of tools that alctl does not read: told by their own signs, with the way to a format that it reads."""

import re
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from alctl.errors import AlctlError
from alctl.labels.parsing.encodings import shown_head
from alctl.labels.parsing.untrusted import is_archive, members

HEAD = 1 << 14
"""Bytes that tell what a file is."""
_LOOKED_AT = 200
"""Files of a folder that are looked at by name."""


class Foreign(NamedTuple):
    """A kind of file, and how its labels get here."""

    name: str
    way: str
    head: str = ""
    """A pattern of what such a file begins with."""
    names: str = ""
    """A pattern of the paths in such a folder or zip, or of such a file's own name."""


def _by_datumaro(kind: str) -> str:
    """Return the command of datumaro 1.13, which has read its own files of each of these kinds."""
    command = f"datum convert -i {{path}} -if {kind} -f coco -o converted -- --save-media"
    return f"convert it with datumaro: `{command}`, and import converted/annotations"


_COCO = "export it as COCO from the tool that wrote it"
_UNPACK = "unpack it, and import the folder or file that it holds"
FOREIGN: Sequence[Foreign] = (
    Foreign("a 7z archive", _UNPACK, names=r"\.7z$"),
    Foreign("a RAR archive", _UNPACK, names=r"\.rar$"),
    Foreign("a tar archive", _UNPACK, names=r"\.(tar|tgz|tar\.\w+)$"),
    Foreign("an Excel table", "save it as 'CSV UTF-8' and import that", names=r"\.(xlsx?|ods)$"),
    Foreign("TFRecord", _COCO, names=r"\.tfrecords?(-\d+)?(-of-\d+)?$"),
    Foreign(
        "a CVAT backup", "export the task from CVAT as 'CVAT for images 1.1' and import that",
        names=r"^(task_\d+/)?(task|project)\.json$",
    ),
    Foreign(
        "labelme JSON", "convert it with labelme2coco",
        r'^\s*\{(?=[\s\S]*"shapes"\s*:)(?=[\s\S]*("imagePath"|"version"|"imageData"|\]\s*\}\s*$))',
    ),
    Foreign(
        "VIA (VGG Image Annotator)", "export its annotations as COCO in VIA 2, under Annotation",
        r'"(_via_img_metadata|region_attributes)"\s*:|region_shape_attributes',
    ),
    Foreign("CreateML", _COCO, r'^\s*\[\s*\{[^\[]*"annotations"\s*:\s*\[\s*\{[^\]]*"coordinates"\s*:'),
    Foreign(
        "Datumaro", _by_datumaro("datumaro"),
        r'^\s*\{[\s\S]*"categories"\s*:\s*\{[\s\S]*"items"\s*:\s*\[|"label_id"\s*:',
    ),
    Foreign(
        "Supervisely", _COCO,
        r'"(classTitle|geometryType)"\s*:', r"(^|/)ann/[^/]+\.\w+\.json$",
    ),
    Foreign("Cityscapes", _by_datumaro("cityscapes"), r'"imgHeight"\s*:', r"_gtFine_"),
    Foreign("Labelbox", _COCO, r'"data_row"\s*:'),
    Foreign(
        "Scale AI", "write each task's boxes to a table with image, label, x, y, width, height",
        r'^\s*\[\s*\{\s*"task_id"\s*:[\s\S]*"response"\s*:',
    ),
    Foreign("BDD100K", "convert it with to_coco of the bdd100k package", r'"box2d"\s*:'),
    Foreign(
        "V7 Darwin", _COCO,
        r'"item"\s*:\s*\{[\s\S]*"annotations"\s*:\s*\[',
    ),
    Foreign(
        "a SageMaker Ground Truth manifest", "write each line's boxes to a table with image, label, x, y, width, height",
        r'^\s*\{\s*"source-ref"\s*:',
    ),
    Foreign(
        "a FiftyOne data set", "export it as COCO: dataset.export(..., dataset_type=fiftyone.types.COCODetectionDataset)",
        r'^\s*\{\s*"classes"\s*:\s*\[[^\]]*\]\s*,\s*"labels"\s*:\s*\{', r"^(samples|metadata)\.json$",
    ),
    Foreign("OpenImages", _by_datumaro("open_images"), names=r"class-descriptions|-annotations-bbox\.csv$|^annotations/oidv6"),
    Foreign("KITTI", _by_datumaro("kitti"), names=r"(^|/)label_2/[^/]+\.txt$"),
    Foreign(
        "DOTA", "convert it to YOLO's oriented boxes with ultralytics.data.converter.convert_dota_to_yolo_obb",
        r"^imagesource:", r"(^|/)labelTxt[^/]*/[^/]+\.txt$",
    ),
    Foreign("WIDER FACE", _by_datumaro("wider_face"), r"^\d+--\w+/[^\n]+\.jpg\r?\n\d+\r?\n"),
    Foreign(
        "YOLO without the names of its classes",
        "put a classes.txt with a class a line into it, or say --format yolo --option names=FILE",
        names=r"^([^/]+/)*[^/]+\.txt$",
    ),
)  # fmt: skip
"""The surest first."""


def told(path: Path) -> str:
    """Say what a file or folder is that no format takes for its own, and how its labels get here; or nothing."""
    try:
        names, heads = _looked_at(path)
    except (OSError, AlctlError):
        return ""
    for kind in FOREIGN:
        named = kind.names and any(re.search(kind.names, name) for name in names)
        if named or (kind.head and any(re.search(kind.head, head) for head in heads)):
            return f"{path} is {kind.name}, which alctl does not read; {kind.way.replace('{path}', shlex.quote(str(path)))}"
    return ""


def _looked_at(path: Path) -> tuple[list[str], list[str]]:
    """Return paths and beginnings of what is there; a single file's own name has a dot before it, as a path has none."""
    if path.is_dir() or (is_archive(path) and path.suffix.lower() == ".zip"):
        with members(path) as found:
            names = list(islice(found.names, _LOOKED_AT))
            texts = [name for name in names if name.lower().endswith((".json", ".txt", ".csv"))][:3]
            heads = []
            for name in texts:
                with found.open(name) as stream:
                    heads.append(shown_head(stream.read(HEAD)))
            return names, heads
    with path.open("rb") as stream:
        return [f"./{path.name}"] if path.suffix.lower() != ".txt" else [], [shown_head(stream.read(HEAD))]
