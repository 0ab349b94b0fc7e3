"""What the local city consists of: the one list of services, and where a room of it lies under its root."""

from pathlib import Path

# In the order in which they start; they stop in the opposite one. Clearing reads what the gateway stores, account
# folds what clearing accepts, and all of them survive a neighbour that is not there yet.
SERVICES = ("card", "account", "blacklist", "terminal_gw", "clearing")

# The local servers that the services share, each service with a user of its own.
SERVERS = ("postgres", "nats", "redis")

DEFAULT_ROOT = Path("var")


class UnknownService(ValueError):
    """A name that is no service of the city; the message lists those that are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no service {name!r}; the services are: {', '.join(SERVICES)}")


def known_service(name: str) -> str:
    """The canonical name of a service; `terminal-gw` is accepted for `terminal_gw`.

    Raises:
        UnknownService: No service has this name.
    """
    canonical = name.strip().replace("-", "_")
    if canonical not in SERVICES:
        raise UnknownService(name)
    return canonical
