"""The fake keeps what the real thing keeps."""

import pytest

from tests.unit.blacklist.fakes import FakeDatabase
from tests.unit.blacklist.suite import EntriesSuite


class TestFakeEntries(EntriesSuite):
    @pytest.fixture
    def lists(self) -> FakeDatabase:
        return FakeDatabase()
