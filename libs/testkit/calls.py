"""Being somebody: run adapter or request-key code outside of a server, as a named caller."""

from collections.abc import Iterator
from contextlib import contextmanager

from libs.runtime.identity import CURRENT_CALL, Call, Identity


@contextmanager
def calling(
    as_: str = "citycard://administrator/test", method: str = "citycard.test.v1.TestService/Test"
) -> Iterator[Call]:
    """Within the block `caller(context)` and `request_key(...)` see this caller and method.

    Args:
        as_: Name as in a certificate, `citycard://outlet/12`.
        method: Full method name without the leading slash.
    """
    call = Call(method, Identity.parse(as_))
    token = CURRENT_CALL.set(call)
    try:
        yield call
    finally:
        CURRENT_CALL.reset(token)
