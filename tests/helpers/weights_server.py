"""A local HTTP server that gives a file in all the ways a network can go wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class WeightsServer(ThreadingHTTPServer):
    """Serves ``content`` at every path; its attributes say how."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.ranges = True  # whether it can go on in the middle
        self.status = 200
        self.location: str | None = None  # where an answer of another status redirects to
        self.kind = "application/octet-stream"
        self.says_length = True
        self.chunked = False
        self.cut_after: int | None = None  # bytes of an answer after which it hangs up
        self.silent_after: int | None = None  # bytes of an answer after which no more come
        self.failures = 0  # so many answers are 503 first
        self.pause, self.piece = 0.0, 1 << 16  # seconds between pieces of so many bytes
        self.ended = threading.Event()
        self.asked: list[tuple[str, str | None]] = []  # path and range of each request

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when the other side hangs up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WeightsServer

    def log_message(self, *_: object) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if server.failures:
            server.failures -= 1
            self.refuse(503)
            return
        if server.status != 200:
            self.refuse(server.status, {"Location": server.location} if server.location else None)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.ranges else 0
        whole = len(server.content)
        if start >= whole:
            self.refuse(416, {"Content-Range": f"bytes */{whole}"})
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", server.kind)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif server.says_length:
            self.send_header("Content-Length", str(whole - start))
        self.send_header("Connection", "close")
        self.end_headers()
        self.send(server.content[start:])

    def send(self, body: bytes) -> None:
        server = self.server
        end = len(body) if server.cut_after is None else min(len(body), server.cut_after)
        for at in range(0, end, server.piece):
            piece = body[at : min(end, at + server.piece)]
            if server.chunked:
                piece = b"%x\r\n%s\r\n" % (len(piece), piece)
            if server.silent_after is not None and at >= server.silent_after:
                server.ended.wait(30)
                return
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(server.pause)
        if server.chunked and end == len(body):
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(content: bytes) -> Iterator[WeightsServer]:
    """Run a server while the block runs."""
    server = WeightsServer(content)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
