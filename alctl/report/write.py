"""Making a report: gather the facts, render them as HTML, Markdown or JSON, and write the file."""

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from alctl.errors import AlctlError
from alctl.files import write_whole
from alctl.progress import Progress
from alctl.project import Project
from alctl.report import markdown, page
from alctl.report.contents import Facts
from alctl.report.facts import Options, gather
from alctl.report.measures import Estimate
from alctl.report.pictures import shown, thumbnails

Format = Literal["html", "md", "json"]


def make(
    project: Project,
    form: Format,
    options: Options,
    progress: Progress,
    out: Path | None = None,
    typed: Callable[[str], str] = str,
) -> tuple[str, Facts]:
    """Return the report as text, and the facts that it was made of; written to ``out`` too, if there is one.

    ``typed`` turns a command into what is typed where the report is asked for: with --project, if that takes one.
    """
    if out is not None and not out.parent.is_dir():
        raise AlctlError(f"cannot write {out}: there is no folder {out.parent}")
    facts = gather(project, options, progress)
    if form == "json":
        text = json.dumps(as_plain(facts), indent=1, allow_nan=False) + "\n"
    elif form == "md":
        text = markdown.render(facts, typed)
    else:
        text = page.render(facts, thumbnails(project, shown(facts), progress), typed)
    if out is not None:
        _write(out, text)
    return text, facts


def as_plain(value: object) -> Any:  # what JSON holds
    """Return the facts as JSON knows them: a dataclass, or an estimate with its three numbers, is an object."""
    if isinstance(value, Estimate):
        return value._asdict()
    if is_dataclass(value):
        # a field that Python cannot call "from" is called so in JSON
        return {field.name.removesuffix("_"): as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): as_plain(entry) for key, entry in value.items()}
    return [as_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all; a file name that is no text shows a replacement character."""
    try:
        write_whole(file, text.encode(errors="replace").decode())
    except OSError as error:
        raise AlctlError(f"cannot write {file}: {error.strerror}") from error
