"""A running Label Studio, spoken to through its official SDK (the extra ``label-studio``).

Whatever goes wrong on the way is an AlctlError, and the token is in none of them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from alctl.errors import AlctlError

TIMEOUT = 60.0
"""Seconds that one request may take."""
PAGE = 500
"""Tasks listed in one request."""
MOST = 500_000
"""Tasks of a listing: a server that goes on for ever is not listened to for ever."""
_ROOT = re.compile(r'DOCUMENT_ROOT="([^"]*)"')
_HIDDEN = "(token)"


Json = Mapping[str, Any]
"""An object of JSON as a server or a file has it, whatever it holds."""


class TaskSummary(NamedTuple):
    """What tells whether a task of the server has changed, without its contents."""

    id: int
    digest: str
    """Of the image, as the task carries it: the same in every project, which the item's number is not."""
    updated_at: str
    annotations: Mapping[int, str]
    """When each annotation was last changed."""
    touched: bool
    """Whether somebody has begun to work on it."""


class Task(NamedTuple):
    """A task of the server, with what annotators did in it."""

    content: Json
    """What was asked for of it, all but its annotations."""
    annotations: Sequence[Json]


class ServerProject(NamedTuple):
    """A project of the server, which holds tasks."""

    id: int
    title: str
    label_config: str
    """XML of the labeling interface: the classes and tools that annotators have."""


class Server:
    """One server and the right to use it, to be used in a ``with``; making one does not talk to it yet."""

    def __init__(self, address: str, token: str, timeout: float = TIMEOUT, most: int = MOST) -> None:
        try:
            from label_studio_sdk.client import LabelStudio
            from label_studio_sdk.core.api_error import ApiError

            from alctl.annotators.label_studio import bounded
        except ImportError as error:
            missing = "talking to Label Studio needs its SDK: pip install 'alctl[label-studio]'"
            raise AlctlError(missing) from error
        self.address, self._token, self._timeout, self._most = address, token, timeout, most
        self._refusal: type[Any] = ApiError
        self._http = bounded.client(timeout)
        try:
            with self._asked("take the token"):
                # With a slash: where a personal token is exchanged, the SDK drops the last part of a path without.
                self._client: Any = LabelStudio(
                    base_url=f"{address}/", api_key=token, httpx_client=self._http
                )
        except AlctlError:
            self._http.close()
            raise

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def version(self) -> str:
        """Return the server's release; AlctlError if there is no Label Studio."""
        with self._asked("tell its version"):
            answer = self._client.versions.get()
        release = getattr(answer, "release", None)
        if not isinstance(release, str):
            raise AlctlError(f"{self.address} answers, but it is not a Label Studio")
        return release

    def user(self) -> str:
        """Return whose token it is, so that a wrong one is found out."""
        with self._asked("tell whose token it is"):
            return str(self._client.users.whoami().email)

    def emails(self) -> dict[int, str]:
        """Return the addresses of the server's users, as far as the token's user may know them."""
        with self._asked("list users"):
            try:
                return {int(row.id): str(row.email) for row in self._client.users.list() if row.email}
            except self._refusal as error:
                if error.status_code == 403:
                    return {}
                raise

    def projects(self, title: str) -> list[ServerProject]:
        """Return the projects with exactly this title."""
        with self._asked("list projects"):
            page = self._client.projects.list(title=title, include="id,title,label_config", page_size=100)
            return [_found(row) for row in page.items or [] if row.title == title]

    def project(self, number: int) -> ServerProject | None:
        """Return a project; None if there is none with this number."""
        with self._asked(f"show project {number}"):
            try:
                return _found(self._client.projects.get(number))
            except self._refusal as error:
                if error.status_code == 404:
                    return None
                raise

    def create_project(self, title: str, label_config: str) -> ServerProject:
        """Make a project; the server checks its labeling configuration."""
        with self._asked("make a project"):
            return _found(self._client.projects.create(title=title, label_config=label_config, **_ONCE))

    def delete_project(self, number: int) -> None:
        """Delete a project with all its tasks."""
        with self._asked("delete a project"):
            self._client.projects.delete(number)

    def summaries(self, project: int, round_: int) -> Iterator[TaskSummary]:
        """Yield the tasks of a round, without what annotators did in them, by number."""
        fields = "id,data,updated_at,annotations,drafts"
        for task in self._listed(project, {"filters": _of_round(round_)}, fields):
            made = {a["id"]: str(a.get("updated_at") or "") for a in task.get("annotations") or []}
            digest = str(task["data"].get("alctl_sha256", ""))
            yield TaskSummary(
                task["id"], digest, str(task["updated_at"]), made, bool(made or task.get("drafts"))
            )

    def newest(self, project: int, round_: int) -> str:
        """Return when the task of a round that changed last did so; empty if the round has no tasks."""
        query = json.dumps({"filters": _of_round(round_), "ordering": ["-tasks:updated_at"]})
        with self._asked("list tasks"):
            page = self._client.tasks.list(
                project=project, page=1, page_size=1, query=query, include="id,updated_at"
            )
            return next((str(task["updated_at"]) for task in map(_plain, page.items or [])), "")

    def tasks(self, project: int, numbers: Sequence[int], fields: Sequence[str]) -> list[Task]:
        """Return these tasks with their annotations, as far as ``fields`` go, by number."""
        chosen = {"selectedItems": {"all": False, "included": list(numbers)}}
        listed = self._listed(project, chosen, ",".join(fields))
        return [Task(task, task.pop("annotations", None) or []) for task in listed]

    def _listed(self, project: int, query: Json, include: str) -> Iterator[dict[str, Any]]:
        """Yield tasks page by page. Not the SDK's own iterator: it takes a missing project for one without tasks."""
        text = json.dumps({**query, "ordering": ["tasks:id"]})
        page, last = 1, -1
        while True:
            with self._asked("list tasks"):
                try:
                    answer = self._client.tasks.list(
                        project=project, page=page, page_size=PAGE, query=text, fields="all", include=include
                    )
                except self._refusal as error:
                    if page > 1 and error.status_code == 404:
                        return  # the last page was full
                    raise
            rows = answer.items or []
            for task in map(_plain, rows):
                if task["id"] <= last or page * PAGE > self._most:
                    raise AlctlError(
                        f"{self.address} lists tasks without an end, or one twice; is it a Label Studio?"
                    )
                last = task["id"]
                yield task
            if len(rows) < PAGE:
                return
            page += 1

    def send(self, project: int, tasks: Sequence[Json]) -> None:
        """Import tasks in one request, which the server takes whole or not at all; never sent twice."""
        with self._asked("take tasks"):
            self._client.projects.import_tasks(project, request=list(tasks), **_ONCE)

    def delete_task(self, number: int) -> None:
        """Delete one task."""
        with self._asked("delete a task"):
            self._client.tasks.delete(id=str(number))

    def storages(self, project: int) -> list[str]:
        """Return the folders of a project's local-files storage connections."""
        with self._asked("list storage connections"):
            return [str(row.path) for row in self._client.import_storage.local.list(project=project)]

    def add_storage(self, project: int, folder: str) -> None:
        """Connect a folder to a project. The filter matches no file, so that a sync in the browser adds no tasks."""
        with self._asked("make a storage connection"):
            self._client.import_storage.local.create(
                project=project, path=folder, title="alctl", use_blob_urls=True, regex_filter="(?!)", **_ONCE
            )

    def storage_problem(self, project: int, folder: str) -> str:
        """Return why the server would not connect a folder, in its own words; empty if it would."""
        with self._asked("check a storage connection"):
            try:
                self._client.import_storage.local.validate(project=project, path=folder, **_ONCE)
            except self._refusal as error:
                if error.status_code == 400:
                    return self._scrubbed(_detail(error.body))
                raise
        return ""

    def document_root(self, project: int) -> str:
        """Return the server's document root, which it names when it refuses a folder outside; empty if it does not."""
        match = _ROOT.search(self.storage_problem(project, "/"))
        return match[1] if match else ""

    def fetch(self, path: str) -> tuple[int, bytes]:
        """Return the status and the bytes of what the server shows at ``path``, as an annotator's browser gets it."""
        with self._asked("show an image"):
            answer = self._http.get(f"{self.address}{path}", headers=self._authorization())
            return answer.status_code, answer.content

    def upload(self, project: int, files: Mapping[str, Path]) -> dict[str, str]:
        """Send image files under names of ours; return the address of each on the server."""
        with self._asked("take images"):
            parts = [(name, (name, file.read_bytes())) for name, file in files.items()]
            place = f"{self.address}/api/projects/{project}"
            answer = self._http.post(
                f"{place}/import",
                params={"commit_to_project": "false"},
                files=parts,
                headers=self._authorization(),
            )
            answer.raise_for_status()
            wanted = json.dumps(answer.json().get("file_upload_ids") or [])
            listed = self._http.get(
                f"{place}/file-uploads", params={"ids": wanted}, headers=self._authorization()
            )
            listed.raise_for_status()
            paths = [str(row["file"]) for row in listed.json()]
        # The server puts something random before each name.
        found = {name: f"/data/{path}" for name in files for path in paths if path.endswith(f"-{name}")}
        if missing := sorted(set(files) - set(found)):
            raise AlctlError(f"{self.address} did not keep {missing[0]}; nothing more was sent")
        return found

    def _authorization(self) -> dict[str, str]:
        """Return the header of a request of our own: a personal token is a JWT and buys short-lived ones."""
        if self._token.count(".") != 2:
            return {"Authorization": f"Token {self._token}"}
        return {"Authorization": f"Bearer {self._client.tokens.refresh(refresh=self._token).access}"}

    def _scrubbed(self, text: str) -> str:
        return text.replace(self._token, _HIDDEN)

    @contextmanager
    def _asked(self, to: str) -> Iterator[None]:
        """Turn whatever the SDK raises into a sentence."""
        import httpx
        from label_studio_sdk.core.parse_error import ParsingError

        try:
            yield
        except self._refusal as error:
            raise self._refused(to, error.status_code, error.body, error.headers) from None
        except httpx.HTTPStatusError as error:
            answer = error.response
            raise self._refused(to, answer.status_code, answer.text, answer.headers) from None
        except httpx.TimeoutException:
            raise AlctlError(
                f"{self.address} took more than {self._timeout:.0f} seconds to {to}; try again, which does nothing twice"
            ) from None
        except httpx.HTTPError as error:
            reason = self._scrubbed(str(error)) or type(error).__name__
            raise AlctlError(
                f"cannot reach {self.address} ({reason}); is Label Studio running there?"
            ) from None
        except (*_NONSENSE, ParsingError) as error:
            reason = self._scrubbed(f"{type(error).__name__}: {error}".splitlines()[0])
            raise AlctlError(
                f"{self.address} was asked to {to}, and its answer makes no sense ({reason}); is it a Label Studio?"
            ) from None

    def _refused(
        self, to: str, status: int | None, body: Any, headers: Mapping[str, str] | None
    ) -> AlctlError:
        """Return the error for an answer that is not the one hoped for."""
        said = self._scrubbed(_detail(body))
        if status is not None and 300 <= status < 400:
            where = (headers or {}).get("location", "another address")
            return AlctlError(
                f"{self.address} sends on to {self._scrubbed(where)}; give that server's address"
            )
        why = {
            200: "its answer makes no sense; is it a Label Studio?",
            401: "it does not accept the token; copy a new one from its Account & Settings page",
            403: "the token's user is not allowed to",
            404: "there is no such thing there; is this the address of a Label Studio?",
        }.get(status or 0, f"it failed with status {status}")
        if status == 200:
            said = ""
        return AlctlError(f"{self.address} was asked to {to}, but {why}{f' ({said})' if said else ''}")


_NONSENSE = (ValueError, TypeError, AttributeError)
"""What the SDK raises where an answer is not what it expects."""
_ONCE: dict[str, Any] = {"request_options": {"max_retries": 0}}
"""For what must not happen twice: the SDK would send it again when an answer gets lost."""


def _of_round(number: int) -> Json:
    """Return the server's filter for the tasks of a round."""
    item = {"filter": "filter:tasks:data.alctl_round", "operator": "equal", "type": "Number", "value": number}
    return {"conjunction": "and", "items": [item]}


def _plain(row: Any) -> dict[str, Any]:
    """Return what the server said as plain values, without what it did not say."""
    return dict(row.model_dump(mode="json", exclude_unset=True))


def _found(row: Any) -> ServerProject:
    return ServerProject(int(row.id), str(row.title), str(row.label_config or ""))


def _detail(body: Any) -> str:
    """Return what a server says went wrong, short, from whatever it sent."""
    if isinstance(body, Mapping):
        errors = body.get("validation_errors")
        if errors:
            inner = errors.values() if isinstance(errors, Mapping) else errors
            return _detail("; ".join(_detail(part) for part in inner))
        body = body.get("detail") or body.get("error") or ""
    if isinstance(body, Sequence) and not isinstance(body, str):
        body = "; ".join(map(str, body))
    text = " ".join(str(body or "").split())
    web_page = text.startswith("<")
    return "" if web_page else text if len(text) <= 500 else f"{text[:500]}…"
