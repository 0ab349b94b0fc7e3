"""Documents, workbooks and signatures of statements against a real database."""

import csv
import io
import zipfile
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from citycard.clearing.v1 import statement_service_pb2 as pb
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from libs.records import otr
from libs.statements import read_public_key, verify, verify_chain
from services.clearing.adapters.signer import Signer
from services.clearing.adapters.statement_xlsx import render
from services.clearing.application.statement_forms import SettlementModels, StatementForms
from services.clearing.domain.errors import ParticipantUnknown, StatementUnknown
from services.clearing.domain.errors_settlement import DayBegun, SigningKeyMissing, StatementUnsigned
from services.clearing.domain.netting import Model

from .conftest import ACQUIRER, ISSUER, Centre, a_batch
from .test_apportionment import FRIDAY, the_day
from .test_results_and_windows import DAY, NOON, a_city, rides


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    file = tmp_path / "key.pem"
    file.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Signer(file)


def forms(centre: Centre, signer: Signer) -> StatementForms:
    return StatementForms(centre.unit_of_work, centre.clock, signer, render)


def faults(signed: pb.SignedStatement, signer: Signer, **files: bytes) -> list[str]:
    return [one.fault for one in verify(signed, read_public_key(signer.public_key_pem.encode()), **files)[1]]


async def two_days(centre: Centre) -> None:
    await a_city(centre)
    for number, at in ((1, NOON), (2, NOON + timedelta(days=1))):
        records = rides(centre, 10, first_seq=number * 100, counter=number - 1)
        centre.gateway.store("bus", a_batch(records, number), at)
    centre.clock.advance(timedelta(days=2))
    await centre.judge_all()
    for day in (DAY, FRIDAY):
        await centre.close_window("bus", day)


async def test_a_signed_statement_is_verified_with_nothing_but_the_public_key(centre: Centre, signer: Signer) -> None:
    await two_days(centre)
    do = forms(centre, signer)
    with pytest.raises(StatementUnsigned):
        await do.signed("bus", DAY)
    first = await do.sign("bus", DAY)
    centre.clock.advance(timedelta(days=1))
    assert await do.sign("bus", DAY) == first == await do.signed("bus", DAY)
    second = await do.sign("bus", FRIDAY)
    files = {"st_file": await do.file("bus", DAY, pb.STATEMENT_FORM_ST),
             "csv_file": await do.file("bus", DAY, pb.STATEMENT_FORM_CSV)}  # fmt: skip
    assert faults(first, signer, **files) == []
    documents = [pb.StatementDocument.FromString(one.document) for one in (second, first)]
    assert verify_chain(documents) == []
    assert first.document == await do.file("bus", DAY, pb.STATEMENT_FORM_PROTOBUF)
    assert (documents[1].gross_fen, documents[1].fee_fen, documents[1].net_fen) == (2_000, 10, 1_990)


async def test_what_was_changed_is_named(centre: Centre, signer: Signer, tmp_path: Path) -> None:
    await two_days(centre)
    do = forms(centre, signer)
    signed = await do.sign("bus", DAY)
    csv_file = await do.file("bus", DAY, pb.STATEMENT_FORM_CSV)
    assert faults(signed, signer, csv_file=csv_file.replace(b"2000", b"2001")) == ["CSV_FILE"]
    document = pb.StatementDocument.FromString(signed.document)
    document.net_fen += 1
    forged = pb.SignedStatement(document=document.SerializeToString(), key_id=signed.key_id, signature=signed.signature)
    assert faults(forged, signer) == ["SIGNATURE", "SUMS"]
    other = tmp_path / "other.pem"
    other.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert faults(signed, Signer(other)) == ["KEY", "SIGNATURE"]
    assert faults(pb.SignedStatement(document=b"\xff\xff"), signer) == ["DOCUMENT"]
    # A statement that was left out breaks the chain.
    alone = pb.StatementDocument.FromString((await do.sign("bus", FRIDAY)).document)
    first = pb.StatementDocument.FromString(signed.document)
    first.chain_hash = bytes(32)
    assert [one.fault for one in verify_chain([alone, first])] == ["CHAIN"]


async def test_without_a_key_statements_stay_unsigned_and_nothing_else_suffers(centre: Centre) -> None:
    await two_days(centre)
    do = forms(centre, Signer(None))
    with pytest.raises(SigningKeyMissing):
        await do.sign("bus", DAY)
    with pytest.raises(SigningKeyMissing):
        do.signing_key()
    with pytest.raises(StatementUnknown):
        await do.document("bus", date(2024, 1, 1))
    assert (await do.document("bus", DAY)).statement_number == 1


async def test_the_workbook_says_what_the_document_says_in_two_languages_and_the_same_bytes(
    centre: Centre, signer: Signer
) -> None:
    await the_day(centre)
    await centre.close_window("bus", FRIDAY)
    do = forms(centre, signer)
    made = await do.file("bus", FRIDAY, pb.STATEMENT_FORM_XLSX)
    assert await do.file("bus", FRIDAY, pb.STATEMENT_FORM_XLSX) == made
    with zipfile.ZipFile(io.BytesIO(made)) as book:
        texts = "".join(ET.fromstring(book.read("xl/sharedStrings.xml")).itertext())
        sheets = [
            one.get("name") for one in ET.fromstring(book.read("xl/workbook.xml")).iter() if one.tag.endswith("sheet")
        ]
        figures = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
    assert sheets == ["结算单 Statement", "明细 Lines", "调整 Adjustments", "分类 Positions"]
    assert "净额" in texts
    assert "Net" in texts
    values = [one.text for one in figures.iter() if one.tag.endswith("}v")]
    # 120.00 paid, 15.00 subsidies, 1.80 fees, -26.80 adjustments.
    assert {"120", "15", "1.8", "-26.8", "106.4"} <= set(values)
    rows = list(csv.DictReader(io.StringIO((await do.file("bus", FRIDAY, pb.STATEMENT_FORM_CSV)).decode())))
    assert sum(int(row["amount_fen"]) for row in rows) == 12_000


async def test_a_day_nets_to_zero_and_the_model_holds_from_days_that_have_not_begun(
    centre: Centre, signer: Signer
) -> None:
    await the_day(centre)
    for name in ("bus", "metro"):
        await centre.close_window(name, FRIDAY)
    models = SettlementModels(centre.unit_of_work, centre.clock)
    nets = {one.party: one.net_fen for one in await models.netting(FRIDAY)}
    assert sum(nets.values()) == 0
    assert (nets["centre"], nets["authority:bureau"]) == (180, -1_500)
    with pytest.raises(DayBegun):
        await models.set("bus", FRIDAY, Model.GROSS)
    with pytest.raises(ParticipantUnknown):
        await models.set("tram", FRIDAY + timedelta(days=3), Model.GROSS)
    await models.set("bus", FRIDAY + timedelta(days=3), Model.BILATERAL)
    async with centre.unit_of_work() as uow:
        bus = await uow.participants.find("bus")
        assert bus is not None
        assert await uow.signatures.model_on(bus.number, FRIDAY) is Model.NET
        assert await uow.signatures.model_on(bus.number, FRIDAY + timedelta(days=9)) is Model.BILATERAL


async def test_cards_of_other_cities_are_told_apart_from_ones_own(centre: Centre, signer: Signer) -> None:
    await a_city(centre)
    records = rides(centre, 10)
    records["issuer"][7:] = list(bytes.fromhex("01010000FFFFFFFF"))
    centre.gateway.store("bus", a_batch(otr.seal(records), 1), NOON)
    await centre.judge_all()
    sums = await SettlementModels(centre.unit_of_work, centre.clock).roles(DAY)
    assert [(one.issuer, one.acquirer, one.home, one.paid_count, one.pending_fen) for one in sums] == [
        ("01010000FFFFFFFF", ACQUIRER, False, 0, 600),
        (ISSUER, ACQUIRER, True, 7, 0),
    ]
