"""Making cards: keys from the key store, file 0015 from number and dates (card-files.md, section 2)."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from libs.keystore.errors import KeyUnknown
from libs.keystore.handles import KeyHandle, KeyKind
from libs.keystore.port import Bytes2D, KeyStore
from libs.purse.algorithms import ALGORITHM_3DES
from libs.purse.card.files import Content
from libs.purse.card.profiles import (
    MASTER,
    SFI_HOLDER,
    SFI_MESSAGE,
    SFI_PUBLIC,
    TRANSIT_PIN,
    Profile,
    directory_of,
)
from libs.purse.card.state import Application, CardKeys, KeyName, KeyUse, OtherKey, PurseState
from libs.purse.card.virtual import Random, VirtualCard
from libs.purse.fields import date_bytes
from libs.purse.message_code import MESSAGE_CODE_SIZE
from libs.purse.scheme import FACTOR_SIZE, CardIdentity, Scheme

_START = date(2018, 1, 1)
_EXPIRY = date(2035, 12, 31)
# Kind in the store, use and index on the card, security state after EXTERNAL AUTHENTICATE.
_OTHER_KEYS = (
    (KeyKind.UNLOAD, KeyUse.UNLOAD, 0x01, 0),
    (KeyKind.OVERDRAFT, KeyUse.OVERDRAFT, 0x01, 0),
    (KeyKind.PIN_RELOAD, KeyUse.PIN_RELOAD, 0x00, 0),
    (KeyKind.PIN_UNBLOCK, KeyUse.PIN_UNBLOCK, 0x00, 0),
    (KeyKind.EXTERNAL, KeyUse.EXTERNAL, 0x00, 0xA),
    (KeyKind.INTERNAL, KeyUse.INTERNAL, 0x00, 0),
)
_NEEDED_KINDS = (KeyKind.PURCHASE, KeyKind.LOAD, KeyKind.TAC, KeyKind.MAINTENANCE)


@dataclass(frozen=True, slots=True)
class Holder:
    """File 0016: what the card says about its holder; only the type bytes matter to terminals.

    Attributes:
        main_type: Card main type (卡类型), card-files.md section 8.
        staff: Staff flag.
    """

    main_type: int = 1
    staff: bool = False


def personalise(
    profile: Profile,
    number: bytes,
    keys: CardKeys,
    *,
    issuer: bytes,
    start: date = _START,
    expiry: date = _EXPIRY,
    enabled: bool = True,
    version: int = 1,
    holder: Holder | None = None,
    pin: bytes = TRANSIT_PIN,
    overdraft_limit_fen: int = 0,
    random: Random = os.urandom,
) -> VirtualCard:
    """A fresh card with one application; `application` and `VirtualCard` make one with several.

    Args:
        profile: `CJ` or `JT`.
        number: 10 bytes BCD, canonical.
        keys: Of this card, from `card_keys`.
        issuer: Institution id, 8 bytes; a CJ card carries the issuer code 0001 and its city instead [convention].
        start: First day.
        expiry: Last day.
        enabled: Enabled flag (启用标志) of a CJ card.
        version: Application version.
        holder: Content of file 0016; None leaves it blank.
        pin: 2 to 6 bytes BCD.
        overdraft_limit_fen: The chip's balance starts at the limit, as T-Union cards do (purse-protocol.md, 3.6).
        random: Source of challenges and transaction randoms, `(size) -> bytes`.
    """
    public = public_data(profile.scheme, number, issuer, start=start, expiry=expiry, enabled=enabled, version=version)
    return issue_card(
        profile, public, keys, holder=holder, pin=pin, overdraft_limit_fen=overdraft_limit_fen, random=random
    )


def issue_card(
    profile: Profile,
    public: bytes,
    keys: CardKeys,
    *,
    holder: Holder | None = None,
    pin: bytes = TRANSIT_PIN,
    overdraft_limit_fen: int = 0,
    random: Random = os.urandom,
) -> VirtualCard:
    """As `personalise`, with the 30 bytes of file 0015 given."""
    one = application(profile, public, keys, holder=holder, pin=pin, overdraft_limit_fen=overdraft_limit_fen)
    return VirtualCard([one], random)


def application(
    profile: Profile,
    public: bytes,
    keys: CardKeys,
    *,
    holder: Holder | None = None,
    pin: bytes = TRANSIT_PIN,
    overdraft_limit_fen: int = 0,
    message_code: bytes = b"",
    contents: Mapping[int, Content] | None = None,
) -> Application:
    """One application, fresh.

    Args:
        profile: What kind.
        public: File 0015, 30 bytes; empty for an application that has none.
        keys: Its own keys.
        holder: Content of file 0016; None leaves it blank.
        pin: 2 to 6 bytes BCD.
        overdraft_limit_fen: Of the EP; the chip's balance starts at it (purse-protocol.md, 3.6).
        message_code: What it answers to GET MESSAGE, 9 bytes (`libs.purse.message_code`); empty for none.
        contents: Files that start with another content than the profile's, by short file identifier.
    """
    files: dict[int, Content] = dict(contents) if contents else {}
    if public:
        files[SFI_PUBLIC] = public
    if holder is not None:
        blank = profile.files[SFI_HOLDER].initial
        assert isinstance(blank, bytes), "file 0016 is transparent"
        files[SFI_HOLDER] = bytes((holder.main_type, holder.staff)) + blank[2:]
    if message_code:
        assert len(message_code) == MESSAGE_CODE_SIZE, "GET MESSAGE answers 9 bytes"
        files[SFI_MESSAGE] = message_code
    purse = PurseState(balance_fen=overdraft_limit_fen, overdraft_limit_fen=overdraft_limit_fen)
    return Application(profile, keys, purse, pin, files)


def master(keys: CardKeys, issuing: bytes = bytes(40)) -> Application:
    """A master file with keys and issuing data (file 0005, 40 bytes) of its own."""
    return Application(MASTER, keys, PurseState(), TRANSIT_PIN, {0x05: issuing})


def ddf(name: bytes, fid: int, label: bytes = b"") -> Application:
    """A directory of applications on one card; its keys are never used."""
    nothing = CardKeys(bytes(16), bytes(16), bytes(16), bytes(16))
    return Application(directory_of(name, fid, label), nothing, PurseState(), TRANSIT_PIN, {})


def public_data(
    scheme: Scheme,
    number: bytes,
    issuer: bytes,
    *,
    start: date = _START,
    expiry: date = _EXPIRY,
    enabled: bool = True,
    version: int = 1,
) -> bytes:
    """File 0015, 30 bytes (card-files.md, section 2)."""
    card = CardIdentity(scheme, issuer, number)
    dates = date_bytes(start) + date_bytes(expiry) + bytes(2)
    if scheme is Scheme.CJ:
        city = card.serial[:2]
        flags = bytes((enabled, version))
        return b"\x00\x01" + city + bytes(4) + flags + city + card.serial + dates
    return issuer + bytes((2, version)) + number + dates


def other_keys(
    store: KeyStore, card: CardIdentity, *, version: int = 1, algorithm_id: int = ALGORITHM_3DES
) -> dict[KeyName, OtherKey]:
    """The keys beyond the five that the store holds for a card: for unload, overdraft, PINs and authentication.

    Unload and overdraft keys get index 01, as the purse keys have, all others 00 [convention].
    """
    held = {handle.kind: handle for handle in store.handles() if _is_of(handle, card, version, algorithm_id)}
    return {
        (use, index): OtherKey(store.derive(held[kind], card), follow_state)
        for kind, use, index, follow_state in _OTHER_KEYS
        if kind in held
    }


def _is_of(handle: KeyHandle, card: CardIdentity, version: int, algorithm_id: int) -> bool:
    named = (handle.scheme, handle.issuer, handle.version, handle.algorithm_id)
    return named == (card.scheme, card.issuer, version, algorithm_id)


def card_keys(store: KeyStore, card: CardIdentity, *, version: int = 1, algorithm_id: int = ALGORITHM_3DES) -> CardKeys:
    """The keys of one card, derived in the store; for personalisation only.

    Raises:
        KeyUnknown: The issuer has no keys of that version and algorithm.
    """

    def derived(kind: KeyKind) -> bytes:
        return store.derive(store.find(card.scheme, card.issuer, kind, version, algorithm_id), card)

    purchase, load, tac, maintenance = map(derived, _NEEDED_KINDS)
    lock = _lock_key(store, card.scheme, card.issuer, version, algorithm_id)
    own_lock = store.derive(lock, card) if lock else None
    return CardKeys(purchase, load, tac, maintenance, own_lock, version, algorithm_id)


def bulk_card_keys(
    store: KeyStore,
    scheme: Scheme,
    issuer: bytes,
    numbers: Bytes2D,
    *,
    version: int = 1,
    algorithm_id: int = ALGORITHM_3DES,
) -> Sequence[CardKeys]:
    """As `card_keys` for many cards of one issuer, with one call of the store per kind of key.

    Args:
        store: Holds the issuer's keys.
        scheme: Of all cards.
        issuer: Of all cards, 8 bytes.
        numbers: (n, 10) uint8, canonical.
        version: Key version.
        algorithm_id: Algorithm byte.
    """
    factors = np.ascontiguousarray(numbers[:, -FACTOR_SIZE:])
    handles = [store.find(scheme, issuer, kind, version, algorithm_id) for kind in _NEEDED_KINDS]
    lock = _lock_key(store, scheme, issuer, version, algorithm_id)
    purchase, load, tac, maintenance = (store.bulk_diversify(handle, factors).tobytes() for handle in handles)
    locks = store.bulk_diversify(lock, factors).tobytes() if lock else b""
    return [
        CardKeys(
            purchase[at : at + 16],
            load[at : at + 16],
            tac[at : at + 16],
            maintenance[at : at + 16],
            locks[at : at + 16] or None,
            version,
            algorithm_id,
        )
        for at in range(0, 16 * len(factors), 16)
    ]


def _lock_key(store: KeyStore, scheme: Scheme, issuer: bytes, version: int, algorithm_id: int) -> KeyHandle | None:
    """The issuer's own lock key; some cities block with the maintenance key instead (purse-crypto.md, section 5)."""
    try:
        return store.find(scheme, issuer, KeyKind.LOCK, version, algorithm_id)
    except KeyUnknown:
        return None
