"""Words of the contract and of the domain, back and forth. Forms of names are checked by the schema before."""

import re
from datetime import UTC, date

from citycard.card.v1 import card_pb2 as pb
from citycard.card.v1 import card_service_pb2 as service_pb
from citycard.common.v1.types_pb2 import Date, ProofLine

from libs.errors import RequestMalformed
from libs.purse.fields import stamp_bytes
from services.card.adapters.events_out import date_to_pb, timestamp
from services.card.application.ports import Delivery, Proof, StockLevel
from services.card.domain.card import Card
from services.card.domain.holder import Holder
from services.card.domain.load import Load, LoadOrder, LoadState, Tender
from services.card.domain.product import Product, ProductKind
from services.card.domain.states import CardState

_PRODUCT_NAME = re.compile(r"products/[a-z0-9-]{1,40}", re.ASCII)


def bare(name: str) -> str:
    """`cards/jt-…` without its collection."""
    return name.partition("/")[2]


def bare_filter(name: str, collection: str) -> str | None:
    """The same of an optional filter, None when it is empty.

    Raises:
        RequestMalformed: A name of another collection.
    """
    if name and not name.startswith(f"{collection}/"):
        raise RequestMalformed(field=collection.removesuffix("s"), description=f"must be {collection}/…")
    return bare(name) or None


def date_from_pb(value: Date, field: str) -> date:
    """A day of the calendar.

    Raises:
        RequestMalformed: There is no such day.
    """
    try:
        return date(value.year, value.month, value.day)
    except ValueError:
        raise RequestMalformed(field=field, description="must be a day of the calendar") from None


def card_state_filter(state: int) -> CardState | None:
    """The state to filter by; None for all."""
    return CardState(pb.CardState.Name(state).removeprefix("CARD_STATE_")) if state else None  # type: ignore[arg-type] # an int of the wire


def load_state_filter(state: int) -> LoadState | None:
    """The state to filter by; None for all."""
    return LoadState(pb.LoadState.Name(state).removeprefix("LOAD_STATE_")) if state else None  # type: ignore[arg-type] # an int of the wire


def product_from_pb(message: pb.Product) -> Product:
    """The rules of a request.

    Raises:
        RequestMalformed: The name is not of its form.
    """
    if not _PRODUCT_NAME.fullmatch(message.name):
        raise RequestMalformed(field="product.name", description="must be products/ and a-z, 0-9, - (1 to 40)")
    known = message.kind in pb.ProductKind.values() and message.kind
    return Product(
        name=bare(message.name),
        version=0,
        display_name_zh=message.display_name_zh,
        display_name_en=message.display_name_en,
        kind=ProductKind(pb.ProductKind.Name(message.kind).removeprefix("PRODUCT_KIND_")) if known else None,
        card_main_type=message.card_main_type,
        deposit_fen=message.deposit_fen,
        price_fen=message.price_fen,
        load_step_fen=message.load_step_fen,
        balance_limit_fen=message.balance_limit_fen,
        validity_days=message.validity_days,
        create_time=message.create_time.ToDatetime(UTC),
    )


def product_to_pb(product: Product) -> pb.Product:
    """A stored product."""
    assert product.kind is not None, "a stored product has a kind"
    return pb.Product(
        name=f"products/{product.name}",
        version=product.version,
        display_name_zh=product.display_name_zh,
        display_name_en=product.display_name_en,
        kind=pb.ProductKind.Value(f"PRODUCT_KIND_{product.kind}"),
        card_main_type=product.card_main_type,
        deposit_fen=product.deposit_fen,
        price_fen=product.price_fen,
        load_step_fen=product.load_step_fen,
        balance_limit_fen=product.balance_limit_fen,
        validity_days=product.validity_days,
        create_time=timestamp(product.create_time),
    )


def delivery_from_pb(request: service_pb.ReceiveStockRequest) -> Delivery:
    """What the cards of a delivery have in common."""
    return Delivery(
        product=bare(request.product),
        outlet=bare(request.outlet),
        issuer_id=request.issuer_id,
        key_version=request.key_version,
        algorithm_id=request.algorithm_id,
    )


def level_to_pb(level: StockLevel) -> pb.StockLevel:
    """A stock level."""
    return pb.StockLevel(
        outlet=f"outlets/{level.outlet}",
        product=f"products/{level.product}",
        stock_count=level.stock_count,
        issued_count=level.issued_count,
    )


def card_to_pb(card: Card, balance_fen: int = 0) -> pb.Card:
    """A card, with its balance where it is known."""
    return pb.Card(
        name=f"cards/{card.number}",
        state=pb.CardState.Value(f"CARD_STATE_{card.state}"),
        product=f"products/{card.product}",
        generation=card.generation,
        issuer_id=card.issuer_id,
        printed_number=card.printed_number,
        outlet=f"outlets/{card.outlet}",
        balance_fen=balance_fen,
        deposit_fen=card.deposit_fen,
        start_date=date_to_pb(card.start_date) if card.start_date else None,
        expiry_date=date_to_pb(card.expiry_date) if card.expiry_date else None,
        state_time=timestamp(card.state_time),
        create_time=timestamp(card.create_time),
        registered=card.registered,
    )


def holder_from_pb(request: service_pb.IssueCardRequest) -> Holder | None:
    """The holder of a request, None when it names none."""
    if not request.HasField("holder"):
        return None
    holder = request.holder
    return Holder(holder.display_name, holder.certificate_type, holder.certificate_number)


def order_from_pb(request: service_pb.AuthoriseLoadRequest) -> LoadOrder:
    """An outlet's order."""
    return LoadOrder(
        card=bare(request.card),
        amount_fen=request.amount_fen,
        outlet=bare(request.outlet),
        terminal_number=request.terminal_number,
        answer_a=request.answer_a,
        tender=Tender(pb.Tender.Name(request.tender).removeprefix("TENDER_")),
    )


def load_to_pb(load: Load, *, show_mac2: bool = False) -> pb.Load:
    """A load; MAC2 only where the outlet that asked is answered, and only while it can still be used."""
    order = load.order
    shown = load.mac2 if show_mac2 and load.state is LoadState.AUTHORISED else b""
    return pb.Load(
        name=load.name,
        card=f"cards/{order.card}",
        state=pb.LoadState.Value(f"LOAD_STATE_{load.state}"),
        amount_fen=order.amount_fen,
        outlet=f"outlets/{order.outlet}",
        terminal_number=order.terminal_number,
        card_balance_fen=order.card_balance_fen,
        online_counter=order.online_counter,
        tender=pb.Tender.Value(f"TENDER_{order.tender}"),
        mac2=shown,
        host_time=stamp_bytes(load.host_time) if load.host_time else b"",
        create_time=timestamp(load.create_time),
        resolve_time=timestamp(load.resolve_time) if load.resolve_time else None,
        expire_time=timestamp(load.expire_time) if load.expire_time else None,
    )


def proof_to_pb(proof: Proof) -> service_pb.ProveResponse:
    """Lines and totals of a proof."""
    return service_pb.ProveResponse(
        lines=[
            ProofLine(
                invariant=line.invariant,
                statement=line.statement,
                checked_count=line.checked_count,
                broken_count=line.broken_count,
                first_broken=line.first_broken,
            )
            for line in proof.lines
        ],
        issued_count=proof.issued_count,
        opening_balance_total_fen=proof.opening_balance_total_fen,
        confirmed_load_total_fen=proof.confirmed_load_total_fen,
        open_load_total_fen=proof.open_load_total_fen,
        deposit_total_fen=proof.deposit_total_fen,
        lost_count=proof.lost_count,
    )
