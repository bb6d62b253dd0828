"""Read manifests: tables of images, a row each, as .csv, .tsv or .jsonl."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alctl.errors import AlctlError


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line and the cells of each row; AlctlError if the file is no table, or has no column path."""
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
