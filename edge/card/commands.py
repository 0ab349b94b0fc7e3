"""`citycard card`: inspect, apdu, trace, personalise, virtual.

What the commands use is imported inside them, so that `citycard --help` answers at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rich.tree import Tree

    from edge.card.explain import Line
    from edge.card.tree import Node
    from libs.keystore.port import KeyStore

ReaderOption = Annotated[
    str, typer.Option("--reader", help="Part of the PC/SC reader's name; the first reader by default.")
]
CardOption = Annotated[
    Path | None, typer.Option("--card", help="File of a virtual card instead of a reader.", exists=True, dir_okay=False)
]
TraceOption = Annotated[Path | None, typer.Option("--trace", help="Write every exchange to this file.")]
SeedOption = Annotated[
    str | None, typer.Option("--seed", help="Test keys are made of this text; by default those of a local city.")
]

card_app = typer.Typer(
    name="card",
    help="Look into cards, talk to them, make and run virtual ones (读卡、调试、个人化、虚拟卡).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
trace_app = typer.Typer(name="trace", help="Record sessions with a card, show and replay them.", no_args_is_help=True)
card_app.add_typer(trace_app)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.add_typer(card_app)


@card_app.command()
def inspect(
    reader: ReaderOption = "",
    card: CardOption = None,
    trace: TraceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show the tree of applications, files, purses and logs, every byte decoded or shown as unknown.

    Reads only: nothing on the card changes. Exit status 1 when there is no card, reader or reader service.
    """
    import json

    from rich.console import Console
    from rich.tree import Tree

    from edge.card.source import connected, recorded
    from edge.card.tree import read_tree, to_json

    with _refusals(), connected(reader, card) as connection:
        root = read_tree(recorded(connection, trace), connection.atr)
    if as_json:
        typer.echo(json.dumps(to_json(root), ensure_ascii=False, indent=1))
        return
    tree = Tree(_label(root))
    _grow(tree, root)
    Console(highlight=False, soft_wrap=True).print(tree)


@card_app.command()
def apdu(
    commands: Annotated[
        list[str], typer.Argument(help="Command APDUs in hexadecimal, sent in turn.", metavar="HEX...")
    ],
    reader: ReaderOption = "",
    card: CardOption = None,
    trace: TraceOption = None,
) -> None:
    """Send commands and explain every byte of them and of the answers.

    61xx and 6Cxx are shown, not followed. Exit status 1 when the card left or there is none.
    """
    from edge.card.explain import Explainer
    from edge.card.source import connected, recorded

    sent = [_bytes(text) for text in commands]
    explainer = Explainer()
    with _refusals(), connected(reader, card) as connection:
        transmit = recorded(connection, trace)
        for command in sent:
            _say(">", explainer.command(command))
            _say("<", explainer.response(transmit(command)))


@trace_app.command()
def show(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Explain every byte of a recorded session; no card is needed."""
    from edge.card.explain import Explainer
    from edge.card.trace import read

    explainer = Explainer()
    with _refusals():
        for exchange in read(file):
            _say(">", explainer.command(exchange.command))
            _say("<", explainer.response(exchange.response))


@trace_app.command()
def record(
    file: Annotated[Path, typer.Argument(help="Where to write.")],
    reader: ReaderOption = "",
    card: CardOption = None,
) -> None:
    """Send the commands that come on standard input, one per line in hexadecimal, and record the session.

    Answers appear on standard output as they come, so that a person or a script can decide the next command by them.
    """
    import sys

    from edge.card.source import connected
    from edge.card.trace import Recorder

    with _refusals(), connected(reader, card) as connection:
        transmit = Recorder(connection, file)
        for line in sys.stdin:
            text = line.partition("#")[0].strip()
            if text:
                typer.echo(transmit(_bytes(text)).hex().upper())


@trace_app.command()
def replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    reader: ReaderOption = "",
    card: CardOption = None,
) -> None:
    """Send a recorded session again and compare the answers; exit status 3 when one differs."""
    from edge.card.source import connected
    from edge.card.trace import read, replay

    differing = 0
    with _refusals(), connected(reader, card) as connection:
        for exchange, answer in replay(connection, read(file)):
            same = answer == exchange.response
            differing += not same
            typer.echo(f"{'=' if same else '!'} {exchange.command.hex().upper()}")
            typer.echo(f"  {exchange.response.hex().upper()}" + ("" if same else f" -> {answer.hex().upper()}"))
    typer.echo(f"{differing} 个应答不同 answers differ")
    raise typer.Exit(3 if differing else 0)


@card_app.command()
def personalise(
    out: Annotated[Path | None, typer.Option("--out", help="Write a virtual card to this file.")] = None,
    reader: Annotated[
        str | None, typer.Option("--reader", help="Write over commands to the blank card on this reader.")
    ] = None,
    scheme: Annotated[str, typer.Option("--scheme", help="jt (T-Union) or cj (city union).")] = "jt",
    city: Annotated[str, typer.Option("--city", help="City code, 4 digits.")] = "5840",
    serial: Annotated[int, typer.Option("--serial", help="Issue serial.", min=0)] = 1,
    algorithm: Annotated[int, typer.Option("--algorithm", help="0 for 3DES, 4 for SM4.")] = 0,
    balance_fen: Annotated[int, typer.Option("--balance-fen", help="Of a virtual card, to begin with.", min=0)] = 0,
    seed: SeedOption = None,
    transport_key_file: Annotated[
        Path | None,
        typer.Option("--transport-key-file", help="Hexadecimal maintenance key of the blank card.", exists=True),
    ] = None,
) -> None:
    """Make a card with test keys: as a file, or on a blank card with transport keys that lies on a reader.

    A real city's cards are personalised with the keys of its key store, by its own program over
    `libs.purse.personaliser`.
    """
    from edge.card.issue import blank_to_own, new_card

    if (out is None) == (reader is None):
        raise typer.BadParameter("name --out or --reader")
    if scheme not in ("cj", "jt"):
        raise typer.BadParameter("cj or jt", param_hint="--scheme")
    store = _test_keys(seed, city)
    with _refusals():
        issued = new_card(store, scheme, city, serial, algorithm_id=algorithm, balance_fen=balance_fen)
        if out is not None:
            from edge.card import image

            image.save(issued.card, out)
        else:
            from edge.card.source import connected

            if transport_key_file is None:
                raise typer.BadParameter("a blank card has a transport key", param_hint="--transport-key-file")
            with connected(reader or "", None) as connection:
                blank_to_own(connection, issued, _bytes(transport_key_file.read_text()))
    typer.echo(f"{issued.number} {out or reader}")


@card_app.command()
def virtual(
    card: CardOption = None,
    port: Annotated[int, typer.Option("--port", help="Of the virtual reader's slot.")] = 0x8C7B,
    seed: SeedOption = None,
    balance_fen: Annotated[int, typer.Option("--balance-fen", help="Of a card that is made now.", min=0)] = 5000,
) -> None:
    """Lay a virtual card on the virtual reader of pcscd until stopped; every PC/SC program can speak to it.

    Without --card a T-Union card of a local city is made, and forgotten at the end. `make pcsc-up` starts pcscd as
    well.
    """
    from edge.card import image
    from edge.card.issue import new_card
    from libs.purse.readers.vpcd import VirtualInsertion

    with _refusals():
        if card:
            chip = image.load(card)
        else:
            chip = new_card(_test_keys(seed, "5840"), "jt", "5840", 1, balance_fen=balance_fen).card
        with VirtualInsertion(chip, port=port) as insertion:
            typer.echo(f"{chip}\n虚拟读卡器 virtual reader, port {port}; Ctrl-C 取走 takes it away")
            _until_stopped(insertion.wait)
        if card:
            image.save(chip, card)


def _until_stopped(wait: object) -> None:
    import signal
    import threading

    assert callable(wait), "how to wait for the card to be removed"
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.is_set() and not wait(0.2):
        continue


def _test_keys(seed: str | None, city: str) -> "KeyStore":
    from libs.keystore.dev import LOCAL_CITY_SEED, demo_keystore
    from libs.purse.scheme import Scheme
    from libs.records.numbers import Role, institution_bytes, institution_id

    issuer = institution_bytes(institution_id(Role.ISSUER, "00", city))
    return demo_keystore(seed or LOCAL_CITY_SEED, [(scheme, issuer) for scheme in Scheme])


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter(f"not hexadecimal: {text[:40]}") from None


def _say(mark: str, lines: "list[Line]") -> None:
    for line in lines:
        text = f"  {line.text}" if line.text else ""
        words = line.zh if line.zh == line.en else f"{line.zh} {line.en}"
        typer.echo(f"{mark} {'  ' * line.depth}{line.raw.hex().upper() or '-'}  {words}{text}")


def _label(node: "Node") -> str:
    from rich.markup import escape

    words = node.zh if node.zh == node.en else f"{node.zh} {node.en}"
    text = f": [bold]{escape(node.text)}[/]" if node.text else ""
    raw = f" [dim]{node.raw}[/]" if node.raw and not node.children and node.raw != node.text else ""
    return f"{words}{text}{raw}"


def _grow(tree: "Tree", node: "Node") -> None:
    for child in node.children:
        _grow(tree.add(_label(child)), child)


@contextmanager
def _refusals() -> Iterator[None]:
    """Refusals become one line and exit status 1."""
    from libs.errors import DomainError

    try:
        yield
    except DomainError as error:
        _fail(str(error))


def _fail(why: str) -> NoReturn:
    typer.echo(why, err=True)
    raise typer.Exit(1)
