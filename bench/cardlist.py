"""A compact card list of a million cards: its size, its memory, a look-up, a delta; beside rows and a dictionary."""

import mmap
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from bench.result import Context, Result
from city.keys import CITY_CODE
from libs.cardlist import (
    ENTRY,
    Action,
    CardList,
    Columns,
    EcdsaSigner,
    EcdsaVerifier,
    Entries,
    Point,
    apply_delta,
    encode_change,
    encode_delta,
    encode_list,
)
from libs.cardlist.entries import luhn_digits
from libs.cardlist.header import HEADER_LENGTH, Form, Purpose, read_header
from libs.records import bcd
from libs.records.blacklist_file import LIST_ENTRY

_CARDS: Final = 1_000_000
# Serials among which the listed ones lie at random: a fiftieth is listed, and, for the other figure, a five hundredth.
_ISSUED: Final = 50_000_000
_ISSUED_MANY: Final = 500_000_000
_MADE_S: Final = 1_756_699_200
_DAY_S: Final = 86_400
_LOOK_UPS: Final = 20_000
_GROUP: Final = 200
_SEED: Final = 20_250_901
_MADE: Final = "24-byte rows of the interchange file"
_DICTIONARY: Final = "a Python dictionary of the same cards and one tuple for each of its kinds"


def run(context: Context) -> list[Result]:
    """Size, memory, opening, look-up and delta of one list; the size of a sparser one."""
    key = ec.generate_private_key(ec.SECP256R1())
    signer, verifier = EcdsaSigner(key), EcdsaVerifier([key.public_key()])
    context.say(
        f"{_CARDS:,} cards listed of {_ISSUED:,}: 1 % of another kind, 0.2 % to come into force, the rest alike"
    )
    entries = _entries(_ISSUED)
    data = _file(entries, signer, 1)
    sparse = _file(_entries(_ISSUED_MANY), signer, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.ykcl"
        path.write_bytes(data)
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        began = time.perf_counter()
        held = CardList.open(mapped, verifier)
        opened_ms = (time.perf_counter() - began) * 1000
        return [
            Result("cardlist.size", len(data), "bytes", _CARDS * LIST_ENTRY.itemsize, _MADE, 1_100_000, True),
            Result("cardlist.size_sparse", len(sparse), "bytes", _CARDS * LIST_ENTRY.itemsize, _MADE),
            Result("cardlist.open", opened_ms, "ms", less_is_better=True),
            *_memory_and_look_ups(context, held, entries, len(data)),
            *_delta(context, entries, data, signer, verifier),
            _publish(context, entries, signer, verifier),
        ]


def _entries(issued: int) -> Entries:
    source = np.random.default_rng(_SEED)
    serials = np.sort(source.choice(issued, _CARDS, replace=False))
    entries = np.zeros(_CARDS, dtype=ENTRY)
    entries["card_number"] = _numbers(serials)
    entries["generation"], entries["action"], entries["reason"] = 1, Action.LOCK, 1
    other = source.random(_CARDS) < 0.01
    entries["action"][other], entries["reason"][other] = Action.REFUSE, 2
    to_come = source.random(_CARDS) < 0.002
    entries["effective_s"] = np.where(to_come, _MADE_S + source.integers(1, _DAY_S, _CARDS), _MADE_S - _DAY_S)
    return entries


def _numbers(serials: np.ndarray[tuple[int], np.dtype[np.int64]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    numbers = np.empty((len(serials), 10), dtype=np.uint8)
    numbers[:, :4] = np.frombuffer(bytes.fromhex(f"0310{CITY_CODE}"), dtype=np.uint8)
    numbers[:, 4:] = bcd.uint_to_bcd(serials * 10, 6)
    numbers[:, 9] |= luhn_digits(numbers)
    return numbers


def _file(entries: Entries, signer: EcdsaSigner, version: int) -> bytes:
    point = Point(version, bytes((version,)) * 32)
    return encode_list(entries, signer, point, created_s=_MADE_S, settled_until_s=_MADE_S)


def _memory_and_look_ups(context: Context, held: CardList, entries: Entries, size: int) -> list[Result]:
    context.say("the same cards in a dictionary, and look-ups of both")
    tracemalloc.start()
    kinds: dict[bytes, tuple[int, ...]] = {}
    # What a plain program would hold: the number, and one shared value where the values are equal.
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    columns = (entries[field].tolist() for field in ("generation", "action", "reason", "effective_s"))
    for number, *values in zip(entries["card_number"], *columns, strict=True):
        value = tuple(values)
        kinds[number.tobytes()] = shared.setdefault(value, value)
    dictionary_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    source = np.random.default_rng(_SEED + 1)
    listed = [number.tobytes() for number in entries["card_number"][source.integers(0, _CARDS, _LOOK_UPS)]]
    drawn = [number.tobytes() for number in _numbers(source.integers(0, _ISSUED, _LOOK_UPS * 2))]
    others = [number for number in drawn if number not in kinds][:_LOOK_UPS]
    # A fast wrong answer is worth nothing: none of the listed is missed, none of the others refused.
    for number in listed:
        found = held.find(number, 1)
        assert found is not None, "a listed card was missed"
        expected = kinds[number]
        effective_s = expected[3] if expected[3] > _MADE_S else 0
        assert (found.generation, found.action, found.reason, found.effective_s) == (*expected[:3], effective_s)
    assert all(held.find(number, 1) is None for number in others), "a card was refused that is not listed"
    bytes_a_card = (size + held.index_bytes) / _CARDS
    return [
        Result("cardlist.memory", bytes_a_card, "bytes/card", dictionary_bytes / _CARDS, _DICTIONARY),
        Result(
            "cardlist.look_up", _median_us(held.find, others), "µs", _median_us(kinds.get, others), _DICTIONARY, 2, True
        ),
        Result("cardlist.look_up_hit", _median_us(held.find, listed), "µs", _median_us(kinds.get, listed), _DICTIONARY),
    ]


def _median_us(find: Callable[[bytes], object], numbers: Sequence[bytes]) -> float:
    """A look-up: median over groups of 200, the loop included, in the quietest of five rounds.

    It is this thread's own time, yet a neighbour on the same core still doubles it; the quietest round is the program.
    """
    rounds = []
    for _ in range(5):
        taken = []
        for start in range(0, len(numbers) - _GROUP, _GROUP):
            group = numbers[start : start + _GROUP]
            began = time.thread_time_ns()
            for number in group:
                find(number)
            taken.append((time.thread_time_ns() - began) / _GROUP / 1000)
        rounds.append(statistics.median(taken))
    return min(rounds)


def _delta(
    context: Context, entries: Entries, data: bytes, signer: EcdsaSigner, verifier: EcdsaVerifier
) -> list[Result]:
    context.say("a day's change: 2,000 cards more, 1,000 fewer")
    later = entries[1_000:].copy()
    more = np.setdiff1d(np.random.default_rng(_SEED + 2).integers(_ISSUED, _ISSUED + 1_000_000, 3_000), [])[:2_000]
    added = np.zeros(len(more), dtype=ENTRY)
    added["card_number"] = _numbers(more)
    added["generation"], added["action"], added["reason"], added["effective_s"] = 1, Action.LOCK, 1, _MADE_S + _DAY_S
    base = CardList.open(data, verifier)
    target = CardList.open(_file(np.concatenate((later, added)), signer, 2), verifier)
    delta = encode_delta(base, target, signer)
    began = time.perf_counter()
    made = apply_delta(base, delta, verifier)
    applied_s = time.perf_counter() - began
    assert made.data == target.data, "a delta makes the very file of the target"
    return [
        Result("cardlist.delta_size", len(delta), "bytes", 3_000 * LIST_ENTRY.itemsize, "rows of a BI file"),
        Result("cardlist.delta_apply", applied_s, "s", less_is_better=True),
    ]


def _publish(context: Context, entries: Entries, signer: EcdsaSigner, verifier: EcdsaVerifier) -> Result:
    """One card more on a list that is held: the file of the whole list and the delta, against making the list anew."""
    context.say("one card more: what a publication costs")
    columns = Columns.of_entries(entries)
    columns.pack(_MADE_S)
    began = time.perf_counter()
    _file(entries, signer, 3)
    anew_s = time.perf_counter() - began
    taken, base = [], Point(1, bytes((1,)) * 32)
    for version in range(2, 9):
        put = entries[:1].copy()
        put["card_number"] = _numbers(np.array([_ISSUED + version]))
        began = time.perf_counter()
        changed = columns.change(put, entries[:0])
        assert changed is not None, "nothing is taken away"
        point = Point(version, bytes((version,)) * 32)
        whole = encode_list(changed, signer, point, created_s=_MADE_S, settled_until_s=_MADE_S)
        header = read_header(whole[:HEADER_LENGTH], verifier, Purpose.BLACKLIST, Form.WHOLE)
        encode_change(base, header, whole[:HEADER_LENGTH], put, entries[:0], signer, settled_until_s=_MADE_S)
        taken.append(time.perf_counter() - began)
        columns, base = changed, point
    return Result("cardlist.publish", statistics.median(taken), "s", anew_s, "the whole list made anew", 1, True)
