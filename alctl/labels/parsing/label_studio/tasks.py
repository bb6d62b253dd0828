"""Read a Label Studio task: its image, who answered, when, and how long it took; and write files of tasks."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TextIO
from urllib.parse import parse_qs, quote, unquote, urlsplit

from alctl.labels.parsing.label_studio.regions import UnreadableError, clean

MOST_TASKS, MOST_BYTES = 250_000, 50_000_000
"""What Label Studio takes in one file of tasks."""
LOCAL = "/data/local-files/"
"""Where Label Studio serves files of its own machine, by their path below its document root."""
ANSWERS = ("annotations", "completions")
"""Where a task's answers are; before version 1 they were called completions."""
_UPLOAD = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-(?=.)")
_PICTURE = re.compile(r"\.(jpe?g|jfif|png|gif|bmp|webp|tiff?|jp2|avif|heic)$", re.IGNORECASE)
_ITEM = re.compile(r"[0-9]{1,9}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?")

Kind = Literal["", "export", "tasks", "JSON-MIN"]


def kind_of(first: Any) -> Kind:
    """Return what an array is by its first element; an empty string if it is not Label Studio's."""
    if not isinstance(first, dict):
        return ""
    if isinstance(first.get("data"), dict):
        if any(isinstance(first.get(key), list) for key in ANSWERS):
            return "export"
        known = "predictions" in first or not first.keys() - {"id", "data", "meta", "file_upload"}
        return "tasks" if known else ""
    return "JSON-MIN" if first.keys() >= {"annotation_id", "lead_time"} else ""


def told(thing: Any, position: int) -> str:
    """Return the id of a task or an annotation, or its position where it has none."""
    id_ = thing.get("id") if isinstance(thing, dict) else None
    if isinstance(id_, int) or (isinstance(id_, str) and id_.isalnum() and len(id_) < 40):
        return str(id_)
    return f"number {position}"


def answers_of(task: Any, notes: Counter[str]) -> list[Any]:
    """Return a task's annotations, and count what is not an answer."""
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise UnreadableError("not a task: it has no data")
    drafts = task.get("drafts")
    if isinstance(drafts, list) and drafts:
        notes["drafts were left: they were never submitted"] += len(drafts)
    found: Any = next((task[key] for key in ANSWERS if task.get(key) is not None), [])
    if not isinstance(found, list):
        raise UnreadableError("its annotations are not a list")
    if not found:
        notes["tasks are not annotated yet"] += 1
    return found


def identity(data: Mapping[str, Any]) -> tuple[int | None, str]:
    """Return the item and the digest that alctl put into a task."""
    item, digest = data.get("alctl_item"), data.get("alctl_sha256")
    given = isinstance(item, int | str) and not isinstance(item, bool)
    if item is not None and not (given and _ITEM.fullmatch(str(item))):
        raise UnreadableError("alctl_item is not a number that alctl gave out")
    if digest is not None and not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise UnreadableError("alctl_sha256 is not a digest of 64 hexadecimal digits")
    return None if item is None else int(item), (digest or "").lower()


def address_of(data: Mapping[str, Any], key: str) -> str:
    """Return the image's address in a task's data; ``key`` is the configuration's, or empty."""
    for name in (key, "image"):
        if isinstance(address := data.get(name), str):
            return address
    values = [value for value in data.values() if isinstance(value, str) and _PICTURE.search(path_in(value))]
    if len(values) != 1:
        raise UnreadableError(
            f"its data has {len(values) or 'no'} values that could be the image; it needs one"
        )
    return values[0]


def parted(
    found: Any, images: Mapping[str, str], data: Mapping[str, Any], address: str
) -> dict[str, list[Any]]:
    """Return an annotation's results by the image that they are about: its key in the task's data, "" for the first.

    ``images`` are the keys of a configuration's images by their names, where there is one, and ``address`` is the first's.
    Raises UnreadableError where a task has several images and nothing says which of them a result means.
    """
    if not isinstance(found, list):
        return {"": found}
    objects = dict.fromkeys(r.get("to_name") for r in found if isinstance(r, dict) and r.get("to_name"))
    keys = {name: _key_of(str(name), images, data, address) for name in objects}
    if len(keys) > 1 and len(set(keys.values())) < len(keys):
        raise UnreadableError(
            f"results on {len(keys)} images, {_listed(keys)}, which its data do not tell apart"
        )
    parts: dict[str, list[Any]] = {}
    for result in found:
        name = result.get("to_name") if isinstance(result, dict) else None
        parts.setdefault(keys.get(name, next(iter(keys.values()), "")), []).append(result)
    return parts or {"": []}


def _listed(names: Iterable[Any]) -> str:
    return " and ".join(repr(name) for name in list(names)[:3])


def _key_of(name: str, images: Mapping[str, str], data: Mapping[str, Any], address: str) -> str:
    """Return under which key the address of a result's image stands; "" for the task's first image."""
    key = images.get(name, name)
    own = data.get(key)
    other = (
        isinstance(own, str)
        and own != address
        and (key in images.values() or bool(_PICTURE.search(path_in(own))))
    )
    return key if other else ""


def path_in(address: str, *, uploaded: bool = True) -> str:
    """Return the path in an address: a local file's, a URL's, or the text as it is.

    An uploaded file is stored as ``/data/upload/7/0a1b2c3d-name.jpg``: its name is all that is left of its path.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if f"{parts.path.rstrip('/')}/".endswith(LOCAL):
        return parse_qs(parts.query, keep_blank_values=True).get("d", [""])[-1]
    if parts.path.startswith("/data/upload/") and uploaded:
        return PurePosixPath(unquote(_UPLOAD.sub("", parts.path, count=1))).name
    if parts.scheme in ("http", "https"):
        return unquote(parts.path).lstrip("/")
    if parts.scheme == "file":
        return unquote(parts.path)
    return address.partition("://")[2].partition("/")[2] if "://" in address else address


def local_address(path: str) -> str:
    """Return the address of a file below Label Studio's document root."""
    return f"{LOCAL}?d={quote(path, errors='replace')}"


def annotator_of(who: Any) -> str:
    """Return who answered: the e-mail address, or else the number."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    if isinstance(who, str) and who:
        return clean(who, "an annotator")
    return str(who) if isinstance(who, int) and not isinstance(who, bool) else ""


def user_of(annotator: str) -> int | dict[str, str]:
    """Return an annotator as Label Studio writes one."""
    number = re.fullmatch(r"[1-9][0-9]{0,15}", annotator)
    return int(annotator) if number else {"email": annotator}


def seconds_of(value: Any, notes: Counter[str]) -> float | None:
    """Return how long an answer took."""
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        notes["working times were no numbers of seconds and were left out"] += 1
        return None
    return float(value)


def time_of(value: Any) -> str:
    """Return a time in UTC to the second, or an empty string."""
    try:
        when = datetime.fromisoformat(value)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return ""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if when.year >= 1000 else ""


class TaskFile:
    """A file with an array of tasks, written one by one; where one may hold only so much, as many files as it takes."""

    def __init__(self, path: Path, most: int | None = None, largest: int | None = None) -> None:
        self.path = path
        self.most, self.largest = most or sys.maxsize, largest or sys.maxsize
        self.files = self.count = self.size = 0
        self.stream: TextIO | None = None

    def __enter__(self) -> "TaskFile":
        self._open()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._close("" if kind else "\n]\n")  # half a file must not look like a whole one

    def add(self, task: Mapping[str, Any]) -> None:
        """Write a task."""
        text = json.dumps(task, separators=(",", ":"), allow_nan=False)
        if self.count and (self.count >= self.most or self.size + len(text) > self.largest):
            self._close("\n]\n")
            self._open()
        assert self.stream is not None
        self.stream.write(f"{',' if self.count else ''}\n{text}")
        self.count += 1
        self.size += len(text) + 2

    def _open(self) -> None:
        self.files += 1
        name = self.path.name if self.files == 1 else f"{self.path.stem}-{self.files}{self.path.suffix}"
        self.stream = self.path.with_name(name).open("w", encoding="utf-8")
        self.stream.write("[")
        self.count = self.size = 0

    def _close(self, end: str) -> None:
        if self.stream is not None:
            self.stream.write(end)
            self.stream.close()
            self.stream = None
