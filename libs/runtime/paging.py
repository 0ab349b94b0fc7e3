"""Keyset pages: a token says after which key the next page begins, and only to the list that gave it."""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import TypeAlias

from libs.errors import PageTokenInvalid

KeyPart: TypeAlias = str | int | None
_CHECK_BYTES = 6
_TOKEN_CHARS_MAX = 2048


def page_token(list_name: str, key: Sequence[KeyPart]) -> str:
    """A token for the page after a key.

    Args:
        list_name: Which list, with its filter when it has one (`ListCards?product=adult`): a token of one filter is
            refused by another.
        key: The key of the last row, in the order of the sorting; moments as ISO text.

    Returns:
        Opaque text, URL-safe.
    """
    body = json.dumps(list(key), separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(_check(list_name, body) + body).decode().rstrip("=")


def page_key(list_name: str, token: str, kinds: Sequence[type]) -> tuple[KeyPart, ...] | None:
    """Read a token.

    Args:
        list_name: As given to `page_token`.
        token: What the caller sent; empty for the first page.
        kinds: The type of each part of the key.

    Returns:
        The key to begin after, None for the first page.

    Raises:
        PageTokenInvalid: Not a token that this list gave. The check finds mistakes, it is no secret seal: a key may
            be forged, and must therefore never say what a caller may see.
    """
    if not token:
        return None
    if len(token) > _TOKEN_CHARS_MAX:
        raise PageTokenInvalid
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        key = json.loads(body) if check == _check(list_name, body) else None
    except ValueError:
        raise PageTokenInvalid from None
    if not isinstance(key, list) or len(key) != len(kinds):
        raise PageTokenInvalid
    # bool is an int to Python, and no part of a key to us.
    if any(isinstance(part, bool) or not isinstance(part, kind) for part, kind in zip(key, kinds, strict=True)):
        raise PageTokenInvalid
    return tuple(key)


def page_size(asked: int, *, default: int = 100, most: int = 1000) -> int:
    """How many rows a page has: what was asked within bounds, the default for 0 (AIP-158)."""
    return default if asked <= 0 else min(asked, most)


def _check(list_name: str, body: bytes) -> bytes:
    return hashlib.sha256(list_name.encode() + b"\0" + body).digest()[:_CHECK_BYTES]
