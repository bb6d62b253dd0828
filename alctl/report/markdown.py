"""The report as Markdown: the same sections without charts and pictures, for a wiki or a merge request."""

import re
from collections.abc import Callable, Sequence

from alctl.report.blocks import Block, Figure, Gallery, List, Pairs, Table, Text
from alctl.report.contents import Facts
from alctl.report.plain_words import in_short
from alctl.report.sections import sections, tiles

_COMMAND = re.compile(r"\\`(alctl [a-z](?:\\[^`\n]|[^\\\n])*)\\`")
_ESCAPED = re.compile(r"\\([^|])")  # within a table only \| is no end of a cell
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&])")


def render(facts: Facts, typed: Callable[[str], str] = str) -> str:
    """Return the report as Markdown, every word that a person chose escaped; ``typed`` is as in `page.render`."""
    date = facts.generated_at.replace("T", " ").replace("Z", " UTC")
    lines = [
        f"# {plain(facts.project)}",
        f"{plain(facts.task)}, {facts.items:,} images; reported on {date}",
        _table(["", *(name for name, _ in tiles(facts))], [["", *(value for _, value in tiles(facts))]]),
        f"**{plain(facts.advice.verdict)}**",
        *(plain(line) for line in (in_short(facts), _next(facts), *facts.problems) if line),
    ]
    for section in sections(facts):
        lines.append(f"## {plain(section.title)}")
        lines += [text for block in section.blocks if (text := _block(block))]
    text = "\n\n".join(lines) + "\n"
    return _COMMAND.sub(lambda found: f"`{typed(_unescaped(found[1]))}`", text)


def _next(facts: Facts) -> str:
    step = facts.advice.next
    return f"Next: `{step.command}` ({step.why})" if step else ""


def plain(text: str) -> str:
    """Return text that Markdown, and HTML in it, shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _block(block: Block) -> str:
    if isinstance(block, Text):
        return plain(block.text)
    if isinstance(block, List):
        return "\n".join(f"- {plain(sentence)}" for sentence in block.sentences)
    if isinstance(block, Table):
        return _table(block.columns, block.rows)
    if isinstance(block, Figure):
        return plain(block.caption)
    if isinstance(block, Pairs):
        rows = [
            [f"{p.first.path} ({p.first.lines[0]})", f"{p.second.path} ({p.second.lines[0]})", p.line]
            for p in block.pairs
        ]
        return f"### {plain(block.title)}\n\n{_table(['image', 'the other one', ''], rows)}"
    assert isinstance(block, Gallery)
    return f"### {plain(block.title)}\n\n{_table(['image', ''], [[p.path, ', '.join(p.lines)] for p in block.pictures])}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    marks = [[cell if i == 1 else plain(cell) for cell in row] for i, row in enumerate(lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in marks)
