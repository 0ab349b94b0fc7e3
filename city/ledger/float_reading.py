"""The float's answers as sheets: by product and age, the proof, the bank beside the book, the trend, dormant cards."""

from collections.abc import Sequence
from datetime import UTC, date
from typing import Any, Final

import grpc
from citycard.account.v1 import float_service_pb2 as pb
from citycard.account.v1.float_service_pb2_grpc import FloatServiceStub
from citycard.common.v1.types_pb2 import Date

from city.ledger.sheet import Amount, Cell, Column, Sheet

_BANK_ACCOUNTS: Final = ("1002", "1003")
_ITEM_KINDS: Final = {
    pb.BANK_ITEM_KIND_NOT_IN_BOOK: ("银行已记企业未记", "not in the book"),
    pb.BANK_ITEM_KIND_NOT_AT_BANK: ("企业已记银行未记", "not at the bank"),
    pb.BANK_ITEM_KIND_OPENING: ("期初不符", "opening differs"),
    pb.BANK_ITEM_KIND_CHAIN: ("对账单不连续", "statements do not meet"),
}
_WHATS: Final = {"issued": "发行", "used": "使用", "refunded": "退还", "liability": "负债"}
_PAGE = 1000


class FloatReader:
    """The float as somebody who only reads.

    Args:
        channel: To the account service.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Generated stubs know no asynchronous calls.
        self._stub: Any = FloatServiceStub(channel)

    async def float(self, day: date | None, *, recount: bool) -> list[Sheet]:
        """The float of a closed day or of this moment, what proves it, and the bank beside the book."""
        request = pb.GetFloatRequest(day=_day_to_pb(day), recount=recount)
        found: pb.FloatDay = await self._stub.GetFloat(request)
        sheets = [_lines(found, recount=recount), _proof(found)]
        items: list[pb.BankItem] = []
        rows: list[tuple[Cell, ...]] = []
        for account in _BANK_ACCOUNTS:
            told = await self._reconciliation(account, found.day)
            if told is not None:
                rows.append(_reconciliation_row(account, told))
                items += told.items
        sheets.append(_bank(rows))
        return [*sheets, _items(items)] if items else sheets

    async def _reconciliation(self, account: str, day: Date) -> pb.BankReconciliation | None:
        """Bank and book of an account; None of one that was never used."""
        request = pb.GetBankReconciliationRequest(account=f"accounts/{account}", day=day)
        try:
            found: pb.BankReconciliation = await self._stub.GetBankReconciliation(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return found

    async def trend(self, since: date | None, until: date | None) -> Sheet:
        """Closed days, one per row."""
        rows: list[tuple[Cell, ...]] = []
        token, broken = "", 0
        while True:
            page = await self._stub.ListFloatDays(
                pb.ListFloatDaysRequest(
                    first_day=_day_to_pb(since), last_day=_day_to_pb(until), page_size=_PAGE, page_token=token
                )
            )
            for one in page.days:
                broken += not one.holds
                rows.append(
                    (
                        _day(one.day), sum(line.card_count for line in one.lines), Amount(one.booked_issued_fen),
                        Amount(one.booked_used_fen), Amount(one.booked_refunded_fen),
                        Amount(sum(line.liability_fen for line in one.lines)), Amount(one.wide_fen),
                        sum(line.dormant_count for line in one.lines),
                        Amount(sum(line.dormant_fen for line in one.lines)),
                        _mark(one.holds),
                    )
                )  # fmt: skip
            token = page.next_page_token
            if not token:
                break
        columns = (
            Column("day", "日期", "day"), Column("cards", "卡数", "cards"), Column("issued", "累计发行", "issued"),
            Column("used", "累计使用", "used"), Column("refunded", "累计退还", "refunded"),
            Column("liability", "卡内余额", "liability"), Column("wide", "广义沉淀", "wide float"),
            Column("dormant_cards", "睡眠卡数", "dormant"), Column("dormant", "睡眠卡余额", "dormant owed"),
            Column("holds", "相符", "proven"),
        )  # fmt: skip
        notes = [(f"{broken} 天不平！", f"{broken} days do not add up!")] if broken else []
        return Sheet(
            "trend", "沉淀资金日报", "the float day by day, yuan", columns, rows, notes=notes, bad=bool(broken)
        )

    async def dormant(self, *, include_revived: bool) -> Sheet:
        """Cards that sleep."""
        rows: list[tuple[Cell, ...]] = []
        token = ""
        while True:
            page = await self._stub.ListDormantPurses(
                pb.ListDormantPursesRequest(page_size=_PAGE, page_token=token, include_revived=include_revived)
            )
            rows += [
                (
                    one.purse.removeprefix("purses/"), one.product, one.seen_time.ToDatetime(UTC), _day(one.since_day),
                    Amount(one.balance_fen),
                    one.revive_time.ToDatetime(UTC) if one.HasField("revive_time") else None,
                )
                for one in page.purses
            ]  # fmt: skip
            token = page.next_page_token
            if not token:
                break
        columns = (
            Column("purse", "钱包", "purse"), Column("product", "产品", "product"),
            Column("seen_time", "最后交易", "last seen"), Column("since", "睡眠起", "dormant since"),
            Column("balance", "当时余额", "owed then"), Column("revive_time", "激活", "woke up"),
        )  # fmt: skip
        return Sheet("dormant", "睡眠卡", "dormant cards, yuan", columns, rows)


def _lines(found: pb.FloatDay, *, recount: bool) -> Sheet:
    rows: list[tuple[Cell, ...]] = [
        (
            line.product or "（未知 unknown）", _age(line.age_days_min), line.card_count, Amount(line.issued_fen),
            Amount(line.used_fen), Amount(line.refunded_fen), Amount(line.liability_fen), line.dormant_count,
            Amount(line.dormant_fen),
        )
        for line in found.lines
    ]  # fmt: skip
    total: tuple[Cell, ...] = (
        "合计 total", "", sum(line.card_count for line in found.lines),
        Amount(sum(line.issued_fen for line in found.lines)), Amount(sum(line.used_fen for line in found.lines)),
        Amount(sum(line.refunded_fen for line in found.lines)), Amount(sum(line.liability_fen for line in found.lines)),
        sum(line.dormant_count for line in found.lines), Amount(sum(line.dormant_fen for line in found.lines)),
    )  # fmt: skip
    columns = (
        Column("product", "产品", "product"), Column("age_days", "静止天数", "days silent"),
        Column("cards", "卡数", "cards"), Column("issued", "发行", "issued"), Column("used", "使用", "used"),
        Column("refunded", "退还", "refunded"), Column("liability", "负债", "liability"),
        Column("dormant_cards", "睡眠卡数", "dormant"), Column("dormant", "睡眠卡余额", "dormant owed"),
    )  # fmt: skip
    if not found.closed:
        when = ("此刻，未日结", "at this moment, not closed")
    elif recount:
        when = ("重新清点", "counted anew")
    else:
        when = ("已日结", "closed")
    day = _day(found.day)
    return Sheet(
        "float",
        f"沉淀资金 {day}（{when[0]}）",
        f"float {when[1]}, yuan",
        columns,
        rows,
        [total],
        [(f"截至第 {found.place:,} 号凭证；摘要：", f"Up to journal {found.place:,}; digest {found.digest.hex()}")],
        facts={
            "day": day, "closed": found.closed, "place": found.place, "digest": found.digest.hex(),
            "holds": found.holds, "wide": Amount(found.wide_fen), "uncovered": Amount(found.uncovered_fen),
        },
    )  # fmt: skip


def _proof(found: pb.FloatDay) -> Sheet:
    said = {one.what: (one.purses_fen, one.booked_fen) for one in found.differences}
    sums = {
        "issued": sum(line.issued_fen for line in found.lines),
        "used": sum(line.used_fen for line in found.lines),
        "refunded": sum(line.refunded_fen for line in found.lines),
        "liability": sum(line.liability_fen for line in found.lines),
    }
    rows: list[tuple[Cell, ...]] = []
    for what, purses in sums.items():
        ours, booked = said.get(what, (purses, purses))
        rows.append((f"{_WHATS[what]} {what}", Amount(ours), Amount(booked), Amount(ours - booked)))
    columns = (
        Column("what", "项目", "what"), Column("purses", "钱包合计", "purses"), Column("book", "总账", "book"),
        Column("difference", "差额", "difference"),
    )  # fmt: skip
    notes = [
        (
            "发行 - 使用 - 退还 = 负债，钱包与总账相符。",
            "Issued - used - refunded = liability, by purses and by the book.",
        )
        if found.holds
        else ("钱包与总账不符！", "Purses and book differ!")
    ]
    if found.uncovered_fen > 0:
        short = Amount(found.uncovered_fen).text(separators=True)
        notes.append((f"备付不足 {short} 元！", f"{short} yuan held for others are not covered!"))
    return Sheet(
        "proof", "核对", "proof, yuan", columns, rows, notes=notes, bad=not found.holds or found.uncovered_fen > 0
    )


def _bank(rows: Sequence[tuple[Cell, ...]]) -> Sheet:
    columns = (
        Column("account", "账户", "account"), Column("day", "对账单日", "statement"),
        Column("bank", "银行余额", "bank"), Column("book", "账面余额", "book"),
        Column("difference", "差额", "difference"),
        Column("not_in_book", "+企业未记", "not in book"), Column("not_at_bank", "-银行未记", "not at bank"),
        Column("opening", "+期初", "opening"), Column("chain", "+断档", "gaps"), Column("agrees", "相符", "agree"),
    )  # fmt: skip
    notes = [] if rows else [("没有专户发生额，也没有对账单。", "The special accounts were never used.")]
    return Sheet("bank", "银行余额调节表", "bank and book, yuan", columns, rows, notes=notes)


def _reconciliation_row(account: str, told: pb.BankReconciliation) -> tuple[Cell, ...]:
    if not told.HasField("day"):
        return (account, "无 none", None, Amount(told.booked_fen), None, None, None, None, None, "")
    return (
        account, _day(told.day), Amount(told.bank_fen), Amount(told.booked_fen), Amount(told.difference_fen),
        Amount(told.not_in_book_fen), Amount(told.not_at_bank_fen), Amount(told.opening_fen), Amount(told.chain_fen),
        _mark(told.agrees),
    )  # fmt: skip


def _items(items: Sequence[pb.BankItem]) -> Sheet:
    rows: list[tuple[Cell, ...]] = [
        (
            item.name.removeprefix("bankItems/"), item.account.removeprefix("accounts/"), _day(item.day), item.age_days,
            "{} {}".format(*_ITEM_KINDS[item.kind]), Amount(item.amount_fen), item.reference, item.text,
        )
        for item in items
    ]  # fmt: skip
    columns = (
        Column("item", "编号", "item"), Column("account", "账户", "account"), Column("day", "日期", "day"),
        Column("age_days", "账龄", "days old"), Column("kind", "类别", "kind", fold=True),
        Column("amount", "金额", "amount"), Column("reference", "依据", "reference", fold=True),
        Column("text", "摘要", "text", fold=True),
    )  # fmt: skip
    return Sheet("items", "未达账项", "open items, yuan", columns, rows)


def _age(first: int) -> str:
    edges = (0, 31, 91, 181, 361)
    later = [edge for edge in edges if edge > first]
    return f"{first}-{later[0] - 1}" if later else f"{first}+"


def _mark(holds: bool) -> str:
    return "是 yes" if holds else "否 no"


def _day(value: Date) -> date:
    return date(value.year, value.month, value.day)


def _day_to_pb(value: date | None) -> Date | None:
    return None if value is None else Date(year=value.year, month=value.month, day=value.day)
