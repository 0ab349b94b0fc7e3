"""The ledger's answers as sheets: chart with balances, accounts, journals, statements."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from google.protobuf.timestamp_pb2 import Timestamp

from city.ledger.sheet import FEN, Amount, Cell, Column, Sheet
from libs.clock import CITY_TZ

_KINDS: Final = {1: ("资产", "asset"), 2: ("负债", "liability"), 3: ("收入", "income"), 4: ("支出", "expense")}
_OWNERS: Final = {"centre": "中心", "outlet": "网点", "participant": "参与方", "holder": "持卡人"}
_EVENTS: Final = {
    "cards_issued": "发卡",
    "load": "圈存",
    "supplementary_load": "补登圈存",
    "records_posted": "消费清分",
    "window_fee": "手续费",
    "reversal": "冲正",
    "refund": "退资",
    "deposit_paid": "收押金",
    "handed_over": "网点缴款",
    "payout": "划付",
}
# Balances of the past are asked account by account; so many at once.
_AT_ONCE = 16
_PAGE = 1000


class Ledger:
    """The account service as somebody who only reads.

    Args:
        channel: To the service.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        # Generated stubs know no asynchronous calls.
        self._stub: Any = AccountServiceStub(channel)

    async def chart(self, as_of: datetime | None) -> Sheet:
        """The chart of accounts with what stands on each number (科目余额表)."""
        lines, accounts = await asyncio.gather(self._stub.ListChart(pb.ListChartRequest()), self._accounts("", as_of))
        sums: dict[str, list[int]] = {}
        for account in accounts:
            both = sums.setdefault(account.chart_number, [0, 0])
            both[0] += account.debits_fen
            both[1] += account.credits_fen
        rows: list[tuple[Cell, ...]] = []
        debits = credits_ = 0
        for line in lines.lines:
            left, right = sums.get(line.number, (0, 0))
            zh, en = _KINDS[line.kind]
            grows_by_debits = line.kind in (account_pb2.ACCOUNT_KIND_ASSET, account_pb2.ACCOUNT_KIND_EXPENSE)
            debits += left if line.asset == FEN else 0
            credits_ += right if line.asset == FEN else 0
            rows.append(
                (
                    line.number, f"{line.display_name_zh}\n{line.display_name_en}", f"{zh} {en}",
                    _OWNERS.get(line.owned_by, line.owned_by), Amount(left, line.asset), Amount(right, line.asset),
                    Amount(left - right if grows_by_debits else right - left, line.asset),
                )
            )  # fmt: skip
        agrees = debits == credits_
        return Sheet(
            "chart",
            f"科目余额表{_moment_zh(as_of)}",
            f"chart of accounts with balances{_moment_en(as_of)}, yuan",
            (
                Column("number", "科目", "number"), Column("name", "名称", "name", fold=True),
                Column("kind", "类别", "kind"), Column("owner", "户主", "owner"), Column("debits", "借方", "debits"),
                Column("credits", "贷方", "credits"), Column("balance", "余额", "balance"),
            ),
            rows,
            [("", "合计 total (CNY)", "", "", Amount(debits), Amount(credits_), Amount(debits - credits_))],
            [("借贷平衡。", "Debits equal credits.")] if agrees else [("借贷不平！", "Debits and credits differ!")],
            bad=not agrees,
            facts={"debits": Amount(debits), "credits": Amount(credits_), "holds": agrees},
        )  # fmt: skip

    async def accounts(self, number: str, as_of: datetime | None) -> Sheet:
        """All accounts, or those of one number."""
        found = await self._accounts(number, as_of)
        rows: list[tuple[Cell, ...]] = [
            (
                account.name.removeprefix("accounts/"), f"{account.display_name_zh} {account.display_name_en}",
                Amount(account.debits_fen, account.asset), Amount(account.credits_fen, account.asset),
                Amount(account.balance_fen, account.asset),
                Amount(account.pending_debits_fen, account.asset), Amount(account.pending_credits_fen, account.asset),
            )
            for account in found
        ]  # fmt: skip
        return Sheet(
            "accounts",
            f"账户{_moment_zh(as_of)}",
            f"accounts{_moment_en(as_of)}, yuan",
            (
                Column("account", "账户", "account"), Column("name", "科目", "chart", fold=True),
                Column("debits", "借方", "debits"), Column("credits", "贷方", "credits"),
                Column("balance", "余额", "balance"), Column("pending_debits", "待记借方", "held debits"),
                Column("pending_credits", "待记贷方", "held credits"),
            ),
            rows,
            notes=[(f"共 {len(rows):,} 户。", f"{len(rows):,} accounts.")],
        )  # fmt: skip

    async def account(self, name: str, as_of: datetime | None) -> Sheet:
        """One account with everything that is known of it."""
        found = await self._stub.GetAccount(pb.GetAccountRequest(name=f"accounts/{name}"))
        if as_of is not None:
            await self._set_back(found, as_of)
        zh, en = _KINDS[found.kind]
        asset = found.asset
        rows: list[tuple[Cell, ...]] = [
            ("账户 account", found.name.removeprefix("accounts/")),
            ("名称 name", f"{found.display_name_zh} {found.display_name_en}"),
            ("类别 kind", f"{zh} {en}"),
            ("户主 owner", found.owner or "中心 centre"),
            ("计量 asset", asset),
            ("借方 debits", Amount(found.debits_fen, asset)),
            ("贷方 credits", Amount(found.credits_fen, asset)),
            ("余额 balance", Amount(found.balance_fen, asset)),
            ("待记借方 held debits", Amount(found.pending_debits_fen, asset)),
            ("待记贷方 held credits", Amount(found.pending_credits_fen, asset)),
            ("限额 limit", Amount(found.balance_limit_fen, asset) if found.balance_limit_fen else "无 none"),
            (
                "可透支 overdraft",
                Amount(found.overdraft_fen, asset) if found.HasField("overdraft_fen") else "不限 no floor",
            ),
            ("开户 opened", found.create_time.ToDatetime(UTC)),
        ]
        columns = (Column("what", "项目", "what"), Column("value", "值", "value", fold=True))
        return Sheet("account", f"账户{_moment_zh(as_of)}", f"account{_moment_en(as_of)}, yuan", columns, rows)

    async def journals(self, reference: str, count: int, as_of: datetime | None) -> Sheet:
        """The newest journals of the book, or all of one reference; oldest first."""
        last = await self._place_at(as_of)
        if reference:
            journals = [one for one in await self._journals_of(reference) if one.sequence <= last]
        else:
            places = range(max(1, last - count + 1), last + 1)
            journals = await self._together([self._journal(str(place)) for place in places])
        return _journal_sheet(
            journals, await self._assets(), f"凭证{_moment_zh(as_of)}", f"journals{_moment_en(as_of)}, yuan"
        )

    async def journal(self, name: str) -> Sheet:
        """One journal, by its id or its place in the book."""
        return _journal_sheet([await self._journal(name)], await self._assets(), "凭证", "journal, yuan")

    async def statement(self, name: str, since: datetime | None, as_of: datetime | None) -> Sheet:
        """What moved on an account, with the balance after every journal; by posting time, as the book says it."""
        account = await self._stub.GetAccount(pb.GetAccountRequest(name=f"accounts/{name}"))
        asset = account.asset
        first, last = (await self._place_at(since - timedelta(microseconds=1)) if since else 0), None
        if as_of is not None:
            last = await self._place_at(as_of)
        opening = 0
        if since is not None:
            opening = (await self._balance(account.name, since - timedelta(microseconds=1))).balance_fen
        rows: list[tuple[Cell, ...]] = []
        sums = [0, 0]
        closing = opening
        request = pb.StreamEntriesRequest(account=account.name, after_sequence=first, after_leg_number=2**15 - 1)
        stream = self._stub.StreamEntries(request)
        async for answer in stream:
            entry = answer.entry
            if last is not None and entry.sequence > last:
                stream.cancel()
                break
            debit = entry.side == account_pb2.SIDE_DEBIT
            sums[not debit] += entry.amount_fen
            amount = Amount(entry.amount_fen, asset)
            closing = entry.balance_fen if entry.HasField("balance_fen") else closing
            balance = Amount(entry.balance_fen, asset) if entry.HasField("balance_fen") else None
            rows.append(
                (
                    entry.sequence, entry.post_time.ToDatetime(UTC), _event(entry.event),
                    entry.purse.removeprefix("purses/") or entry.reference, amount if debit else None,
                    None if debit else amount, balance,
                )
            )  # fmt: skip
        named = f"{name} {account.display_name_zh}"
        return Sheet(
            "statement",
            f"对账单 {named}{_moment_zh(as_of)}",
            f"statement, {account.display_name_en}{_moment_en(as_of)}, yuan",
            (
                Column("sequence", "凭证号", "journal"), Column("post_time", "入账时间", "posted"),
                Column("event", "摘要", "event"), Column("reference", "依据", "reference", fold=True),
                Column("debit", "借方", "debit"), Column("credit", "贷方", "credit"),
                Column("balance", "余额", "balance"),
            ),
            rows,
            [
                ("", "", "期初 opening", "", None, None, Amount(opening, asset)),
                ("", "", "发生 movements", "", Amount(sums[0], asset), Amount(sums[1], asset), None),
                ("", "", "期末 closing", "", None, None, Amount(closing, asset)),
            ],
            facts={"account": name, "opening": Amount(opening, asset), "closing": Amount(closing, asset)},
        )  # fmt: skip

    async def _accounts(self, number: str, as_of: datetime | None) -> list[account_pb2.Account]:
        found: list[account_pb2.Account] = []
        token = ""
        while True:
            page = await self._stub.ListAccounts(
                pb.ListAccountsRequest(page_size=_PAGE, page_token=token, chart_number=number)
            )
            found += page.accounts
            token = page.next_page_token
            if not token:
                break
        if as_of is not None:
            found = [account for account in found if account.create_time.ToDatetime(UTC) <= as_of]
            await self._together([self._set_back(account, as_of) for account in found])
        return found

    async def _set_back(self, account: account_pb2.Account, as_of: datetime) -> None:
        """Give an account the sums of a moment; what was held then nobody knows any more."""
        balance = await self._balance(account.name, as_of)
        account.debits_fen, account.credits_fen = balance.debits_fen, balance.credits_fen
        account.balance_fen = balance.balance_fen
        account.pending_debits_fen = account.pending_credits_fen = 0

    async def _balance(self, account: str, at: datetime) -> account_pb2.Balance:
        moment = Timestamp()
        moment.FromDatetime(at)
        found: account_pb2.Balance = await self._stub.GetBalance(
            pb.GetBalanceRequest(account=account, as_of_time=moment)
        )
        return found

    async def _assets(self) -> dict[str, str]:
        """Unit and scale by chart number."""
        return {line.number: line.asset for line in (await self._stub.ListChart(pb.ListChartRequest())).lines}

    async def _journal(self, name: str) -> account_pb2.Journal:
        request = pb.GetJournalRequest(name=f"journals/{name.removeprefix('journals/')}")
        found: account_pb2.Journal = await self._stub.GetJournal(request)
        return found

    async def _journals_of(self, reference: str) -> list[account_pb2.Journal]:
        found: list[account_pb2.Journal] = []
        token = ""
        while True:
            request = pb.ListJournalsRequest(page_size=_PAGE, page_token=token, reference=reference)
            page = await self._stub.ListJournals(request)
            found += page.journals
            token = page.next_page_token
            if not token:
                return found

    async def _place_at(self, as_of: datetime | None) -> int:
        """Place of the last journal until a moment, 0 before the first; places have no gaps, so halving finds it."""

        async def counts(place: int) -> bool:
            try:
                journal = await self._journal(str(place))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    return False
                raise
            return as_of is None or journal.post_time.ToDatetime(UTC) <= as_of

        high = 1
        while await counts(high):
            high *= 2
        low = high // 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if await counts(middle) else (low, middle)
        return low

    async def _together(self, calls: list[Any]) -> list[Any]:
        """Answers of many calls in order, a few of them at once."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(call: Any) -> Any:
            async with turn:
                return await call

        return list(await asyncio.gather(*(one(call) for call in calls)))


def _journal_sheet(journals: list[account_pb2.Journal], assets: dict[str, str], zh: str, en: str) -> Sheet:
    rows: list[tuple[Cell, ...]] = []
    for journal in journals:
        for leg in journal.legs:
            debit = leg.side == account_pb2.SIDE_DEBIT
            amount = Amount(leg.amount_fen, assets.get(leg.account.removeprefix("accounts/")[:4], FEN))
            rows.append(
                (
                    journal.sequence,
                    journal.post_time.ToDatetime(UTC),
                    _event(journal.event),
                    journal.reference,
                    leg.account.removeprefix("accounts/"),
                    leg.purse.removeprefix("purses/"),
                    amount if debit else None,
                    None if debit else amount,
                )
            )
    columns = (
        Column("sequence", "凭证号", "journal"), Column("post_time", "入账时间", "posted"),
        Column("event", "摘要", "event"), Column("reference", "依据", "reference", fold=True),
        Column("account", "账户", "account"), Column("purse", "钱包", "purse", fold=True),
        Column("debit", "借方", "debit"), Column("credit", "贷方", "credit"),
    )  # fmt: skip
    return Sheet("journals", zh, en, columns, rows, once=4)


def _event(word: str) -> str:
    return f"{_EVENTS[word]} {word}" if word in _EVENTS else word


def _moment_zh(as_of: datetime | None) -> str:
    return "" if as_of is None else f"（截至 {_local(as_of)}）"


def _moment_en(as_of: datetime | None) -> str:
    return "" if as_of is None else f" as of {_local(as_of)}"


def _local(at: datetime) -> str:
    return at.astimezone(CITY_TZ).strftime("%Y-%m-%d %H:%M:%S")
