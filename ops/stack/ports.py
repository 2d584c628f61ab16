"""Addresses of the local stack: the usual ones, or free ones."""

import contextlib
import socket
from dataclasses import dataclass

from shared.contracts.errors import AddressTaken

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on the loopback interface."""

    grpc: int = 8001
    metrics: int = 8002
    nats: int = 4222


def free() -> Ports:
    """Ports that nobody listens on now; all are held until the last is chosen, so they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for candidate in sockets:
            candidate.bind((HOST, 0))
        grpc, metrics, nats = (candidate.getsockname()[1] for candidate in sockets)
        return Ports(grpc=grpc, metrics=metrics, nats=nats)


def require_free(*ports: int) -> None:
    """Raise AddressTaken for the first port that another process listens on."""
    for port in ports:
        if not is_free(port):
            raise AddressTaken(f"{HOST}:{port} is in use by another process")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True
