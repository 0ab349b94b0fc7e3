"""One collector of one participant: records in, batch files made and sent, receipts out."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service

from edge.collector.spool import Outgoing, Spool
from edge.collector.upload import Uploader
from libs.clock import CITY_TZ, Clock
from libs.records.batch import FileType, Header, encode_batch, file_name
from libs.records.otr import OTR, Records
from libs.records.rows import exact_sum

if TYPE_CHECKING:
    from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceAsyncStub

PROGRAM_VERSION = "collector 0.1"
RECORDS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, as its files and its certificate say.

    Attributes:
        participant: `metro-1`.
        institution_id: Digits of its institution id; also the acquirer of its records.
        centre_id: Digits of the receiver's institution id.
    """

    participant: str
    institution_id: str
    centre_id: str


class Collector:
    """Makes files of records and sends what waits.

    Args:
        sender: Whose records these are.
        spool: Where files wait.
        gateway: Stub of TerminalGatewayService with the collector's certificate.
        uploader: Sends one file.
        clock: The collector's own clock.
        records_max: Most records in a file.
    """

    def __init__(
        self,
        sender: Sender,
        spool: Spool,
        gateway: "TerminalGatewayServiceAsyncStub",
        uploader: Uploader,
        clock: Clock,
        records_max: int = RECORDS_MAX,
    ) -> None:
        self._sender = sender
        self._spool = spool
        self._gateway = gateway
        self._uploader = uploader
        self._clock = clock
        self._records_max = records_max

    async def sign_in(self, blacklist_version: int = 0) -> service.SignInResponse:
        """Say hello; the answer tells the centre's time, the newest blacklist version and the limits of an upload."""
        request = service.SignInRequest(blacklist_version=blacklist_version, program_version=PROGRAM_VERSION)
        request.clock_time.FromDatetime(self._clock.now())
        return await self._gateway.SignIn(request)

    async def centre_ahead(self) -> timedelta:
        """How far the centre's clock is ahead of ours; the middle of sending and receiving is the instant meant."""
        sent = self._clock.now()
        answer = await self._gateway.GetClock(service.GetClockRequest())
        middle = sent + (self._clock.now() - sent) / 2
        return answer.centre_time.ToDatetime(middle.tzinfo) - middle

    async def fetch_blacklist(self, base_version: int = 0) -> tuple[int, bytes]:
        """The blacklist for the terminals of this depot.

        Args:
            base_version: What they have; 0 asks for the whole list.

        Returns:
            The version and the BL or BI file; no bytes at all when there is nothing newer.
        """
        request = service.DownloadBlacklistRequest(base_version=base_version)
        version, parts = base_version, []
        async for part in self._gateway.DownloadBlacklist(request):
            version = part.version
            parts.append(part.data)
        return version, b"".join(parts)

    def pack(self, records: Records) -> list[Outgoing]:
        """Make files of records, in the order given, and keep them in the spool; from now on a restart loses nothing.

        Args:
            records: Sealed records of any terminals of the sender.
        """
        assert records.dtype == OTR, "only transaction records travel up"
        return [
            self._pack_one(records[start : start + self._records_max])
            for start in range(0, len(records), self._records_max)
        ]

    async def send_waiting(
        self,
        on_sent: Callable[[gw.Upload], None] = lambda receipt: None,
        on_stored: Callable[[Outgoing], None] = lambda outgoing: None,
    ) -> list[gw.Upload]:
        """Send every file that waits, by batch number; each leaves the spool with its receipt.

        Args:
            on_sent: Told every receipt.
            on_stored: Told every file that the gateway has, before it leaves the spool.

        Raises:
            UploadRefused, UploadUnfinished: Of the first file that fails; it and the later ones stay in the spool.
        """
        receipts = []
        async for receipt in self._sent(on_stored):
            on_sent(receipt)
            receipts.append(receipt)
        return receipts

    async def _sent(self, on_stored: Callable[[Outgoing], None]) -> AsyncIterator[gw.Upload]:
        for outgoing in list(self._spool.waiting()):
            receipt = await self._uploader.send(outgoing.path.read_bytes(), outgoing.path.name)
            on_stored(outgoing)
            # Only now: a file is in the spool or at the gateway, at every moment.
            self._spool.remove(outgoing)
            yield receipt

    def _pack_one(self, records: Records) -> Outgoing:
        now = self._clock.now().replace(microsecond=0)
        header = Header(
            FileType.TX,
            self._sender.institution_id,
            self._sender.centre_id,
            self._spool.next_number(),
            now,
            now.astimezone(CITY_TZ).date(),
            len(records),
            exact_sum(records["amount_fen"]),
        )
        content = encode_batch(
            FileType.TX,
            np.ascontiguousarray(records),
            sender=header.sender,
            receiver=header.receiver,
            batch_number=header.batch_number,
            created=header.created,
            business_date=header.business_date,
        )
        return self._spool.put(file_name(header), content)
