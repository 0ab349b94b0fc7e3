"""Cards of a city with test keys, as `citycard card personalise` and `virtual` make them."""

from dataclasses import dataclass, replace

from libs.keystore.port import KeyStore
from libs.purse.card import CJ, JT, CardKeys, Holder, VirtualCard, application, card_keys, other_keys, public_data
from libs.purse.card.profiles import SFI_HOLDER, SFI_PUBLIC
from libs.purse.personaliser import FileContent, personalise_over
from libs.purse.scheme import CardIdentity, Scheme
from libs.purse.transceiver import Transceiver
from libs.records.numbers import Role, card_bytes, institution_bytes, institution_id, make_cj_number, make_jt_number

_GENERAL_CARD = "0000"


@dataclass(frozen=True, slots=True)
class Issued:
    """A card that was made.

    Attributes:
        number: Canonical text.
        card: As a virtual card.
        keys: Of its application.
    """

    number: str
    card: VirtualCard
    keys: CardKeys


def new_card(
    store: KeyStore, scheme: str, city: str, serial: int, *, algorithm_id: int = 0, balance_fen: int = 0
) -> Issued:
    """A card with one application, all keys that the store holds for it, and some money from nowhere.

    Args:
        store: Holds the issuer's keys; the issuer is that of the city, region 00.
        scheme: `cj` or `jt`.
        city: City code, 4 digits.
        serial: Issue serial.
        algorithm_id: Algorithm byte.
        balance_fen: Of the EP.

    Raises:
        NumberInvalid: City or serial is out of range.
        KeyUnknown: The store has no keys of that issuer and algorithm.
    """
    text = make_jt_number(city, serial) if scheme == Scheme.JT else make_cj_number(city, _GENERAL_CARD, serial)
    issuer = institution_bytes(institution_id(Role.ISSUER, "00", city))
    identity = CardIdentity(Scheme(scheme), issuer, card_bytes(text)[1])
    keys = replace(
        card_keys(store, identity, algorithm_id=algorithm_id),
        others=other_keys(store, identity, algorithm_id=algorithm_id),
    )
    profile = JT if identity.scheme is Scheme.JT else CJ
    one = application(profile, public_data(identity.scheme, identity.number, issuer), keys, holder=Holder())
    one.commit(replace(one.purse, balance_fen=balance_fen))
    return Issued(text, VirtualCard([one]), keys)


def blank_to_own(card: Transceiver, issued: Issued, transport_maintenance: bytes) -> None:
    """Write number, holder and keys of a made card to a blank one; raises as `personalise_over`."""
    one = issued.card.applications[0]
    files = []
    for sfi in (SFI_PUBLIC, SFI_HOLDER):
        content = one.content(one.profile.files[sfi])
        assert isinstance(content, bytes), "both files are transparent"
        files.append(FileContent(sfi, content))
    personalise_over(card, one.profile.aid, transport_maintenance, issued.keys, files)
