"""The day's records on their way: terminals, collectors, gateway, clearing, ledger."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from citycard.account.v1 import account_service_pb2
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.clearing.v1 import clearing_pb2, clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.terminal_gw.v1 import terminal_gw_pb2
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from city.demo.platform import Callers, Progress
from city.demo.registration import registry_state, wait_until
from city.launcher import Platform
from city.simulation.operators import CENTRE_ID, Operator
from edge.collector.collector import Collector, Sender
from edge.collector.spool import Spool
from edge.collector.upload import Uploader
from libs.clock import Clock
from libs.records.otr import Records

DEPOT = "depot-1"
RECORDS_PER_FILE = 1_000
# The gateway has a limit of streams at once; a city's depots do not come in the same second either.
_SENDING_AT_ONCE = 4
_WATCH_S = 0.3


def open_collector(
    platform: Platform, callers: Callers, operator: Operator, clock: Clock, records_max: int = RECORDS_PER_FILE
) -> Collector:
    """The collector of an operator's depot, with its certificate and its spool under the root."""
    caller = f"collector/{operator.slug}/{DEPOT}"
    gateway: Any = callers.stub(TerminalGatewayServiceStub, "terminal_gw", caller)
    return Collector(
        Sender(operator.slug, operator.institution_id, CENTRE_ID),
        Spool(spool_folder(platform.root, operator)),
        gateway,
        Uploader(gateway, private_key(platform, caller), operator.slug),
        clock,
        records_max,
    )


def spool_folder(root: Path, operator: Operator) -> Path:
    """Where an operator's collector keeps files that wait."""
    return root / "collectors" / operator.slug


def private_key(platform: Platform, caller: str) -> ec.EllipticCurvePrivateKey:
    """The key of a caller's certificate."""
    key = load_pem_private_key(platform.tls(caller).key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey), "development certificates have P-256 keys"
    return key


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent.

    Attributes:
        receipts: Of every file, in no order that matters.
    """

    receipts: tuple[terminal_gw_pb2.Upload, ...]

    @property
    def record_count(self) -> int:
        """Records in the files."""
        return sum(receipt.record_count for receipt in self.receipts)


async def send_all(
    collectors: Mapping[Operator, Collector],
    records: Mapping[Operator, Records],
    progress: Progress = lambda done: None,
) -> Sent:
    """Every collector packs what its terminals have, and sends it.

    Args:
        collectors: By operator.
        records: What each one finds.
        progress: Told how many records the gateway has.
    """
    receipts: list[terminal_gw_pb2.Upload] = []
    turn = asyncio.Semaphore(_SENDING_AT_ONCE)

    def on_sent(receipt: terminal_gw_pb2.Upload) -> None:
        receipts.append(receipt)
        progress(sum(one.record_count for one in receipts))

    async def send(operator: Operator) -> None:
        async with turn:
            await collectors[operator].sign_in()
            await asyncio.to_thread(collectors[operator].pack, records[operator])
            await collectors[operator].send_waiting(on_sent)

    await asyncio.gather(*(send(operator) for operator in collectors))
    return Sent(tuple(receipts))


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who is told how far the day's records have come.

    Attributes:
        uploaded: Records that the gateway has stored.
        judged: Records that have a verdict.
        folded: Fen that the ledger has taken from purses.
    """

    uploaded: Progress = lambda done: None
    judged: Progress = lambda done: None
    folded: Progress = lambda done: None


async def deliver(
    callers: Callers,
    collectors: Mapping[Operator, Collector],
    records: Mapping[Operator, Records],
    watchers: Watchers,
    timeout_s: float = 120.0,
) -> Sent:
    """Send everything and wait until it is judged and folded.

    Raises:
        NotInTimeError: It is not, in time.
        UploadRefused, UploadUnfinished: The gateway does not take a file.
    """
    account = callers.stub(AccountServiceStub, "account")
    files_before = len(await list_files(callers))
    debits_before_fen = await float_debits_fen(account)

    async def watch() -> None:
        while True:
            files = (await list_files(callers))[files_before:]
            watchers.judged(sum(one.record_count for one in files if one.state != clearing_pb2.FILE_STATE_RECEIVED))
            watchers.folded(await float_debits_fen(account) - debits_before_fen)
            await asyncio.sleep(_WATCH_S)

    watching = asyncio.create_task(watch(), name="watch the day's records")
    try:
        sent = await send_all(collectors, records, watchers.uploaded)
        await wait_until_judged(callers, sent.receipts, timeout_s)
        await wait_until_folded(callers, timeout_s)
    finally:
        watching.cancel()
        # It only shows: what it could not ask is no failure of the day.
        await asyncio.gather(watching, return_exceptions=True)
    watchers.judged(sent.record_count)
    watchers.folded(await float_debits_fen(account) - debits_before_fen)
    return sent


async def list_files(callers: Callers) -> list[clearing_pb2.File]:
    """All files that clearing has heard of."""
    clearing = callers.stub(ClearingServiceStub, "clearing")
    files: list[clearing_pb2.File] = []
    token = ""
    while True:
        page = await clearing.ListFiles(clearing_service_pb2.ListFilesRequest(page_size=1000, page_token=token))
        files += page.files
        token = page.next_page_token
        if not token:
            return files


async def wait_until_judged(callers: Callers, sent: Sequence[terminal_gw_pb2.Upload], timeout_s: float = 90.0) -> None:
    """Wait until every record of these uploads has its verdict.

    Raises:
        NotInTimeError: It has not.
    """
    wanted = {upload.name.replace("/uploads/", "/files/") for upload in sent}

    async def judged() -> bool:
        files = await list_files(callers)
        done = [one for one in files if one.name in wanted and one.state != clearing_pb2.FILE_STATE_RECEIVED]
        return len(done) == len(wanted)

    await wait_until(judged, f"{len(wanted)} files to be judged", timeout_s)


async def wait_until_folded(callers: Callers, timeout_s: float = 90.0) -> None:
    """Wait until the ledger has folded in everything that clearing has posted.

    Raises:
        NotInTimeError: It has not.
    """

    async def folded() -> bool:
        state = await registry_state(callers)
        return state.open_file_count == 0 and state.unfolded_batch_count == 0

    await wait_until(folded, "the ledger to fold in all batches", timeout_s)


async def float_debits_fen(account: Any) -> int:
    """What the ledger has taken from purses so far: the debits of account 2201."""
    float_account = await account.GetAccount(account_service_pb2.GetAccountRequest(name="accounts/2201"))
    return int(float_account.debits_fen)
