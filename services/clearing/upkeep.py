"""`python -m services.clearing.upkeep archive | forget | prove`: looking after clearing's data, by hand or by night.

Runs beside the service with its settings; every command may be killed and repeated.
"""

import argparse
import asyncio
import importlib.util
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from libs.errors import DependencyUnavailable
from libs.keystore.sealed import Passphrase, SealedKeyStore
from libs.runtime.client import Clients
from libs.runtime.database import create_engine
from libs.runtime.settings import SettingsInvalid, load_settings
from services.clearing.adapters.gateway import GrpcGateway
from services.clearing.adapters.parquet import ArchiveGateway, ParquetArchives
from services.clearing.adapters.spill import WindowSpill
from services.clearing.adapters.sql import ClearingUnitOfWork
from services.clearing.application.archive import ArchiveDiffers, ArchiveFiles, ForgetOld, Retention
from services.clearing.application.prove import Proof, Prove
from services.clearing.settings import ClearingSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0 when it is done, 1 when something does not hold or is away, 2 for settings or an extra missing.
    """
    parser = argparse.ArgumentParser(prog="python -m services.clearing.upkeep", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    archive = commands.add_parser("archive", help="copy uploads all of whose windows are closed to Parquet")
    archive.add_argument("folder", type=Path)
    archive.add_argument("--older-than-days", type=int, default=60, help="judged at least so long ago (60)")
    forget = commands.add_parser("forget", help="remove what its class no longer keeps; never the ledger")
    days = Retention().decided.days
    forget.add_argument("--decided-days", type=int, default=days, help=f"waiting records, decided so long ago ({days})")
    prove = commands.add_parser("prove", help="prove clearing from archives instead of the gateway's uploads")
    prove.add_argument("folder", type=Path)
    chosen = parser.parse_args(arguments)
    if chosen.command != "forget" and importlib.util.find_spec("pyarrow") is None:
        # Said at once, not after an hour's reading.
        sys.stderr.write("clearing: archives need pyarrow, the extra `archive` of the project\n")
        return 2
    try:
        settings = load_settings(ClearingSettings)
    except SettingsInvalid as invalid:
        sys.stderr.write(f"clearing: {invalid}\n")
        return 2
    try:
        return asyncio.run(_run(chosen, settings))
    except (DependencyUnavailable, ArchiveDiffers) as error:
        sys.stderr.write(f"clearing: {error.reason} {error.facts}\n")
        return 1


async def _run(chosen: argparse.Namespace, settings: ClearingSettings) -> int:
    clock, engine, clients = settings.clock(), create_engine(settings), Clients(settings)

    def unit_of_work() -> ClearingUnitOfWork:
        return ClearingUnitOfWork(engine, clock)

    try:
        if chosen.command == "archive":
            gateway = GrpcGateway(clients.stub(TerminalGatewayServiceStub))
            archive = ArchiveFiles(unit_of_work, gateway, ParquetArchives(chosen.folder), clock)
            while made := await archive(timedelta(days=chosen.older_than_days)):
                sys.stdout.write(
                    f"{made.name}: {made.file_count} files, {made.record_count} records, {made.size_bytes} bytes\n"
                )
            return 0
        if chosen.command == "forget":
            retention = Retention(timedelta(days=chosen.decided_days))
            for name, count in (await ForgetOld(unit_of_work, clock)(retention)).items():
                sys.stdout.write(f"{name}: {count} rows removed\n")
            return 0
        passphrase = Passphrase(settings.key_passphrase_file.read_bytes())
        keys = SealedKeyStore.open(settings.key_file, passphrase, deployment=settings.deployment)
        proof = await Prove(
            unit_of_work, ArchiveGateway(ParquetArchives(chosen.folder)),
            centre_institution_id=settings.centre_institution_id, spill=WindowSpill, keys=keys,
            progress=_tell,
        )()  # fmt: skip
        return _show(proof)
    finally:
        await clients.close()
        await engine.dispose()


def _tell(done: int, total: int) -> None:
    sys.stderr.write(f"{done} of {total} records\n")


def _show(proof: Proof) -> int:
    for line in proof.lines:
        verdict = "broken" if line.broken else "holds"
        sys.stdout.write(f"{line.invariant:4} {verdict:7} {line.checked:>12} {line.statement}\n")
        if line.broken:
            sys.stdout.write(f"     {line.broken} broken, first: {line.first_broken}\n")
    return 1 if any(line.broken for line in proof.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
