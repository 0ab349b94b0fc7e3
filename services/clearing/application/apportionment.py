"""PublishRules, CarryShares and the reads of apportionment (F73 to F76, F155)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from libs.clock import Clock
from libs.runtime.requests import RequestKey
from services.clearing.application.book import post
from services.clearing.application.ports import UnitOfWork
from services.clearing.domain.adjustment import PAYABLE, Adjustment, AdjustmentKind
from services.clearing.domain.apportion import AUTHORITY, Rules, Share, rules_on
from services.clearing.domain.errors import ParticipantUnknown, StatementUnknown
from services.clearing.domain.errors_settlement import DayBegun, RulesInvalid, RulesUnknown
from services.clearing.domain.fees import fees_of_line
from services.clearing.domain.positions import PostingLine
from services.clearing.domain.statement import statement_lines

FEE_INCOME = "accounts/6002"


@dataclass(frozen=True, slots=True)
class LevelTotal:
    """What a day came to at one of the four levels.

    Attributes:
        level: `service`, `operator`, `participant` or `day`.
        key: Line and industry, operator number, participant; empty for the day.
    """

    level: str
    participant: str
    key: str
    record_count: int
    amount_fen: int


@dataclass(frozen=True, slots=True)
class DayTotals:
    """A day at four levels, and whether they agree with each other and with the positions."""

    totals: tuple[LevelTotal, ...]
    agree: bool


class PublishRules:
    """Puts a version of the rules in force from a settlement date on."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, rules: Rules, request: RequestKey) -> Rules:
        """Store it; no record may have been posted for a day that it holds for.

        Raises:
            RulesInvalid, ParticipantUnknown, DayBegun: In this order.
        """
        rules.check()
        async with self._unit_of_work() as uow:
            if not await uow.requests.claim(request):
                first: Rules = await uow.requests.first_answer(request, Rules)
                return first
            known = {one.id: one for one in await uow.participants.all()}
            for name in sorted(rules.participants()):
                if name not in known:
                    raise ParticipantUnknown(participant=name)
            begun = await uow.apportionment.window_since(rules.effective_on)
            now = self._clock.now()
            running = [one.id for one in known.values() if one.settlement_date(now) >= rules.effective_on]
            if begun is not None or running:
                who = begun[0] if begun else running[0]
                raise DayBegun(participant=who, settlement_date=rules.effective_on.isoformat())
            if not await uow.apportionment.add_rules(rules):
                raise RulesInvalid(where=rules.effective_on.isoformat(), fault="EXISTS")
            await uow.requests.answer(request, rules)
            await uow.commit()
        return rules


class CarryShares:
    """Carries what a closed window says of others into their open windows: fee shares and borne discounts.

    Closing itself looks at nobody else's window (I8); this runs after it, and once for each statement.
    """

    def __init__(self, unit_of_work: Callable[[], UnitOfWork], clock: Clock) -> None:
        self._unit_of_work = unit_of_work
        self._clock = clock

    async def __call__(self, participant: str, settlement_date: date) -> int:
        """Post what is due; how many fen were carried, 0 when nothing was due or all was carried before.

        Raises:
            StatementUnknown: The window is not closed.
        """
        name = f"participants/{participant}/statements/{settlement_date:%Y%m%d}"
        async with self._unit_of_work() as uow:
            statement = await uow.windows.statement(participant, settlement_date)
            if statement is None:
                raise StatementUnknown(statement=name)
            everybody = {one.id: one for one in await uow.participants.all()}
            mine = everybody[participant]
            terms = await uow.windows.terms(mine.number, settlement_date)
            now, carried = self._clock.now(), 0
            fees: dict[str, int] = {}
            for line in statement_lines(statement):
                issuer = institution_of(line.issuer)
                for fee in fees_of_line(mine, terms, issuer, line.operator, line.gross_fen, line.count):
                    if fee.payee and fee.amount_fen:
                        fees[fee.payee] = fees.get(fee.payee, 0) + fee.amount_fen
            if fees and not await uow.adjustments.posted(AdjustmentKind.FEE_SHARE, name):
                await post(
                    uow, AdjustmentKind.FEE_SHARE, name,
                    [PostingLine(FEE_INCOME, f"{PAYABLE}.{who}", fen, 0) for who, fen in sorted(fees.items())],
                    [Adjustment(everybody[who].number, AdjustmentKind.FEE_SHARE, fen, name, settlement_date,
                                everybody[who].institution_id) for who, fen in sorted(fees.items())],
                    [everybody[who] for who in fees], now,
                )  # fmt: skip
                carried += sum(fees.values())
            borne: dict[str, int] = {}
            for one in terms.fundings:
                if not one.funder.startswith(AUTHORITY) and one.funder != participant:
                    borne[one.funder] = borne.get(one.funder, 0) + one.amount_fen
            if borne and not await uow.adjustments.posted(AdjustmentKind.DISCOUNT_SHARE, name):
                kind = AdjustmentKind.DISCOUNT_SHARE
                mine_gets = Adjustment(
                    mine.number, kind, sum(borne.values()), name, settlement_date, mine.institution_id
                )
                await post(
                    uow, kind, name,
                    [PostingLine(f"{PAYABLE}.{who}", f"{PAYABLE}.{participant}", fen, 0)
                     for who, fen in sorted(borne.items())],
                    [mine_gets, *(Adjustment(everybody[who].number, kind, -fen, name, settlement_date,
                                             everybody[who].institution_id) for who, fen in sorted(borne.items()))],
                    [mine, *(everybody[who] for who in borne)], now,
                )  # fmt: skip
                carried += sum(borne.values())
            await uow.commit()
        return carried


class ApportionmentReads:
    """Rules, shares and totals."""

    def __init__(self, unit_of_work: Callable[[], UnitOfWork]) -> None:
        self._unit_of_work = unit_of_work

    async def rules(self, day: date) -> Rules:
        """The rules that hold for a settlement date.

        Raises:
            RulesUnknown: There are none.
        """
        async with self._unit_of_work() as uow:
            found = rules_on(await uow.apportionment.rules(), day)
        if found is None:
            raise RulesUnknown(settlement_date=day.isoformat())
        return found

    async def shares(self, participant: str | None, day: date) -> Sequence[tuple[str, str, Share]]:
        """Shares of a day: owner, party, sums."""
        async with self._unit_of_work() as uow:
            found: list[tuple[str, str, Share]] = await uow.apportionment.shares(participant, day)
        return found

    async def totals(self, day: date) -> DayTotals:
        """A day at four levels: service (line and industry), operator, participant, day.

        They agree when each level sums to the next one and the participants' sums are those of their positions.
        """
        async with self._unit_of_work() as uow:
            shares = await uow.apportionment.shares(None, day)
            covered = {owner for owner, _, _ in shares}
            positions: dict[str, tuple[int, int]] = {}
            for one in await uow.participants.all():
                if one.id in covered:
                    paid = [row for row in await uow.windows.positions(one.number, day) if row.key.paid]
                    positions[one.id] = (sum(row.record_count for row in paid), sum(row.amount_fen for row in paid))
        levels: dict[tuple[str, str, str], list[int]] = {}
        for owner, _, share in shares:
            for key in (
                ("service", owner, f"{share.operator}/{share.industry:04X}/{share.line}"),
                ("operator", owner, str(share.operator)), ("participant", owner, owner), ("day", "", ""),
            ):  # fmt: skip
                sums = levels.setdefault(key, [0, 0])
                sums[0] += share.record_count
                sums[1] += share.amount_fen
        totals = tuple(LevelTotal(*key, *sums) for key, sums in levels.items())
        whole = {
            level: (sum(one.record_count for one in totals if one.level == level),
                    sum(one.amount_fen for one in totals if one.level == level))
            for level in ("service", "operator", "participant", "day")
        }  # fmt: skip
        mine = {one.participant: (one.record_count, one.amount_fen) for one in totals if one.level == "participant"}
        return DayTotals(totals, len(set(whole.values())) <= 1 and mine == positions)


def institution_of(text: str) -> str:
    """Digits of an institution id as its 16 hexadecimal digits."""
    return text.ljust(16, "F")
