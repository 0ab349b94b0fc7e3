"""What waits together in the posting queue: two trips to PostgreSQL for all of it, the commit included."""

from collections.abc import Collection, Sequence
from datetime import datetime

import psycopg

from services.account.adapters.driver import Driver, Step
from services.account.adapters.sql_accounts import PostgresAccounts
from services.account.adapters.sql_book import HEAD, Head, PostgresJournals, head_of
from services.account.adapters.sql_claims import PostgresClaims
from services.account.adapters.sql_purses import PostgresPurses
from services.account.application.ports import AnswersOf, PostingGroup
from services.account.domain.accounts import Account
from services.account.domain.book import Journal
from services.account.domain.purse import PurseKey

_CLAIMED = "request_claim_pkey"


class PostgresPostings:
    """`Postings` of one transaction.

    Args:
        driver: The transaction.
        accounts: Its accounts.
        purses: Its purses.
        journals: Its book.
        claims: Its claims.
    """

    def __init__(
        self,
        driver: Driver,
        accounts: PostgresAccounts,
        purses: PostgresPurses,
        journals: PostgresJournals,
        claims: PostgresClaims,
    ) -> None:
        self._driver = driver
        self._accounts = accounts
        self._purses = purses
        self._journals = journals
        self._claims = claims
        self._head: Head | None = None

    async def lock(
        self, purses: Sequence[PurseKey], names: Collection[str], now: datetime
    ) -> tuple[set[PurseKey], dict[str, Account]]:
        """See the port.

        The book is locked in the same trip, behind the accounts: what is decided between here and the commit takes
        less time than a trip of its own.
        """
        known = await self._purses.lock(purses) if purses else set()
        await self._accounts.identify(names, now)
        rows, head = await self._driver.together(self._accounts.locking(names), (HEAD, {}))
        self._head = head_of(head)
        return known, self._accounts.locked(names, rows)

    async def commit(self, group: PostingGroup, now: datetime, answers_of: AnswersOf) -> list[Journal] | None:
        """See the port."""
        assert self._head is not None, "what is written was locked before"
        written, posting = self._journals.sealing(self._head, group.journals, now)
        steps: list[Step] = [self._purses.changing(group.purse_changes)] if group.purse_changes else []
        steps += [self._accounts.changing(group.account_changes), posting, self._claims.taking(answers_of(written))]
        try:
            # All rows are locked and all names are keys by now: what is left to go wrong is a claim, and an error
            # keeps PostgreSQL from everything behind it, the commit too.
            await self._driver.together(*steps, commit=True)
        except psycopg.errors.UniqueViolation as violation:
            if violation.diag.constraint_name == _CLAIMED:
                return None
            raise
        return written
