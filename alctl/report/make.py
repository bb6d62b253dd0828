"""Making a report: gather, render, write whole."""

import json
from pathlib import Path
from typing import Any, Literal

from alctl.errors import AlctlError
from alctl.progress import Progress
from alctl.project import Project
from alctl.report import markdown, page
from alctl.report.facts import Options, gather
from alctl.report.measures import Estimate
from alctl.report.pictures import shown, thumbnails

Format = Literal["html", "md", "json"]


def make(project: Project, form: Format, options: Options, progress: Progress) -> tuple[str, dict[str, Any]]:
    """Return the report as text, and the facts that it was made of."""
    facts = gather(project, options, progress)
    if form == "json":
        return json.dumps(as_plain(facts), indent=1) + "\n", facts
    if form == "md":
        return markdown.render(facts), facts
    return page.render(facts, thumbnails(project, shown(facts), progress)), facts


def as_plain(value: Any) -> Any:
    """Return the facts as JSON knows them: an estimate is an object with its three numbers."""
    if isinstance(value, Estimate):
        return value._asdict()
    if isinstance(value, dict):
        return {str(key): as_plain(entry) for key, entry in value.items()}
    return [as_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def write(file: Path, text: str) -> None:
    """Write a file whole or not at all; a file name that is no text shows a replacement character."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_bytes(text.encode("utf-8", errors="replace"))
        partial.replace(file)
    except OSError as error:
        raise AlctlError(f"cannot write {file}: {error.strerror}") from error
