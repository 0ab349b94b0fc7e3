"""How much one caller may ask of one process: calls a second, and streams open at once."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from libs.errors import LimitReached
from libs.runtime.identity import Identity, Role

# Callers remembered at once; the one that called longest ago is forgotten, with a full bucket.
_CALLERS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What one caller may use.

    Attributes:
        calls_per_s: Sustained rate.
        burst: Calls at once after a pause.
        streams_max: Streams open at the same time.
    """

    calls_per_s: float
    burst: int
    streams_max: int


@dataclass(slots=True)
class _Use:
    tokens: float
    at: float
    streams: int = 0


class Quotas:
    """Counts what callers use; services of the platform itself are not limited.

    A participant's terminals and collectors each have a quota of their own: one noisy device does not silence its
    company, and no company another.

    Args:
        general: For every caller that has none of its own.
        own: By name of the caller (`participant/metro-1`) or by kind (`terminal`).
    """

    def __init__(self, general: Quota, own: dict[str, Quota] | None = None) -> None:
        self._general = general
        self._own = own or {}
        self._uses: OrderedDict[Identity, _Use] = OrderedDict()

    def take_call(self, caller: Identity) -> None:
        """Count one call.

        Raises:
            LimitReached: Too many for now; facts `limit`, `allowed`, `retry_after_ms`.
        """
        if caller.kind is Role.SERVICE:
            return
        quota, use = self._quota(caller), self._use(caller)
        now = time.monotonic()
        use.tokens = min(quota.burst, use.tokens + (now - use.at) * quota.calls_per_s)
        use.at = now
        if use.tokens < 1:
            wait_ms = int((1 - use.tokens) / quota.calls_per_s * 1000) + 1
            raise LimitReached(limit="calls_per_s", allowed=f"{quota.calls_per_s:g}", retry_after_ms=wait_ms)
        use.tokens -= 1

    @contextmanager
    def stream(self, caller: Identity) -> Iterator[None]:
        """Hold one stream for the length of the block.

        Raises:
            LimitReached: The caller has as many as it may; facts `limit`, `allowed`.
        """
        if caller.kind is Role.SERVICE:
            yield
            return
        quota, use = self._quota(caller), self._use(caller)
        if use.streams >= quota.streams_max:
            raise LimitReached(limit="streams", allowed=quota.streams_max)
        use.streams += 1
        try:
            yield
        finally:
            use.streams -= 1

    def _quota(self, caller: Identity) -> Quota:
        name = caller.uri.removeprefix("citycard://")
        return self._own.get(name) or self._own.get(caller.kind.value) or self._general

    def _use(self, caller: Identity) -> _Use:
        use = self._uses.get(caller)
        if use is None:
            use = self._uses[caller] = _Use(self._quota(caller).burst, time.monotonic())
            if len(self._uses) > _CALLERS_MAX:
                self._forget()
        self._uses.move_to_end(caller)
        return use

    def _forget(self) -> None:
        # Whoever holds a stream stays: its use is counted down later.
        idle = next((caller for caller, use in self._uses.items() if not use.streams), None)
        if idle is not None:
            del self._uses[idle]
