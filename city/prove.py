"""The proof of the whole city: what each service proves, and what must agree between them. Reads, never repairs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from citycard.account.v1 import account_service_pb2
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.blacklist.v1 import blacklist_service_pb2
from citycard.blacklist.v1.blacklist_service_pb2_grpc import BlacklistServiceStub
from citycard.card.v1 import card_service_pb2
from citycard.card.v1.card_service_pb2_grpc import CardServiceStub
from citycard.clearing.v1 import clearing_pb2, clearing_service_pb2
from citycard.clearing.v1.clearing_service_pb2_grpc import ClearingServiceStub
from citycard.common.v1 import types_pb2
from citycard.terminal_gw.v1 import terminal_gw_service_pb2
from citycard.terminal_gw.v1.terminal_gw_service_pb2_grpc import TerminalGatewayServiceStub

from city.certificates import Certificates
from city.environment import PlatformState
from city.names import SERVICES
from libs.runtime.client import open_channel

AUDITOR: Final = "auditor/demo"
# What compares two services stands under this name.
BETWEEN: Final = "between"
# Events are on their way for a moment after everything that happens: disagreement counts when it stays.
SETTLE_TIMEOUT_S: Final = 15.0
_SETTLE_PAUSE_S = 0.5
_FLOAT = "accounts/2201"
_DEPOSITS = "accounts/2202"
# Accounts that only clearing causes anything on; of the float it causes the debits. On others, refunds and special
# accounts among them, other services book as well: there the ledger has at least what clearing says.
_CLEARING_ACCOUNTS = ("accounts/2203", "accounts/2205", "accounts/6002")

ChannelOf = Callable[[str], grpc.aio.Channel]
"""A channel to a service with an auditor's certificate."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that must hold.

    Attributes:
        service: Who proved it; `between` for what compares services.
        invariant: Of docs/architecture.md, `I1` and so on.
        statement: What was compared.
        checked: How many things were looked at.
        broken: How many do not hold.
        first_broken: The first of them, for people.
    """

    service: str
    invariant: str
    statement: str
    checked: int
    broken: int
    first_broken: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """All lines; the city is proven when none is broken."""

    lines: tuple[Line, ...]
    seconds: float = field(compare=False, default=0.0)

    @property
    def holds(self) -> bool:
        """Whether nothing is broken."""
        return not any(line.broken for line in self.lines)

    @property
    def checked(self) -> int:
        """How many things were looked at."""
        return sum(line.checked for line in self.lines)


@dataclass(frozen=True, slots=True)
class Answers:
    """What the services answered, and what else the comparison needs."""

    card: card_service_pb2.ProveResponse
    account: account_service_pb2.ProveResponse
    blacklist: blacklist_service_pb2.ProveResponse
    terminal_gw: terminal_gw_service_pb2.ProveResponse
    clearing: clearing_service_pb2.ProveResponse
    refused_files: tuple[clearing_pb2.File, ...]


async def prove(
    channel_of: ChannelOf, services: Sequence[str] = SERVICES, settle_timeout_s: float = SETTLE_TIMEOUT_S
) -> Proof:
    """Ask the services, and compare them when all are asked.

    A line that does not hold is asked for again until it does or the time is up: an event may be on its way.

    Args:
        channel_of: Gives a channel; the caller closes it.
        services: Whom to ask.
        settle_timeout_s: How long disagreement may last.

    Raises:
        AioRpcError: A service does not answer.
    """
    began = time.monotonic()
    while True:
        lines = await _lines(channel_of, services)
        seconds = time.monotonic() - began
        proof = Proof(tuple(lines), seconds)
        if proof.holds or seconds > settle_timeout_s:
            return proof
        await asyncio.sleep(_SETTLE_PAUSE_S)


async def _lines(channel_of: ChannelOf, services: Sequence[str]) -> list[Line]:
    asked = dict(zip(services, await asyncio.gather(*(_ASK[name](channel_of(name)) for name in services)), strict=True))
    lines = [line for name, answer in asked.items() for line in _own(name, answer.lines)]
    if set(asked) == set(SERVICES):
        refused = await _refused_files(channel_of("clearing"))
        lines += compare(Answers(**asked, refused_files=refused))
    return lines


def _own(service: str, lines: Iterable[types_pb2.ProofLine]) -> list[Line]:
    return [
        Line(service, line.invariant, line.statement, line.checked_count, line.broken_count, line.first_broken)
        for line in lines
    ]


def compare(answers: Answers) -> list[Line]:
    """What must agree between the services."""
    card, account, clearing, gateway = answers.card, answers.account, answers.clearing, answers.terminal_gw
    totals = {total.account: total for total in account.totals}
    float_credits = totals[_FLOAT].credits_fen if _FLOAT in totals else 0
    float_debits = totals[_FLOAT].debits_fen if _FLOAT in totals else 0
    deposits = totals[_DEPOSITS].credits_fen - totals[_DEPOSITS].debits_fen if _DEPOSITS in totals else 0
    refused_records = sum(one.record_count for one in answers.refused_files)
    return [
        _equal(
            "I11",
            "uploads stored by the gateway = files judged or refused by clearing",
            ("stored uploads", gateway.stored_count, clearing.file_count),
            ("records in them", gateway.record_count, clearing.record_count + refused_records),
        ),
        _equal(
            "I10",
            "movements posted by clearing = movements folded by the ledger",
            ("batches", clearing.batch_count, account.batch_count),
            ("movements", clearing.movement_count, account.movement_count),
            ("fen", clearing.movement_total_fen, account.movement_total_fen),
        ),
        _equal("I6", "what clearing posted stands on the ledger's accounts", *_postings(clearing, totals)),
        _equal(
            "I5",
            "cards issued and loaded by the card service = purses of the ledger",
            ("cards and purses", card.issued_count, account.purse_count),
            (
                "opening balances and loads",
                card.opening_balance_total_fen + card.confirmed_load_total_fen,
                float_credits,
            ),
            ("deposits", card.deposit_total_fen, deposits),
        ),
        _equal(
            "I6",
            "card float = sum of the purses; taken from it = movements",
            ("float", float_credits - float_debits, account.purse_total_fen),
            ("debits", float_debits, clearing.movement_total_fen),
        ),
        # A load holds its amount twice: receivable to in doubt, in doubt to the purse.
        _equal(
            "I14",
            "open loads of the card service = reservations of the ledger",
            ("fen", 2 * card.open_load_total_fen, account.pending_total_fen),
        ),
        _equal(
            "I10",
            "lost cards of the card service = cards that the blacklist lists as lost",
            ("cards", card.lost_count, answers.blacklist.lost_count),
        ),
    ]


def _postings(
    clearing: clearing_service_pb2.ProveResponse, totals: dict[str, account_service_pb2.AccountTotal]
) -> list[tuple[str, int, int]]:
    """Each side of each account that clearing alone causes: what it says, what the ledger says."""
    said = {total.account: total for total in clearing.ledger_totals}
    pairs = []
    for name in sorted({*said, *(one for one in totals if one.startswith(_CLEARING_ACCOUNTS))}):
        ours, theirs = said.get(name), totals.get(name)
        debits = (ours.debits_fen if ours else 0, theirs.debits_fen if theirs else 0)
        credits_ = (ours.credits_fen if ours else 0, theirs.credits_fen if theirs else 0)
        if name != _FLOAT and not name.startswith(_CLEARING_ACCOUNTS):
            debits, credits_ = (debits[0], min(debits)), (credits_[0], min(credits_))
        pairs.append((f"{name} debits", *debits))
        if name != _FLOAT:
            pairs.append((f"{name} credits", *credits_))
    return pairs


def _equal(invariant: str, statement: str, *pairs: tuple[str, int, int]) -> Line:
    broken = [f"{what}: {left:,} and {right:,}" for what, left, right in pairs if left != right]
    return Line(BETWEEN, invariant, statement, len(pairs), len(broken), broken[0] if broken else "")


async def _refused_files(channel: grpc.aio.Channel) -> tuple[clearing_pb2.File, ...]:
    stub = ClearingServiceStub(channel)
    files: list[clearing_pb2.File] = []
    token = ""
    while True:
        page = await stub.ListFiles(
            clearing_service_pb2.ListFilesRequest(
                page_size=1000, page_token=token, state=clearing_pb2.FILE_STATE_REFUSED
            )
        )
        files += page.files
        token = page.next_page_token
        if not token:
            return tuple(files)


async def _card(channel: grpc.aio.Channel) -> Any:
    return await CardServiceStub(channel).Prove(card_service_pb2.ProveRequest())


async def _account(channel: grpc.aio.Channel) -> Any:
    return await AccountServiceStub(channel).Prove(account_service_pb2.ProveRequest())


async def _blacklist(channel: grpc.aio.Channel) -> Any:
    return await BlacklistServiceStub(channel).Prove(blacklist_service_pb2.ProveRequest())


async def _terminal_gw(channel: grpc.aio.Channel) -> Any:
    return await TerminalGatewayServiceStub(channel).Prove(terminal_gw_service_pb2.ProveRequest())


async def _clearing(channel: grpc.aio.Channel) -> Any:
    return await ClearingServiceStub(channel).Prove(clearing_service_pb2.ProveRequest())


_ASK: dict[str, Callable[[grpc.aio.Channel], Awaitable[Any]]] = {
    "card": _card,
    "account": _account,
    "blacklist": _blacklist,
    "terminal_gw": _terminal_gw,
    "clearing": _clearing,
}
assert set(_ASK) == set(SERVICES), "every service proves itself"


async def prove_root(root: Path, services: Sequence[str] = SERVICES) -> Proof:
    """The proof of a city that runs under a root, whoever started it.

    Raises:
        FileNotFoundError: No city was ever started there.
        AioRpcError: A service does not answer.
    """
    ports = PlatformState(root).known_ports()
    missing = [service for service in services if service not in ports]
    if missing:
        raise FileNotFoundError(f"no city runs under {root}: {', '.join(missing)} unknown")
    kind, _, name = AUDITOR.partition("/")
    tls = Certificates(root).issue(kind, name)
    channels = {service: open_channel(f"127.0.0.1:{ports[service]}", tls) for service in services}
    try:
        return await prove(lambda service: channels[service], services)
    finally:
        for channel in channels.values():
            await channel.close()
