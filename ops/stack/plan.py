"""What a local stack consists of: its settings, and the programs that follow from them."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from ops.stack import broker
from ops.stack.ports import HOST, Ports
from ops.stack.process import Program
from shared.contracts.errors import StackNotReady

GRACE_SECONDS = 5.0  # [s] a service may take to finish the jobs in hand
SINGLE = ("scheduler", "gateway", "profiler", "compressor")
BAD_SETTING = 2  # exit code of a service: a variable of the environment has a wrong value
NO_DEVICE = 4  # exit code of the GPU worker: its device is not usable, trying again changes nothing
FINAL = {
    BAD_SETTING: "a setting is wrong, as said above; it is not started again",
    NO_DEVICE: "no usable OpenCL device (`ellesmere doctor` says why); CPU workers serve alone",
}


@dataclass(frozen=True, slots=True)
class StackSettings:
    """A stack on this machine.

    `nats_url` names a broker that somebody else runs; None: the stack brings its own.
    """

    data: Path
    ports: Ports
    cpu_workers: int = 2
    gpu_workers: int = 1
    nats_url: str | None = None
    log: Path | None = None  # one file for what the processes log; None: our stderr

    @property
    def grpc(self) -> str:
        """Where the gateway takes calls."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        """Where the gateway shows metrics and health over HTTP."""
        return f"{HOST}:{self.ports.metrics}"

    @property
    def nats(self) -> str:
        """Where the broker takes clients."""
        return self.nats_url or f"nats://{HOST}:{self.ports.nats}"


def broker_programs(settings: StackSettings) -> list[Program]:
    """The broker with its configuration written into the data folder; none when it is external.

    Raises:
        StackNotReady: no nats-server is installed.
    """
    if settings.nats_url:
        return []
    try:
        server = broker.find()
    except broker.BrokerFailed as error:
        raise StackNotReady(str(error)) from None
    config = broker.configure(settings.data / "nats", host=HOST, port=settings.ports.nats)
    command = (str(server), "-c", str(config))
    return [Program(service="nats", label="nats", command=command, log=settings.log)]


def service_programs(settings: StackSettings) -> list[Program]:
    """The six services, each as often as asked."""
    counts = dict.fromkeys(SINGLE, 1)
    counts |= {"gpu-worker": settings.gpu_workers, "cpu-worker": settings.cpu_workers}
    environment = {
        "ELLESMERE_NATS_URL": settings.nats,
        "ELLESMERE_LISTEN": settings.grpc,
        "ELLESMERE_METRICS": settings.metrics,
        "ELLESMERE_ADDRESS": settings.grpc,
        "ELLESMERE_GRACE": str(GRACE_SECONDS),
        "ELLESMERE_WORKER": "",  # as if not set: every process needs a name of its own
        "ELLESMERE_WORKER_CLASS": "",
    }
    return [
        replace(_service(name, number, environment, alone=count == 1), log=settings.log)
        for name, count in counts.items()
        for number in range(1, count + 1)
    ]


def _service(name: str, number: int, environment: dict[str, str], *, alone: bool) -> Program:
    module = f"services.{name.replace('-', '_')}"
    return Program(
        service=name,
        label=name if alone else f"{name} {number}",
        command=(sys.executable, "-m", module),
        environment=environment,
    )
