"""Claims of many requests at once, over the table of the runtime."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from libs.runtime.requests import RequestKey, encode_answer
from services.account.adapters.driver import Driver, Step

_KEYS = (
    "unnest(CAST(%(callers)s AS text[]), CAST(%(methods)s AS text[]), CAST(%(request_ids)s AS text[]))"
    " WITH ORDINALITY AS key (caller, method, request_id, position)"
)
_DIGESTS = (
    f"SELECT key.position, claim.digest FROM {_KEYS} JOIN request_claim AS claim ON claim.caller = key.caller"
    " AND claim.method = key.method AND claim.request_id = key.request_id"
)
# In order: two that claim the same requests wait for each other in one direction only.
_TAKE = (
    "INSERT INTO request_claim (caller, method, request_id, digest, answer)"
    " SELECT * FROM unnest(CAST(%(callers)s AS text[]), CAST(%(methods)s AS text[]), CAST(%(request_ids)s AS text[]),"
    " CAST(%(digests)s AS bytea[]), CAST(%(answers)s AS bytea[])) AS kept (caller, method, request_id, digest, answer)"
    " ORDER BY caller, method, request_id"
)


class PostgresClaims:
    """`Claims` of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._driver = Driver(connection)

    async def digests(self, keys: Sequence[RequestKey]) -> dict[RequestKey, bytes]:
        """See the port."""
        rows = await self._driver.fetch(_DIGESTS, _key_values(keys))
        return {keys[position - 1]: bytes(digest) for position, digest in rows}

    def taking(self, answers: Sequence[tuple[RequestKey, object]]) -> Step:
        """What claims requests together with their answers; it fails where another transaction was faster."""
        keys = [key for key, _ in answers]
        values = _key_values(keys) | {
            "digests": [key.digest for key in keys],
            "answers": [encode_answer(answer) for _, answer in answers],
        }
        return _TAKE, values


def _key_values(keys: Sequence[RequestKey]) -> dict[str, list[object]]:
    return {
        "callers": [key.caller for key in keys],
        "methods": [key.method for key in keys],
        "request_ids": [key.request_id for key in keys],
    }
