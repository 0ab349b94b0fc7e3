import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from city.keys import ISSUER_ID, city_keys
from city.simulation.operators import CENTRE_ID, OPERATORS, SIGHTSEEING
from city.simulation.plan import DayPlan
from city.simulation.play import PlayedDay, play
from city.simulation.recorded import DataUnusableError, card_number, read_day
from city.simulation.synthetic import make_day
from libs.fares.rules import load_pack
from libs.purse.bulk import verify_tacs
from libs.purse.scheme import Scheme
from libs.records.codes import Kind
from libs.records.numbers import check_own_jt_number, institution_bytes
from libs.records.otr import OTR, Flag, card_keys, card_texts, check_format, tac_data, terminal_keys, times_epoch_s


@pytest.fixture(scope="module")
def plan() -> DayPlan:
    return make_day(seed=11, record_count=1500)


@pytest.fixture(scope="module")
def day(plan: DayPlan) -> PlayedDay:
    return play(plan, seed=11)


class TestOperators:
    def test_no_two_share_a_number_a_name_or_an_institution(self) -> None:
        everybody = (*OPERATORS, SIGHTSEEING)
        for facts in (
            [one.number for one in everybody],
            [one.slug for one in everybody],
            [one.zh for one in everybody],
            [CENTRE_ID, *(one.institution_id for one in everybody)],
        ):
            assert len(set(facts)) == len(facts)

    def test_eight_metro_lines_and_five_bus_companies(self) -> None:
        assert [one.is_metro for one in OPERATORS] == [True] * 8 + [False] * 5
        assert OPERATORS[7].zh == "地铁十一号线"
        assert OPERATORS[7].institution_id == "11085840"


class TestSyntheticDay:
    def test_the_same_seed_is_the_same_city(self, plan: DayPlan) -> None:
        again = make_day(seed=11, record_count=1500)
        assert again.taps.tobytes() == plan.taps.tobytes()
        assert again.cards.numbers.tobytes() == plan.cards.numbers.tobytes()
        assert make_day(seed=12, record_count=1500).taps.tobytes() != plan.taps.tobytes()

    @pytest.mark.parametrize("count", [100, 999, 1500])
    def test_it_has_as_many_records_as_asked_for_and_every_operator(self, count: int) -> None:
        plan = make_day(seed=3, record_count=count)
        assert len(plan.taps) == count
        assert len(plan.operators) == len(OPERATORS)

    def test_everything_happens_on_the_day_before_the_collectors_come(self, plan: DayPlan) -> None:
        assert plan.taps["time_s"].max() < plan.collected_at.timestamp()
        assert plan.collected_at.date() == plan.settlement_date == plan.valid_from
        assert (np.diff(plan.taps["time_s"]) >= 0).all()

    def test_entries_cost_nothing_and_are_on_the_metro(self, plan: DayPlan) -> None:
        entries = plan.taps["kind"] == Kind.ENTRY
        metro = np.array([operator.is_metro for operator in OPERATORS])[plan.operators_of_taps]
        assert entries.any()
        assert not plan.taps["amount_fen"][entries].any()
        assert (metro == (plan.taps["kind"] != Kind.PURCHASE)).all()

    def test_all_classes_ride_and_pay_what_the_rules_say(self, plan: DayPlan) -> None:
        pack = load_pack("shenzhen")
        taps = plan.taps[(plan.taps["kind"] != Kind.ENTRY) & ~plan.taps["transfer"]]
        main_types = plan.cards.main_types[taps["card"]]
        assert set(main_types.tolist()) == {1, 2, 3, 4, 5, 6}
        for tap, main_type in zip(taps, main_types.tolist(), strict=True):
            rule = pack.rule(int(tap["discount_rule"]))
            assert rule is not None
            mode = 1 if tap["kind"] == Kind.EXIT else 2
            assert rule.fits(mode, main_type)
            assert tap["amount_fen"] == rule.pricing.price(int(tap["list_price_fen"]))  # type: ignore[union-attr,call-arg]  # card type rules have no counter

    def test_a_change_within_the_window_takes_forty_fen_off(self, plan: DayPlan) -> None:
        pack = load_pack("shenzhen")
        transfers = plan.taps[plan.taps["transfer"]]
        assert len(transfers) > 20
        for tap in transfers:
            rule = pack.rule(int(tap["discount_rule"]))
            assert rule is not None
            full = rule.pricing.price(int(tap["list_price_fen"]))  # type: ignore[union-attr,call-arg]  # as above
            assert tap["amount_fen"] == max(0, full - 40)
            earlier = plan.taps[(plan.taps["card"] == tap["card"]) & (plan.taps["time_s"] < tap["time_s"])]
            assert len(earlier)

    def test_no_card_is_ever_short_of_money(self, day: PlayedDay) -> None:
        assert day.balances_fen.min() >= 0


class TestPlayedDay:
    def test_every_record_is_one_that_the_centre_accepts(self, day: PlayedDay) -> None:
        records = day.records
        assert not check_format(records).any()
        assert verify_tacs(
            city_keys(),
            Scheme.JT,
            institution_bytes(ISSUER_ID),
            records["card_number"],
            records["key_version"],
            records["algorithm"],
            tac_data(records),
            records["tac"],
        ).all()

    def test_no_key_is_used_twice(self, day: PlayedDay) -> None:
        records = day.records
        assert len(np.unique(terminal_keys(records))) == len(records)
        pairs = {*zip(card_keys(records).tolist(), records["card_counter"].tolist(), strict=True)}
        assert len(pairs) == len(records)

    def test_counters_and_balances_of_a_card_go_on_in_time(self, day: PlayedDay) -> None:
        records = day.records
        texts = card_texts(records)
        busiest = max(set(texts.tolist()), key=texts.tolist().count)
        rows = records[texts == busiest]
        assert rows["card_counter"].tolist() == list(range(len(rows)))
        assert (np.diff(times_epoch_s(rows)) > 0).all()
        before, amount = rows["balance_before_fen"].astype(int), rows["amount_fen"].astype(int)
        assert (before[1:] == before[:-1] - amount[:-1]).all()

    def test_records_say_what_was_planned(self, plan: DayPlan, day: PlayedDay) -> None:
        for field in ("kind", "amount_fen", "list_price_fen", "discount_rule"):
            assert day.records[field].tolist() == plan.taps[field].tolist()
        marked = (day.records["flags"] & Flag.TRANSFER_DISCOUNT) != 0
        assert marked.tolist() == plan.taps["transfer"].tolist()
        assert times_epoch_s(day.records).tolist() == plan.taps["time_s"].tolist()

    def test_the_chips_hold_what_the_records_left_them(self, plan: DayPlan, day: PlayedDay) -> None:
        spent = np.bincount(plan.taps["card"], weights=plan.taps["amount_fen"], minlength=len(plan.cards))
        assert (plan.cards.opening_fen - day.balances_fen == spent).all()

    def test_an_operator_s_collector_finds_its_records_and_the_repeated_ones(
        self, plan: DayPlan, day: PlayedDay
    ) -> None:
        found = [day.records_of(operator) for operator in plan.operators]
        assert sum(map(len, found)) == len(plan.taps) + len(plan.sent_again)
        everything = np.concatenate(found)
        assert len(np.unique(everything.view("V128"))) == len(plan.taps)
        for operator, records in zip(plan.operators, found, strict=True):
            assert records.dtype == OTR
            assert set(records["operator"].tolist()) == {OPERATORS[operator].number}

    def test_it_is_the_same_day_whoever_plays_it(self, plan: DayPlan, day: PlayedDay) -> None:
        assert play(plan, seed=11).records.tobytes() == day.records.tobytes()


COLUMNS = (
    "batch,seq,deal_date,close_date,card_no,deal_value,deal_type,"
    "company_name,car_no,station,conn_mark,deal_money,equ_no"
)
ROWS = (
    "P1,1,2018-08-31 23:50:00,2018-09-01 00:00:00,DADBDCDDE,0,地铁入站,地铁五号线,IGT-1,中心站,0,0,990012345",
    "P1,2,2018-09-01 00:20:00,2018-09-01 00:00:00,DADBDCDDE,700,地铁出站,地铁一号线,OGT-1,-,0,665,990054321",
    "P1,3,2018-09-01 08:00:00,2018-09-01 00:00:00,ADBDCDDE,200,巴士,巴士集团,B1,M1,1,120,101",
    "P9,7,2018-09-01 08:00:00,2018-09-01 00:00:00,ADBDCDDE,200,巴士,巴士集团,B1,M1,1,120,101",
)


class TestRecordedDay:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return self.written(tmp_path, ROWS)

    def written(self, folder: Path, rows: tuple[str, ...], name: str = "day.csv.gz") -> Path:
        path = folder / name
        text = "\n".join((COLUMNS, *rows, ""))
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return path

    def test_amounts_operators_terminals_and_times_stay_real(self, file: Path) -> None:
        plan = read_day(file)
        assert plan.taps["amount_fen"].tolist() == [0, 665, 120]
        assert plan.taps["list_price_fen"].tolist() == [0, 700, 200]
        assert plan.taps["kind"].tolist() == [Kind.ENTRY, Kind.EXIT, Kind.PURCHASE]
        assert plan.taps["transfer"].tolist() == [False, False, True]
        assert [OPERATORS[one].zh for one in plan.operators_of_taps] == ["地铁五号线", "地铁一号线", "巴士集团"]
        assert [plan.terminals.numbers[one] for one in plan.taps["terminal"]] == [
            "000990012345",
            "000990054321",
            "000000000101",
        ]
        assert f"{plan.settlement_date} {plan.valid_from}" == "2018-09-01 2018-08-31"
        assert plan.collected_at.isoformat() == "2018-09-01T12:00:00+08:00"

    def test_a_row_that_stands_twice_is_one_tap_sent_twice(self, file: Path) -> None:
        day = play(read_day(file), seed=1)
        assert day.plan.sent_again.tolist() == [2]
        bus = day.records_of(8)
        assert len(bus) == 2
        assert bus[0].tobytes() == bus[1].tobytes()

    def test_a_row_that_differs_in_one_column_is_another_tap(self, tmp_path: Path) -> None:
        other = ROWS[3].replace("B1", "B2")
        plan = read_day(self.written(tmp_path, (*ROWS[:3], other)))
        assert len(plan.taps) == 4
        assert not len(plan.sent_again)

    def test_masked_numbers_of_different_length_are_different_cards(self) -> None:
        assert card_number("ADBDCDDE") != card_number("AADBDCDDE")
        assert card_number("ADBDCDDE") == card_number("ADBDCDDE")
        check_own_jt_number(f"jt-{card_number('DADBDCDDE').hex()}")

    def test_a_plain_file_is_read_like_a_packed_one(self, file: Path, tmp_path: Path) -> None:
        plain = read_day(self.written(tmp_path, ROWS, "day.csv"))
        assert plain.taps.tobytes() == read_day(file).taps.tobytes()

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("巴士集团", "没有这家公司"),
            ("地铁入站", "飞行"),
            ("2018-08-31 23:50:00", "yesterday"),
            ("DADBDCDDE,0", "DADBDCDDK,0"),
            (",0,990012345", ",nothing,990012345"),
            ("990012345", "99001-2345"),
        ],
    )
    def test_a_file_that_is_no_such_day_is_refused(self, tmp_path: Path, before: str, after: str) -> None:
        rows = tuple(row.replace(before, after) for row in ROWS)
        with pytest.raises(DataUnusableError):
            read_day(self.written(tmp_path, rows))

    def test_two_settlement_days_are_not_one_day(self, tmp_path: Path) -> None:
        rows = (*ROWS[:3], ROWS[3].replace("2018-09-01 00:00:00", "2018-09-02 00:00:00"))
        with pytest.raises(DataUnusableError, match="settlement days"):
            read_day(self.written(tmp_path, rows))

    def test_a_missing_column_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "day.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([["batch", "seq"], ["P1", "1"]])
        with pytest.raises(DataUnusableError, match="deal_date"):
            read_day(path)
