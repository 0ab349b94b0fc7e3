"""A blacklist with its real database."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from libs.runtime.migrate import upgrade

if TYPE_CHECKING:
    from city.postgres import DatabaseUrls


@pytest.fixture
def list_database(database: "Callable[[str], DatabaseUrls]") -> "DatabaseUrls":
    """An empty, migrated database of this test alone."""
    urls = database("blacklist")
    upgrade("blacklist", urls.owner)
    return urls
