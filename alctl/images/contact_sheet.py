"""Contact sheets: the images of a round at a glance."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from PIL import Image, ImageDraw

from alctl.images.decode import BrokenImages, MissingImages, Source, read_image
from alctl.images.levels import FULL, Levels
from alctl.progress import Progress

SHEET = 200
"""Images on a contact sheet."""
_TILE, _CAPTION, _ACROSS = 128, 28, 10


class Captioned(Protocol):
    """An image of a round, as far as its caption tells."""

    @property
    def item_id(self) -> int: ...  # noqa: D102
    @property
    def rank(self) -> int | None: ...  # noqa: D102
    @property
    def score(self) -> float | None: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102


class Thumbnails(NamedTuple):
    """Images, small, in the order in which they were asked for."""

    images: list[Image.Image | None]
    """None for one that cannot be decoded or is not there."""
    broken: dict[int, str]
    """Why it cannot be decoded, by item id."""
    missing: dict[int, str]
    """Where it is not, by item id."""


def thumbnails(sources: Sequence[Source], progress: Progress, ranges: Levels = FULL) -> Thumbnails:
    """Decode and shrink the images; of those of more than 8 bits ``ranges`` says what is black and white."""
    made = Thumbnails([], {}, {})

    def small(source: Source) -> Image.Image | None:
        try:
            image = read_image(source, _TILE, ranges)
        except BrokenImages as error:
            made.broken.update(error.reasons)
            return None
        except MissingImages as error:
            made.missing.update(error.reasons)
            return None
        image.thumbnail((_TILE, _TILE))
        return image

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for image in pool.map(small, sources):
            made.images.append(image)
            progress("looking at images", len(made.images), len(sources))
    return made


def contact_sheet(
    picks: Sequence[Captioned],
    thumbnails: Sequence[Image.Image | None],
    said: Mapping[int, str] | None = None,
) -> Image.Image:
    """Draw the thumbnails in rank order, each with its rank, item and score, and what is ``said`` of the item."""
    rows = -(-len(picks) // _ACROSS)
    pitch = _TILE + 8
    caption = _CAPTION if said is None else _CAPTION + 12
    sheet = Image.new("RGB", (_ACROSS * pitch + 8, rows * (pitch + caption) + 8), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (pick, image) in enumerate(zip(picks, thumbnails, strict=True)):
        x, y = 8 + i % _ACROSS * pitch, 8 + i // _ACROSS * (pitch + caption)
        if image is not None:
            larger = _TILE // max(image.size)
            shown = image.resize((image.width * larger, image.height * larger)) if larger > 1 else image
            sheet.paste(shown, (x + (_TILE - shown.width) // 2, y + (_TILE - shown.height) // 2))
        place = f"#{pick.rank}" if pick.rank else pick.why
        score = f"  {pick.score:.3g}" if pick.rank and pick.score else ""
        draw.text((x, y + _TILE + 2), f"{place}{score}", fill="black")
        draw.text((x, y + _TILE + 13), f"item {pick.item_id}", fill="#666666")
        if said is not None:
            draw.text((x, y + _TILE + 25), _shortened(draw, said.get(pick.item_id, "")), fill="#0b5cad")
    return sheet


def _shortened(draw: ImageDraw.ImageDraw, text: str) -> str:
    """Return as much of the text, on one line, as fits below a thumbnail."""
    text = " ".join(text.split())[:_TILE]
    if draw.textlength(text) <= _TILE:
        return text
    while text and draw.textlength(f"{text}…") > _TILE:
        text = text[:-1]
    return f"{text}…"
