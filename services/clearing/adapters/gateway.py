"""The gateway's stored uploads over its public RPCs."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import grpc
from citycard.terminal_gw.v1 import terminal_gw_pb2 as gw
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as service

from libs.errors import DependencyUnavailable
from services.clearing.application.messages import instant
from services.clearing.application.ports import Upload

if TYPE_CHECKING:
    # Exists for types only: at run time one stub class serves both worlds.
    from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceAsyncStub

_PAGE = 500


def upload_of(message: gw.Upload) -> Upload:
    """A stored upload as the use cases know it."""
    participant, _, sha256 = message.name.removeprefix("participants/").partition("/uploads/")
    return Upload(
        participant=participant,
        sha256=bytes.fromhex(sha256),
        sequence=message.sequence,
        size_bytes=message.size_bytes,
        stored_at=instant(message.store_time),
        sender_institution=message.sender_institution,
        batch_number=message.batch_number,
        record_count=message.record_count,
        total_fen=message.total_fen,
    )


class GrpcGateway:
    """Reads from the terminal gateway; whatever goes wrong there is a dependency that is away."""

    def __init__(self, stub: "TerminalGatewayServiceAsyncStub") -> None:
        self._stub = stub

    async def read(self, participant: str, sha256: bytes) -> bytes:
        """The whole file.

        Raises:
            DependencyUnavailable: The gateway does not answer, or does not have it.
        """
        name = f"participants/{participant}/uploads/{sha256.hex()}"
        try:
            parts = [part.data async for part in self._stub.ReadUpload(service.ReadUploadRequest(name=name))]
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable(dependency="terminal_gw", status=error.code().name) from error
        return b"".join(parts)

    async def uploads_from(self, sequence: int) -> AsyncIterator[Upload]:
        """Stored uploads from a position of the gateway's journal on, in its order.

        Raises:
            DependencyUnavailable: The gateway does not answer.
        """
        request = service.ListUploadsRequest(page_size=_PAGE, sequence_min=sequence)
        while True:
            try:
                page = await self._stub.ListUploads(request)
            except grpc.aio.AioRpcError as error:
                raise DependencyUnavailable(dependency="terminal_gw", status=error.code().name) from error
            for upload in page.uploads:
                yield upload_of(upload)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
