"""Request claims: a repeated request gets its first answer, another request under the same id is refused."""

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from libs.errors import RequestIdReused, RequestMalformed
from libs.runtime.identity import Context, caller, current_call
from libs.runtime.tables import TABLES

T = TypeVar("T")
_ANSWER = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request the same request.

    Attributes:
        caller: The caller's name, `citycard://outlet/12`: two callers never share an id by accident.
        method: Full method name.
        request_id: UUID made by the caller before its first attempt and kept across retries.
        digest: 32 bytes, SHA-256 of the whole request message.
    """

    caller: str
    method: str
    request_id: str
    digest: bytes

    @property
    def id(self) -> str:
        """The request id, for logs."""
        return self.request_id


def request_digest(request: Message) -> bytes:
    """SHA-256 of the message in deterministic serialisation, 32 bytes."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def request_key(request: Message, context: Context) -> RequestKey:
    """The key of the request being answered; its message has a field `request_id`.

    Raises:
        RequestMalformed: The request id is empty: nothing could tell a retry from a second wish.
        CallerUnknown: The call is not authenticated.
    """
    request_id = cast("Any", request).request_id
    if not request_id:
        raise RequestMalformed(field="request_id", description="must be set")
    return RequestKey(caller(context).uri, current_call().method, request_id.lower(), request_digest(request))


class RequestClaims:
    """The claims of one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._table = TABLES.request_claim

    async def claim(self, key: RequestKey) -> bool:
        """Take the request for this transaction.

        A concurrent claimant of the same id is waited for: when it commits, this is a repetition; when it rolls back,
        the claim is ours.

        Returns:
            True when the request is new and ours to answer, False when it was answered: read `first_answer`.

        Raises:
            RequestIdReused: The id was used for other content.
        """
        values = {"caller": key.caller, "method": key.method, "request_id": key.request_id, "digest": key.digest}
        mine = insert(self._table).values(values).on_conflict_do_nothing().returning(self._table.c.request_id)
        # The second round is for a claim that was pruned between the conflict and the look.
        for _ in range(2):
            if (await self._connection.execute(mine)).first() is not None:
                return True
            query = select(self._table.c.digest).where(*self._is(key))
            found = (await self._connection.execute(query)).first()
            if found is not None:
                if bytes(found.digest) != key.digest:
                    raise RequestIdReused(request_id=key.request_id)
                return False
        raise AssertionError("a claim that conflicts cannot vanish twice")

    async def first_answer(self, key: RequestKey, cls: type[T]) -> T:
        """The answer that the first request got, as the type it was given in."""
        query = select(self._table.c.answer).where(*self._is(key))
        answer = (await self._connection.execute(query)).scalar_one()
        assert answer is not None, "a claim was committed without its answer: call requests.answer before commit"
        return decode_answer(bytes(answer), cls)

    async def answer(self, key: RequestKey, value: object) -> None:
        """Keep the answer beside the claim, for repetitions.

        Args:
            key: The request that this transaction claimed.
            value: A frozen dataclass, a protobuf message, or a plain value; `first_answer` names its type again.
        """
        statement = update(self._table).where(*self._is(key)).values(answer=encode_answer(value))
        result = await self._connection.execute(statement)
        assert result.rowcount == 1, "answer a request only after claiming it in the same transaction"

    def _is(self, key: RequestKey) -> tuple[Any, ...]:
        columns = self._table.c
        return (columns.caller == key.caller, columns.method == key.method, columns.request_id == key.request_id)


def _adapter(cls: Any) -> TypeAdapter[Any]:
    return _adapter_of(cls)


@lru_cache(maxsize=256)
def _adapter_of(cls: Any) -> TypeAdapter[Any]:
    # A tuple of one: a configuration can be given to a tuple but not to a dataclass, and reaches inside.
    return TypeAdapter(tuple[cls], config=_ANSWER)


def encode_answer(value: object) -> bytes:
    """Value to JSON; bytes become base64, protobuf messages their binary form."""
    if isinstance(value, Message):
        return base64.b64encode(value.SerializeToString())
    return _adapter(type(value)).dump_json((value,))


def decode_answer(stored: bytes, cls: type[T]) -> T:
    """The reverse of `encode_answer`; a plain container needs its element types in `cls` (`tuple[Entry, ...]`)."""
    if isinstance(cls, type) and issubclass(cls, Message):
        return cast("T", cls.FromString(base64.b64decode(stored)))
    return cast("T", _adapter(cls).validate_json(stored)[0])
