"""Health and metrics over HTTP for those without gRPC: /healthz, /readyz, /metrics."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from shared.contracts.errors import AddressTaken

STOP_POLL = 0.05  # [s] between two looks whether the server is to stop


class _Server(ThreadingMixIn, WSGIServer):
    """One thread per request, none of which keeps the process alive."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """No access log: probes come every second."""

    timeout = 5.0  # [s] for a request to arrive

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def serve(listen: str, registry: CollectorRegistry, ready: Callable[[], bool]) -> Iterator[int]:
    """Answer on `listen` (host:port) in a thread; yields the port.

    Raises:
        AddressTaken: the address is taken, or not ours.
    """
    host, _, port = listen.rpartition(":")
    app = _app(make_wsgi_app(registry), ready)
    try:
        server = make_server(host.strip("[]"), int(port), app, _Server, _Quiet)
    except (OSError, ValueError) as error:
        raise AddressTaken(f"cannot listen on {listen}: {error}") from None
    with server:
        thread = threading.Thread(
            target=server.serve_forever, args=(STOP_POLL,), name="metrics", daemon=True
        )
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _app(metrics: WSGIApplication, ready: Callable[[], bool]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return metrics(environ, start)
            case "/healthz":
                return _text(start, "200 OK", "alive")
            case "/readyz" if ready():
                return _text(start, "200 OK", "ready")
            case "/readyz":
                return _text(start, "503 Service Unavailable", "not ready")
        return _text(start, "404 Not Found", "/healthz, /readyz and /metrics are here")

    return answer


def _text(start: StartResponse, status: str, text: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode() + b"\n"]
