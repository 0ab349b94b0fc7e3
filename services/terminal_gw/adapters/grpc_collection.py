"""The gRPC face of gaps, registers, certificates and backlog."""

from citycard.terminal_gw.v1 import collection_service_pb2 as collection_pb
from citycard.terminal_gw.v1.collection_service_pb2_grpc import CollectionServiceServicer

from libs.errors import NotYours
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from services.terminal_gw.adapters.bodies import ranges_to_pb
from services.terminal_gw.adapters.grpc_sessions import trusted
from services.terminal_gw.adapters.messages import write
from services.terminal_gw.adapters.messages_field import date_of_pb, date_to_pb, day_of_text, register_of_pb
from services.terminal_gw.application.collection import Collection
from services.terminal_gw.application.ports_field import Backlog, Gap, KeptCertificate, MissingFiles
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.domain.completeness import Verdict
from services.terminal_gw.domain.serials import count_of


class CollectionApi(CollectionServiceServicer):
    """Translates; decides nothing."""

    def __init__(self, collection: Collection, trust: Trust) -> None:
        self._do = collection
        self._trust = trust

    async def ReportRegisters(
        self, request: collection_pb.ReportRegistersRequest, context: Context
    ) -> collection_pb.ReportRegistersResponse:
        """See the contract, as for all methods here."""
        registers = [register_of_pb(one) for one in request.registers]
        kept = await self._do.report_registers(trusted(context, self._trust), _terminal(request.terminal), registers)
        return collection_pb.ReportRegistersResponse(kept_count=kept, known_count=len(registers) - kept)

    async def GetGapReport(
        self, request: collection_pb.GetGapReportRequest, context: Context
    ) -> collection_pb.GapReport:
        """What one terminal misses."""
        return gap_to_pb(await self._do.gap_report(trusted(context, self._trust), _terminal(request.terminal)))

    async def ListGapReports(
        self, request: collection_pb.ListGapReportsRequest, context: Context
    ) -> collection_pb.ListGapReportsResponse:
        """Who misses something."""
        name = f"ListGapReports?participant={request.participant}"
        key = page_key(name, request.page_token, (str,))
        asked = _participant(request.participant)
        if asked is not None and not caller(context).may_see(asked):
            return collection_pb.ListGapReportsResponse()
        size = page_size(request.page_size)
        after = str(key[0]) if key else ""
        gaps = await self._do.gap_reports(asked or caller(context).participant, after, size)
        token = page_token(name, (gaps[-1].terminal_number,)) if len(gaps) == size else ""
        return collection_pb.ListGapReportsResponse(reports=map(gap_to_pb, gaps), next_page_token=token)

    async def ListMissingFiles(
        self, request: collection_pb.ListMissingFilesRequest, context: Context
    ) -> collection_pb.ListMissingFilesResponse:
        """Senders that left numbers out."""
        key = page_key("ListMissingFiles", request.page_token, (str,))
        size = page_size(request.page_size)
        senders = await self._do.missing_files(caller(context).participant, str(key[0]) if key else "", size)
        token = page_token("ListMissingFiles", (senders[-1].sender,)) if len(senders) == size else ""
        return collection_pb.ListMissingFilesResponse(senders=map(_missing_to_pb, senders), next_page_token=token)

    async def RecollectGaps(
        self, request: collection_pb.RecollectGapsRequest, context: Context
    ) -> collection_pb.RecollectGapsResponse:
        """Ask for what is missing."""
        participant = _participant(request.participant)
        identity = caller(context)
        if identity.participant is not None and identity.participant != participant:
            raise NotYours
        done = await self._do.recollect(participant, request.timeout_s, identity.uri)
        return collection_pb.RecollectGapsResponse(command_count=done.command_count, open_count=done.open_count)

    async def IssueCompletenessCertificate(
        self, request: collection_pb.IssueCompletenessCertificateRequest, context: Context
    ) -> collection_pb.CompletenessCertificate:
        """The certificate of one terminal."""
        day = date_of_pb(request.business_date)
        return certificate_to_pb(await self._do.issue_one(caller(context), _terminal(request.terminal), day))

    async def BatchIssueCompletenessCertificates(
        self, request: collection_pb.BatchIssueCompletenessCertificatesRequest, context: Context
    ) -> collection_pb.BatchIssueCompletenessCertificatesResponse:
        """The certificates of all terminals of a day."""
        day = date_of_pb(request.business_date)
        tally = await self._do.issue_all(caller(context), _participant(request.participant), day)
        return collection_pb.BatchIssueCompletenessCertificatesResponse(
            complete_count=tally.by_verdict[Verdict.COMPLETE],
            holes_count=tally.by_verdict[Verdict.HOLES],
            different_count=tally.by_verdict[Verdict.DIFFERENT],
            open_count=tally.by_verdict[Verdict.OPEN],
            issued_count=tally.issued_count,
        )

    async def GetCompletenessCertificate(
        self, request: collection_pb.GetCompletenessCertificateRequest, context: Context
    ) -> collection_pb.CompletenessCertificate:
        """The newest, or one."""
        parts = request.name.split("/")
        identity = trusted(context, self._trust)
        revision = int(parts[5]) if len(parts) > 5 else None
        return certificate_to_pb(
            await self._do.certificate(identity.may_see, parts[1], day_of_text(parts[3]), revision)
        )

    async def ListCompletenessCertificates(
        self, request: collection_pb.ListCompletenessCertificatesRequest, context: Context
    ) -> collection_pb.ListCompletenessCertificatesResponse:
        """The newest of a day."""
        day = date_of_pb(request.business_date)
        name = f"ListCompletenessCertificates?day={day}&incomplete_only={request.incomplete_only}"
        key = page_key(name, request.page_token, (str,))
        size = page_size(request.page_size)
        found = await self._do.certificates(
            caller(context).participant,
            day,
            str(key[0]) if key else "",
            size,
            incomplete_only=request.incomplete_only,
        )
        token = page_token(name, (found[-1].terminal_number,)) if len(found) == size else ""
        return collection_pb.ListCompletenessCertificatesResponse(
            certificates=map(certificate_to_pb, found), next_page_token=token
        )

    async def ListBacklog(
        self, request: collection_pb.ListBacklogRequest, context: Context
    ) -> collection_pb.ListBacklogResponse:
        """The board."""
        lines = await self._do.backlog(caller(context).participant, request.silent_s)
        return collection_pb.ListBacklogResponse(lines=map(_backlog_to_pb, lines))


def _terminal(name: str) -> str:
    return name.removeprefix("terminals/")


def _participant(name: str) -> str | None:
    return name.removeprefix("participants/") or None


def gap_to_pb(gap: Gap) -> collection_pb.GapReport:
    """What a terminal misses."""
    return collection_pb.GapReport(
        terminal=f"terminals/{gap.terminal_number}",
        device_number=gap.device_number,
        device_seq_last=gap.device_seq_last,
        missing_device_seqs=ranges_to_pb(gap.missing_device_seqs),
        missing_device_count=count_of(gap.missing_device_seqs),
        void_device_seqs=ranges_to_pb(gap.void_device_seqs),
        terminal_seq_last=gap.terminal_seq_last,
        missing_terminal_seqs=ranges_to_pb(gap.missing_terminal_seqs),
        missing_terminal_count=count_of(gap.missing_terminal_seqs),
        missing_batch_numbers=ranges_to_pb(gap.missing_batch_numbers),
        device_seq_contiguous=gap.device_seq_contiguous,
    )


def _missing_to_pb(one: MissingFiles) -> collection_pb.MissingFiles:
    return collection_pb.MissingFiles(
        sender=one.sender,
        participant=f"participants/{one.participant}",
        batch_number_last=one.batch_number_last,
        missing_batch_numbers=ranges_to_pb(one.missing),
        missing_count=count_of(one.missing),
    )


def certificate_to_pb(kept: KeptCertificate) -> collection_pb.CompletenessCertificate:
    """A certificate; what it says besides the bytes is read out of them."""
    day = kept.business_date
    message = collection_pb.CompletenessCertificate(
        name=f"terminals/{kept.terminal_number}/days/{day:%Y%m%d}/revisions/{kept.revision}",
        content=kept.content,
        signature=kept.signature,
        key_id=kept.key_id,
        verdict=collection_pb.CompletenessVerdict.ValueType(kept.verdict),
        terminal=f"terminals/{kept.terminal_number}",
        business_date=date_to_pb(day),
        revision=kept.revision,
        missing_count=kept.missing_count,
    )
    write(message.issue_time, kept.issue_time)
    for line in kept.content.decode().splitlines():
        match line.split():
            case ["serials", first, last] if int(first) <= int(last):
                message.device_seqs.first, message.device_seqs.last = int(first), int(last)
            case ["stored", "count", count, "total-fen", total]:
                message.record_count, message.total_fen = int(count), int(total)
            case ["hole", first, last]:
                message.missing_device_seqs.add(first=int(first), last=int(last))
    return message


def _backlog_to_pb(line: Backlog) -> collection_pb.Backlog:
    message = collection_pb.Backlog(
        collection_point=line.collection_point,
        participant=f"participants/{line.participant}",
        terminal_count=line.terminal_count,
        connected_count=line.connected_count,
        silent_count=line.silent_count,
        unsent_count=line.unsent_count,
        missing_count=line.missing_count,
    )
    write(message.oldest_contact_time, line.oldest_contact_time)
    write(message.oldest_unsent_time, line.oldest_unsent_time)
    return message
