"""A pool of security modules: exclusive leases with a deadline (module pools of a load centre, a validator's slots)."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from libs.errors import LimitReached, Refusal


class Module(Protocol):
    """What is pooled: a PSAM or ISAM, virtual or behind a reader."""

    def transmit(self, command: bytes) -> bytes:
        """One exchange."""
        ...

    def reset(self) -> object:
        """Forget everything volatile, so that the next holder cannot see what the last one began."""
        ...


class NoModuleFree(LimitReached):
    """Every module of the pool is leased, and none came back in time. Facts: `modules`, `waited_ms`."""

    reason = "NO_MODULE_FREE"


class LeaseExpired(Refusal):
    """The lease's deadline is over and the module may serve somebody else by now. Fact: `lease_ms_max`."""

    reason = "LEASE_EXPIRED"


class Lease:
    """One module, for one holder, until `release` or the deadline; a `Transceiver`, and a context manager."""

    __slots__ = ("_clock", "_deadline", "_lease_s_max", "_lock", "_module", "_pool")

    def __init__(self, pool: "SamPool", module: Module, lease_s_max: float, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._module: Module | None = module
        self._lease_s_max = lease_s_max
        self._clock = clock
        self._deadline = clock() + lease_s_max
        # Taking the module away waits for an exchange under way: two holders never speak to one module at once.
        self._lock = threading.Lock()

    @property
    def overdue(self) -> bool:
        """The deadline has passed."""
        return self._clock() >= self._deadline

    def transmit(self, command: bytes) -> bytes:
        """One exchange with the leased module.

        Raises:
            LeaseExpired: The deadline has passed, or the lease was released.
        """
        with self._lock:
            if self._module is None or self.overdue:
                raise LeaseExpired(lease_ms_max=round(self._lease_s_max * 1000))
            return self._module.transmit(command)

    __call__ = transmit

    def release(self) -> None:
        """Give the module back; twice is once."""
        self._pool.take_back(self)

    def give_up(self) -> Module | None:
        """Part with the module, for the pool; None when it has gone already."""
        with self._lock:
            module, self._module = self._module, None
            return module

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class SamPool:
    """Modules that serve one holder at a time. Safe to use from several threads.

    Args:
        modules: All modules; each is reset before it is leased again.
        lease_s_max: How long a holder may keep one. A holder that forgets it loses it to the next who asks.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, modules: Iterable[Module], *, lease_s_max: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free: deque[Module] = deque(modules)
        self._size = len(self._free)
        self._leases: list[Lease] = []
        self._lease_s_max = lease_s_max
        self._clock = clock
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._size

    @property
    def free_count(self) -> int:
        """Modules that a holder could have at once, overdue ones among them."""
        with self._changed:
            return len(self._free) + sum(lease.overdue for lease in self._leases)

    def lease(self, wait_s: float = 0.0) -> Lease:
        """Take a module.

        Args:
            wait_s: How long to wait for one; 0 never blocks, and so suits an event loop.

        Raises:
            NoModuleFree: None is free, and none became free in time.
        """
        until = self._clock() + wait_s
        with self._changed:
            while True:
                self._reclaim()
                if self._free:
                    module = self._free.popleft()
                    lease = Lease(self, module, self._lease_s_max, self._clock)
                    self._leases.append(lease)
                    break
                left_s = until - self._clock()
                if left_s <= 0:
                    raise NoModuleFree(modules=self._size, waited_ms=round(wait_s * 1000))
                # Leases end by their deadline too, which nobody announces: look again now and then.
                self._changed.wait(min(left_s, 0.05))
        module.reset()
        return lease

    def take_back(self, lease: Lease) -> None:
        """End a lease; what `Lease.release` calls."""
        with self._changed:
            self._end(lease)
            self._changed.notify()

    def _reclaim(self) -> None:
        for lease in [each for each in self._leases if each.overdue]:
            self._end(lease)

    def _end(self, lease: Lease) -> None:
        module = lease.give_up()
        if module is not None:
            self._leases.remove(lease)
            self._free.append(module)
