"""The gRPC face of parameter packs and roll-outs."""

from collections.abc import AsyncIterator
from typing import Final

from citycard.terminal_gw.v1 import device_pb2
from citycard.terminal_gw.v1 import parameters_service_pb2 as parameters_pb
from citycard.terminal_gw.v1.parameters_service_pb2_grpc import ParameterServiceServicer

from libs.records.crc32c import crc32c
from libs.runtime.identity import Context, caller
from libs.runtime.paging import page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.terminal_gw.adapters.grpc_sessions import trusted
from services.terminal_gw.adapters.messages import moment, write
from services.terminal_gw.adapters.messages_field import pack_report_of_pb, printable, readable
from services.terminal_gw.application.packs import Packs, PublishPack, Rollouts
from services.terminal_gw.application.ports_field import RolloutCounts
from services.terminal_gw.application.trust import Trust
from services.terminal_gw.application.upload_batch import Chunk
from services.terminal_gw.domain.packs import Pack, PackKey, Rollout, Stage

_NEVER_BEFORE: Final = 2**62


class ParameterApi(ParameterServiceServicer):
    """Translates; decides nothing."""

    def __init__(self, publish: PublishPack, packs: Packs, rollouts: Rollouts, trust: Trust) -> None:
        self._publish = publish
        self._packs = packs
        self._rollouts = rollouts
        self._trust = trust

    async def PublishPack(
        self, request_iterator: AsyncIterator[parameters_pb.PublishPackRequest], context: Context
    ) -> parameters_pb.Pack:
        """See the contract, as for all methods here."""
        certificate = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
        return pack_to_pb(await self._publish(caller(context), _messages(request_iterator, certificate)))

    async def GetPack(self, request: parameters_pb.GetPackRequest, context: Context) -> parameters_pb.Pack:
        """One pack."""
        return pack_to_pb(await self._packs.get(trusted(context, self._trust), request.name))

    async def ListPacks(
        self, request: parameters_pb.ListPacksRequest, context: Context
    ) -> parameters_pb.ListPacksResponse:
        """A page of packs."""
        name = f"ListPacks?kind={request.kind}"
        key = page_key(name, request.page_token, (int,))
        size = page_size(request.page_size)
        before = int(key[0] or 0) if key else _NEVER_BEFORE
        packs = await self._packs.list(caller(context).participant, request.kind, before, size)
        token = page_token(name, (packs[-1][0],)) if len(packs) == size else ""
        return parameters_pb.ListPacksResponse(packs=[pack_to_pb(one) for _, one in packs], next_page_token=token)

    async def DownloadPack(
        self, request: parameters_pb.DownloadPackRequest, context: Context
    ) -> AsyncIterator[parameters_pb.DownloadPackResponse]:
        """The bytes of a pack."""
        identity = trusted(context, self._trust)
        async for offset, data in self._packs.download(identity, request.name, request.offset):
            trusted(context, self._trust)
            yield parameters_pb.DownloadPackResponse(offset=offset, data=data, crc32c=crc32c(data))

    async def ListWantedPacks(
        self, request: parameters_pb.ListWantedPacksRequest, context: Context
    ) -> parameters_pb.ListWantedPacksResponse:
        """What a terminal should have."""
        number = request.terminal.removeprefix("terminals/")
        packs = await self._packs.wanted(trusted(context, self._trust), number)
        return parameters_pb.ListWantedPacksResponse(packs=map(pack_to_pb, packs))

    async def ReportPacks(
        self, request: parameters_pb.ReportPacksRequest, context: Context
    ) -> parameters_pb.ReportPacksResponse:
        """What is in force."""
        reports = [pack_report_of_pb(one) for one in request.packs]
        number = request.terminal.removeprefix("terminals/")
        await self._packs.report(trusted(context, self._trust), number, reports)
        return parameters_pb.ReportPacksResponse()

    async def StartRollout(self, request: parameters_pb.StartRolloutRequest, context: Context) -> parameters_pb.Rollout:
        """Begin."""
        stages = [Stage(tuple(one.groups), one.percent) for one in request.stages]
        return rollout_to_pb(
            await self._rollouts.start(
                caller(context), request.pack, stages, request.failure_count_max, request_key(request, context)
            )
        )

    async def AdvanceRollout(
        self, request: parameters_pb.AdvanceRolloutRequest, context: Context
    ) -> parameters_pb.Rollout:
        """Next stage."""
        return rollout_to_pb(await self._rollouts.advance(caller(context), _number(request.name), request.stage))

    async def PauseRollout(self, request: parameters_pb.PauseRolloutRequest, context: Context) -> parameters_pb.Rollout:
        """Tell nobody new."""
        return rollout_to_pb(await self._rollouts.pause(caller(context), _number(request.name)))

    async def ResumeRollout(
        self, request: parameters_pb.ResumeRolloutRequest, context: Context
    ) -> parameters_pb.Rollout:
        """Go on."""
        return rollout_to_pb(await self._rollouts.resume(caller(context), _number(request.name)))

    async def RollBackRollout(
        self, request: parameters_pb.RollBackRolloutRequest, context: Context
    ) -> parameters_pb.Rollout:
        """Take it back."""
        return rollout_to_pb(await self._rollouts.roll_back(caller(context), _number(request.name)))

    async def GetRollout(self, request: parameters_pb.GetRolloutRequest, context: Context) -> parameters_pb.Rollout:
        """One, with counts."""
        rollout, counts = await self._rollouts.get(caller(context), _number(request.name))
        return rollout_to_pb(rollout, counts)

    async def ListRollouts(
        self, request: parameters_pb.ListRolloutsRequest, context: Context
    ) -> parameters_pb.ListRolloutsResponse:
        """A page of roll-outs."""
        key = page_key("ListRollouts", request.page_token, (int,))
        size = page_size(request.page_size)
        found = await self._rollouts.list(int(key[0] or 0) if key else None, size)
        token = page_token("ListRollouts", (found[-1].number,)) if len(found) == size else ""
        identity = caller(context)
        shown = [one for one in found if not one.pack.participant or identity.may_see(one.pack.participant)]
        return parameters_pb.ListRolloutsResponse(rollouts=map(rollout_to_pb, shown), next_page_token=token)


async def _messages(
    requests: AsyncIterator[parameters_pb.PublishPackRequest], certificate: bytes
) -> AsyncIterator[Pack | Chunk]:
    async for request in readable(requests):
        if request.WhichOneof("part") == "start":
            said = request.start
            participant = said.participant.removeprefix("participants/")
            effect_time = moment(said.effect_time)
            yield Pack(
                PackKey(said.kind, said.device_kind, participant, said.version),
                effect_time,
                said.sha256,
                said.size_bytes,
                said.signature,
                certificate,
                effect_time,
                printable(said.title),
            )
        else:
            yield Chunk(request.chunk.offset, request.chunk.data, request.chunk.crc32c)


def _number(name: str) -> int:
    return int(name.removeprefix("rollouts/"))


def pack_to_pb(pack: Pack) -> parameters_pb.Pack:
    """A pack for the wire."""
    key = pack.key
    message = parameters_pb.Pack(
        name=str(key),
        kind=device_pb2.PackKind.ValueType(key.kind),
        device_kind=device_pb2.DeviceKind.ValueType(key.device_kind),
        participant=f"participants/{key.participant}" if key.participant else "",
        version=key.version,
        sha256=pack.sha256,
        size_bytes=pack.size_bytes,
        signature=pack.signature,
        certificate=pack.certificate,
        title=pack.title,
    )
    write(message.effect_time, pack.effect_time)
    write(message.publish_time, pack.publish_time)
    return message


def rollout_to_pb(rollout: Rollout, counts: RolloutCounts | None = None) -> parameters_pb.Rollout:
    """A roll-out for the wire."""
    counts = counts or RolloutCounts()
    message = parameters_pb.Rollout(
        name=rollout.name,
        pack=str(rollout.pack),
        stages=[parameters_pb.RolloutStage(groups=one.groups, percent=one.percent) for one in rollout.stages],
        stage=rollout.stage,
        state=parameters_pb.RolloutState.ValueType(rollout.state),
        failure_count_max=rollout.failure_count_max,
        covered_count=counts.covered,
        in_force_count=counts.in_force,
        loaded_count=counts.loaded,
        failed_count=counts.failed,
    )
    write(message.start_time, rollout.start_time)
    return message
