"""What annotators' tools make of an export: from the files of a round to the file that comes back.

Each function knows only what the tool knows: the files in the folder, and what an annotator sees in an image, which is
given by the image's name in the export. Ids, orders and folders are the tools' own.
"""

import csv
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import yaml
from PIL import Image

WHEN = "2026-05-04T10:00:00.123456Z"


class Drawn(NamedTuple):
    """One object that an annotator sees in an image, in pixels; the corners are the box's."""

    name: str
    left: int
    top: int
    right: int
    bottom: int

    @property
    def corners(self) -> list[tuple[int, int]]:
        """The outline."""
        left, top, right, bottom = self[1:]
        return [(left, top), (right, top), (right, bottom), (left, bottom)]

    @property
    def points(self) -> list[tuple[str, int, int]]:
        """The keypoints, in the order in which people happen to set them."""
        return [("tail", self.right, self.bottom), ("nose", self.left, self.top)]


Seen = Mapping[str, Drawn]
"""What is in each image, by the image's name in the export."""
SIDE = 40


def csv_(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Fill in the table in a spreadsheet that saves semicolons."""
    return _filled(export / "items.csv", out, lambda row: {"label": seen[Path(row["image"]).name].name})


def csv_objects(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Fill in the table of objects, of which only the path tells the image."""
    with (export / "items.csv").open(encoding="utf-8", newline="") as stream:
        names = {row["item"]: Path(row["image"]).name for row in csv.DictReader(stream)}

    def cells(row: Mapping[str, str]) -> dict[str, object]:
        drawn = seen[names[row["item"]]]
        box = {
            "x": drawn.left,
            "y": drawn.top,
            "width": drawn.right - drawn.left,
            "height": drawn.bottom - drawn.top,
        }
        points = {f"{name}_{end}": value for name, x, y in drawn.points for end, value in
                  (("x", x), ("y", y), ("visibility", 2))}  # fmt: skip
        return {"label": drawn.name, **box, **(points if task == "pose" else {})}

    return _filled(export / "csv-objects.csv", out, cells)


def _filled(table: Path, out: Path, cells: Callable[[Mapping[str, str]], Mapping[str, object]]) -> Path:
    with table.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = [{**row, **cells(row)} for row in reader]
        with (out / "table.csv").open("w", encoding="utf-8-sig", newline="") as target:
            writer = csv.DictWriter(target, list(reader.fieldnames or ()), delimiter=";")
            writer.writeheader()
            writer.writerows(rows)
    return out / "table.csv"


def coco(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Give the images new ids, and names without a folder; keep nothing that is not COCO's."""
    given = json.loads((export / "coco.json").read_text(encoding="utf-8"))
    names = {row["id"]: row for row in given["categories"]}
    ids = {row["name"]: 100 + id_ for id_, row in names.items()}
    images, annotations = [], []
    for number, row in enumerate(reversed(given["images"]), 1000):
        name = Path(row["file_name"]).name
        drawn = seen[name]
        images.append({"id": number, "file_name": name, "width": row["width"], "height": row["height"]})
        found: dict[str, object] = {"id": number, "image_id": number, "category_id": ids[drawn.name]}
        if task != "classification":
            found["bbox"] = [drawn.left, drawn.top, drawn.right - drawn.left, drawn.bottom - drawn.top]
        if task == "segmentation":
            found["segmentation"] = [[number for point in drawn.corners for number in point]]
        if task == "pose":
            places = {name: (x, y, 2) for name, x, y in drawn.points}
            order = next(row["keypoints"] for row in names.values() if row["name"] == drawn.name)
            found["keypoints"] = [number for name in order for number in places[name]]
        annotations.append(found)
    categories = [{**row, "id": 100 + row["id"]} for row in names.values()]
    return _json(
        out, {"info": {}, "images": images, "annotations": annotations[::-1], "categories": categories}
    )


def cvat(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Upload the images, which sorts and numbers them anew, make the labels, draw, export."""
    labels = json.loads((export / "cvat-labels.json").read_text(encoding="utf-8"))
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    declared = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for label in labels:
        element = ET.SubElement(declared, "label")
        ET.SubElement(element, "name").text = label["name"]
        for part in label.get("sublabels", ()):
            sub = ET.SubElement(declared, "label")
            ET.SubElement(sub, "name").text = part["name"]
            ET.SubElement(sub, "parent").text = label["name"]
    for number, file in enumerate(sorted((export / "images").iterdir(), reverse=True)):
        drawn = seen[file.name]
        size = {"width": str(SIDE), "height": str(SIDE)}
        image = ET.SubElement(
            root, "image", {"id": str(number), "name": file.name, "subset": "default", **size}
        )
        common = {"label": drawn.name, "source": "manual", "occluded": "0", "z_order": "0"}
        outline = ";".join(f"{x}.00,{y}.00" for x, y in drawn.corners)
        if task == "classification":
            ET.SubElement(image, "tag", {"label": drawn.name, "source": "manual"})
        elif task == "detection":
            sides = zip(("xtl", "ytl", "xbr", "ybr"), drawn[1:], strict=True)
            ET.SubElement(image, "box", {**common, **{side: f"{value}.00" for side, value in sides}})
        elif task == "segmentation":
            ET.SubElement(image, "polygon", {**common, "points": outline})
        else:
            skeleton = ET.SubElement(image, "skeleton", common)
            for name, x, y in drawn.points:
                place = {"label": name, "points": f"{x}.00,{y}.00", "outside": "0", "occluded": "0"}
                ET.SubElement(skeleton, "points", place)
    with zipfile.ZipFile(out / "task_7_annotations.zip", "w") as archive:
        archive.writestr("annotations.xml", ET.tostring(root, encoding="utf-8", xml_declaration=True))
    return out / "task_7_annotations.zip"


def label_studio(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Import the tasks with the labeling configuration, submit each, export as JSON."""
    config = ET.parse(export / "label-studio.xml").getroot()
    tools = {tool.tag: tool.get("name") for tool in config if tool.get("toName")}
    tasks = []
    for number, given in enumerate(json.loads((export / "label-studio.json").read_text()), 500):
        drawn = seen[given["data"]["image"].rpartition("/")[2]]
        result = list(_results(drawn, task, tools))
        answer = {
            "id": number, "completed_by": 1 + number % 2, "result": result, "was_cancelled": False,
            "ground_truth": False, "created_at": WHEN, "updated_at": WHEN, "lead_time": 3.5,
        }  # fmt: skip
        tasks.append({"id": number, "annotations": [answer], "drafts": [], **given, "project": 7})
    return _json(out, tasks[::-1])


def _results(drawn: Drawn, task: str, tools: Mapping[str, str | None]):
    def result(tag: str, kind: str, value: Mapping[str, object], **more: object) -> dict[str, object]:
        size = (
            {}
            if kind == "choices"
            else {"original_width": SIDE, "original_height": SIDE, "image_rotation": 0}
        )
        own = {"id": kind[:4], "from_name": tools[tag], "to_name": "image", "type": kind, "origin": "manual"}
        return {**own, **size, "value": value, **more}

    share = 100 / SIDE
    box = {"x": drawn.left * share, "y": drawn.top * share, "rotation": 0,
           "width": (drawn.right - drawn.left) * share, "height": (drawn.bottom - drawn.top) * share}  # fmt: skip
    if task == "classification":
        yield result("Choices", "choices", {"choices": [drawn.name]})
    elif task == "segmentation":
        points = [[x * share, y * share] for x, y in drawn.corners]
        yield result(
            "PolygonLabels",
            "polygonlabels",
            {"points": points, "closed": True, "polygonlabels": [drawn.name]},
        )
    else:
        yield result("RectangleLabels", "rectanglelabels", {**box, "rectanglelabels": [drawn.name]})
    for name, x, y in drawn.points if task == "pose" else ():
        value = {"x": x * share, "y": y * share, "width": 0.4, "keypointlabels": [name]}
        yield {**result("KeyPointLabels", "keypointlabels", value, parentID="rect"), "id": name}


def yolo(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Work on a copy of the folder with a tool that writes a label file for each image, named after it."""
    folder = Path(shutil.copytree(export / "yolo", out / "yolo"))
    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["names"]
    numbers = {name: number for number, name in names.items()}
    (folder / "labels").mkdir(exist_ok=True)
    for name, drawn in seen.items():
        left, top, right, bottom = (side / SIDE for side in drawn[1:])
        cells: list[float] = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        if task == "segmentation":
            cells = [side / SIDE for corner in drawn.corners for side in corner]
        if task == "pose":
            places = {name: (x / SIDE, y / SIDE, 2) for name, x, y in drawn.points}
            cells += [*places["nose"], *places["tail"]]
        row = " ".join(f"{cell:.6f}" for cell in cells)
        (folder / "labels" / f"{Path(name).stem}.txt").write_text(f"{numbers[drawn.name]} {row}\n")
    return folder


def voc(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Draw in labelImg, which has the list of classes open and saves an XML file for each image."""
    known = (export / "voc" / "predefined_classes.txt").read_text(encoding="utf-8").split("\n")
    folder = out / "xml"
    folder.mkdir()
    for name, drawn in seen.items():
        assert drawn.name in known
        sides = zip(("xmin", "ymin", "xmax", "ymax"), drawn[1:], strict=True)
        box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
        (folder / f"{Path(name).stem}.xml").write_text(
            f"<annotation><folder>images</folder><filename>{name}</filename><path>/home/ann/images/{name}</path>"
            f"<source><database>Unknown</database></source><size><width>{SIDE}</width><height>{SIDE}</height>"
            f"<depth>3</depth></size><segmented>0</segmented><object><name>{drawn.name}</name><pose>Unspecified</pose>"
            f"<truncated>0</truncated><difficult>0</difficult><bndbox>{box}</bndbox></object></annotation>\n"
        )
    return folder


def masks(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Paint in the colours of the label map, and save a PNG for each image, named after it."""
    folder = out / "masks"
    (folder / "SegmentationClass").mkdir(parents=True)
    shutil.copy(export / "masks" / "labelmap.txt", folder)
    lines = (folder / "labelmap.txt").read_text(encoding="utf-8").splitlines()
    colours = {
        line.split(":")[0]: tuple(map(int, line.split(":")[1].split(","))) for line in lines if line[0] != "#"
    }
    for name, drawn in seen.items():
        pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        pixels[drawn.top : drawn.bottom, drawn.left : drawn.right] = colours[drawn.name]
        Image.fromarray(pixels).save(folder / "SegmentationClass" / f"{Path(name).stem}.png")
    return folder


def folders(export: Path, task: str, seen: Seen, out: Path) -> Path:
    """Move a copy of each image into the folder of its class."""
    folder = Path(shutil.copytree(export / "folders", out / "folders"))
    for name, drawn in seen.items():
        shutil.copy(export / "images" / name, folder / drawn.name)
    return folder


def _json(out: Path, value: object) -> Path:
    (out / "export.json").write_text(json.dumps(value), encoding="utf-8")
    return out / "export.json"


TOOLS: dict[str, Callable[[Path, str, Seen, Path], Path]] = {
    "coco": coco, "csv": csv_, "csv-objects": csv_objects, "cvat": cvat, "folders": folders,
    "label-studio": label_studio, "masks": masks, "voc": voc, "yolo": yolo,
}  # fmt: skip
"""By the name of the format."""
