"""`citycard.card.v1.CardService`: translates, calls one use case, translates back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from citycard.card.v1 import card_pb2
from citycard.card.v1 import card_service_pb2 as pb
from citycard.card.v1.card_service_pb2_grpc import CardServiceServicer

from libs.errors import NotYours, PageTokenInvalid
from libs.runtime.identity import Context, Role, caller
from libs.runtime.paging import KeyPart, page_key, page_size, page_token
from libs.runtime.requests import request_key
from services.card.adapters import translate
from services.card.adapters.translate import bare
from services.card.application.authorise_load import AuthoriseLoad
from services.card.application.batch_issue_cards import BatchIssueCards
from services.card.application.cancel_loss_report import CancelLossReport
from services.card.application.confirm_load import ConfirmLoad
from services.card.application.create_product import CreateProduct
from services.card.application.get_card import GetCard
from services.card.application.get_load import GetLoad
from services.card.application.get_product import GetProduct
from services.card.application.issue_card import IssueCard
from services.card.application.list_cards import ListCards
from services.card.application.list_loads import ListLoads
from services.card.application.list_products import ListProducts
from services.card.application.list_stock import ListStock
from services.card.application.ports import CardFilter, LoadFilter
from services.card.application.prove import Prove
from services.card.application.receive_stock import ReceiveStock
from services.card.application.report_loss import ReportLoss
from services.card.application.reverse_load import ReverseLoad

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UseCases:
    """All that the service can be asked for, by the name of its RPC."""

    create_product: CreateProduct
    get_product: GetProduct
    list_products: ListProducts
    receive_stock: ReceiveStock
    list_stock: ListStock
    issue_card: IssueCard
    batch_issue_cards: BatchIssueCards
    get_card: GetCard
    list_cards: ListCards
    report_loss: ReportLoss
    cancel_loss_report: CancelLossReport
    authorise_load: AuthoriseLoad
    confirm_load: ConfirmLoad
    reverse_load: ReverseLoad
    get_load: GetLoad
    list_loads: ListLoads
    prove: Prove


def _desk(context: Context) -> str | None:
    """The outlet that calls; None for staff and services."""
    identity = caller(context)
    return identity.id if identity.kind is Role.OUTLET else None


def _own_outlet(name: str, context: Context) -> str:
    """The outlet of a request; raises NotYours when another outlet calls."""
    outlet = bare(name)
    if _desk(context) not in (None, outlet):
        raise NotYours
    return outlet


def _cut(rows: Sequence[T], size: int) -> tuple[Sequence[T], T | None]:
    """A page out of one row more than a page, and its last row when another page follows."""
    return rows[:size], rows[size - 1] if len(rows) > size else None


class CardApi(CardServiceServicer):
    """The servicer."""

    def __init__(self, use_cases: UseCases) -> None:
        self._use = use_cases

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Context) -> card_pb2.Product:
        """The first or next version of a product."""
        rules = translate.product_from_pb(request.product)
        return translate.product_to_pb(await self._use.create_product(rules, request_key(request, context)))

    async def GetProduct(self, request: pb.GetProductRequest, context: Context) -> card_pb2.Product:
        """The newest version of a product."""
        return translate.product_to_pb(await self._use.get_product(bare(request.name)))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Context) -> pb.ListProductsResponse:
        """Products by name."""
        size = page_size(request.page_size)
        key = page_key("ListProducts", request.page_token, [str])
        page, last = _cut(await self._use.list_products(_text(key, 0), size + 1), size)
        return pb.ListProductsResponse(
            products=[translate.product_to_pb(product) for product in page],
            next_page_token=page_token("ListProducts", [last.name]) if last else "",
        )

    async def ReceiveStock(self, request: pb.ReceiveStockRequest, context: Context) -> card_pb2.StockLevel:
        """Cards come to stock."""
        numbers = [bare(name) for name in request.cards]
        delivery = translate.delivery_from_pb(request)
        return translate.level_to_pb(await self._use.receive_stock(numbers, delivery, request_key(request, context)))

    async def ListStock(self, request: pb.ListStockRequest, context: Context) -> pb.ListStockResponse:
        """Cards at outlets; an outlet sees its own."""
        outlet = _own_outlet(request.outlet, context) if request.outlet else _desk(context)
        list_name, size = f"ListStock?outlet={outlet or ''}", page_size(request.page_size)
        key = page_key(list_name, request.page_token, [str, str])
        page, last = _cut(await self._use.list_stock(outlet, (_text(key, 0), _text(key, 1)), size + 1), size)
        return pb.ListStockResponse(
            levels=[translate.level_to_pb(level) for level in page],
            next_page_token=page_token(list_name, [last.outlet, last.product]) if last else "",
        )

    async def IssueCard(self, request: pb.IssueCardRequest, context: Context) -> card_pb2.Card:
        """One card is sold or rented."""
        outlet, holder = _own_outlet(request.outlet, context), translate.holder_from_pb(request)
        card = await self._use.issue_card(bare(request.name), outlet, holder, request_key(request, context))
        return translate.card_to_pb(card)

    async def BatchIssueCards(self, request: pb.BatchIssueCardsRequest, context: Context) -> pb.BatchIssueCardsResponse:
        """Many cards at once."""
        numbers = [bare(name) for name in request.cards]
        issued = await self._use.batch_issue_cards(
            numbers,
            request.opening_balances_fen,
            bare(request.outlet),
            request_key(request, context),
            translate.date_from_pb(request.start_date, "start_date") if request.HasField("start_date") else None,
        )
        return pb.BatchIssueCardsResponse(
            issued_count=issued.issued_count, opening_balance_total_fen=issued.opening_balance_total_fen
        )

    async def GetCard(self, request: pb.GetCardRequest, context: Context) -> card_pb2.Card:
        """One card with its balance."""
        return translate.card_to_pb(*await self._use.get_card(bare(request.name)))

    async def ListCards(self, request: pb.ListCardsRequest, context: Context) -> pb.ListCardsResponse:
        """Cards by number."""
        wanted = CardFilter(
            state=translate.card_state_filter(request.state),
            product=translate.bare_filter(request.product, "products"),
            outlet=translate.bare_filter(request.outlet, "outlets"),
        )
        list_name = f"ListCards?state={request.state}&product={request.product}&outlet={request.outlet}"
        size = page_size(request.page_size)
        key = page_key(list_name, request.page_token, [str])
        page, last = _cut(await self._use.list_cards(wanted, _text(key, 0), size + 1), size)
        return pb.ListCardsResponse(
            cards=[translate.card_to_pb(card) for card in page],
            next_page_token=page_token(list_name, [last.number]) if last else "",
        )

    async def ReportLoss(self, request: pb.ReportLossRequest, context: Context) -> card_pb2.Card:
        """A card is reported lost."""
        return translate.card_to_pb(await self._use.report_loss(bare(request.name), request_key(request, context)))

    async def CancelLossReport(self, request: pb.CancelLossReportRequest, context: Context) -> card_pb2.Card:
        """A loss report is taken back."""
        card = await self._use.cancel_loss_report(bare(request.name), request_key(request, context))
        return translate.card_to_pb(card)

    async def AuthoriseLoad(self, request: pb.AuthoriseLoadRequest, context: Context) -> card_pb2.Load:
        """The first half of a top-up."""
        _own_outlet(request.outlet, context)
        load = await self._use.authorise_load(translate.order_from_pb(request), request_key(request, context))
        return translate.load_to_pb(load, show_mac2=True)

    async def ConfirmLoad(self, request: pb.ConfirmLoadRequest, context: Context) -> card_pb2.Load:
        """The second half of a top-up."""
        return translate.load_to_pb(await self._use.confirm_load(bare(request.name), request.tac, _desk(context)))

    async def ReverseLoad(self, request: pb.ReverseLoadRequest, context: Context) -> card_pb2.Load:
        """The card was not written."""
        load = await self._use.reverse_load(
            bare(request.name), request.status_word, request.card_unchanged, _desk(context)
        )
        return translate.load_to_pb(load)

    async def GetLoad(self, request: pb.GetLoadRequest, context: Context) -> card_pb2.Load:
        """One load; its MAC2 for the outlet that asked."""
        outlet = _desk(context)
        load = await self._use.get_load(bare(request.name), outlet)
        return translate.load_to_pb(load, show_mac2=outlet is not None)

    async def ListLoads(self, request: pb.ListLoadsRequest, context: Context) -> pb.ListLoadsResponse:
        """Loads, newest first."""
        wanted = LoadFilter(
            card=translate.bare_filter(request.card, "cards"), state=translate.load_state_filter(request.state)
        )
        list_name, size = f"ListLoads?card={request.card}&state={request.state}", page_size(request.page_size)
        key = page_key(list_name, request.page_token, [str, str])
        before = (_moment(key[0]), str(key[1])) if key else None
        page, last = _cut(await self._use.list_loads(wanted, before, size + 1), size)
        return pb.ListLoadsResponse(
            loads=[translate.load_to_pb(load) for load in page],
            next_page_token=page_token(list_name, [last.create_time.isoformat(), last.id]) if last else "",
        )

    async def Prove(self, request: pb.ProveRequest, context: Context) -> pb.ProveResponse:
        """What must hold here, recomputed."""
        return translate.proof_to_pb(await self._use.prove())


def _text(key: tuple[KeyPart, ...] | None, place: int) -> str:
    """One part of a page key; empty, before everything, on the first page."""
    return str(key[place]) if key else ""


def _moment(part: KeyPart) -> datetime:
    # The check of a token finds mistakes, it is no seal: what was forged is refused here.
    try:
        at = datetime.fromisoformat(str(part))
    except ValueError:
        raise PageTokenInvalid from None
    if at.tzinfo is None:
        raise PageTokenInvalid
    return at
