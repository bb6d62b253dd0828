"""Label maps: what the values and the colours in a segmentation mask mean.

The line of a class in a label map, counted from 0, is its pixel value; its colour stands for it in masks with three
channels.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError

MAPS = ("labelmap.txt", "label_colors.txt", "dataset_meta.json", "_classes.csv")
LISTED = "classes.txt"
"""Also of other formats, so no proof that there are masks."""

MOST = 1 << 16
"""Classes that a 16-bit mask can tell apart."""
BACKGROUND = "background"
OTHER_BACKGROUND = "_background_"
"""What labelme calls it; written where a class is called "background"."""
_COLOUR = r"\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*"
_FULL = re.compile(rf"(.+):(?:{_COLOUR}|\s*):[^:]*:[^:]*", re.ASCII)
_SHORT = re.compile(rf"(.+):{_COLOUR}:?", re.ASCII)
_COLOUR_FIRST = re.compile(r"(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})\s+(\S.*)", re.ASCII)
_NUMBERED = re.compile(r"(\d{1,5})\s*[\s:,=]\s*(\S.*)", re.ASCII)
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class LabelMap:
    """The classes by pixel value and by colour (0xRRGGBB)."""

    where: str
    names: Mapping[int, str]
    colours: Mapping[int, int]
    """The pixel value of each colour."""
    background: str = ""
    """The class that the file itself calls background."""


def colour(value: int) -> int:
    """Return Pascal VOC's colour of a pixel value, 0xRRGGBB: its bits, dealt out to the channels in turn."""
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (value & 1) << shift
        green |= (value >> 1 & 1) << shift
        blue |= (value >> 2 & 1) << shift
        value >>= 3
    return red << 16 | green << 8 | blue


def hexadecimal(code: int) -> str:
    """Return a colour as people write it."""
    return f"#{code:06x}"


def pascal_voc() -> LabelMap:
    """Return the twenty classes of Pascal VOC, whose masks come without a label map."""
    names = dict(enumerate(_VOC))
    return LabelMap("Pascal VOC", names, {colour(value): value for value in names})


def text_of(names: Sequence[str]) -> str:
    """Return a label map of these classes, in which the first is the background, in Pascal VOC's colours."""
    lines = ["# label:color_rgb:parts:actions"]
    for value, name in enumerate(names):
        code = colour(value)
        lines.append(f"{name}:{code >> 16},{code >> 8 & 255},{code & 255}::")
    return "\n".join([*lines, ""])


def numbers(names: Sequence[str]) -> dict[str, int]:
    """Return the pixel value of each class and first that of the background, which no class is called."""
    if bad := [name for name in names if not name or name != name.strip() or _UNSAFE.search(name)]:
        raise AlctlError(f"a label map cannot hold the class {bad[0]!r}; rename it")
    taken = any(name.lower() == BACKGROUND for name in names)
    background = OTHER_BACKGROUND if taken else BACKGROUND
    if OTHER_BACKGROUND in names or len(names) >= MOST:
        raise AlctlError(f"masks hold fewer than {MOST:,} classes, none of them called {OTHER_BACKGROUND}")
    return {name: value for value, name in enumerate([background, *names])}


def load(file: Path) -> LabelMap:
    """Read a label map that the user names."""
    try:
        return parse(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise AlctlError(f"cannot read the label map {file}: {error}") from error


def parse(text: str, where: str) -> LabelMap:
    """Read a label map; AlctlError if it is none.

    Its lines are ``label:R,G,B:parts:actions``, ``R G B label``, ``value label`` or a class each; or it is datumaro's
    JSON, or Roboflow's table of pixel values.
    """
    if where.lower().endswith(".json"):
        return _parse_meta(text, where)
    numbered = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1)]
    if where.lower().endswith(".csv"):
        numbered = [(n, line) for n, line in numbered if not line.lower().startswith("pixel value")]
    while numbered and not numbered[-1][1]:
        numbered.pop()
    if any(_FULL.fullmatch(line) or _SHORT.fullmatch(line) for _, line in numbered):
        entries = list(_coloured(numbered, where))
    elif blank := next((n for n, line in numbered if not line), None):
        raise AlctlError(
            f"{where}, line {blank} is empty, so the pixel values of the classes after it are unsure"
        )
    else:
        entries = list(_plain([line for _, line in numbered]))
    if not entries or len(entries) > MOST:
        raise AlctlError(f"{where} is a label map of {len(entries):,} classes; masks have 1 to {MOST:,}")
    return LabelMap(where, {value: name for value, (name, _) in enumerate(entries)}, _unique(entries, where))


Entry = tuple[str, int | None]


def _coloured(numbered: Sequence[tuple[int, str]], where: str) -> Iterator[Entry]:
    for number, line in numbered:
        match = _FULL.fullmatch(line) or _SHORT.fullmatch(line)
        if match and not (line.startswith("#") and match[2] is None):
            yield match[1].strip(), _code(match.groups()[1:4], f"{where}, line {number}")
        elif line and not line.startswith("#"):
            raise AlctlError(f"{where}, line {number}: {line[:60]!r} is not label:R,G,B:parts:actions")


def _plain(lines: Sequence[str]) -> Iterator[Entry]:
    if lines and all(map(_COLOUR_FIRST.fullmatch, lines)):
        for line in lines:
            *channels, name = line.split(None, 3)
            yield name, _code(channels, line)
        return
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    counted = all(match and int(match[1]) == n for n, match in enumerate(matches))
    for line, match in zip(lines, matches, strict=True):
        yield (match[2] if counted and match else line), None


def _code(channels: Sequence[str | None], where: str) -> int | None:
    if None in channels:
        return None
    red, green, blue = (int(channel or 0) for channel in channels)
    if min(red, green, blue) < 0 or max(red, green, blue) > 255:
        raise AlctlError(f"{where}: a colour is three numbers from 0 to 255, not {red},{green},{blue}")
    return red << 16 | green << 8 | blue


def _unique(entries: Sequence[Entry], where: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for value, (name, code) in enumerate(entries):
        if code is None:
            continue
        other = entries[found.setdefault(code, value)][0]
        if other != name:
            raise AlctlError(f"{where} gives {other!r} and {name!r} the same colour {hexadecimal(code)}")
    return found


def _parse_meta(text: str, where: str) -> LabelMap:
    """Read datumaro's ``dataset_meta.json``: classes by pixel value, their colours in the same order."""
    try:
        found = json.loads(text)
        names = {int(value): str(name) for value, name in found["label_map"].items()}
        given = found.get("segmentation_colors") or []
        colours = [_code([str(int(channel)) for channel in colour_], where) for colour_ in given]
        background = found.get("background_label")
        named = "" if background in (None, "") else names[int(background)]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise AlctlError(f"{where} is not a label map as datumaro writes it: {_said(error)}") from error
    if not names or min(names) < 0 or max(names) >= MOST or len(colours) not in (0, len(names)):
        raise AlctlError(f"{where} is a label map of {len(names)} classes and {len(colours)} colours")
    entries = list(zip(names.values(), colours or [None] * len(names), strict=True))
    values, positions = list(names), _unique(entries, where)
    return LabelMap(where, names, {code: values[at] for code, at in positions.items()}, named)


def _said(error: Exception) -> Any:
    return f"no {error}" if isinstance(error, KeyError) else error
