"""What must agree between the services, with answers of paper."""

from collections.abc import Callable

import pytest
from citycard.account.v1 import account_service_pb2 as account_pb
from citycard.blacklist.v1 import blacklist_service_pb2 as blacklist_pb
from citycard.card.v1 import card_service_pb2 as card_pb
from citycard.clearing.v1 import clearing_pb2
from citycard.clearing.v1 import clearing_service_pb2 as clearing_pb
from citycard.terminal_gw.v1 import terminal_gw_service_pb2 as gateway_pb

from city.prove import Answers, Line, Proof, compare


def a_city() -> Answers:
    """Everything agrees: 2 cards, a load of 500, one open load of 100, rides for 250, a fee of 2."""
    return Answers(
        card=card_pb.ProveResponse(
            issued_count=2,
            opening_balance_total_fen=2000,
            confirmed_load_total_fen=500,
            open_load_total_fen=100,
            deposit_total_fen=30,
            lost_count=1,
        ),
        account=account_pb.ProveResponse(
            totals=[
                account_pb.AccountTotal(account="accounts/2201", debits_fen=250, credits_fen=2500),
                account_pb.AccountTotal(account="accounts/2202", credits_fen=30),
                account_pb.AccountTotal(account="accounts/2203.metro-1", debits_fen=2, credits_fen=200),
                account_pb.AccountTotal(account="accounts/2205.metro-1", credits_fen=50),
                account_pb.AccountTotal(account="accounts/6002", credits_fen=2),
            ],
            purse_total_fen=2250,
            purse_count=2,
            pending_total_fen=200,
            movement_count=3,
            movement_total_fen=250,
            batch_count=1,
        ),
        blacklist=blacklist_pb.ProveResponse(lost_count=1),
        terminal_gw=gateway_pb.ProveResponse(stored_count=2, record_count=10),
        clearing=clearing_pb.ProveResponse(
            file_count=2,
            record_count=4,
            movement_count=3,
            movement_total_fen=250,
            batch_count=1,
            ledger_totals=[
                clearing_pb.LedgerTotal(account="accounts/2201", debits_fen=250),
                clearing_pb.LedgerTotal(account="accounts/2203.metro-1", debits_fen=2, credits_fen=200),
                clearing_pb.LedgerTotal(account="accounts/2205.metro-1", credits_fen=50),
                clearing_pb.LedgerTotal(account="accounts/6002", credits_fen=2),
            ],
        ),
        refused_files=(clearing_pb2.File(record_count=6),),
    )


def broken(lines: list[Line]) -> list[str]:
    return [line.first_broken for line in lines if line.broken]


def test_a_city_in_which_everything_agrees_is_proven() -> None:
    lines = compare(a_city())
    assert broken(lines) == []
    assert all(line.checked for line in lines)
    assert Proof(tuple(lines)).holds


def lose_an_upload(city: Answers) -> None:
    city.clearing.file_count -= 1


def lose_a_record(city: Answers) -> None:
    city.terminal_gw.record_count += 1


def fold_a_batch_twice(city: Answers) -> None:
    city.account.batch_count += 1


def fold_too_much(city: Answers) -> None:
    city.account.movement_total_fen += 1


def pay_an_operator_too_much(city: Answers) -> None:
    city.account.totals[2].credits_fen += 1


def pay_somebody_whom_clearing_never_named(city: Answers) -> None:
    city.account.totals.add(account="accounts/2203.stranger", credits_fen=1)


def forget_a_fee(city: Answers) -> None:
    city.account.totals[4].credits_fen = 0


def forget_an_account(city: Answers) -> None:
    del city.account.totals[3]


def make_a_purse_from_nothing(city: Answers) -> None:
    city.account.purse_count += 1


def load_without_money(city: Answers) -> None:
    city.card.confirmed_load_total_fen += 100


def lose_a_deposit(city: Answers) -> None:
    city.account.totals[1].debits_fen = 30


def lose_float(city: Answers) -> None:
    city.account.purse_total_fen -= 1


def forget_a_reservation(city: Answers) -> None:
    city.account.pending_total_fen = 0


def forget_a_lost_card(city: Answers) -> None:
    city.blacklist.lost_count = 0


@pytest.mark.parametrize(
    "harm",
    [
        lose_an_upload,
        lose_a_record,
        fold_a_batch_twice,
        fold_too_much,
        pay_an_operator_too_much,
        pay_somebody_whom_clearing_never_named,
        forget_a_fee,
        forget_an_account,
        make_a_purse_from_nothing,
        load_without_money,
        lose_a_deposit,
        lose_float,
        forget_a_reservation,
        forget_a_lost_card,
    ],
)
def test_whatever_is_wrong_between_two_services_is_found(harm: Callable[[Answers], None]) -> None:
    city = a_city()
    harm(city)
    assert broken(compare(city))


def test_the_first_broken_thing_names_both_figures() -> None:
    city = a_city()
    pay_an_operator_too_much(city)
    assert broken(compare(city)) == ["accounts/2203.metro-1 credits: 200 and 201"]
