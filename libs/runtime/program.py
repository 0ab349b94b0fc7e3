"""The command line of every service: `python -m services.<service> serve | relay | migrate | dead-letters`."""

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from libs.runtime.contract import ContractIncomplete
from libs.runtime.dead_letters import DeadLetter, DeadLetters
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
    to date as the owner of the database and prints `from→to`, `dead-letters` lists events that could not be digested,
    or asks the running service to try some of them again.

    Args:
        service_name: `card`, ...
        build_settings: Reads the settings, `lambda: load_settings(CardSettings)`.
        build_parts: The wiring.
        migrate: Replaces the Alembic run of the service's migrations folder.
        arguments: Instead of the process's own.

    Returns:
        Exit status: 0 after a clean stop, 2 for settings or a contract that do not allow to start, 1 for a taken port
        or a dead letter that is not there or cannot be tried again.
    """
    parser = argparse.ArgumentParser(prog=f"python -m services.{service_name}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="answer calls and run the background loops")
    commands.add_parser("relay", help="run the background loops only")
    commands.add_parser("migrate", help="bring the schema up to date, as the owner of the database")
    letters = commands.add_parser("dead-letters", help="list events that could not be digested, or try them again")
    again = letters.add_mutually_exclusive_group()
    again.add_argument("--replay", metavar="EVENT", nargs="+", type=uuid.UUID, help="try these again")
    again.add_argument("--replay-all", action="store_true", help="try all of them again")
    parsed = parser.parse_args(arguments)
    command = parsed.command
    try:
        settings = build_settings()
    except SettingsInvalid as invalid:
        sys.stderr.write(f"{service_name}: {invalid}\n")
        return 2
    configure_logging(service_name, log_format=settings.log_format, log_level=settings.log_level)
    if command == "migrate":
        sys.stdout.write(f"{service_name}: {migrate(settings)}\n")
        return 0
    if command == "dead-letters":
        wanted = None if parsed.replay_all else parsed.replay or []
        return asyncio.run(_dead_letters(settings, wanted))
    configure_telemetry(service_name, settings.otlp_endpoint)
    try:
        asyncio.run(_serve(build_parts, settings, calls=command == "serve"))
    except (ContractIncomplete, AddressInUse) as error:
        sys.stderr.write(f"{service_name}: {error}\n")
        return 2 if isinstance(error, ContractIncomplete) else 1
    return 0


async def _serve(build_parts: Callable[[S], Awaitable[ServiceParts]], settings: S, *, calls: bool) -> None:
    await run(await build_parts(settings), settings, calls=calls)


async def _dead_letters(settings: ServiceSettings, wanted: list[uuid.UUID] | None) -> int:
    """Print the letters, one JSON object a line, after asking for another try of some, or of all (None)."""
    from libs.runtime.database import create_engine

    engine = create_engine(settings)
    asked = 0
    try:
        async with engine.begin() as connection:
            letters = DeadLetters(connection)
            if wanted != []:
                asked = await letters.ask(wanted)
            found = await letters.list()
    finally:
        await engine.dispose()
    for letter in found:
        sys.stdout.write(json.dumps(_shown(letter), ensure_ascii=False) + "\n")
    sys.stderr.write(f"{settings.service}: {len(found)} dead letters, {asked} asked to be tried again\n")
    return 1 if wanted and asked < len(set(wanted)) else 0


def _shown(letter: DeadLetter) -> dict[str, object]:
    """What an operator needs; not the payload, which may hold what belongs to a person."""
    return {
        "event": str(letter.event_id),
        "type": letter.subject,
        "consumer": letter.consumer,
        "reason": letter.reason,
        "tried": letter.delivery_count,
        "bytes": len(letter.payload),
        "occurred_at": letter.occurred_at.isoformat() if letter.occurred_at else None,
        "buried_at": letter.buried_at.isoformat(),
        "replay_asked_at": letter.replay_asked_at.isoformat() if letter.replay_asked_at else None,
    }
