"""A real Label Studio of the tests' own: on loopback, in a temporary folder, gone afterwards."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SCRIPT = Path(__file__).with_name("label_studio") / "serve.sh"
ENVIRONMENT = "ALCTL_LABEL_STUDIO"
ANN = "0123456789abcdef0123456789abcdef01234567"
PASSWORD = "a-long-password"
LOOKS = 800
"""How often to look whether the server has started; the looks are a third of a second apart."""


@dataclass
class Person:
    """Somebody who annotates, with the requests that the browser makes."""

    email: str
    http: httpx.Client

    def annotate(self, task: int, result: Sequence[Any], *, skip: bool = False, seconds: float = 2.5) -> int:
        """Submit an annotation, or skip the task; return the annotation's number."""
        body = {"result": list(result), "was_cancelled": skip, "lead_time": seconds}
        return int(self.ask("POST", f"/api/tasks/{task}/annotations/", json=body)["id"])

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Make one request that has to work; return its JSON."""
        answer = self.http.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content else None


@dataclass
class LabelStudio:
    """A running server."""

    address: str
    root: Path
    """What local files it shows; empty if none."""
    data: Path
    ann: Person

    @contextmanager
    def person(self, email: str) -> Iterator[Person]:
        """Sign somebody up through an invitation."""
        link = self.ann.ask("GET", "/api/invite")["invite_url"]
        with httpx.Client(base_url=self.address, follow_redirects=True, timeout=60) as http:
            _sign_up(http, link, email)
            yield Person(email, http)

    @contextmanager
    def without_legacy_tokens(self, personal: str) -> Iterator[None]:
        """Take only personal access tokens, such as this one of Ann's, for a while."""
        self._set_legacy_tokens(personal, allowed=False)
        try:
            yield
        finally:
            self._set_legacy_tokens(personal, allowed=True)

    def _set_legacy_tokens(self, personal: str, *, allowed: bool) -> None:
        fresh = httpx.post(f"{self.address}/api/token/refresh/", json={"refresh": personal}).json()["access"]
        settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": allowed}
        answer = httpx.post(
            f"{self.address}/api/jwt/settings", json=settings, headers={"Authorization": f"Bearer {fresh}"}
        )
        assert answer.is_success, answer.text

    def tasks(self, place: str) -> list[dict[str, Any]]:
        """Return every task of a project, with annotations and predictions, oldest first."""
        query = {"project": place.rpartition("/")[2], "fields": "all", "page_size": 10_000}
        found = self.ann.ask("GET", "/api/tasks/", params=query)["tasks"]
        return sorted(found, key=lambda task: int(task["id"]))

    def projects(self, title: str) -> list[dict[str, Any]]:
        """Return the projects with a title."""
        found = self.ann.ask("GET", "/api/projects", params={"title": title, "page_size": 1_000})["results"]
        return [project for project in found if project["title"] == title]


def _sign_up(http: httpx.Client, link: str, email: str) -> None:
    page = http.get(link)
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found
    form = {"csrfmiddlewaretoken": found[1], "email": email, "password": PASSWORD, "how_find_us": "Other",
            "elaborate": "-", "allow_newsletters": "false"}  # fmt: skip
    assert http.post(link, data=form, headers={"Referer": str(http.base_url)}).is_success
    http.headers["Authorization"] = f"Token {http.get('/api/current-user/token').json()['token']}"
    http.cookies.clear()


@contextmanager
def label_studio_server(
    folder: Path, *, root: Path | None, data: Path | None = None
) -> Iterator[LabelStudio]:
    """Start a server that shows files below ``root``, with a copy of another's ``data``; skip without an installation."""
    installed = os.environ.get(ENVIRONMENT, "")
    if not Path(installed, "bin", "label-studio").is_file():
        pytest.skip(f"{ENVIRONMENT} is not the folder of an installed Label Studio; see tests/label_studio")
    own = folder / "data"
    if data is not None:
        shutil.copytree(data, own)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "DOCUMENT_ROOT": str(root or "")}
    with (folder / "log").open("w") as log:
        command = [str(SCRIPT), "start", installed, str(own), str(port)]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(address, process, folder / "log")
            http = httpx.Client(base_url=address, headers={"Authorization": f"Token {ANN}"}, timeout=60)
            with http:
                yield LabelStudio(address, root or Path(), own, Person("ann@example.com", http))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(LOOKS):
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/api/version").is_success:
                return
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.3)
            break
    pytest.fail(f"Label Studio did not start:\n{log.read_text()[-3000:]}")
