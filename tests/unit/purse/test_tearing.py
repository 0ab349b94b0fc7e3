"""The card pulled out at every single write of every command that writes: before or after, never between."""

from collections.abc import Callable
from typing import Any

import pytest

from libs.keystore import KeyKind
from libs.purse import card_commands, host, host_deposit, outlet
from libs.purse.algorithms import TRIPLE_DES
from libs.purse.apdu import build
from libs.purse.card import BANK, CJ, KeyUse, VirtualCard
from libs.purse.fields import amount_bytes, stamp_bytes
from libs.purse.host import AnswerA, LoadTerms
from libs.purse.secure_messaging import protected_command
from libs.purse.transactions import Tti
from libs.purse.transceiver import CardGone, demand

PARK_AID = bytes.fromhex("D156000001504152")
Command = Callable[[Any, VirtualCard], bytes]


def select(card: VirtualCard, aid: bytes) -> None:
    assert card.transmit(build(b"\x00\xa4\x04\x00", aid, 0)).endswith(b"\x90\x00")


def challenge(card: VirtualCard) -> bytes:
    return card.transmit(bytes.fromhex("0084000004"))[:4]


def memory(card: VirtualCard) -> list[object]:
    """All that a card keeps."""
    return [card.blocked] + [
        (
            each.purse,
            each.deposit,
            each.guard,
            each.keys,
            [each.content(spec) for spec in each.profile.files.values()],
        )
        for each in (*card.applications, card.master)
        if each is not None
    ]


def load(city: Any, card: VirtualCard, aid: bytes, tti: Tti, amount_fen: int) -> bytes:
    """Everything of a load but its last command, which is returned."""
    select(card, aid)
    terms = LoadTerms(amount_fen, city.terminal, tti)
    card.transmit(bytes.fromhex("0020000003123456"))
    request = b"\x01" + amount_bytes(amount_fen) + city.terminal
    answer = AnswerA.parse(demand(card, build(bytes((0x80, 0x50, 0x00, tti)), request, 16)))
    mac2 = host.make_load_mac2(city.store, city.identity(), answer, terms, city.at)
    return build(b"\x80\x52\x00\x00", stamp_bytes(city.at) + mac2, 4)


def credit_purse(city: Any, card: VirtualCard) -> bytes:
    return load(city, card, CJ.aid, Tti.EP_LOAD, 500)


def credit_deposit(city: Any, card: VirtualCard) -> bytes:
    return load(city, card, BANK.aid, Tti.ED_LOAD, 500)


def unload(city: Any, card: VirtualCard) -> bytes:
    card.transmit(load(city, card, BANK.aid, Tti.ED_LOAD, 500))
    answer = AnswerA.parse(outlet.initialise_unload(card, 200, terminal=city.terminal))
    terms = host_deposit.unload_terms(200, city.terminal)
    mac2 = host_deposit.authorise_unload(city.store, city.identity(), answer, terms, city.at)
    return build(b"\x80\x54\x03\x00", stamp_bytes(city.at) + mac2, 4)


def debit(city: Any, card: VirtualCard) -> bytes:
    """All but the last command of a complex purchase that writes two files with the debit."""
    card.transmit(load(city, card, CJ.aid, Tti.EP_LOAD, 500))
    answer = demand(card, build(b"\x80\x50\x03\x02", b"\x01" + amount_bytes(200) + city.terminal, 15))
    stamp = stamp_bytes(city.at)
    factors = city.identity().serial + bytes.fromhex("9901FF0000000000")
    said = answer[11:15] + answer[4:6] + amount_bytes(200) + b"\x09" + stamp + answer[9:11] + factors
    made = demand(city.sam(), build(b"\x80\x70\x00\x00", said, 8))
    demand(card, build(b"\x80\xdc\x00\xf0", bytes(range(48))))
    demand(card, build(b"\x80\xdc\x02\xb8", b"\x02" + bytes(range(47))))
    return build(b"\x80\x54\x01\x00", made[:4] + stamp + made[4:], 8)


def protected(
    city: Any, card: VirtualCard, kind: KeyKind, header: str, data: bytes = b"", encrypt: bool = False
) -> bytes:
    handle = city.handle(kind)
    return card_commands.protected(
        city.store, handle, city.identity(), challenge(card), bytes.fromhex(header), data, encrypt=encrypt
    )


def update_public(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return protected(city, card, KeyKind.MAINTENANCE, "04D69518", bytes.fromhex("20361231"))


def update_enciphered(city: Any, card: VirtualCard) -> bytes:
    select(card, PARK_AID)
    return protected(city, card, KeyKind.MAINTENANCE, "04D68600", b"secret", encrypt=True)


def append(city: Any, card: VirtualCard) -> bytes:
    select(card, PARK_AID)
    return bytes.fromhex("00E2004C0411223344")


def update_record(city: Any, card: VirtualCard) -> bytes:
    select(card, PARK_AID)
    return bytes.fromhex("00DC013C0411223344")


def verify_wrong_pin(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return bytes.fromhex("0020000003999999")


def change_pin(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return bytes.fromhex("805E010007123456FF654321")


def reload_pin(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return card_commands.reload_pin(city.store, city.handle(KeyKind.PIN_RELOAD), city.identity(), b"\x65\x43\x21")


def block(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return protected(city, card, KeyKind.LOCK, "841E0000")


def unblock(city: Any, card: VirtualCard) -> bytes:
    card.transmit(block(city, card))
    return protected(city, card, KeyKind.MAINTENANCE, "84180000")


def block_card(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    return protected(city, card, KeyKind.MAINTENANCE, "84160000")


def write_key(city: Any, card: VirtualCard) -> bytes:
    select(card, CJ.aid)
    maintenance = card.application(CJ.aid).keys.maintenance
    header = bytes((0x84, 0xD4, KeyUse.PURCHASE, 1))
    return protected_command(
        TRIPLE_DES, maintenance, challenge(card), header, bytes((2, 0, 0, 0)) + bytes(16), encrypt=True
    )


# What takes a try down first may stop with that try lost: power cut there is a try, or guessing would be free.
ONE_STEP = [
    credit_purse, credit_deposit, unload, debit, update_public, update_enciphered, append, update_record,
    verify_wrong_pin, block, block_card, write_key,
]  # fmt: skip
TRY_FIRST = [change_pin, reload_pin, unblock]


@pytest.mark.parametrize("prepare", ONE_STEP, ids=lambda each: each.__name__)
def test_after_a_tear_the_card_is_as_before_or_as_after(city: Any, prepare: Command) -> None:
    whole = city.rich_card()
    command = prepare(city, whole)
    before = memory(whole)
    whole.transmit(command)
    after = memory(whole)
    assert before != after
    outcomes = []
    for writes in range(100):
        card = city.rich_card()
        assert prepare(city, card) == command, "the same card, the same moment"
        card.tear(writes)
        try:
            card.transmit(command)
        except CardGone:
            with pytest.raises(CardGone):
                card.transmit(bytes.fromhex("805C000204"))
            card.reset()
            assert memory(card) in (before, after), f"torn at write {writes}"
            outcomes.append(memory(card) == after)
        else:
            break
    assert memory(card) == after
    assert outcomes == sorted(outcomes), "once it is sealed it stays"
    assert outcomes
    assert outcomes[0] is False


@pytest.mark.parametrize("prepare", TRY_FIRST, ids=lambda each: each.__name__)
def test_a_tear_may_cost_a_try_but_nothing_else(city: Any, prepare: Command) -> None:
    whole = city.rich_card()
    command = prepare(city, whole)
    guard = whole.application(CJ.aid).guard
    whole.transmit(command)
    done = whole.application(CJ.aid).guard
    seen = set()
    for writes in range(100):
        card = city.rich_card()
        prepare(city, card)
        card.tear(writes)
        try:
            card.transmit(command)
        except CardGone:
            card.reset()
            torn = card.application(CJ.aid).guard
            assert (torn.pin, torn.block) in ((guard.pin, guard.block), (done.pin, done.block))
            seen.add((torn.pin_tries, torn.unblock_tries, *torn.key_tries.values(), torn.pin))
        else:
            break
    assert card.application(CJ.aid).guard == done
    assert len(seen) >= 2, "the try is written before the answer is known"


def test_between_two_pages_the_memory_contradicts_itself_until_power_is_back(city: Any) -> None:
    """What the journal is for: were it not there, the states below would be the card's last word."""
    card = city.rich_card()
    command = debit(city, card)
    before = card.application(CJ.aid).purse
    halves = set()
    for writes in range(2, 12):
        card = city.rich_card()
        command = debit(city, card)
        card.tear(writes)
        with pytest.raises(CardGone):
            card.transmit(command)
        torn = card.application(CJ.aid).purse
        halves.add((torn.balance_fen != before.balance_fen, torn.offline_counter != before.offline_counter))
        card.reset()
        mended = card.application(CJ.aid).purse
        assert (mended.balance_fen, mended.offline_counter) == (300, 1)
    assert (True, False) in halves


def test_a_torn_transaction_leaves_the_proof_of_the_last_one(city: Any) -> None:
    card = city.rich_card()
    command = debit(city, card)
    proof = card.application(CJ.aid).purse.proof
    assert proof
    card.tear(1)
    with pytest.raises(CardGone):
        card.transmit(command)
    card.reset()
    select(card, CJ.aid)
    assert card.transmit(bytes.fromhex("805A000202000108")) == proof + b"\x90\x00"


def test_a_tear_that_never_comes_is_forgotten_at_the_next_reset(city: Any) -> None:
    card = city.rich_card()
    card.tear(3)
    card.reset()
    for _ in range(5):
        select(card, PARK_AID)
        assert card.transmit(bytes.fromhex("00E2004C0411223344")).hex() == "9000"
