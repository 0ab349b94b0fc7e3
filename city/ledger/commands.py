"""`citycard ledger`: chart, account, journal, statement, float.

What the commands use is imported inside them, so that `citycard --help` answers at once.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeAlias

import typer

if TYPE_CHECKING:
    import grpc

    from city.ledger.sheet import Sheet

_Read: TypeAlias = "Callable[[grpc.aio.Channel], Awaitable[list[Sheet]]]"

RootOption = Annotated[
    Path | None,
    typer.Option("--root", envvar="CITYCARD_ROOT", help="Folder of a running city; by default var or var/demo."),
]
AddressOption = Annotated[
    str, typer.Option("--address", help="HOST:PORT of an account service elsewhere, with --ca, --cert and --key.")
]
CaOption = Annotated[Path | None, typer.Option("--ca", help="PEM file of the authority, with --address.")]
CertOption = Annotated[
    Path | None, typer.Option("--cert", help="PEM file of an auditor's or administrator's certificate.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="PEM file of its key.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: amounts as whole fen.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="For spreadsheets: amounts in yuan with a point.")]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", help="What the book said then: 2018-09-01 (its end) or 2018-09-01T12:00:00+08:00."),
]

ledger_app = typer.Typer(
    name="ledger",
    help="Read the city's books: chart, accounts, journals, statements, float (总账查询).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.add_typer(ledger_app)


@ledger_app.command()
def chart(
    as_of: AsOfOption = None,
    root: RootOption = None,
    address: AddressOption = "",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show the chart of accounts with what stands on each number (科目余额表)."""
    from city.ledger.reading import Ledger
    from city.ledger.source import Source

    at = _moment(as_of)

    async def read(channel: "grpc.aio.Channel") -> "list[Sheet]":
        return [await Ledger(channel).chart(at)]

    _print(read, Source(root, address, ca, cert, key), as_json, as_csv)


@ledger_app.command()
def account(
    name: Annotated[
        str, typer.Argument(help="2203.metro-1 for one account, 2203 for all of a number, nothing for all.")
    ] = "",
    as_of: AsOfOption = None,
    root: RootOption = None,
    address: AddressOption = "",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show accounts with their balances (账户余额), or one account with all that is known of it."""
    import re

    from city.ledger.reading import Ledger
    from city.ledger.source import Source

    at = _moment(as_of)
    name = _account(name) if name else ""

    async def read(channel: "grpc.aio.Channel") -> "list[Sheet]":
        ledger = Ledger(channel)
        if name and not re.fullmatch("[0-9]{4}", name):
            return [await ledger.account(name, at)]
        sheet = await ledger.accounts(name, at)
        return [await ledger.account(name, at)] if [row[0] for row in sheet.rows] == [name] else [sheet]

    _print(read, Source(root, address, ca, cert, key), as_json, as_csv)


@ledger_app.command()
def journal(
    name: Annotated[str, typer.Argument(help="Place in the book, or id; the newest ones without it.")] = "",
    reference: Annotated[str, typer.Option("--reference", help="Only those that refer to this.")] = "",
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="How many of the newest.")] = 20,
    as_of: AsOfOption = None,
    root: RootOption = None,
    address: AddressOption = "",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show journals with their legs (凭证): one, those of a reference, or the newest."""
    import re

    from city.ledger.reading import Ledger
    from city.ledger.source import Source

    at = _moment(as_of)
    if name and not re.fullmatch("(journals/)?([0-9a-f-]{36}|[1-9][0-9]{0,17})", name):
        _fail(f"{name!r} is neither a place in the book (12) nor the id of a journal (a UUID)", status=2)

    async def read(channel: "grpc.aio.Channel") -> "list[Sheet]":
        ledger = Ledger(channel)
        return [await ledger.journal(name) if name else await ledger.journals(reference, last, at)]

    _print(read, Source(root, address, ca, cert, key), as_json, as_csv)


@ledger_app.command()
def statement(
    name: Annotated[str, typer.Argument(metavar="ACCOUNT", help="2203.metro-1.")],
    since: Annotated[
        str | None, typer.Option("--from", help="First day or moment; the balance before it is the opening.")
    ] = None,
    as_of: AsOfOption = None,
    root: RootOption = None,
    address: AddressOption = "",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show what moved on an account, with opening, balance after every entry, and closing (对账单)."""
    from city.ledger.reading import Ledger
    from city.ledger.source import Source

    start, at = _moment(since, end=False, option="--from"), _moment(as_of)
    name = _account(name)

    async def read(channel: "grpc.aio.Channel") -> "list[Sheet]":
        return [await Ledger(channel).statement(name, start, at)]

    _print(read, Source(root, address, ca, cert, key), as_json, as_csv)


@ledger_app.command(name="float")
def float_(
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="A closed day, 2018-09-01; this moment without it.")
    ] = None,
    recount: Annotated[
        bool, typer.Option("--recount", help="Count the closed day anew instead of reading what was kept.")
    ] = False,
    trend: Annotated[bool, typer.Option("--trend", help="All closed days up to --as-of, one per row.")] = False,
    dormant: Annotated[bool, typer.Option("--dormant", help="Cards that sleep.")] = False,
    root: RootOption = None,
    address: AddressOption = "",
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show the float by product and age, its proof, and the bank beside the book (沉淀资金).

    Exit status 1 when purses and book differ.
    """
    from city.ledger.float_reading import FloatReader
    from city.ledger.source import Source

    day = _day(as_of)
    if recount and day is None:
        _fail("--recount needs --as-of: this moment is counted anew anyway", status=2)

    async def read(channel: "grpc.aio.Channel") -> "list[Sheet]":
        reader = FloatReader(channel)
        if dormant:
            return [await reader.dormant(include_revived=False)]
        return [await reader.trend(None, day)] if trend else await reader.float(day, recount=recount)

    _print(read, Source(root, address, ca, cert, key), as_json, as_csv)


def _print(read: _Read, source: object, as_json: bool, as_csv: bool) -> None:
    """Ask, and write what was asked for; exit status 1 when it tells of something wrong, 2 when nobody answers."""
    import asyncio

    import grpc
    from rich.console import Console

    from city.ledger.sheet import show, to_csv, to_json
    from city.ledger.source import NoLedger, Source
    from libs.runtime.refusals import error_info

    assert isinstance(source, Source), "made by the command"
    if as_json and as_csv:
        _fail("--json and --csv exclude each other", status=2)

    async def ask() -> "list[Sheet]":
        async with source.channel() as channel:
            return await read(channel)

    try:
        sheets = asyncio.run(ask())
    except (NoLedger, ValueError, OSError) as error:
        _fail(str(error), status=2)
    except grpc.aio.AioRpcError as error:
        detail = error_info(error)
        if not detail.reason:
            where = source.address or "the account service of this city"
            _fail(f"{where} does not answer: {detail.code.name} {detail.message_en}", status=2)
        _fail(f"{detail.message_zh}\n{detail.message_en} ({detail.reason})", status=1)
    if as_json:
        typer.echo(to_json(sheets))
    elif as_csv:
        typer.echo(to_csv(sheets), nl=False)
    else:
        # Amounts must not be cut where nobody's terminal tells a width.
        console = Console(highlight=False)
        show(sheets, console if console.is_terminal else Console(highlight=False, width=160))
    raise typer.Exit(1 if any(sheet.bad for sheet in sheets) else 0)


def _account(name: str) -> str:
    import re

    bare = name.removeprefix("accounts/")
    if not re.fullmatch("[0-9]{4}([.][a-z0-9-]{1,60})?", bare):
        _fail(f"{name!r} is no account; write 2203 or 2203.metro-1, `citycard ledger account` lists all", status=2)
    return bare


def _moment(text: str | None, *, end: bool = True, option: str = "--as-of") -> datetime | None:
    """A moment; of a day its last microsecond, or its first one."""
    from datetime import timedelta

    from libs.clock import CITY_TZ

    if text is None:
        return None
    try:
        if len(text) == len("2018-09-01"):
            day = datetime.combine(date.fromisoformat(text), datetime.min.time(), CITY_TZ)
            return (day + timedelta(days=1, microseconds=-1) if end else day).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        # Who names no zone means the city's.
        return (moment if moment.tzinfo else moment.replace(tzinfo=CITY_TZ)).astimezone(UTC)
    except (ValueError, OverflowError):
        _fail(f"{option} {text} is neither a day (2018-09-01) nor a moment (2018-09-01T12:00:00)", status=2)


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"--as-of {text} is no day such as 2018-09-01", status=2)


def _fail(message: str, status: int = 1) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(status)
