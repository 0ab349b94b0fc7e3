"""The fakes keep what the real things keep."""

import pytest

from tests.unit.terminal_gw.fakes import FakeDatabase
from tests.unit.terminal_gw.suite import TerminalsSuite, UploadsSuite


@pytest.fixture
def gateway_rows() -> FakeDatabase:
    return FakeDatabase()


class TestFakeTerminals(TerminalsSuite):
    pass


class TestFakeUploads(UploadsSuite):
    pass
