"""Settings of every process: the one place that reads the environment (`ELLESMERE_*`)."""

import os
import re
import socket
import sys
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contracts.errors import InvalidUsage
from shared.contracts.v1.jobs import Token

PREFIX = "ELLESMERE_"


class InvalidSetting(InvalidUsage):
    """A variable of the environment holds a value that it cannot have."""

    fix = "unset the variable, or give it such a value"


def address(text: str) -> str:
    """Return `text` when it is an address such as 127.0.0.1:8001.

    Raises:
        ValueError: it is not.
    """
    host, colon, port = text.rpartition(":")
    if not colon or "/" in host or not port.isdecimal() or int(port) >= 2**16:
        raise ValueError(f"{text[:80]!r} is not host:port")
    return text


Address = Annotated[str, AfterValidator(address)]
Level = Annotated[
    Literal["debug", "info", "warning", "error"], BeforeValidator(lambda text: str(text).lower())
]


class Settings(BaseSettings):
    """What all processes share: frozen, unknown variables ignored, empty ones as if not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    log_level: Level = "info"


class BusSettings(Settings):
    """A service on the bus."""

    nats_url: str = "nats://127.0.0.1:4222"
    worker: Token | None = None  # None: `<service>-<host>-<pid>`
    service: Token = "ellesmere"
    grace: float = Field(default=20.0, ge=0.0, le=600.0)  # [s] to finish after the first SIGTERM

    @property
    def url(self) -> str:
        """Address of the broker."""
        return self.nats_url

    @property
    def name(self) -> str:
        """Name of this process on the bus, one subject token."""
        return self.worker or _token(f"{self.service}-{socket.gethostname()}-{os.getpid()}")

    def of(self, service: str) -> Self:
        """The same settings for a named service."""
        return self.model_copy(update={"service": service})


class WorkerSettings(BusSettings):
    """A service that takes durable jobs."""

    worker_class: Token | None = None  # None: the service's own class
    slots: int | None = Field(default=None, ge=1, le=256)  # None: what the service's card says
    attempts: int = Field(default=4, ge=1, le=100)  # deliveries before a job is a dead letter
    device_patience: float = Field(default=300.0, gt=0.0)  # [s] of one device call before it hangs
    retry_delay: float = Field(default=0.5, ge=0.0, le=60.0)  # [s] before the second attempt


class CpuSettings(WorkerSettings):
    """A worker that computes in host memory."""

    simd: Literal["auto", "off"] = "auto"  # off: products by scipy and BLAS, nothing is compiled
    threads: int = Field(default=1, ge=1, le=256)  # that share one sparse or quantized product
    cache: Path = Path.home() / ".cache" / "ellesmere"  # compiled kernels


class DeviceSettings(WorkerSettings):
    """A worker that owns an OpenCL device."""

    opencl_platform: str | None = None  # part of a platform's name; None: first GPU, else PoCL
    cache: Path = Path.home() / ".cache" / "ellesmere"  # compiled programs


class GatewaySettings(BusSettings):
    """The front door."""

    listen: Address = "127.0.0.1:8001"  # gRPC
    front: Literal["http2", "grpcio"] = "http2"  # who speaks gRPC: our own server, or the library's
    metrics: Address = "127.0.0.1:8002"  # metrics and health over HTTP


class ClientSettings(Settings):
    """A program that calls the gateway."""

    address: Address = "127.0.0.1:8001"
    tenant: Token = "default"


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Read settings from the environment; a bad value ends the process with one line and code 2."""
    try:
        return read(kind)
    except InvalidSetting as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def read(kind: type[S]) -> S:
    """Read settings from the environment.

    Raises:
        InvalidSetting: names the variable, its value and what is wrong with it.
    """
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = "_".join(str(part) for part in first["loc"])
        told = first["msg"].removeprefix("Value error, ")
        raise InvalidSetting(f"{PREFIX}{field.upper()}={first['input']!r}: {told}") from None


def _token(text: str) -> str:
    """Make one subject token of any text: other characters become dashes, 64 at most."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", text).lstrip("-_")
    return cleaned[-64:].lstrip("-_") or "worker"
