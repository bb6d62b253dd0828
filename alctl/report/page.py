"""The report as one HTML file: style, charts and pictures are in it, and nothing is fetched when it is opened."""

import re
from collections.abc import Callable, Mapping
from functools import singledispatch
from html import escape, unescape
from importlib.resources import files

from alctl.report.blocks import Block, Figure, Gallery, List, Pairs, Picture, Section, Table, Text
from alctl.report.contents import Facts
from alctl.report.pictures import Thumbnail
from alctl.report.plain_words import in_short
from alctl.report.sections import sections, tiles

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Even if something foreign got into the page, it could neither run nor call anywhere."""

UPRIGHT = 12
"""Columns of a shaded table beyond which their names stand upright, so that a screen holds them all."""
_COMMAND = re.compile(r"`([^`]+)`")
_TYPED = re.compile(r"<code>(alctl [a-z][^<]*)</code>")


def render(facts: Facts, thumbnails: Mapping[int, Thumbnail], typed: Callable[[str], str] = str) -> str:
    """Return the page. Every word that a person chose (file, class and annotator names) is escaped on its way in.

    ``typed`` turns a command into what is typed where the report is asked for.
    """
    style = files("alctl.report").joinpath("page.css").read_text(encoding="utf-8")
    found = sections(facts)
    name = escape(facts.project)
    made = "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
        f"<title>{name}: alctl report</title>",
        f"<style>\n{style}</style></head>",
        f"<body>{_header(facts, found)}<main>",
        *(_section(section, thumbnails) for section in found),
        "</main></body></html>\n",
    ])  # fmt: skip
    return _TYPED.sub(lambda found: f"<code>{escape(typed(unescape(found[1])))}</code>", made)


def _header(facts: Facts, found: list[Section]) -> str:
    numbers = "".join(f"<li><b>{escape(value)}</b>{escape(name)}</li>" for name, value in tiles(facts))
    links = "".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>' for section in found)
    date = facts.generated_at.replace("T", " ").replace("Z", " UTC")
    step = facts.advice.next
    next_ = (
        f'<p class="next">Next: <code>{escape(step.command)}</code> {_prose(step.why)}</p>' if step else ""
    )
    short = f"<p>{escape(in_short(facts))}</p>" if in_short(facts) else ""
    problems = "".join(f"<p>{_prose(problem)}</p>" for problem in facts.problems)
    return (
        f"<header><h1>{escape(facts.project)}</h1>"
        f'<p class="faint">{escape(facts.task)}, {facts.items:,} images; reported on <time>{date}</time></p>'
        f'<ul class="tiles">{numbers}</ul><p class="verdict">{escape(facts.advice.verdict)}</p>{short}{next_}{problems}'
        f"<nav><ul>{links}</ul></nav></header>"
    )


def _section(section: Section, thumbnails: Mapping[int, Thumbnail]) -> str:
    inside = "\n".join(_block(block, thumbnails) for block in section.blocks)
    return f'<section id="{section.name}"><h2>{escape(section.title)}</h2>\n{inside}</section>'


def _prose(text: str) -> str:
    """Return escaped text in which `commands` look like commands; "95 %" stays on one line."""
    return _COMMAND.sub(r"<code>\1</code>", escape(text)).replace("95 %", "95&nbsp;%")


@singledispatch
def _block(block: Block, thumbnails: Mapping[int, Thumbnail]) -> str:
    """Return one block as HTML."""
    raise TypeError(f"{type(block).__name__} is no block")


@_block.register
def _(block: Text, thumbnails: Mapping[int, Thumbnail]) -> str:
    return f"<p>{_prose(block.text)}</p>"


@_block.register
def _(block: List, thumbnails: Mapping[int, Thumbnail]) -> str:
    return f"<ul>{''.join(f'<li>{_prose(sentence)}</li>' for sentence in block.sentences)}</ul>"


@_block.register
def _(block: Table, thumbnails: Mapping[int, Thumbnail]) -> str:
    head = "".join(
        f'<th scope="col"><span title="{escape(c)}">{escape(c)}</span></th>' for c in block.columns
    )
    rows = []
    for i, row in enumerate(block.rows):
        shades = block.shades[i] if block.shades else [0.0] * len(row)
        cells = (
            f'<td style="--s:{shade:.3f}">{escape(cell)}</td>' if shade else f"<td>{escape(cell)}</td>"
            for cell, shade in zip(row, shades, strict=True)
        )  # fmt: skip
        rows.append(f"<tr>{''.join(cells)}</tr>")
    upright = " upright" if len(block.columns) > UPRIGHT else ""
    kind = f' class="shaded{upright}"' if block.shades else ""
    body = "\n".join(rows)
    return f'<div class="scroll" tabindex="0"><table{kind}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


@_block.register
def _(block: Figure, thumbnails: Mapping[int, Thumbnail]) -> str:
    return f"<figure>{block.svg}<figcaption>{_prose(block.caption)}</figcaption></figure>"


@_block.register
def _(block: Gallery, thumbnails: Mapping[int, Thumbnail]) -> str:
    note = f'<p class="faint">{_prose(block.note)}</p>' if block.note else ""
    shown = "\n".join(_picture(picture, thumbnails.get(picture.item)) for picture in block.pictures)
    return f'<h3>{escape(block.title)}</h3>{note}<ul class="gallery">{shown}</ul>'


@_block.register
def _(block: Pairs, thumbnails: Mapping[int, Thumbnail]) -> str:
    shown = "\n".join(
        f"<li><ul>{''.join(_picture(one, thumbnails.get(one.item)) for one in (pair.first, pair.second))}</ul>{escape(pair.line)}</li>"
        for pair in block.pairs
    )
    return f'<h3>{escape(block.title)}</h3><p class="faint">{_prose(block.note)}</p><ul class="gallery pairs">{shown}</ul>'


def _picture(picture: Picture, thumbnail: Thumbnail | None) -> str:
    path = escape(picture.path)
    if thumbnail is None:
        image = '<span class="gone">cannot be read</span>'
    else:
        small = ' class="small"' if thumbnail.small else ""
        image = f'<img{small} src="{thumbnail.data}" alt="{path}" title="{path}" loading="lazy">'
    kind = ' class="wrong"' if picture.wrong else ""
    lines = "".join(f"<div{kind}>{escape(line)}</div>" for line in picture.lines)
    return f'<li>{image}{lines}<div class="where" title="{path}">{path}</div></li>'
