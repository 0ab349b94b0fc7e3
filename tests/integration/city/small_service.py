"""A program in place of a service, for tests of the launcher: health over mutual TLS and in plaintext, no more.

`small_service.py SERVICE MODE serve|migrate`; MODE is `good`, `no-migration` or `falls` (ends at once when serving).
It says what it was given on standard output.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def credentials() -> grpc.ServerCredentials:
    read = {name: Path(os.environ[f"CITYCARD_TLS_{name}_FILE"]).read_bytes() for name in ("CA", "CERT", "KEY")}
    return grpc.ssl_server_credentials([(read["KEY"], read["CERT"])], read["CA"], require_client_auth=True)


async def serve() -> None:
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_secure_port(os.environ["CITYCARD_LISTEN_ADDRESS"], credentials())
    server.add_insecure_port(os.environ["CITYCARD_HEALTH_ADDRESS"])
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(1)


def main() -> int:
    service, mode, verb = sys.argv[1:]
    print(f"{service} {verb} clock={os.environ['CITYCARD_CLOCK_OFFSET_S']}")
    if verb == "migrate":
        return 3 if mode == "no-migration" else 0
    if mode == "falls":
        return 4
    asyncio.run(serve())
    print(f"{service} drained")
    return 0


if __name__ == "__main__":
    sys.exit(main())
