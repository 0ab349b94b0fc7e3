"""A reference bank in one process: `python -m examples.participants.bank --help`."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from examples.participants.bank.books import Books
from examples.participants.bank.faults import KINDS, Faults, FaultsMistaken
from examples.participants.bank.server import Adapter, Teller, Tls, serve

_DRAIN_S = 5.0


def _parser() -> argparse.ArgumentParser:
    faults = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser = argparse.ArgumentParser(prog="python -m examples.participants.bank", description=__doc__)
    parser.add_argument("--bank", default="bank", help="participant id, as in the certificate (default: bank)")
    parser.add_argument("--database", type=Path, required=True, help="SQLite file of this bank; made at the first run")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port; port 0 takes a free one")
    parser.add_argument("--address-file", type=Path, help="file that gets the bound host:port once the bank listens")
    parser.add_argument("--ca", type=Path, required=True, help="PEM certificates that callers must descend from")
    parser.add_argument("--cert", type=Path, required=True, help="PEM certificate of citycard://participant/<bank>")
    parser.add_argument("--key", type=Path, required=True, help="PEM private key of that certificate")
    parser.add_argument("--platform", default="", help="host:port of the account service, to tell answers by ourselves")
    parser.add_argument(
        "--account", action="append", default=[], metavar="TOKEN=FEN", help="open an account; left alone if it exists"
    )
    parser.add_argument("--faults", default="", metavar="KIND=CHANCE,...", help=f"misbehave on purpose. {faults}")
    parser.add_argument("--late-s", type=float, default=3.0, help="how late a late answer is, seconds (default: 3)")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default: 1)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; exit status 2 for mistaken arguments, 1 for a taken port."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        faults = Faults.parse(given.faults, given.seed)
    except FaultsMistaken as mistake:
        parser.error(str(mistake))
    tls = Tls(given.ca, given.cert, given.key)
    for path in (tls.ca, tls.cert, tls.key):
        if not path.is_file():
            parser.error(f"there is no file {path}")
    books = Books(given.database, given.bank)
    for account in given.account:
        token, _, balance = account.partition("=")
        if not token or not balance.isdecimal():
            parser.error(f"{account!r} is not TOKEN=FEN")
        books.open_account(token, int(balance))
    adapter = Adapter(books, faults, given.late_s, Teller(given.platform, tls))
    try:
        server, port = serve(adapter, tls, given.listen)
    except RuntimeError:
        sys.stderr.write(f"bank: cannot listen on {given.listen}\n")
        return 1
    address = f"{given.listen.rpartition(':')[0]}:{port}"
    if given.address_file:
        # Written beside and moved: whoever waits for it never reads half an address.
        half = given.address_file.with_name(given.address_file.name + ".new")
        half.write_text(address + "\n", encoding="utf-8")
        half.replace(given.address_file)
    sys.stdout.write(f"bank {given.bank} listens on {address}\n")
    sys.stdout.flush()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.stop(_DRAIN_S).wait()
    books.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
