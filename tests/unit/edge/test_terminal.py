"""The reference terminal in front of virtual cards: what goes wrong first."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from city.keys import CITY_CODE, ISSUER_ID, city_keys
from edge.terminal.blacklist import FullListNeeded, SignerUnknown, TerminalBlacklist
from edge.terminal.hints import Hint, HintRules, hints
from edge.terminal.hints import words as hint_words
from edge.terminal.journal import JournalFull, MemoryJournal
from edge.terminal.record import TerminalFacts
from edge.terminal.refusals import (
    CardBlocked,
    CardExpired,
    CardForeign,
    CardJustTapped,
    CardListed,
    CardNotEnabled,
    words,
)
from edge.terminal.terminal import Price, Pricing, Terminal
from libs.cardlist import (
    ENTRY,
    CardList,
    EcdsaSigner,
    EcdsaVerifier,
    ListRefused,
    Point,
    encode_delta,
    encode_list,
)
from libs.clock import CITY_TZ, FixedClock
from libs.purse.bulk import verify_tacs
from libs.purse.card import CJ, JT, Holder, VirtualCard, card_keys, personalise
from libs.purse.inspect import CardView
from libs.purse.sam import issue_sam
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.sequence import MemorySequence
from libs.purse.terminal import MoneyNotEnough, Torn
from libs.purse.transceiver import CardGone
from libs.records import bcd
from libs.records.batch import FileType, ListExtension, encode_batch
from libs.records.blacklist_file import Action, ListReason, Mode, make_entries
from libs.records.codes import Kind
from libs.records.numbers import card_bytes, institution_bytes, make_jt_number, psam_bytes, terminal_bytes
from libs.records.otr import Flag, Records, check_format, read_records, tac_data

KEYS = city_keys()
ISSUER = institution_bytes(ISSUER_ID)
NOON = datetime(2025, 9, 1, 12, tzinfo=CITY_TZ)
FACTS = TerminalFacts("020000000001", "58400001020000000001", "11095840", CITY_CODE, 2, 9, 77, line="000101", station=5)


def number_of(serial: int) -> bytes:
    return card_bytes(make_jt_number(CITY_CODE, serial))[1]


def a_card(
    serial: int = 1,
    balance_fen: int = 50_00,
    start: date = date(2025, 1, 1),
    expiry: date = date(2030, 1, 1),
    main_type: int = 1,
) -> VirtualCard:
    number = number_of(serial)
    keys = card_keys(KEYS, CardIdentity(Scheme.JT, ISSUER, number))
    card = personalise(JT, number, keys, issuer=ISSUER, start=start, expiry=expiry, holder=Holder(main_type))
    application = card.applications[0]
    application.commit(replace(application.purse, balance_fen=balance_fen))
    return card


class Bench:
    """A terminal with everything around it."""

    def __init__(self, records_max: int = 100) -> None:
        self.clock = FixedClock(NOON)
        self.journal = MemoryJournal(records_max)
        self.blacklist = TerminalBlacklist()
        sam = issue_sam(
            KEYS,
            Scheme.JT,
            ISSUER,
            terminal_bytes(FACTS.terminal_number),
            MemorySequence(),
            number=psam_bytes(FACTS.psam_number),
        )
        self.terminal = Terminal(FACTS, sam.transmit, self.journal, self.clock, self.blacklist)

    def records(self) -> Records:
        return read_records(b"".join(kept.record for kept in self.journal.pending(1000)))


class TornCard:
    """A card that leaves the field at the n-th DEBIT: before it acts, or after it has acted and before it answers."""

    def __init__(self, card: VirtualCard, *, acts: bool) -> None:
        self.card = card
        self.acts = acts
        self.torn = False

    def transmit(self, command: bytes) -> bytes:
        if command[:2] == b"\x80\x54" and not self.torn:
            self.torn = True
            if self.acts:
                self.card.transmit(command)
            self.card.reset()
            raise CardGone(command=command[:4].hex())
        return self.card.transmit(command)


def costs(fen: int) -> Pricing:
    return lambda view, main_type: Price(fen, fen + 50, discount_rule=2)


def a_list(*entries: tuple[bytes, Mode, datetime], version: int = 1, base: int | None = None) -> bytes:
    rows = make_entries(
        np.array([np.frombuffer(number, np.uint8) for number, _, _ in entries]).reshape(-1, 10),
        [Action.ADD] * len(entries),
        [ListReason.LOST] * len(entries),
        np.array([np.frombuffer(bcd.bcd_time(at), np.uint8) for _, _, at in entries]).reshape(-1, 7),
        [mode for _, mode, _ in entries],
    )
    return encode_batch(
        FileType.BL if base is None else FileType.BI,
        rows,
        sender="00005840",
        receiver="00005840",
        batch_number=version,
        created=NOON,
        business_date=NOON.date(),
        extension=ListExtension(version, base or 0),
    )


def proves(records: Records) -> bool:
    return bool(
        verify_tacs(
            KEYS,
            Scheme.JT,
            ISSUER,
            records["card_number"],
            records["key_version"],
            records["algorithm"],
            tac_data(records),
            records["tac"],
        ).all()
    )


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestRefusals:
    def refused(self, bench: Bench, card: VirtualCard, error: type[Exception]) -> None:
        before = card.applications[0].purse
        with pytest.raises(error):
            bench.terminal.pay(card.transmit, costs(200))
        assert card.applications[0].purse == before

    def test_a_listed_card_is_refused_from_the_effective_second_on(self, bench: Bench) -> None:
        effective = NOON + timedelta(hours=24)
        bench.blacklist.load(a_list((number_of(1), Mode.REFUSE, effective)))
        bench.clock.set(effective - timedelta(seconds=1))
        bench.terminal.pay(a_card().transmit, costs(200))
        # The reader beside it, with the same list: the first one would say that the card has just paid.
        beside = Bench()
        beside.terminal.blacklist = bench.blacklist
        beside.clock.set(effective)
        self.refused(beside, a_card(), CardListed)
        beside.terminal.pay(a_card(serial=2).transmit, costs(200))

    def test_a_listed_card_is_locked_where_the_list_says_so_and_a_record_tells_it(self, bench: Bench) -> None:
        bench.blacklist.load(a_list((number_of(1), Mode.LOCK, NOON), version=7))
        card = a_card()
        with pytest.raises(CardListed) as refused:
            bench.terminal.pay(card.transmit, costs(200))
        assert refused.value.facts == {"list_reason": "LOST", "locked": "yes"}
        (record,) = bench.records()
        assert record["kind"] == Kind.CARD_LOCKED
        assert record["flags"] == Flag.CARD_LOCKED | Flag.BLACKLIST_HIT
        assert record["blacklist_version"] == 7
        assert not check_format(bench.records()).any()
        # Locked for every terminal, also for one that has no list.
        with pytest.raises(CardBlocked):
            Bench().terminal.pay(card.transmit, costs(200))

    def test_the_words_are_for_people_in_both_languages(self) -> None:
        zh, en = words(CardListed(list_reason="LOST", locked="no"))
        assert "网点" in zh
        assert "blacklist" in en
        zh, en = words(CardJustTapped(within_s=3.0))
        assert "重复" in zh
        assert "just accepted" in en

    def test_an_expired_card_is_refused_after_its_last_day(self, bench: Bench) -> None:
        bench.terminal.pay(a_card(expiry=NOON.date()).transmit, costs(200))
        self.refused(bench, a_card(serial=2, expiry=NOON.date() - timedelta(days=1)), CardExpired)

    def test_a_card_is_refused_before_its_first_day(self, bench: Bench) -> None:
        self.refused(bench, a_card(start=NOON.date() + timedelta(days=1)), CardNotEnabled)

    def test_a_purse_without_enough_money_is_refused(self, bench: Bench) -> None:
        self.refused(bench, a_card(balance_fen=199), MoneyNotEnough)
        assert len(bench.records()) == 0

    def test_a_kind_of_card_that_the_terminal_does_not_take_is_refused(self, bench: Bench) -> None:
        serial = bytes.fromhex("00005840000000000001")
        issuer = institution_bytes("01015840")
        source = a_card().applications[0].keys
        card = personalise(CJ, serial, source, issuer=issuer)
        only_jt = Terminal(FACTS, lambda command: b"", MemoryJournal(), bench.clock, bench.blacklist, aids=(JT.aid,))
        with pytest.raises(CardForeign):
            only_jt.pay(card.transmit, costs(200))

    def test_a_full_journal_stops_the_debit_before_the_card_pays(self) -> None:
        bench = Bench(records_max=1)
        bench.terminal.pay(a_card().transmit, costs(200))
        self.refused(bench, a_card(serial=2), JournalFull)
        bench.journal.acknowledge(1)
        bench.terminal.pay(a_card(serial=2).transmit, costs(200))


class TestTornCards:
    def tear(self, bench: Bench, *, acts: bool, amount_fen: int = 200) -> VirtualCard:
        card = a_card()
        with pytest.raises(Torn):
            bench.terminal.pay(TornCard(card, acts=acts).transmit, costs(amount_fen))
        return card

    def test_a_debit_that_never_reached_the_card_is_made_anew(self, bench: Bench) -> None:
        card = self.tear(bench, acts=False)
        tap = bench.terminal.pay(card.transmit, costs(200))
        assert not tap.recovered
        assert card.applications[0].purse.balance_fen == 48_00
        (record,) = bench.records()
        assert record["kind"] == Kind.PURCHASE

    def test_a_debit_whose_answer_was_lost_is_proven_and_never_repeated(self, bench: Bench) -> None:
        card = self.tear(bench, acts=True)
        tap = bench.terminal.pay(card.transmit, costs(200))
        assert tap.recovered
        assert card.applications[0].purse.balance_fen == 48_00
        records = bench.records()
        assert records["kind"].tolist() == [Kind.PURCHASE]
        assert proves(records)

    def test_a_debit_whose_proof_was_overwritten_goes_up_grey(self, bench: Bench) -> None:
        card = self.tear(bench, acts=True)
        # Another terminal in between: the counter goes on, the proof is that of the other debit.
        Bench().terminal.enter(card.transmit)
        tap = bench.terminal.pay(card.transmit, costs(200))
        assert tap.recovered
        (record,) = bench.records()
        assert record["kind"] == Kind.GREY
        assert record["flags"] & Flag.GREY
        assert not record["tac"].any()

    def test_another_card_leaves_the_grey_record_and_pays_for_itself(self, bench: Bench) -> None:
        self.tear(bench, acts=True)
        tap = bench.terminal.pay(a_card(serial=2).transmit, costs(300))
        assert not tap.recovered
        records = bench.records()
        assert records["kind"].tolist() == [Kind.GREY, Kind.PURCHASE]
        assert records["device_seq"].tolist() == [1, 2]
        assert not check_format(records).any()

    def test_the_open_grey_record_is_not_collected_while_the_card_may_come_back(self, bench: Bench) -> None:
        self.tear(bench, acts=True)
        assert len(bench.journal.pending(10)) == 0


class TestRecords:
    def test_a_purchase_makes_a_record_that_the_centre_accepts(self, bench: Bench) -> None:
        card = a_card(balance_fen=50_00, main_type=2)
        tap = bench.terminal.pay(card.transmit, costs(180))
        (record,) = records = bench.records()
        assert tap.record == records.tobytes()
        assert tap.balance_after_fen == card.applications[0].purse.balance_fen == 48_20
        assert not check_format(records).any()
        assert proves(records)
        expected = {
            "kind": Kind.PURCHASE, "tti": 6, "amount_fen": 180, "list_price_fen": 230, "balance_before_fen": 50_00,
            "card_counter": 0, "terminal_seq": 1, "device_seq": 1, "device_number": 77, "operator": 9, "station": 5,
            "card_main_type": 2, "discount_rule": 2, "flags": 0,
        }  # fmt: skip
        assert {field: record[field] for field in expected} == expected
        assert bcd.time_of(record["time"].tobytes()) == NOON

    def test_entry_and_exit_are_complex_purchases_on_the_card_s_transit_log(self, bench: Bench) -> None:
        card = a_card()
        bench.terminal.enter(card.transmit)
        bench.clock.advance(minutes=20)
        bench.terminal.leave(card.transmit, costs(380))
        records = bench.records()
        assert records["kind"].tolist() == [Kind.ENTRY, Kind.EXIT]
        assert records["tti"].tolist() == [9, 9]
        assert records["amount_fen"].tolist() == [0, 380]
        assert records["card_counter"].tolist() == [0, 1]
        assert proves(records)
        log = card.applications[0].content(JT.files[0x1E])
        assert [log[0], log[48]] == [0x04, 0x03]

    def test_a_ride_for_nothing_is_a_complex_purchase(self, bench: Bench) -> None:
        tap = bench.terminal.pay(a_card().transmit, lambda view, main_type: Price(0, 200, discount_rule=5))
        (record,) = bench.records()
        assert (record["kind"], record["tti"], record["list_price_fen"]) == (Kind.PURCHASE, 9, 200)
        assert tap.price.amount_fen == 0

    def test_the_fare_sees_card_and_main_type(self, bench: Bench) -> None:
        seen: list[tuple[bytes, int]] = []

        def pricing(view: CardView, main_type: int) -> Price:
            seen.append((view.number, main_type))
            return Price(100, 200)

        bench.terminal.pay(a_card(serial=3, main_type=5).transmit, pricing)
        assert seen == [(number_of(3), 5)]


class TestBlacklist:
    def test_an_increment_goes_on_top_of_its_base_only(self, bench: Bench) -> None:
        first, second = number_of(1), number_of(2)
        bench.blacklist.load(a_list((first, Mode.REFUSE, NOON), version=4))
        bench.blacklist.load(a_list((second, Mode.REFUSE, NOON), version=6, base=4))
        assert len(bench.blacklist) == 2
        with pytest.raises(Exception, match="FULL_LIST_NEEDED"):
            bench.blacklist.load(a_list((second, Mode.REFUSE, NOON), version=9, base=8))
        assert bench.blacklist.version == 6

    def test_a_damaged_file_leaves_the_old_list_in_force(self, bench: Bench) -> None:
        bench.blacklist.load(a_list((number_of(1), Mode.REFUSE, NOON), version=4))
        damaged = bytearray(a_list((number_of(2), Mode.REFUSE, NOON), version=5))
        damaged[140] ^= 1
        with pytest.raises(Exception, match="BATCH_REFUSED"):
            bench.blacklist.load(bytes(damaged))
        assert bench.blacklist.version == 4
        assert bench.blacklist.find(number_of(1), NOON) is not None

    def test_a_full_list_replaces_everything(self, bench: Bench) -> None:
        bench.blacklist.load(a_list((number_of(1), Mode.REFUSE, NOON), version=4))
        bench.blacklist.load(a_list(version=5))
        assert len(bench.blacklist) == 0


KEY = ec.derive_private_key(314_159, ec.SECP256R1())
SIGNER, VERIFIER = EcdsaSigner(KEY), EcdsaVerifier([KEY.public_key()])


def a_compact_list(version: int, *entries: tuple[bytes, int, Mode, datetime]) -> CardList:
    rows = np.zeros(len(entries), dtype=ENTRY)
    for row, (number, generation, mode, at) in zip(rows, entries, strict=True):
        row["card_number"], row["generation"], row["action"] = np.frombuffer(number, np.uint8), generation, mode
        row["reason"], row["effective_s"] = ListReason.STOLEN_STOCK, int(at.timestamp())
    made_s = int(NOON.timestamp())
    point = Point(version, bytes((version,)) * 32)
    content = encode_list(rows, SIGNER, point, created_s=made_s, settled_until_s=made_s)
    return CardList.open(content, VERIFIER)


class TestCompactLists:
    def test_without_a_key_to_check_it_with_none_is_taken(self, bench: Bench) -> None:
        with pytest.raises(SignerUnknown):
            bench.blacklist.load(bytes(a_compact_list(1).data))

    def test_a_damaged_one_leaves_the_old_list_in_force(self) -> None:
        blacklist = TerminalBlacklist(VERIFIER)
        blacklist.load(a_list((number_of(1), Mode.REFUSE, NOON), version=4))
        damaged = bytearray(a_compact_list(5, (number_of(2), 1, Mode.LOCK, NOON)).data)
        damaged[-1] ^= 1
        with pytest.raises(ListRefused):
            blacklist.load(bytes(damaged))
        assert (blacklist.version, len(blacklist)) == (4, 1)
        assert blacklist.find(number_of(1), NOON) is not None

    def test_a_listed_card_is_refused_and_its_later_generation_is_not(self) -> None:
        blacklist = TerminalBlacklist(VERIFIER)
        tomorrow = NOON + timedelta(days=1)
        listed = a_compact_list(3, (number_of(1), 1, Mode.LOCK, NOON), (number_of(2), 1, Mode.REFUSE, tomorrow))
        blacklist.load(bytes(listed.data))
        found = blacklist.find(number_of(1), NOON)
        assert found is not None
        assert (found.mode, found.reason, found.effective) == (Mode.LOCK, ListReason.STOLEN_STOCK, None)
        assert blacklist.find(number_of(1), NOON, generation=2) is None
        assert blacklist.find(number_of(2), NOON) is None
        later = blacklist.find(number_of(2), tomorrow)
        assert later is not None
        assert later.effective == tomorrow

    def test_a_delta_goes_on_top_of_its_base_only(self) -> None:
        blacklist = TerminalBlacklist(VERIFIER)
        one = a_compact_list(1, (number_of(1), 1, Mode.LOCK, NOON))
        two = a_compact_list(2, (number_of(2), 1, Mode.LOCK, NOON))
        delta = encode_delta(one, two, SIGNER)
        for held in (a_list((number_of(1), Mode.LOCK, NOON), version=1), bytes(two.data)):
            blacklist.load(held)
            with pytest.raises(FullListNeeded):
                blacklist.load(delta)
        blacklist.load(bytes(one.data))
        blacklist.load(delta)
        assert blacklist.version == 2
        assert blacklist.find(number_of(1), NOON) is None
        assert blacklist.find(number_of(2), NOON) is not None

    def test_an_increment_of_rows_does_not_go_on_a_compact_list(self) -> None:
        blacklist = TerminalBlacklist(VERIFIER)
        blacklist.load(bytes(a_compact_list(1, (number_of(1), 1, Mode.LOCK, NOON)).data))
        with pytest.raises(FullListNeeded):
            blacklist.load(a_list((number_of(2), Mode.LOCK, NOON), version=2, base=1))

    def test_a_long_list_of_rows_takes_few_bytes_a_card(self, bench: Bench) -> None:
        bench.blacklist.load(a_list(*((number_of(serial * 40), Mode.LOCK, NOON) for serial in range(5000))))
        assert len(bench.blacklist) == 5000
        assert bench.blacklist.memory_bytes < 3 * 5000


class TestDoubleTaps:
    def test_a_card_that_was_let_through_is_not_debited_again_within_three_seconds(self, bench: Bench) -> None:
        card = a_card()
        bench.terminal.pay(card.transmit, costs(200))
        for passed_ms in (0, 2_999):
            bench.clock.set(NOON + timedelta(milliseconds=passed_ms))
            with pytest.raises(CardJustTapped):
                bench.terminal.pay(card.transmit, costs(200))
        assert (card.applications[0].purse.balance_fen, len(bench.records())) == (48_00, 1)
        bench.clock.set(NOON + timedelta(seconds=3))
        bench.terminal.pay(card.transmit, costs(200))
        assert len(bench.records()) == 2

    def test_another_card_in_between_does_not_open_the_guard(self, bench: Bench) -> None:
        first = a_card()
        bench.terminal.pay(first.transmit, costs(200))
        bench.clock.advance(seconds=1)
        bench.terminal.pay(a_card(serial=2).transmit, costs(200))
        bench.clock.advance(seconds=1)
        with pytest.raises(CardJustTapped):
            bench.terminal.pay(first.transmit, costs(200))

    def test_a_clock_set_back_a_little_does_not_open_the_guard(self, bench: Bench) -> None:
        card = a_card()
        bench.terminal.pay(card.transmit, costs(200))
        bench.clock.set(NOON - timedelta(seconds=1))
        with pytest.raises(CardJustTapped):
            bench.terminal.pay(card.transmit, costs(200))
        bench.clock.set(NOON - timedelta(minutes=1))
        bench.terminal.pay(card.transmit, costs(200))

    def test_a_refused_card_may_try_again_at_once(self, bench: Bench) -> None:
        card = a_card(balance_fen=199)
        for _ in range(2):
            with pytest.raises(MoneyNotEnough):
                bench.terminal.pay(card.transmit, costs(200))
        bench.terminal.pay(card.transmit, costs(100))

    def test_a_recovered_tap_counts_as_one(self, bench: Bench) -> None:
        card = a_card()
        with pytest.raises(Torn):
            bench.terminal.pay(TornCard(card, acts=True).transmit, costs(200))
        assert bench.terminal.pay(card.transmit, costs(200)).recovered
        with pytest.raises(CardJustTapped):
            bench.terminal.pay(card.transmit, costs(200))

    def test_cards_long_gone_are_forgotten(self, bench: Bench) -> None:
        for serial in range(1, 6):
            bench.terminal.pay(a_card(serial).transmit, costs(200))
            bench.clock.advance(seconds=10)
        assert len(bench.terminal.guard) == 1


class TestHints:
    def hints(self, bench: Bench, card: VirtualCard) -> tuple[Hint, ...]:
        return bench.terminal.pay(card.transmit, costs(200)).hints

    def test_a_low_balance_is_hinted_below_the_threshold_only(self, bench: Bench) -> None:
        assert self.hints(bench, a_card(1, balance_fen=12_00)) == ()
        assert self.hints(bench, a_card(2, balance_fen=11_99)) == (Hint.LOW_BALANCE,)

    def test_a_near_expiry_is_hinted_from_the_thirtieth_day_on(self, bench: Bench) -> None:
        today = NOON.date()
        assert self.hints(bench, a_card(1, expiry=today + timedelta(days=31))) == ()
        assert self.hints(bench, a_card(2, expiry=today + timedelta(days=30))) == (Hint.NEAR_EXPIRY,)
        both = a_card(3, balance_fen=2_00, expiry=today)
        assert self.hints(bench, both) == (Hint.LOW_BALANCE, Hint.NEAR_EXPIRY)

    def test_the_thresholds_are_the_operator_s(self) -> None:
        assert hints(99, bytes.fromhex("20250901"), NOON.date(), HintRules(100, 0)) == tuple(Hint)
        assert hints(100, bytes.fromhex("20250902"), NOON.date(), HintRules(100, 0)) == ()

    def test_an_expiry_that_is_no_date_hints_nothing(self) -> None:
        assert hints(50_00, bytes.fromhex("20259999"), NOON.date(), HintRules()) == ()

    def test_a_recovered_tap_hints_too(self, bench: Bench) -> None:
        card = a_card(balance_fen=5_00)
        with pytest.raises(Torn):
            bench.terminal.pay(TornCard(card, acts=True).transmit, costs(200))
        assert self.hints(bench, card) == (Hint.LOW_BALANCE,)

    def test_each_hint_has_words_in_both_languages(self) -> None:
        spoken = {words for hint in Hint for words in hint_words(hint)}
        assert len(spoken) == 2 * len(Hint)
        assert "充值" in hint_words(Hint.LOW_BALANCE)[0]
        assert "expires" in hint_words(Hint.NEAR_EXPIRY)[1]


def test_the_clock_of_the_terminal_decides_not_that_of_the_machine() -> None:
    bench = Bench()
    bench.clock.set(datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(CardNotEnabled):
        bench.terminal.pay(a_card().transmit, costs(1))
