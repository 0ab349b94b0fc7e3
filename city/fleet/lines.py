"""The fleet's lines: uploads that break off and go on, and lists that many terminals hold but one parses."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service
from cryptography.hazmat.primitives.asymmetric import ec

from city.simulation.operators import CENTRE_ID, OPERATORS
from edge.collector.upload import Uploader
from edge.collector.visit import Centre
from edge.terminal.blacklist import FullListNeeded, TerminalBlacklist
from libs.clock import CITY_TZ
from libs.records.batch import FileType, Header, encode_batch, file_name
from libs.records.otr import Records
from libs.records.rows import exact_sum

# Small chunks, so that a short file has a middle to be cut in.
_CHUNK_BYTES: Final = 2_048
_DEPOT_CHUNK_BYTES: Final = 65_536


class SharedLists:
    """Lists that many terminals hold at one version: parsed once, and compared by their bytes ever after."""

    def __init__(self) -> None:
        self._held: dict[int, TerminalBlacklist] = {0: TerminalBlacklist()}
        self._files: dict[tuple[int, int], bytes] = {}

    def load(self, base: int, version: int, content: bytes) -> int:
        """The version in force after a file came to a terminal that has `base`.

        Raises:
            FullListNeeded: The file goes on top of another version.
        """
        known = self._files.setdefault((base, version), content)
        if known != content:
            raise AssertionError(f"two files lead from version {base} to {version}")
        if version not in self._held:
            made = TerminalBlacklist()
            if base and content[4:6] == b"BI":
                # Built anew from the same bytes that a terminal with that base has seen.
                raise_from = self._held.get(base)
                if raise_from is None:
                    raise FullListNeeded(version=base, base_version=base)
                made = self._copy(base)
            made.load(content)
            self._held[version] = made
        return self._held[version].version

    def _copy(self, version: int) -> TerminalBlacklist:
        made = TerminalBlacklist()
        path: list[bytes] = []
        at = version
        while at:
            base, content = next((base, content) for (base, to), content in self._files.items() if to == at)
            path.append(content)
            at = base
        for content in reversed(path):
            made.load(content)
        return made


class BreakingGateway:
    """A stub whose next upload breaks off after some chunks, as a line does.

    Args:
        gateway: The real stub.
    """

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway
        self.break_after = -1

    async def UploadBatch(self, messages: AsyncIterator[Any], timeout: float) -> gw.Upload:  # noqa: ASYNC109, N802 (gRPC's own)
        """One upload, or the beginning of one."""
        limit, self.break_after = self.break_after, -1
        if limit < 0:
            return await self._gateway.UploadBatch(messages, timeout=timeout)  # type: ignore[no-any-return]  # a stub

        async def beginning() -> AsyncIterator[Any]:
            sent = 0
            async for message in messages:
                if sent > limit:
                    return
                sent += 1
                yield message

        return await self._gateway.UploadBatch(beginning(), timeout=timeout)  # type: ignore[no-any-return]  # a stub

    async def GetUpload(self, request: Any) -> gw.Upload:  # noqa: N802 (gRPC's own)
        """Where to go on."""
        return await self._gateway.GetUpload(request)  # type: ignore[no-any-return]  # a stub


@dataclass(slots=True)
class Sender:
    """Somebody who sends files for an operator, with batch numbers of its own.

    Attributes:
        operator: Place in `OPERATORS`.
        next_number: Batch number of the next file.
        uploader: Over its line.
        line: What breaks.
    """

    operator: int
    next_number: int
    uploader: Uploader
    line: BreakingGateway

    @classmethod
    def over(
        cls, centre: Centre, key: ec.EllipticCurvePrivateKey, operator: int, first_number: int, *, collector: bool
    ) -> "Sender":
        """A sender over a line that may break."""
        line = BreakingGateway(centre.gateway)
        stub: Any = line
        carrier = gw.CARRIER_COLLECTOR if collector else gw.CARRIER_LINE
        uploader = Uploader(
            stub, key, OPERATORS[operator].slug, carrier=carrier, chunk_bytes=_CHUNK_BYTES if not collector else 65_536
        )
        return cls(operator, first_number, uploader, line)

    def pack(self, records: Records, now: datetime) -> tuple[bytes, str]:
        """A batch file of records, and its name."""
        operator = OPERATORS[self.operator]
        created = now.replace(microsecond=0)
        header = Header(
            FileType.TX, operator.institution_id, CENTRE_ID, self.next_number, created,
            created.astimezone(CITY_TZ).date(), len(records), exact_sum(records["amount_fen"]),
        )  # fmt: skip
        self.next_number += 1
        content = encode_batch(
            FileType.TX, np.ascontiguousarray(records), sender=header.sender, receiver=header.receiver,
            batch_number=header.batch_number, created=header.created, business_date=header.business_date,
        )  # fmt: skip
        return content, file_name(header)


async def fetch_list(centre: Centre, lists: SharedLists, have: int) -> int:
    """Fetch what is newer than a version, and load it; returns the version in force."""
    version, content = await _download(centre, have)
    if not content:
        return have
    try:
        return lists.load(have, version, content)
    except FullListNeeded:
        version, content = await _download(centre, 0)
        return lists.load(0, version, content)


async def _download(centre: Centre, base: int) -> tuple[int, bytes]:
    version, parts = base, []
    async for part in centre.gateway.DownloadBlacklist(service.DownloadBlacklistRequest(base_version=base)):
        version = part.version
        parts.append(part.data)
    return version, b"".join(parts)
