"""Which operation a kind of key is for: the same for every custody."""

from libs.keystore.errors import KeyUseForbidden
from libs.keystore.handles import KeyHandle, KeyKind

SESSION_KINDS = frozenset({KeyKind.PURCHASE, KeyKind.LOAD, KeyKind.UNLOAD, KeyKind.OVERDRAFT})
TAC_KINDS = frozenset({KeyKind.TAC})
COMMAND_KINDS = frozenset({KeyKind.MAINTENANCE, KeyKind.LOCK, KeyKind.PIN_UNBLOCK})
MAC_KINDS = COMMAND_KINDS | {KeyKind.MESSAGE}
AUTHENTICATION_KINDS = frozenset({KeyKind.EXTERNAL, KeyKind.INTERNAL})
RELOAD_KINDS = frozenset({KeyKind.PIN_RELOAD})
# A message key has no diversification: what would leave is the master key itself.
CARD_KEY_KINDS = frozenset(KeyKind) - {KeyKind.MESSAGE}


def demand_kind(handle: KeyHandle, kinds: frozenset[KeyKind]) -> None:
    """Raise `KeyUseForbidden` unless the key is of one of those kinds."""
    if handle.kind not in kinds:
        raise KeyUseForbidden(key=handle.label)
