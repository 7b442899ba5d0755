"""A web server on the loopback interface that behaves as well or as badly as a test wants it to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers each path as the server's answers say, and notes each request."""

    protocol_version = "HTTP/1.1"
    server: "ModelServer"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        self.server.answers[self.path.partition("?")[0]](self)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()


class ModelServer(ThreadingHTTPServer):
    """See model_server."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str | None]] = []
        """Path and header Range of each request."""
        self.closing = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server while the block runs. `server.answers["/path"] = answer` says what it does."""
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def sends(content: bytes, ranges: bool = True, first: int | None = None) -> Answer:
    """Sends a file.

    Args:
        content: the file.
        ranges: whether it can go on in the middle.
        first: how many bytes of the whole file to send before the connection breaks, when the beginning is asked for.
    """

    def answer(handler: Handler) -> None:
        asked = handler.headers.get("Range")
        if asked and ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                handler.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
                return
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            handler.head(206, Content_Length=len(content) - start, Content_Range=span)
            handler.wfile.write(content[start:])
            return
        handler.head(200, Content_Length=len(content))
        handler.wfile.write(content[:first])

    return answer


def says(status: int, text: str = "", kind: str = "text/html; charset=utf-8") -> Answer:
    """Sends a page, or an error."""

    def answer(handler: Handler) -> None:
        handler.head(status, Content_Type=kind, Content_Length=len(text.encode()))
        handler.wfile.write(text.encode())

    return answer


def leads_to(url: str) -> Answer:
    """Says that the file is elsewhere."""
    return lambda handler: handler.head(302, Location=url, Content_Length=0)


def stalls(content: bytes) -> Answer:
    """Sends half of a file, and then nothing until the server ends."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content))
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        handler.server.closing.wait()

    return answer


def announces(length: int, content: bytes) -> Answer:
    """Sends a file and lies about its length."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=length)
        handler.wfile.write(content)

    return answer
