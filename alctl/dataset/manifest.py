"""Manifests: tables with one image a row, as CSV, TSV or JSON lines."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError

OWN = frozenset({"path", "split", "label"})
"""The columns that mean something here; others are kept for `alctl select --max-share`."""


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row of a .csv, .tsv or .jsonl manifest with the number of its line."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            if file.suffix.lower() == ".jsonl":
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        yield number, _json_row(file, number, line)
                return
            reader = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
            if "path" not in (reader.fieldnames or []):
                raise AlctlError(
                    f"{file} has no column 'path'; its columns are: {', '.join(reader.fieldnames or [])}"
                )
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise AlctlError(f"{file} is not a table in UTF-8: {error}") from error
    except OSError as error:
        raise AlctlError(f"cannot read {file}: {error.strerror}") from error


def _json_row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise AlctlError(f"{file}, line {number}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise AlctlError(f"{file}, line {number}: an object with a path is wanted, not {type(row).__name__}")
    return row


def columns(row: Mapping[str, Any]) -> str | None:
    """Return what a row says beside path, split and label as a JSON object; None if nothing."""
    found = {
        name.strip(): text(value)
        for name, value in row.items()
        if name and name not in OWN and isinstance(value, str | int | float)
    }
    found = {name: value for name, value in found.items() if name and value}
    return json.dumps(found, sort_keys=True) if found else None


def text(value: Any) -> str:
    """Return a cell as text; JSON's number 0 is a value, its null is none."""
    return "" if value is None else str(value).strip()
