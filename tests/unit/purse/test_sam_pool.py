"""Pools of modules: one holder at a time, a deadline, and a typed word when none is free."""

import threading
from typing import Any

import pytest

from libs.purse.sam_pool import LeaseExpired, NoModuleFree, SamPool

INIT = "8070000024112233440000000000C806202501020809100100" + "99010000000123459901FF0000000000" + "08"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Module:
    """Notes what it was asked, and by how many at once."""

    def __init__(self) -> None:
        self.resets = self.inside = self.most_inside = 0

    def transmit(self, command: bytes) -> bytes:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.inside -= 1
        return b"\x90\x00"

    def reset(self) -> None:
        self.resets += 1


def a_pool(size: int = 1, **options: Any) -> tuple[SamPool, list[Module], Clock]:
    modules, clock = [Module() for _ in range(size)], Clock()
    return SamPool(modules, clock=clock, **options), modules, clock


def test_a_leased_module_is_nobody_elses() -> None:
    pool, _, _ = a_pool(2)
    with pool.lease() as one, pool.lease() as two:
        assert one is not two
        with pytest.raises(NoModuleFree) as refused:
            pool.lease()
        assert refused.value.facts == {"modules": "2", "waited_ms": "0"}
    assert pool.free_count == 2


def test_a_module_comes_back_reset() -> None:
    pool, modules, _ = a_pool()
    with pool.lease() as lease:
        lease.transmit(b"")
    pool.lease()
    assert modules[0].resets == 2


def test_a_module_is_given_back_when_its_holder_fails() -> None:
    pool, _, _ = a_pool()
    with pytest.raises(ZeroDivisionError), pool.lease():
        raise ZeroDivisionError
    assert pool.free_count == 1


def test_after_the_deadline_the_lease_is_void_and_the_module_serves_the_next() -> None:
    pool, _, clock = a_pool(lease_s_max=5)
    late = pool.lease()
    clock.now += 5
    with pytest.raises(LeaseExpired) as expired:
        late.transmit(b"")
    assert expired.value.facts == {"lease_ms_max": "5000"}
    following = pool.lease()
    assert following.transmit(b"") == b"\x90\x00"
    with pytest.raises(LeaseExpired):
        late.transmit(b"")
    late.release()
    assert following.transmit(b"") == b"\x90\x00", "a late release takes nothing from the next holder"
    with pytest.raises(NoModuleFree):
        pool.lease()


def test_releasing_twice_is_releasing_once() -> None:
    pool, _, _ = a_pool(2)
    lease = pool.lease()
    lease.release()
    lease.release()
    assert pool.free_count == len(pool) == 2
    with pytest.raises(LeaseExpired):
        lease.transmit(b"")


def test_who_waits_gets_the_module_that_comes_back() -> None:
    pool = SamPool([Module()])
    lease = pool.lease()
    timer = threading.Timer(0.05, lease.release)
    timer.start()
    with pool.lease(wait_s=5) as second:
        assert second.transmit(b"") == b"\x90\x00"
    timer.join()


def test_who_waits_too_long_is_told_so() -> None:
    pool = SamPool([Module()])
    pool.lease()
    with pytest.raises(NoModuleFree) as refused:
        pool.lease(wait_s=0.02)
    assert refused.value.facts["waited_ms"] == "20"


def test_many_threads_never_share_a_module(city: Any) -> None:
    sams = [city.sam(first=index * 1000 + 1) for index in range(3)]
    pool = SamPool(sams)
    taken: list[bytes] = []

    def work() -> None:
        for _ in range(20):
            with pool.lease(wait_s=10) as sam:
                taken.append(sam.transmit(bytes.fromhex(INIT))[:4])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 160, "no terminal seq came twice"


def test_an_empty_pool_never_has_one() -> None:
    pool, _, _ = a_pool(0)
    with pytest.raises(NoModuleFree):
        pool.lease()
