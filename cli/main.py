"""The `citycard` command: one application that gathers the sub-commands of the rooms below.

A room offers its commands by a function `register(app)`; it is named in `ROOMS`, and nothing else changes here.
A room's module imports only typer and names at its top, and what its commands use inside them: `citycard --help`
loads every room, and must answer at once.
"""

import importlib
from collections.abc import Callable

import typer

# Modules with `register(app: typer.Typer) -> None`; the order is that of `citycard --help`.
ROOMS = (
    "city.commands",
    "city.demo.commands",
    "city.fleet.commands",
    "city.day.commands",
    "city.ledger.commands",
    "edge.card.commands",
    "edge.terminal.commands",
    "edge.collector.commands",
    "cli.keys",
)


def build() -> typer.Typer:
    """The application with the commands of all rooms."""
    app = typer.Typer(
        name="citycard",
        help="City Card (城市一卡通): run the platform on this machine and look after it.",
        no_args_is_help=True,
        add_completion=False,
        # Local variables in a traceback would show passwords and keys.
        pretty_exceptions_show_locals=False,
    )
    for room in ROOMS:
        register: Callable[[typer.Typer], None] = importlib.import_module(room).register
        register(app)
    return app


def main() -> None:
    """Entry point of the `citycard` script."""
    build()()


if __name__ == "__main__":
    main()
