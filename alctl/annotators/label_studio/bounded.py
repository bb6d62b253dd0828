"""An HTTP client that takes no answer larger than a limit, so that a server cannot fill the memory of this machine."""

from collections.abc import Iterator

import httpx

from alctl.errors import AlctlError

LARGEST = 1 << 27
"""Bytes of one answer."""


def client(timeout: float, largest: int = LARGEST) -> httpx.Client:
    """Return a client of which an answer is an AlctlError as soon as it is larger than ``largest`` bytes.

    Answers come as they are, since a small packed one may unpack to any size. Redirects are not followed: a POST would
    become a GET, and the token would go who knows where.
    """
    return httpx.Client(
        timeout=timeout,
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        transport=_Bounded(largest),
    )


class _Bounded(httpx.HTTPTransport):
    """Counts what comes."""

    def __init__(self, largest: int) -> None:
        super().__init__()
        self.largest = largest

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the answer, which fails while it is read if it gets too large."""
        answer = super().handle_request(request)
        packed = answer.headers.get("content-encoding", "identity")
        if packed != "identity":
            answer.close()
            raise AlctlError(f"{request.url.host} answers packed as {packed!r}, which was not asked for")
        answer.stream = _Counted(answer.stream, str(request.url.host), self.largest)
        return answer


class _Counted(httpx.SyncByteStream):
    """The bytes of an answer, up to a limit."""

    def __init__(self, stream: object, host: str, largest: int) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self.stream, self.host, self.largest = stream, host, largest

    def __iter__(self) -> Iterator[bytes]:
        """Yield the parts as they come; AlctlError once they are too many."""
        size = 0
        for part in self.stream:
            size += len(part)
            if size > self.largest:
                raise AlctlError(
                    f"{self.host} gives an answer of more than {self.largest >> 20:,} MiB, which is refused; "
                    "is it a Label Studio?"
                )
            yield part

    def close(self) -> None:
        """Close the connection, whether or not all was read."""
        self.stream.close()
