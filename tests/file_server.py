"""A server of files on loopback that breaks connections, ignores Range or lies, as tests ask."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What a path answers.

    Attributes:
        content: the whole file.
        cuts: bytes after which the first, second … connection breaks.
        etag: None: the server names no version.
        ranges: whether Range is obeyed.
        statuses: of the first, second … request, instead of the content.
        location: redirects there.
        length: whether Content-Length is sent.
    """

    content: bytes = b""
    cuts: list[int] = field(default_factory=list)
    etag: str | None = '"v1"'
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    location: str | None = None
    length: bool = True


@dataclass
class FileServer:
    """Its address, its files by path, and the requests that arrived: (path, Range header)."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # the end of the connection is the end of the content
    known: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.known.requests.append((self.path, asked))
        served = self.known.files.get(self.path)
        if served is None:
            self.send_error(404)
        elif served.location:
            self.send_response(302)
            self.send_header("Location", served.location)
            self.end_headers()
        elif served.statuses:
            self.send_error(served.statuses.pop(0))
        else:
            self.answer(served, asked)

    def answer(self, served: Served, asked: str | None) -> None:
        start, total = 0, len(served.content)
        if asked and served.ranges and self.headers.get("If-Range") == served.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response((206 if start else 200) if start < total else 416)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if served.length:
            self.send_header("Content-Length", str(total - start))
        if served.etag:
            self.send_header("ETag", served.etag)
        self.end_headers()
        end = served.cuts.pop(0) if served.cuts else total
        self.wfile.write(served.content[start:end])

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A running server; it stops with the block."""
    known = FileServer("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"known": known}))
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
