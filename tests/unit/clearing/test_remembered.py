"""The memory of cards: what it finds, what it forgets, and when it lets go."""

from typing import Any

import numpy as np

from services.clearing.adapters.remembered import LIFE, CardMemory


def lives(*numbers: int, counter: int = 5) -> Any:
    rows = np.zeros(len(numbers), LIFE)
    rows["number"] = np.array([number.to_bytes(10, "big") for number in numbers], "V10")
    rows["id"] = [number % 1000 for number in numbers]
    rows["last_counter"] = counter
    return rows


def schemes(count: int, *, jt: bool = False) -> Any:
    return np.full(count, jt)


def test_what_was_kept_is_found_and_nothing_else() -> None:
    memory = CardMemory(bits=12)
    memory.keep(lives(3, 4, 2**70))
    asked = lives(3, 5, 2**70)["number"]
    found, rows = memory.find(asked, schemes(3))
    assert found.tolist() == [True, False, True]
    assert rows["id"][found].tolist() == [3, 2**70 % 1000]
    assert rows["last_counter"][found].tolist() == [5, 5]
    assert not memory.find(asked, schemes(3, jt=True))[0].any(), "the same number of the other scheme is another card"


def test_of_two_cards_that_want_one_place_the_newcomer_stays_and_the_other_is_simply_not_known() -> None:
    memory = CardMemory(bits=1)
    everybody = lives(*range(1, 50))
    for row in range(len(everybody)):
        memory.keep(everybody[row : row + 1])
    found, rows = memory.find(everybody["number"], schemes(49))
    assert 1 <= found.sum() <= 2
    assert (rows["number"] == everybody["number"])[found].all()


def test_a_number_that_was_registered_anew_is_forgotten_in_both_schemes() -> None:
    memory = CardMemory(bits=12)
    kept = lives(7, 8)
    memory.keep(kept)
    memory.forget(kept["number"][:1])
    assert memory.find(kept["number"], schemes(2))[0].tolist() == [False, True]


def test_somebody_elses_set_begins_a_new_epoch_and_ones_own_does_not() -> None:
    memory = CardMemory(bits=4)
    assert memory.look_round(1, others=0) is None
    epoch = memory.epoch
    memory.look_round(1, others=0)
    assert memory.epoch == epoch
    memory.look_round(1, others=77)
    assert memory.epoch == epoch + 1


def test_registrations_since_the_last_look_are_told_and_after_clearing_there_is_nothing_to_look_for() -> None:
    memory = CardMemory(bits=4)
    assert memory.look_round(10, others=0) is None, "nothing is remembered that could be out of date"
    assert memory.look_round(12, others=0) == 10
    assert memory.look_round(12, others=0) is None
    memory.clear()
    memory.keep(lives(3))
    assert memory.look_round(20, others=0) is None
    assert not memory.find(lives(3)["number"], schemes(1))[0].any(), "kept before anybody had looked"
