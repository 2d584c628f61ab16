"""Gateway: wiring only."""

import anyio
import structlog

from services.gateway import grpc_server, telemetry
from services.gateway.assembly import assemble
from services.gateway.http2 import server as http2_server
from services.gateway.limits import Limits
from shared.bus.port import Bus
from shared.chassis import lifecycle
from shared.chassis.settings import GatewaySettings, load

FRONTS: dict[str, type[http2_server.Server | grpc_server.Server]] = {
    "http2": http2_server.Server,
    "grpcio": grpc_server.Server,
}
log = structlog.get_logger()


async def serve(bus: Bus, settings: GatewaySettings) -> None:
    """Open the doors until cancelled, then let open calls end."""
    limits = Limits()
    async with assemble(bus, limits) as gateway:
        server = FRONTS[settings.front](gateway.app, limits, listen=settings.listen)
        await server.start()
        with telemetry.serve(
            settings.metrics, gateway.metrics.registry, gateway.tables.is_ready
        ) as metrics_port:
            try:
                await server.show(serving=True)
                log.info(
                    "gateway.serving",
                    front=settings.front,
                    grpc_port=server.port,
                    metrics_port=metrics_port,
                )
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await server.stop()


if __name__ == "__main__":
    lifecycle.run("gateway", serve, load(GatewaySettings))
