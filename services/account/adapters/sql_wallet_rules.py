"""Rules about wallets in PostgreSQL: versions that are added and never changed."""

from collections.abc import Collection
from datetime import datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.requests import decode_answer, encode_answer
from services.account.adapters.driver import Driver, Row
from services.account.domain.wallet_errors import RuleUnknown
from services.account.domain.wallet_rules import (
    Grant,
    Mandate,
    ParticipantRole,
    Rule,
    Version,
    WalletMember,
    rule_name,
    rule_scope,
)

R = TypeVar("R", bound=Rule)

_KINDS: dict[type, int] = {Grant: 1, ParticipantRole: 2, WalletMember: 3, Mandate: 4}
# JSON leaves the database as text, and is read as what it was written as.
_VERSION = "SELECT CAST(body AS text), number, effective_time, until_time, record_time, set_by, ended FROM wallet_rule"
# Of those that have begun the last one counts; whether it lets pass is asked of it alone.
_IN_FORCE = (
    "SELECT body, number, effective_time, until_time, record_time, set_by, ended FROM ("
    " SELECT DISTINCT ON (name) name, CAST(body AS text) AS body, number, effective_time, until_time, record_time,"
    " set_by, ended FROM wallet_rule WHERE rule_kind = %(kind)s AND scope = ANY(CAST(%(scopes)s AS text[]))"
    " AND (CAST(%(names)s AS text[]) IS NULL OR name = ANY(CAST(%(names)s AS text[])))"
    " AND effective_time <= %(at)s ORDER BY name, number DESC) AS begun"
    " WHERE NOT ended AND (until_time IS NULL OR until_time > %(at)s) ORDER BY name"
)
_GET = (
    f"{_VERSION} WHERE rule_kind = %(kind)s AND name = %(name)s AND (%(number)s = 0 OR number = %(number)s)"
    " ORDER BY number DESC LIMIT 1"
)
# Two versions at once would take one number: the second waits here for the first one's commit.
_TAKE = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, %(kind)s))"
_ADD = (
    "INSERT INTO wallet_rule (rule_kind, name, scope, number, effective_time, until_time, record_time, set_by, ended,"
    " body) SELECT %(kind)s, %(name)s, %(scope)s, coalesce(max(number), 0) + 1, %(effective)s, %(until)s, %(record)s,"
    " %(set_by)s, %(ended)s, CAST(%(body)s AS jsonb) FROM wallet_rule"
    " WHERE rule_kind = %(kind)s AND name = %(name)s RETURNING number"
)
_LIST = (
    f"{_VERSION} WHERE rule_kind = %(kind)s AND (name, number) > (%(name_after)s, %(number_after)s)"
    " AND (%(scope)s = '' OR scope = %(scope)s) AND (%(name)s = '' OR name = %(name)s)"
    " ORDER BY name, number LIMIT %(limit)s"
)


class PostgresWalletRules:
    """`WalletRuleRepository` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def in_force(
        self, cls: type[R], scopes: Collection[str], at: datetime, names: Collection[str] | None = None
    ) -> list[Version[R]]:
        """See the port."""
        values = {
            "kind": _KINDS[cls],
            "scopes": sorted(scopes),
            "at": at,
            "names": None if names is None else sorted(names),
        }
        return [_version(cls, row) for row in await self._driver.fetch(_IN_FORCE, values)]

    async def get(self, cls: type[R], name: str, number: int = 0) -> Version[R]:
        """See the port."""
        rows = await self._driver.fetch(_GET, {"kind": _KINDS[cls], "name": name, "number": number})
        if not rows:
            raise RuleUnknown(rule=name)
        return _version(cls, rows[0])

    async def add(self, version: Version[R]) -> Version[R]:
        """See the port."""
        rule = version.rule
        kind, name = _KINDS[type(rule)], rule_name(rule)
        await self._driver.fetch(_TAKE, {"kind": kind, "name": name})
        values = {
            "kind": kind,
            "name": name,
            "scope": rule_scope(rule),
            "effective": version.effective_time,
            "until": version.until_time,
            "record": version.record_time,
            "set_by": version.set_by,
            "ended": version.ended,
            "body": encode_answer(rule).decode(),
        }
        ((number,),) = await self._driver.fetch(_ADD, values)
        return Version(
            rule,
            number,
            version.effective_time,
            version.until_time,
            version.record_time,
            version.set_by,
            version.ended,
        )

    async def list_page(
        self, cls: type[R], after: tuple[str, int], limit: int, scope: str, name: str
    ) -> list[Version[R]]:
        """See the port."""
        values = {"kind": _KINDS[cls], "name_after": after[0], "number_after": after[1], "scope": scope, "name": name}
        return [_version(cls, row) for row in await self._driver.fetch(_LIST, values | {"limit": limit})]


def _version(cls: type[R], row: Row) -> Version[R]:
    body, number, effective, until, record, set_by, ended = row
    return Version(decode_answer(body.encode(), cls), number, effective, until, record, set_by, ended)
