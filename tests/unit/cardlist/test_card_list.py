"""Compact card lists: what must be refused, and that nothing else ever is."""

import mmap
import pickle
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.cardlist import (
    ENTRY,
    Action,
    CardList,
    DeltaMisfit,
    EcdsaSigner,
    EcdsaVerifier,
    Entries,
    EntryInvalid,
    Fault,
    Issuer,
    IssuerList,
    ListRefused,
    NumberRange,
    Point,
    Purpose,
    RangeList,
    apply_delta,
    encode_delta,
    encode_issuers,
    encode_list,
    encode_ranges,
)
from libs.cardlist.body import read_body
from libs.cardlist.entries import luhn_is_right
from libs.cardlist.header import HEADER_LENGTH, Form, Header
from libs.cardlist.interchange import from_rows, to_rows
from libs.records import bcd
from libs.records.blacklist_file import Action as RowAction
from libs.records.blacklist_file import make_entries
from libs.records.errors import NumberInvalid
from libs.records.numbers import card_bytes, institution_bytes, luhn_digit, make_cj_number, make_jt_number

KEY = ec.derive_private_key(271_828, ec.SECP256R1())
SIGNER = EcdsaSigner(KEY)
VERIFIER = EcdsaVerifier([KEY.public_key()])
NOW_S = 1_756_699_200

Row = tuple[bytes, int, int, int, int]


def jt(serial: int, city: str = "5840") -> bytes:
    return card_bytes(make_jt_number(city, serial))[1]


def cj(serial: int) -> bytes:
    return card_bytes(make_cj_number("5840", "0001", serial))[1]


def wrong_luhn(serial: int) -> bytes:
    number = jt(serial)
    return number[:9] + bytes((number[9] & 0xF0 | (number[9] + 1) % 10,))


def columns(rows: list[Row]) -> Entries:
    made = np.zeros(len(rows), dtype=ENTRY)
    for place, (number, generation, action, reason, effective_s) in enumerate(rows):
        made[place] = (np.frombuffer(number, np.uint8), generation, action, reason, effective_s)
    return made


def point(version: int) -> Point:
    return Point(version, bytes((version,)) * 32)


def a_file(rows: list[Row], version: int = 1, settled_until_s: int = NOW_S) -> bytes:
    return encode_list(columns(rows), SIGNER, point(version), created_s=NOW_S, settled_until_s=settled_until_s)


def a_list(rows: list[Row], version: int = 1, settled_until_s: int = NOW_S) -> CardList:
    return CardList.open(a_file(rows, version, settled_until_s), VERIFIER)


def listed(number: bytes, generation: int = 1, effective_s: int = 0) -> Row:
    return number, generation, Action.LOCK, 1, effective_s


SOME: list[Row] = [
    listed(jt(1)), listed(jt(2), 2), listed(jt(900)), (jt(901), 1, Action.REFUSE, 2, NOW_S + 60),
    listed(jt(5, "1000")), listed(cj(77)), listed(wrong_luhn(3)),
]  # fmt: skip


class TestDamage:
    def test_every_single_bit_that_flips_is_found(self) -> None:
        good = a_file(SOME)
        for place in range(len(good) * 8):
            damaged = bytearray(good)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(ListRefused):
                CardList.open(bytes(damaged), VERIFIER)

    def test_every_cut_is_found(self) -> None:
        good = a_file(SOME)
        for length in range(len(good)):
            with pytest.raises(ListRefused):
                CardList.open(good[:length], VERIFIER)
        with pytest.raises(ListRefused):
            CardList.open(good + b"\0", VERIFIER)

    def test_a_damaged_delta_is_found_and_the_base_stays(self) -> None:
        base, target = a_list(SOME), a_list([*SOME[1:], listed(jt(5000))], 2)
        good = encode_delta(base, target, SIGNER)
        for place in range(len(good) * 8):
            damaged = bytearray(good)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(ListRefused):
                apply_delta(base, bytes(damaged), VERIFIER)
        for length in range(len(good)):
            with pytest.raises(ListRefused):
                apply_delta(base, good[:length], VERIFIER)
        assert base.find(jt(1)) is not None

    def test_a_list_of_another_signer_is_refused(self) -> None:
        stranger = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(ListRefused) as refused:
            CardList.open(a_file(SOME), EcdsaVerifier([stranger.public_key()]))
        assert refused.value.fault is Fault.SIGNER
        assert pickle.loads(pickle.dumps(refused.value)).fault is Fault.SIGNER

    def test_a_list_for_another_purpose_is_refused(self) -> None:
        staff = encode_list(columns([(jt(1), 1, Action.ACCEPT, 0, 0)]), SIGNER, point(1), created_s=NOW_S,
                            purpose=Purpose.STAFF)  # fmt: skip
        with pytest.raises(ListRefused) as refused:
            CardList.open(staff, VERIFIER)
        assert refused.value.fault is Fault.PURPOSE
        found = CardList.open(staff, VERIFIER, Purpose.STAFF).find(jt(1))
        assert found is not None
        assert found.action is Action.ACCEPT

    @settings(deadline=None)
    @given(st.binary(max_size=400))
    def test_garbage_with_a_right_signature_is_refused_or_says_what_it_holds(self, body: bytes) -> None:
        self.opened(body)

    @settings(deadline=None)
    @given(st.data())
    def test_a_body_changed_by_its_signer_is_refused_or_is_a_list_in_order(self, data: st.DataObject) -> None:
        body = bytearray(a_file(SOME)[HEADER_LENGTH:])
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        self.opened(bytes(body))

    def opened(self, body: bytes) -> None:
        """Nothing but the named refusal comes out of bytes that pass signature and digest."""
        import hashlib

        try:
            count = read_body(np.frombuffer(body, np.uint8)).count
        except ListRefused:
            count = 0
        header = Header(
            Purpose.BLACKLIST, Form.WHOLE, point(1), Point(), NOW_S, count, len(body), hashlib.sha256(body).digest()
        )
        try:
            opened = CardList.open(header.pack(SIGNER) + body, VERIFIER)
        except ListRefused:
            return
        for entry in opened.entries():
            assert opened.find(entry["card_number"].tobytes(), int(entry["generation"])) is not None

    @pytest.mark.parametrize(
        ("rows", "field"),
        [
            ([listed(jt(1)), listed(jt(1))], "generation"),
            ([listed(b"\x0a" * 10)], "card_number"),
            ([(jt(1), 1, 9, 1, 0)], "action"),
            ([(jt(1), 1, Action.ACCEPT, 1, 0)], "action"),
            ([(jt(1), 1, Action.LOCK, 0, 0)], "reason"),
            ([listed(jt(1), effective_s=-1)], "effective_s"),
        ],
    )
    def test_an_entry_that_cannot_stand_in_a_list_is_named(self, rows: list[Row], field: str) -> None:
        with pytest.raises(EntryInvalid) as refused:
            a_file(rows)
        assert refused.value.facts["field"] == field


class TestLookUp:
    def test_an_empty_list_refuses_nobody(self) -> None:
        empty = a_list([])
        assert len(empty) == 0
        assert empty.find(jt(1)) is None

    def test_the_neighbours_of_a_listed_card_are_not_listed(self) -> None:
        held = a_list(SOME)
        assert held.find(jt(1)) is not None
        for number in (jt(0), jt(3), jt(899), jt(902), jt(1, "1000"), jt(1, "9999"), cj(76), wrong_luhn(1)):
            assert held.find(number) is None

    def test_a_number_with_a_wrong_check_digit_is_listed_for_itself_only(self) -> None:
        held = a_list([listed(wrong_luhn(3))])
        assert held.find(wrong_luhn(3)) is not None
        assert held.find(jt(3)) is None

    def test_a_card_that_was_issued_again_is_not_refused_for_its_ancestor(self) -> None:
        held = a_list([listed(jt(1), 1), (jt(1), 3, Action.REFUSE, 2, 0)])
        assert held.find(jt(1), 2) is None
        assert [held.find(jt(1), generation).action for generation in (1, 3)] == [Action.LOCK, Action.REFUSE]  # type: ignore[union-attr]  # both are listed
        latest = held.find(jt(1))
        assert latest is not None
        assert latest.generation == 3

    def test_an_entry_for_any_generation_holds_for_each(self) -> None:
        found = a_list([listed(jt(1), 0)]).find(jt(1), 7)
        assert found is not None
        assert found.generation == 0

    def test_an_entry_to_come_keeps_its_time_and_one_in_force_does_not(self) -> None:
        held = a_list([listed(jt(1), effective_s=NOW_S), listed(jt(2), effective_s=NOW_S + 1)])
        assert [held.find(jt(serial)).effective_s for serial in (1, 2)] == [0, NOW_S + 1]  # type: ignore[union-attr]  # both are listed

    def test_what_is_no_number_is_refused_by_name(self) -> None:
        with pytest.raises(NumberInvalid):
            a_list(SOME).find(jt(1)[:4] + b"\xff" * 6)

    def test_a_memory_map_is_looked_up_as_it_lies(self, tmp_path: Path) -> None:
        path = tmp_path / "list.ykcl"
        path.write_bytes(a_file(SOME))
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        held = CardList.open(mapped, VERIFIER)
        assert held.find(jt(900)) is not None
        assert held.find(jt(899)) is None
        assert (held.entries() == a_list(SOME).entries()).all()


_NUMBERS = st.one_of(
    st.builds(jt, st.integers(0, 400)),
    st.builds(jt, st.integers(0, 10**11 - 1)),
    st.builds(lambda serial: jt(serial, "1000"), st.integers(0, 10**6)),
    st.builds(cj, st.integers(0, 300)),
    st.builds(wrong_luhn, st.integers(0, 50)),
    st.integers(0, 10**20 - 1).map(lambda number: bytes.fromhex(f"{number:020d}")),
)
_MODEL = st.dictionaries(
    st.tuples(_NUMBERS, st.sampled_from([0, 1, 2, 3, 2**32 - 1])),
    st.tuples(st.sampled_from([Action.LOCK, Action.REFUSE]), st.integers(1, 8), st.integers(0, NOW_S + 100_000)),
    max_size=120,
)


def rows_of(model: dict[tuple[bytes, int], tuple[Action, int, int]]) -> list[Row]:
    return [(number, generation, *rest) for (number, generation), rest in model.items()]


class TestAgainstADictionary:
    @settings(deadline=None)
    @given(_MODEL, st.sampled_from([0, NOW_S]), st.lists(_NUMBERS, max_size=30))
    def test_a_list_says_what_the_dictionary_says(
        self, model: dict[tuple[bytes, int], tuple[Action, int, int]], settled_until_s: int, others: list[bytes]
    ) -> None:
        held = a_list(rows_of(model), settled_until_s=settled_until_s)
        assert len(held) == len(model)
        for number in {number for number, _ in model} | set(others):
            for generation in (1, 2, 3, 9, 2**32 - 1):
                key = (number, generation) if (number, generation) in model else (number, 0)
                found = held.find(number, generation)
                if key not in model:
                    assert found is None
                    continue
                action, reason, effective_s = model[key]
                expected_s = 0 if effective_s <= settled_until_s else effective_s
                assert found is not None
                assert (found.generation, found.action, found.reason, found.effective_s) == (
                    key[1], action, reason, expected_s,
                )  # fmt: skip

    @settings(deadline=None)
    @given(_MODEL, st.randoms())
    def test_the_same_entries_in_any_order_are_the_same_bytes_and_come_back(self, model, random) -> None:  # type: ignore[no-untyped-def]  # drawn
        rows = rows_of(model)
        shuffled = rows.copy()
        random.shuffle(shuffled)
        assert a_file(rows) == a_file(shuffled)
        back = a_list(rows, settled_until_s=0).entries()
        assert sorted(rows) == [
            (row["card_number"].tobytes(), row["generation"], row["action"], row["reason"], row["effective_s"])
            for row in back
        ]

    @settings(deadline=None)
    @given(_MODEL, _MODEL, st.integers(0, 50_000))
    def test_a_delta_makes_the_very_file_of_the_target(self, before, after, later_s: int) -> None:  # type: ignore[no-untyped-def]  # drawn
        base, target = a_list(rows_of(before), 4), a_list(rows_of(after), 9, NOW_S + later_s)
        made = apply_delta(base, encode_delta(base, target, SIGNER), VERIFIER)
        assert made.data == target.data
        assert made.point == point(9)


class TestDeltas:
    def test_a_delta_fits_its_base_only_by_version_and_by_history(self) -> None:
        base, target = a_list(SOME, 4), a_list(SOME[1:], 5)
        delta = encode_delta(base, target, SIGNER)
        with pytest.raises(DeltaMisfit):
            apply_delta(a_list(SOME, 3), delta, VERIFIER)
        with pytest.raises(DeltaMisfit):
            apply_delta(target, delta, VERIFIER)
        other_history = encode_list(columns(SOME), SIGNER, Point(4, b"\xee" * 32), created_s=NOW_S)
        with pytest.raises(DeltaMisfit):
            apply_delta(CardList.open(other_history, VERIFIER), delta, VERIFIER)

    def test_a_signed_delta_to_a_base_of_other_content_is_refused(self) -> None:
        # The same version and hash, yet another card: the result would not be what the centre published.
        delta = encode_delta(a_list(SOME, 4), a_list(SOME[1:], 5), SIGNER)
        with pytest.raises(ListRefused) as refused:
            apply_delta(a_list([*SOME, listed(jt(31_337))], 4), delta, VERIFIER)
        assert refused.value.fault in (Fault.DIGEST, Fault.LENGTH)

    def test_a_delta_is_no_list_and_a_list_no_delta(self) -> None:
        base, target = a_list(SOME, 4), a_list(SOME[1:], 5)
        with pytest.raises(ListRefused, match="FORM"):
            CardList.open(encode_delta(base, target, SIGNER), VERIFIER)
        with pytest.raises(ListRefused, match="FORM"):
            apply_delta(base, bytes(target.data), VERIFIER)

    def test_a_change_of_one_card_in_thousands_is_a_small_delta(self) -> None:
        rows = [listed(jt(serial * 40)) for serial in range(5000)]
        delta = encode_delta(a_list(rows, 1), a_list([*rows, listed(jt(7))], 2), SIGNER)
        assert len(delta) < 600


class TestSize:
    def test_a_card_costs_about_a_byte(self) -> None:
        source = np.random.default_rng(20_250_901)
        serials = np.sort(source.choice(1_000_000, 20_000, replace=False))
        entries = np.zeros(len(serials), dtype=ENTRY)
        entries["card_number"] = [np.frombuffer(jt(int(serial)), np.uint8) for serial in serials]
        entries["generation"], entries["action"], entries["reason"] = 1, Action.LOCK, 1
        data = encode_list(entries, SIGNER, point(1), created_s=NOW_S, settled_until_s=NOW_S)
        assert len(data) < 1.1 * len(entries)


class TestSmallLists:
    def test_a_range_holds_its_ends_and_nothing_beside(self) -> None:
        ranges = [NumberRange(jt(100), jt(199), Action.LOCK, 8), NumberRange(cj(5), cj(5), Action.REFUSE, 4, NOW_S)]
        data = encode_ranges(ranges, SIGNER, point(1), created_s=NOW_S)
        held = RangeList(data, VERIFIER)
        assert [held.find(number) is not None for number in (jt(99), jt(100), jt(150), jt(199), jt(200))] == [
            False, True, True, True, False,
        ]  # fmt: skip
        assert held.find(cj(5)) == ranges[1]
        assert data == encode_ranges(ranges[::-1], SIGNER, point(1), created_s=NOW_S)

    def test_ranges_that_overlap_or_are_empty_are_refused(self) -> None:
        for ranges in (
            [NumberRange(jt(1), jt(9), Action.LOCK, 8), NumberRange(jt(9), jt(10), Action.LOCK, 8)],
            [NumberRange(jt(9), jt(1), Action.LOCK, 8)],
            [NumberRange(jt(1), jt(2), Action.ACCEPT, 8)],
        ):
            with pytest.raises(EntryInvalid):
                encode_ranges(ranges, SIGNER, point(1), created_s=NOW_S)

    def test_an_issuer_is_accepted_from_its_day_on(self) -> None:
        ours, new = institution_bytes("01015840"), institution_bytes("01011000")
        data = encode_issuers([Issuer(ours), Issuer(new, NOW_S)], SIGNER, point(1), created_s=NOW_S)
        held = IssuerList(data, VERIFIER)
        assert held.accepts(ours, 0)
        assert (held.accepts(new, NOW_S - 1), held.accepts(new, NOW_S)) == (False, True)
        assert not held.accepts(institution_bytes("01019999"), NOW_S)
        with pytest.raises(EntryInvalid):
            encode_issuers([Issuer(ours), Issuer(ours, 5)], SIGNER, point(1), created_s=NOW_S)

    @pytest.mark.parametrize("open_list", [RangeList, IssuerList])
    def test_damage_is_found(self, open_list: type[RangeList] | type[IssuerList]) -> None:
        if open_list is RangeList:
            good = encode_ranges([NumberRange(jt(1), jt(9), Action.LOCK, 8)], SIGNER, point(1), created_s=NOW_S)
        else:
            good = encode_issuers([Issuer(institution_bytes("01015840"))], SIGNER, point(1), created_s=NOW_S)
        open_list(good, VERIFIER)
        for place in range(len(good) * 8):
            damaged = bytearray(good)
            damaged[place // 8] ^= 1 << place % 8
            with pytest.raises(ListRefused):
                open_list(bytes(damaged), VERIFIER)
        for length in range(len(good)):
            with pytest.raises(ListRefused):
                open_list(good[:length], VERIFIER)


class TestInterchange:
    def rows(self) -> np.ndarray:  # type: ignore[type-arg]  # a structured array
        numbers = np.array([np.frombuffer(number, np.uint8) for number in (jt(5), cj(6), jt(7))])
        times = bcd.epoch_s_to_times(np.array([NOW_S - 5, NOW_S, NOW_S + 5]))
        return make_entries(numbers, [RowAction.ADD] * 3, [1, 2, 8], times, [1, 2, 1])

    def test_rows_come_back_as_they_were(self) -> None:
        added, deleted = from_rows(self.rows())
        assert len(deleted) == 0
        held = CardList.open(encode_list(added, SIGNER, point(1), created_s=NOW_S), VERIFIER)
        assert to_rows(held.entries(), held.settled_until_s).tobytes() == self.rows().tobytes()

    def test_settled_times_come_back_as_the_instant_of_the_list(self) -> None:
        added, _ = from_rows(self.rows())
        held = CardList.open(encode_list(added, SIGNER, point(1), created_s=NOW_S, settled_until_s=NOW_S), VERIFIER)
        back = to_rows(held.entries(), held.settled_until_s)
        assert sorted(bcd.times_to_epoch_s(back["effective"]).tolist()) == [NOW_S, NOW_S, NOW_S + 5]

    def test_of_several_generations_the_latest_is_told_and_an_added_card_is_not_deleted(self) -> None:
        held = a_list([listed(jt(1), 1), (jt(1), 2, Action.REFUSE, 2, 0)])
        rows = to_rows(held.entries(), NOW_S, columns([listed(jt(1), 1), listed(jt(9))]))
        assert rows["action"].tolist() == [RowAction.ADD, RowAction.DELETE]
        assert rows["mode"].tolist() == [Action.REFUSE, Action.LOCK]
        assert rows["card_number"][1].tobytes() == jt(9)

    def test_deletions_are_told_apart(self) -> None:
        rows = self.rows()
        rows["action"][1] = RowAction.DELETE
        added, deleted = from_rows(rows)
        assert (len(added), len(deleted)) == (2, 1)


@settings(deadline=None)
@given(st.integers(0, 10**18 - 1), st.integers(0, 9))
def test_the_column_of_check_digits_agrees_with_the_single_one(serial: int, last: int) -> None:
    body = f"31{serial % 10**16:016d}"
    number = np.frombuffer(bytes.fromhex(f"0{body}{last}"), np.uint8).reshape(1, 10)
    assert bool(luhn_is_right(number)[0]) == (luhn_digit(body) == str(last))
