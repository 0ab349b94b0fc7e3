"""The gRPC face of the blacklist."""

from collections.abc import AsyncIterator
from typing import Final

from citycard.blacklist.v1 import blacklist_pb2 as pb
from citycard.blacklist.v1 import blacklist_service_pb2 as service_pb
from citycard.blacklist.v1 import error_reason_pb2  # noqa: F401 (the texts of the refusals live in the descriptor pool)
from citycard.blacklist.v1 import list_pb2 as list_pb
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceServicer
from citycard.common.v1 import types_pb2 as common_pb

from libs.runtime.identity import Context
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.blacklist.adapters.list_rows import row_to_pb
from services.blacklist.adapters.times import moment, write
from services.blacklist.application.add_entry import AddEntry
from services.blacklist.application.check_card import CheckCard
from services.blacklist.application.get_list_file import GetListFile
from services.blacklist.application.get_version import GetVersion
from services.blacklist.application.list_entries import ListEntries
from services.blacklist.application.list_file import ListFile
from services.blacklist.application.prove import Prove
from services.blacklist.application.remove_entry import RemoveEntry
from services.blacklist.domain.chain import Head
from services.blacklist.domain.entry import CardKey, Entry, ListMode, ListReason
from services.blacklist.domain.rows import ListKind

_PART_BYTES: Final = 64 * 1024


class BlacklistApi(BlacklistServiceServicer):
    """Translates; decides nothing."""

    def __init__(
        self,
        *,
        add_entry: AddEntry,
        remove_entry: RemoveEntry,
        check_card: CheckCard,
        get_version: GetVersion,
        list_entries: ListEntries,
        get_list_file: GetListFile,
        prove: Prove,
    ) -> None:
        self._add_entry = add_entry
        self._remove_entry = remove_entry
        self._check_card = check_card
        self._get_version = get_version
        self._list_entries = list_entries
        self._get_list_file = get_list_file
        self._prove = prove

    async def AddEntry(self, request: service_pb.AddEntryRequest, context: Context) -> pb.ListEntry:
        """See the contract, as for all methods here."""
        entry = await self._add_entry(
            _card_from_name(request.name),
            ListReason(request.reason),
            ListMode(request.mode),
            moment(request.effective_time) if request.HasField("effective_time") else None,
            request_key(request, context),
            moment(request.until_time) if request.HasField("until_time") else None,
        )
        return entry_to_pb(entry)

    async def RemoveEntry(self, request: service_pb.RemoveEntryRequest, context: Context) -> pb.ListEntry:
        """Take a card from the list."""
        return entry_to_pb(await self._remove_entry(_card_from_name(request.name), request_key(request, context)))

    async def CheckCard(self, request: service_pb.CheckCardRequest, context: Context) -> service_pb.CheckCardResponse:
        """Look a card up."""
        card = CardKey.parse(f"{request.card.removeprefix('cards/')}.{request.generation}")
        at = moment(request.time) if request.HasField("time") else None
        checked = await self._check_card(card, at, bytes.fromhex(request.issuer) if request.issuer else None)
        return service_pb.CheckCardResponse(
            listed=checked.listed,
            entry=entry_to_pb(checked.entry) if checked.entry else None,
            version=checked.version,
            mode=pb.ListMode.ValueType(checked.mode or 0),
            range=row_to_pb(ListKind.RANGES, checked.range) if checked.range else None,
            staff=checked.staff,
            issuer_standing=_standing(checked.issuer_accepted),
        )

    async def GetVersion(self, request: service_pb.GetVersionRequest, context: Context) -> pb.ListVersion:
        """The newest version."""
        return _version_to_pb(await self._get_version())

    async def ListEntries(
        self, request: service_pb.ListEntriesRequest, context: Context
    ) -> service_pb.ListEntriesResponse:
        """A page of entries."""
        name = f"ListEntries?show_removed={request.show_removed}"
        key = page_key(name, request.page_token, (str,))
        after = CardKey.parse(str(key[0])) if key else None
        size = page_size(request.page_size)
        entries = await self._list_entries(after, size, show_removed=request.show_removed)
        token = page_token(name, (str(entries[-1].card),)) if len(entries) == size else ""
        return service_pb.ListEntriesResponse(entries=map(entry_to_pb, entries), next_page_token=token)

    async def GetSnapshot(
        self, request: service_pb.GetSnapshotRequest, context: Context
    ) -> AsyncIterator[service_pb.ListFilePart]:
        """The whole list, in parts."""
        for part in _parts(await self._get_list_file.snapshot()):
            yield part

    async def GetDelta(
        self, request: service_pb.GetDeltaRequest, context: Context
    ) -> AsyncIterator[service_pb.ListFilePart]:
        """The changes since a version, in parts."""
        for part in _parts(await self._get_list_file.delta(request.base_version)):
            yield part

    async def Prove(self, request: service_pb.ProveRequest, context: Context) -> service_pb.ProveResponse:
        """Recompute."""
        proof = await self._prove()
        lines = [
            common_pb.ProofLine(
                invariant=line.invariant,
                statement=line.statement,
                checked_count=line.checked_count,
                broken_count=line.broken_count,
                first_broken=line.first_broken,
            )
            for line in proof.lines
        ]
        return service_pb.ProveResponse(lines=lines, lost_count=proof.lost_count, version=proof.version)


def _card_from_name(name: str) -> CardKey:
    return CardKey.parse(name.removeprefix("entries/"))


def entry_to_pb(entry: Entry) -> pb.ListEntry:
    """An entry for the wire."""
    message = pb.ListEntry(
        name=f"entries/{entry.card}", added_version=entry.added_version, removed_version=entry.removed_version
    )
    if entry.shown is not None:
        # The numbers of both enums are those of the interchange file.
        message.reason = pb.ListReason.ValueType(entry.shown.reason)
        message.mode = pb.ListMode.ValueType(entry.shown.mode)
        write(message.effective_time, entry.shown.effective_time)
        write(message.report_time, entry.shown.report_time)
        write(message.until_time, entry.shown.until_time)
    write(message.remove_time, entry.remove_time)
    return message


def _standing(accepted: bool | None) -> list_pb.IssuerStanding.ValueType:
    if accepted is None:
        return list_pb.ISSUER_STANDING_UNSPECIFIED
    return list_pb.ISSUER_STANDING_ACCEPTED if accepted else list_pb.ISSUER_STANDING_NOT_ACCEPTED


def _version_to_pb(head: Head) -> pb.ListVersion:
    message = pb.ListVersion(version=head.version, entry_count=head.entry_count, chain_hash=head.chain_hash)
    write(message.create_time, head.create_time)
    return message


def _parts(file: ListFile) -> list[service_pb.ListFilePart]:
    return [
        service_pb.ListFilePart(version=file.version, data=file.data[start : start + _PART_BYTES])
        for start in range(0, len(file.data), _PART_BYTES)
    ]
