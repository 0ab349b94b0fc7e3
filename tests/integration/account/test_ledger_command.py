"""`citycard ledger` against a running account service, by address and certificates."""

import asyncio
import csv
import io
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from citycard.account.v1 import account_pb2
from citycard.account.v1 import account_service_pb2 as pb
from citycard.account.v1 import float_service_pb2 as float_pb
from citycard.account.v1.account_service_pb2_grpc import AccountServiceStub
from citycard.account.v1.float_service_pb2_grpc import FloatServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from typer.testing import CliRunner, Result

from city.postgres import DatabaseUrls
from city.servers import LocalServers
from cli.main import build
from libs.testkit.server import RunningServer, TestCertificates, a_settings, running_server
from services.account.settings import AccountSettings
from services.account.wiring import build_parts


@pytest.fixture
async def server(books: DatabaseUrls, servers: LocalServers, tmp_path: Path) -> AsyncIterator[RunningServer]:
    own = TestCertificates(tmp_path)
    settings = a_settings(own, AccountSettings, database_url=books.application, nats_url=servers.nats_url("account"))
    async with running_server(await build_parts(settings), settings, own) as running:
        yield running


async def run(server: RunningServer, *arguments: str) -> Result:
    """The command with the options of an auditor; it runs a loop of its own, so in a thread."""
    tls = server.certificates.of("citycard://auditor/anna")
    options = ["--address", server.address, "--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
    return await asyncio.to_thread(CliRunner().invoke, build(), ["ledger", *arguments, *options])


def printed(answer: Result) -> str:
    """What the command printed; the service of the test logs into the same captured output."""
    log_line = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
    return "".join(line for line in answer.stdout.splitlines(keepends=True) if not log_line.match(line))


async def rows(server: RunningServer, sheet: str, *arguments: str) -> list[dict[str, Any]]:
    answer = await run(server, *arguments, "--json")
    assert answer.exit_code == 0, answer.output
    found: list[dict[str, Any]] = json.loads(printed(answer))[sheet]["rows"]
    return found


def leg(account: str, side: str, amount_fen: int) -> account_pb2.Leg:
    return account_pb2.Leg(
        account=f"accounts/{account}", side=account_pb2.Side.Value(f"SIDE_{side}"), amount_fen=amount_fen
    )


async def post(server: RunningServer, amount_fen: int, reference: str = "days/1") -> account_pb2.Journal:
    legs = [leg("1002", "DEBIT", amount_fen), leg("1221.north", "CREDIT", amount_fen)]
    posting = pb.Posting(event="handed_over", reference=reference, legs=legs)
    stub: Any = AccountServiceStub(server.channel("citycard://service/card"))
    journal: account_pb2.Journal = await stub.PostJournal(
        pb.PostJournalRequest(request_id=str(uuid.uuid4()), posting=posting)
    )
    return journal


def iso(at: Timestamp, microseconds: int = 0) -> str:
    moved = Timestamp()
    moved.FromMicroseconds(at.ToMicroseconds() + microseconds)
    return moved.ToJsonString().replace("Z", "+00:00")


async def test_the_chart_balances_and_is_read_as_of_any_moment(server: RunningServer) -> None:
    journals = [await post(server, amount) for amount in (100, 23)]
    now = {row["number"]: row for row in await rows(server, "chart", "chart")}
    assert (now["1002"]["balance"], now["1221"]["balance"], now["2201"]["balance"]) == (123, -123, 0)
    between = iso(journals[1].post_time, -1)
    then = {row["number"]: row for row in await rows(server, "chart", "chart", "--as-of", between)}
    assert (then["1002"]["balance"], then["1221"]["credits"]) == (100, 100)
    table = (await run(server, "chart")).stdout
    assert "备付金专户" in table
    assert "借贷平衡" in table


async def test_a_statement_opens_runs_and_closes(server: RunningServer) -> None:
    journals = [await post(server, amount) for amount in (100, 20, 3)]
    whole = await rows(server, "statement", "statement", "1221.north")
    assert [(row["credit"], row["balance"]) for row in whole] == [(100, -100), (20, -120), (3, -123)]
    since, until = iso(journals[1].post_time), iso(journals[2].post_time, -1)
    answer = await run(server, "statement", "1221.north", "--from", since, "--as-of", until, "--json")
    part = json.loads(printed(answer))["statement"]
    assert (part["opening"], part["closing"], [row["credit"] for row in part["rows"]]) == (-100, -120, [20])
    table = (await run(server, "statement", "1221.north")).stdout
    assert [figure for figure in ("期初 opening", "-1.00", "-1.20", "1.23") if figure not in table] == []


async def test_journals_are_the_newest_one_of_a_place_or_those_of_a_reference(server: RunningServer) -> None:
    journals = [await post(server, amount, f"days/{amount}") for amount in range(1, 8)]
    newest = await rows(server, "journals", "journal", "--last", "2")
    assert [(row["sequence"], row["debit"], row["credit"]) for row in newest] == [
        (6, 6, None), (6, None, 6), (7, 7, None), (7, None, 7),
    ]  # fmt: skip
    assert [row["sequence"] for row in await rows(server, "journals", "journal", "3")] == [3, 3]
    assert [row["sequence"] for row in await rows(server, "journals", "journal", journals[3].name)] == [4, 4]
    assert [row["sequence"] for row in await rows(server, "journals", "journal", "--reference", "days/5")] == [5, 5]
    early = ("journal", "--as-of", iso(journals[2].post_time, -1), "--last", "1")
    assert [row["sequence"] for row in await rows(server, "journals", *early)] == [2, 2]


async def test_an_empty_book_is_shown_empty(server: RunningServer) -> None:
    assert await rows(server, "journals", "journal") == []
    assert await rows(server, "accounts", "account") == []
    assert await rows(server, "float", "float") == []
    assert await rows(server, "trend", "float", "--trend") == []
    assert await rows(server, "dormant", "float", "--dormant") == []


async def test_the_float_shows_the_bank_beside_the_book_and_what_is_open(server: RunningServer) -> None:
    await post(server, 100)
    floats: Any = FloatServiceStub(server.channel("citycard://administrator/li"))
    today = (await floats.GetFloat(float_pb.GetFloatRequest())).day
    upload = float_pb.UploadBankStatementRequest(
        request_id=str(uuid.uuid4()), account="accounts/1002", day=today, opening_fen=0, closing_fen=105,
        lines=[float_pb.BankLine(amount_fen=100, reference="days/1"), float_pb.BankLine(amount_fen=5, text="利息")],
    )  # fmt: skip
    await floats.UploadBankStatement(upload)
    answer = await run(server, "float")
    assert answer.exit_code == 0
    for words in ("银行余额调节表", "未达账项", "利息", "银行已记企业未记 not in the book", "0.05"):
        assert words in answer.stdout
    (bank,) = await rows(server, "bank", "float")
    assert (bank["bank"], bank["book"], bank["difference"], bank["not_in_book"]) == (105, 100, 5, 5)
    table = list(csv.reader(io.StringIO(printed(await run(server, "account", "--csv")))))
    assert table[1][:5] == ["1002", "备付金专户 Float special account at bank", "1.00", "0.00", "1.00"]


async def test_a_float_that_the_book_does_not_confirm_is_exit_1(server: RunningServer, books: DatabaseUrls) -> None:
    with psycopg.connect(books.owner, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO purse (generation, scheme, card_number, loads_fen, counter_count, counter_max)"
            " VALUES (1, 1, decode('00000000000000000001', 'hex'), 7, 1, 0)"
        )
    answer = await run(server, "float")
    assert answer.exit_code == 1
    assert "钱包与总账不符" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["statement", "2203.nobody"], 1, "账户 2203.nobody 不存在"),
        (["account", "2203.nobody"], 1, "ACCOUNT_UNKNOWN"),
        (["account", "Nobody"], 2, "is no account"),
        (["journal", "99"], 1, "JOURNAL_UNKNOWN"),
        (["journal", "ninety"], 2, "neither a place"),
        (["chart", "--as-of", "yesterday"], 2, "neither a day"),
        (["float", "--as-of", "2018-02-30"], 2, "is no day"),
        (["float", "--as-of", "2018-02-01"], 1, "2018-02-01 的沉淀资金尚未日结"),
        (["float", "--recount"], 2, "--recount needs --as-of"),
        (["chart", "--json", "--csv"], 2, "exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_refusals_say_what_is_wrong(server: RunningServer, arguments: list[str], status: int, words: str) -> None:
    answer = await run(server, *arguments)
    assert (answer.exit_code, words in answer.stderr) == (status, True), answer.output


def test_without_a_city_it_says_how_to_get_one(tmp_path: Path) -> None:
    answer = CliRunner().invoke(build(), ["ledger", "chart", "--root", str(tmp_path)])
    assert answer.exit_code == 2
    assert "citycard up" in answer.stderr
    some = CliRunner().invoke(build(), ["ledger", "chart", "--address", "127.0.0.1:1", "--ca", "/none"])
    assert "there is no file /none" in some.stderr
    lone = CliRunner().invoke(build(), ["ledger", "chart", "--ca", "/none"])
    assert "go with --address" in lone.stderr


async def test_a_service_that_does_not_answer_is_named(server: RunningServer) -> None:
    tls = server.certificates.of("citycard://auditor/anna")
    options = ["--address", "127.0.0.1:1", "--ca", str(tls.ca), "--cert", str(tls.cert), "--key", str(tls.key)]
    answer = await asyncio.to_thread(CliRunner().invoke, build(), ["ledger", "chart", *options])
    assert (answer.exit_code, "127.0.0.1:1 does not answer: UNAVAILABLE" in answer.stderr) == (2, True)
