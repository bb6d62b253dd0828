"""From the pixels of a segmentation mask to objects: what each value says, and which pixels an object has."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alctl.errors import AlctlError
from alctl.labels import rle
from alctl.labels.annotation import Annotation
from alctl.labels.parsing.masks import label_map
from alctl.labels.parsing.masks.label_map import LabelMap
from alctl.labels.parsing.masks.png import Mask, Pixels, Values
from alctl.plugins import unknown

VOID = 255
VOID_BY_DEFAULT = str(VOID)
IGNORED = frozenset({"void", "ignore", "ignored"})
"""What classes are called that are none."""
MANY = 16
"""Unknown colours from which on a mask is taken for a smoothed one, or for a photo."""
_COLOUR = re.compile("#[0-9a-fA-F]{6}")

Says = Mapping[int, str | None]
"""What a pixel value says: a class, "" for background, None for void."""


class Meaning(NamedTuple):
    """What pixels say, by their value and by their colour."""

    labels: LabelMap
    values: Says
    colours: Says
    classes: list[str]
    """In the order of the label map, without background and void."""


class Classes(NamedTuple):
    """A mask that is understood."""

    values: Values
    """Shape (height, width)."""
    says: Says
    """Of the values that occur."""
    order: Sequence[str]
    """All classes, in the order of the label map."""


def meaning(labels: LabelMap, void: str, background: str) -> Meaning:
    """Apply what the user says of void (values, colours, classes, separated by commas) and background to a label map."""
    own = _chosen(background, labels) if background else _background(labels)
    ignored, colours = _void(labels, void)
    ignored |= {value for code, value in labels.colours.items() if code in colours}
    values: dict[int, str | None] = {v: "" if n == own else n for v, n in labels.names.items()}
    values.update(dict.fromkeys(ignored))
    by_colour: dict[int, str | None] = {
        0: ""
    }  # black is background where the label map does not say otherwise
    by_colour.update((code, values[value]) for code, value in labels.colours.items())
    by_colour.update(dict.fromkeys(colours))
    said = set(values.values())
    names = dict.fromkeys(labels.names.values())
    return Meaning(labels, values, by_colour, [name for name in names if name and name in said])


def _void(labels: LabelMap, void: str) -> tuple[set[int], set[int]]:
    """Return the values and the colours that are void."""
    tokens = [token.strip() for token in void.split(",") if token.strip()]
    values = {int(token) for token in tokens if token.isdecimal()}
    colours = {int(token[1:], 16) for token in tokens if _COLOUR.fullmatch(token)}
    names = [token for token in tokens if not (token.isdecimal() or _COLOUR.fullmatch(token))]
    if void == VOID_BY_DEFAULT and len(labels.names) > VOID:
        return set(), set()  # a label map of so many classes means one of them
    if VOID in values:
        colours.add(label_map.colour(VOID))
    if void == VOID_BY_DEFAULT:  # it is what nothing in the label map names otherwise
        colours -= {
            code for code, value in labels.colours.items() if labels.names[value].lower() not in IGNORED
        }
    chosen = {_chosen(name, labels) for name in names}
    return values | {value for value, name in labels.names.items() if name in chosen}, colours


def _background(labels: LabelMap) -> str:
    if labels.background or label_map.OTHER_BACKGROUND in labels.names.values():
        return labels.background or label_map.OTHER_BACKGROUND
    return next((name for name in labels.names.values() if name.lower() == label_map.BACKGROUND), "")


def _chosen(name: str, labels: LabelMap) -> str:
    if name not in labels.names.values():
        raise AlctlError(unknown(name, sorted(set(labels.names.values())), f"classes of {labels.where}"))
    return name


def understood(pixels: Pixels, meant: Meaning, palette: str) -> Classes:
    """Return what a mask says; ValueError if a value in it says nothing, or two things.

    ``palette`` is "index" or "colour" where the user has said which of the two holds.
    """
    values = pixels.values
    present, counts = (found.tolist() for found in np.unique(values, return_counts=True))
    coloured, table = pixels.coloured, meant.colours if pixels.coloured else meant.values
    if coloured and not meant.labels.colours and all(code % 0x10101 == 0 for code in present):
        coloured, table = False, meant.values  # three equal channels, as some libraries save grey
        values, present = values.astype(np.uint8), [code & 255 for code in present]
    shades = pixels.palette
    if shades is None and not coloured and (palette == "colour" or _beyond(present, meant)):
        shades = np.arange(int(max(present)) + 1, dtype=np.uint32) * 0x10101  # grey says its own colours
        palette = "colour" if len(_by_palette(shades, present, meant)) == len(present) else palette
    if shades is not None and palette != "index":
        by_colour = _by_palette(shades, present, meant)
        if palette == "colour":
            table = by_colour
        else:
            _refuse_two_meanings(present, table, by_colour)
    strange = [(count, value) for value, count in zip(present, counts, strict=True) if value not in table]
    if strange:
        raise ValueError(_strange(strange, meant.labels, coloured=coloured))
    says = {value: table[value] for value in present}
    if all(name is None for name in says.values()):
        raise ValueError("all of it is void, so it says nothing")
    return Classes(values, says, meant.classes)


def _beyond(present: Iterable[int], meant: Meaning) -> bool:
    """Tell whether a mask has values that are no line of the label map, so that they may be shades of grey in it."""
    return bool(meant.labels.colours) and any(value not in meant.labels.names for value in present)


def _by_palette(palette: NDArray[np.uint32], present: Iterable[int], meant: Meaning) -> Says:
    """Return what the palette's colours of the values say, where the label map has the colour."""
    known = {code: name for code, name in meant.colours.items() if code or 0 in meant.labels.colours}
    codes = {value: int(palette[value]) for value in present if value < len(palette)}
    return {value: known[code] for value, code in codes.items() if code in known}


def _refuse_two_meanings(present: Sequence[int], by_value: Says, by_colour: Says) -> None:
    """Refuse a mask whose palette has the label map's colours in another order, as some editors save it."""
    differing = [v for v in present if v not in by_value or v not in by_colour or by_value[v] != by_colour[v]]
    if not differing or len(by_colour) < len(present):
        return
    one, other = (
        repr(by[differing[0]] or "background") if differing[0] in by else "nothing"
        for by in (by_value, by_colour)
    )
    raise ValueError(
        f"pixel value {differing[0]} is {one} by its line in the label map and {other} by its colour in the palette; "
        "--option palette=index or palette=colour says which holds"
    )


def _strange(strange: list[tuple[int, int]], labels: LabelMap, *, coloured: bool) -> str:
    """Say which values are not in the label map, the commonest first."""
    if coloured and not labels.colours:
        return f"it has colours, and {labels.where} has none; it needs lines such as cat:64,0,0::"
    strange.sort(key=lambda pair: (-pair[0], pair[1]))
    shown = ", ".join(
        f"{label_map.hexadecimal(value) if coloured else value} (pixels: {count:,})"
        for count, value in strange[:3]
    )
    more = f" and {len(strange) - 3:,} more" if len(strange) > 3 else ""
    smooth = "; is it a photo, or were its edges smoothed when it was saved?" if len(strange) > MANY else ""
    what = "colour" if coloured else "pixel value"
    return f"{what} {shown}{more}: not in {labels.where}, which has {len(labels.names)} classes{smooth}"


def regions(classes: Classes) -> Iterator[Annotation]:
    """Yield one object for each class in a mask, in the order of the label map."""
    for name in sorted({name for name in classes.says.values() if name}, key=classes.order.index):
        yield _annotation(name, _where(classes, name))


def _where(classes: Classes, name: str) -> Mask:
    own = [value for value, said in classes.says.items() if said == name]
    return np.asarray(classes.values == own[0] if len(own) == 1 else np.isin(classes.values, own))


def instances(classes: Classes, objects: Pixels, notes: Counter[str]) -> Iterator[Annotation]:
    """Yield one object for each number in a mask of objects; ValueError if it contradicts the classes."""
    says = classes.says
    inside = np.isin(classes.values, [value for value, name in says.items() if name])
    _refuse_strays(objects, _where(classes, ""))
    for number in np.unique(objects.values[inside]).tolist():
        mask = (objects.values == number) & inside
        names = sorted({says[value] or "" for value in np.unique(classes.values[mask]).tolist()})
        if number == 0:
            notes["regions of a class are in no object and became one object a class"] += len(names)
            yield from (_annotation(name, mask & _where(classes, name)) for name in names)
        elif len(names) > 1:
            raise ValueError(f"object {number} has pixels of two classes, {names[0]!r} and {names[1]!r}")
        else:
            yield _annotation(names[0], mask)


def _refuse_strays(objects: Pixels, background: Mask) -> None:
    """Refuse an object on what the classes call background; the void around objects is no object."""
    edges = [0, label_map.colour(VOID) if objects.coloured else VOID]
    stray = objects.values[background & ~np.isin(objects.values, edges)]
    if len(stray):
        raise ValueError(
            f"object {stray[0]} has {len(stray):,} pixels that are background in the mask of classes"
        )


def _annotation(name: str, mask: Mask) -> Annotation:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, top = float(columns[0]), float(rows[0])
    box = (left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top)
    return Annotation(name, bbox=box, segmentation=rle.of_mask(mask))
