"""The gRPC face of the lists' way through the gateway."""

from collections.abc import AsyncIterator
from typing import Final

from citycard.blacklist.v1 import error_reason_pb2  # noqa: F401 (its refusals are passed on with their texts)
from citycard.blacklist.v1 import list_pb2 as list_pb
from citycard.terminal_gw.v1 import list_service_pb2 as service_pb
from citycard.terminal_gw.v1.list_service_pb2_grpc import TerminalListServiceServicer

from libs.runtime.identity import Context, caller
from services.terminal_gw.application.acknowledge_lists import AcknowledgeLists, InForce, ListWords
from services.terminal_gw.application.download_list import ListFiles
from services.terminal_gw.application.list_ports import Asked

_PART_BYTES: Final = 64 * 1024


class TerminalListApi(TerminalListServiceServicer):
    """Translates; decides nothing."""

    def __init__(self, files: ListFiles, words: ListWords, acknowledge: AcknowledgeLists) -> None:
        self._files = files
        self._words = words
        self._acknowledge = acknowledge

    async def GetTerminalLists(
        self, request: service_pb.GetTerminalListsRequest, context: Context
    ) -> service_pb.GetTerminalListsResponse:
        """See the contract, as for all methods here."""
        lists = await self._files.lists()
        states = [list_pb.ListState.FromString(one.message) for one in lists.states]
        return service_pb.GetTerminalListsResponse(lists=states, signer_keys=lists.signer_keys)

    async def DownloadList(
        self, request: service_pb.DownloadListRequest, context: Context
    ) -> AsyncIterator[list_pb.ArtefactPart]:
        """A published file, in parts."""
        asked = Asked(request.list, request.base_version, request.version, request.entry_count_max)
        file = await self._files.find(asked)
        if file is None:
            return
        async for offset, data in self._files.parts(file, request.offset, _PART_BYTES):
            yield list_pb.ArtefactPart(
                version=file.version,
                base_version=file.base_version,
                size_bytes=len(file.data),
                sha256=file.sha256,
                offset=offset,
                data=data,
                left_out_count=file.left_out_count,
            )
        self._words.offered(caller(context).uri, request.list, file.version)

    async def AcknowledgeLists(
        self, request: service_pb.AcknowledgeListsRequest, context: Context
    ) -> service_pb.AcknowledgeListsResponse:
        """Lists in force."""
        said = [
            InForce(
                one.terminal_number,
                one.list,
                one.version,
                max(0, one.offer_time.ToMilliseconds()) if one.HasField("offer_time") else 0,
            )
            for one in request.lists
        ]
        await self._acknowledge(caller(context), said)
        return service_pb.AcknowledgeListsResponse()
