"""What is asked of a server, against one that answers as it likes: listings without an end, the doctor before a push."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from alctl.annotators import handout
from alctl.annotators.label_studio import doctor
from alctl.annotators.label_studio.server import PAGE, Server
from alctl.errors import AlctlError
from alctl.rounds.select import select
from alctl.rounds.select_options import SelectOptions
from tests.project_files import no_progress, small_project

pytest.importorskip("label_studio_sdk", exc_type=ImportError)
TOKEN = "0123456789abcdef" * 2
Answer = Callable[[str, Mapping[str, list[str]]], object]


@contextmanager
def speaking(answer: Answer) -> Iterator[str]:
    """Run a server that answers a path and its query with JSON; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            body = json.dumps(answer(asked.path, parse_qs(asked.query))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def page_of(first: int) -> dict[str, object]:
    """Return a full page of tasks with the numbers from ``first`` on."""
    rows = [
        {"id": n, "data": {"alctl_sha256": f"{n}"}, "updated_at": "2026-01-01T00:00:00Z"}
        for n in range(first, first + PAGE)
    ]
    return {"tasks": rows, "total": 1 << 40, "total_annotations": 0, "total_predictions": 0}


@pytest.mark.parametrize("again", [True, False], ids=["the same page again", "always a next one"])
def test_a_listing_without_an_end_is_given_up(again):
    asked: list[int] = []

    def answer(path: str, query: Mapping[str, list[str]]) -> object:
        assert path == "/api/tasks/"
        asked.append(int(query["page"][0]))
        return page_of(1 if again else 1 + PAGE * (asked[-1] - 1))

    with (
        speaking(answer) as address,
        Server(address, TOKEN, most=2 * PAGE) as server,
        pytest.raises(AlctlError, match="lists tasks without an end, or one twice"),
    ):
        list(server.summaries(1, 1))
    assert asked == ([1, 2] if again else [1, 2, 3])


ANSWERS = {
    "/api/version": {"release": "1.20.0"},
    "/api/current-user/whoami": {"id": 1, "email": "ann@example.com", "username": "ann"},
    "/api/projects": {"count": 0, "next": None, "previous": None, "results": []},
}


def test_before_the_first_push_the_doctor_misses_no_project(tmp_path, monkeypatch):
    """A project that was named, or pushed to before, has to be there."""
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    project = small_project(tmp_path, 4)
    select(project, SelectOptions(2, "random"), no_progress)
    handout.export(project, 1, no_progress)
    with speaking(lambda path, _: ANSWERS[path.rstrip("/")]) as address:
        found = doctor.checks(project, "label-studio", address)
        assert [check.ok for check in found] == [True, True, True]
        assert found[-1].name.endswith(f"once a round is pushed to it: alctl push ROUND --to {address}")
        named = doctor.checks(project, "label-studio", address, title="birds")
        assert (named[-1].ok, named[-1].advice) == (
            False,
            "push a round, which makes it: alctl push ROUND --to URL",
        )
