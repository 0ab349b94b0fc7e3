import asyncio, time, pytest
from sqlalchemy import event
from functools import partial
async def test_prof(unit_of_work, clock, engine, capsys):
    from services.card.application.create_product import CreateProduct
    from services.card.application.receive_stock import ReceiveStock
    from services.card.application.batch_issue_cards import BatchIssueCards
    from tests.unit.card.fakes import a_product,a_request,a_delivery,a_number
    await CreateProduct(unit_of_work, clock)(a_product(deposit_fen=0, price_fen=1500), a_request())
    out=[]
    @event.listens_for(engine.sync_engine,"before_cursor_execute")
    def b(conn,cur,stmt,params,ctx,many): ctx._t=time.perf_counter()
    @event.listens_for(engine.sync_engine,"after_cursor_execute")
    def a(conn,cur,stmt,params,ctx,many): out.append((time.perf_counter()-ctx._t, stmt.strip()[:60]))
    for batch in range(2):
        numbers=[a_number(s+batch*10000) for s in range(10000)]
        await ReceiveStock(unit_of_work, clock)(numbers, a_delivery(), a_request())
        out.append((0,"---- issue"))
        t=time.perf_counter()
        await BatchIssueCards(unit_of_work, clock)(numbers,[2000],"north",a_request())
        out.append((time.perf_counter()-t,"TOTAL"))
    with capsys.disabled():
        for x in out: print("%.3f %r"%x)
