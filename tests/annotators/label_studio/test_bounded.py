"""A server whose answers have no end."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alctl.errors import AlctlError

bounded = pytest.importorskip("alctl.annotators.label_studio.bounded")


@pytest.fixture
def endless():
    """Give the address of a server that never stops answering, and how much it sent."""
    sent = [0]

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if self.path == "/packed":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            with suppress(OSError):
                while sent[0] < 1 << 28:
                    sent[0] += self.wfile.write(b" " * 65_536)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("path", "sentence"), [("", "more than 1 MiB"), ("/packed", "packed as 'gzip'")])
def test_an_answer_is_read_up_to_a_limit_only(endless, path, sentence):
    address, sent = endless
    with bounded.client(10, 1 << 20) as client, pytest.raises(AlctlError, match=sentence):
        client.get(address + path)
    assert sent[0] < 1 << 28
