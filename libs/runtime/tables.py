"""The tables that the runtime keeps in every service's database."""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)


@dataclass(frozen=True, slots=True)
class RuntimeTables:
    """The four tables, bound to one metadata.

    Attributes:
        request_claim: One row per answered `request_id`, with the digest of the request and the first answer.
        outbox: Events of committed transactions, until published and for a while after.
        inbox: Ids of the events whose effect is committed, per consumer.
        dead_letter: Events that could not be digested, with the reason.
    """

    request_claim: Table
    outbox: Table
    inbox: Table
    dead_letter: Table

    @property
    def all(self) -> tuple[Table, ...]:
        """The tables in the order of creation."""
        return (self.request_claim, self.outbox, self.inbox, self.dead_letter)


def _moment(name: str, *, nullable: bool = False, default_now: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if default_now else None)


def runtime_tables(metadata: MetaData) -> RuntimeTables:
    """Define the runtime's tables in a metadata; the schema that `migrate.create_runtime_tables` makes."""
    request_claim = Table(
        "request_claim",
        metadata,
        Column("caller", Text, primary_key=True),
        Column("method", Text, primary_key=True),
        Column("request_id", Text, primary_key=True),
        Column("digest", LargeBinary, nullable=False),
        Column("answer", LargeBinary),
        _moment("claimed_at", default_now=True),
        Index("request_claim_claimed_at", "claimed_at"),
    )
    outbox = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("traceparent", Text, nullable=False, server_default=""),
        _moment("occurred_at"),
        _moment("published_at", nullable=True),
    )
    # The relay looks for what is not published yet: this index stays as small as the backlog.
    Index("outbox_unpublished", outbox.c.id, postgresql_where=outbox.c.published_at.is_(None))
    Index("outbox_published_at", outbox.c.published_at, postgresql_where=outbox.c.published_at.is_not(None))
    inbox = Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        _moment("handled_at", default_now=True),
        Index("inbox_handled_at", "handled_at"),
    )
    dead_letter = Table(
        "dead_letter",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("reason", Text, nullable=False),
        Column("delivery_count", Integer, nullable=False),
        Column("traceparent", Text, nullable=False, server_default=""),
        _moment("occurred_at", nullable=True),
        _moment("buried_at", default_now=True),
        _moment("replay_asked_at", nullable=True),
    )
    return RuntimeTables(request_claim, outbox, inbox, dead_letter)


# What the runtime itself speaks to; a service that joins them with its own tables defines them in its own metadata.
RUNTIME_METADATA = MetaData()
TABLES = runtime_tables(RUNTIME_METADATA)
