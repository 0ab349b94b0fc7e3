"""The command line of every service: `python -m services.<service> serve | relay | migrate`."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.runtime.contract import ContractIncomplete
from libs.runtime.logging import configure_logging
from libs.runtime.server import AddressInUse, ServiceParts, run
from libs.runtime.settings import ServiceSettings, SettingsInvalid
from libs.runtime.telemetry import configure_telemetry

S = TypeVar("S", bound=ServiceSettings)


def migrate_default(settings: ServiceSettings) -> str:
    """Bring the database of a service to its newest schema, as the owner role when there is one.

    Returns:
        `from→to`, the revisions before and after.
    """
    # Imported here: Alembic is needed once per release, not in every serving process.
    from libs.runtime.database import migration_url
    from libs.runtime.migrate import upgrade

    return upgrade(settings.service, migration_url(settings))


def main(
    service_name: str,
    build_settings: Callable[[], S],
    build_parts: Callable[[S], Awaitable[ServiceParts]],
    migrate: Callable[[S], str] = migrate_default,
    arguments: list[str] | None = None,
) -> int:
    """Run one service by its command line.

    `serve` answers calls and runs the background loops, `relay` runs the loops only, `migrate` brings the schema up
    to date as the owner of the database and prints `from→to`.

    Args:
        service_name: `card`, ...
        build_settings: Reads the settings, `lambda: load_settings(CardSettings)`.
        build_parts: The wiring.
        migrate: Replaces the Alembic run of the service's migrations folder.
        arguments: Instead of the process's own.

    Returns:
        Exit status: 0 after a clean stop, 2 for settings or a contract that do not allow to start, 1 for a taken port.
    """
    parser = argparse.ArgumentParser(prog=f"python -m services.{service_name}")
    parser.add_argument("command", choices=["serve", "relay", "migrate"], help="answer calls, only run loops, migrate")
    command = parser.parse_args(arguments).command
    try:
        settings = build_settings()
    except SettingsInvalid as invalid:
        sys.stderr.write(f"{service_name}: {invalid}\n")
        return 2
    configure_logging(service_name, log_format=settings.log_format, log_level=settings.log_level)
    if command == "migrate":
        sys.stdout.write(f"{service_name}: {migrate(settings)}\n")
        return 0
    configure_telemetry(service_name, settings.otlp_endpoint)
    try:
        asyncio.run(_serve(build_parts, settings, calls=command == "serve"))
    except (ContractIncomplete, AddressInUse) as error:
        sys.stderr.write(f"{service_name}: {error}\n")
        return 2 if isinstance(error, ContractIncomplete) else 1
    return 0


async def _serve(build_parts: Callable[[S], Awaitable[ServiceParts]], settings: S, *, calls: bool) -> None:
    await run(await build_parts(settings), settings, calls=calls)
