"""Bodies of the commands that the gateway issues by itself."""

from citycard.terminal_gw.v1 import command_pb2, device_pb2

from services.terminal_gw.domain.packs import PackKey
from services.terminal_gw.domain.serials import Ranges


class CommandBodies:
    """The port `Bodies`."""

    def recollect(self, device_seqs: Ranges) -> tuple[str, bytes]:
        """RecollectRecords."""
        return packed(command_pb2.CommandBody(recollect_records=recollect_to_pb(device_seqs)))

    def fetch_pack(self, pack: PackKey) -> tuple[str, bytes]:
        """FetchPack."""
        return packed(command_pb2.CommandBody(fetch_pack=command_pb2.FetchPack(pack=str(pack))))


def recollect_to_pb(device_seqs: Ranges) -> command_pb2.RecollectRecords:
    """Ranges to send again."""
    return command_pb2.RecollectRecords(device_seqs=ranges_to_pb(device_seqs))


def ranges_to_pb(ranges: Ranges) -> list[device_pb2.SerialRange]:
    """Ranges for the wire."""
    return [device_pb2.SerialRange(first=first, last=last) for first, last in ranges]


def packed(body: command_pb2.CommandBody) -> tuple[str, bytes]:
    """Kind and bytes of a body; deterministic, so that a repeated request is the same request."""
    return body.WhichOneof("kind") or "", body.SerializeToString(deterministic=True)
