"""Personalising a card over its commands: keys and files written through secure messaging (purse-crypto.md, section 5).

A blank card comes from the factory with its applications made and transport keys in them. It leaves with its own
keys, its number and its holder. The maintenance key is written last of the keys: until then the transport key signs,
and the files follow under the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.errors import Refusal
from libs.purse.algorithms import algorithm
from libs.purse.apdu import build
from libs.purse.card.profiles import SFI_PUBLIC
from libs.purse.card.state import CardKeys, KeyName, KeyUse
from libs.purse.secure_messaging import protected_command
from libs.purse.transceiver import Transceiver, demand

_GET_CHALLENGE = bytes.fromhex("0084000004")
# The chip keeps two counters with a key; this project's cards do not use them.
_COUNTERS = bytes(2)


class CardNotAsWritten(Refusal):
    """The card took a file and reads another content back. Fact: `sfi`."""

    reason = "CARD_NOT_AS_WRITTEN"


@dataclass(frozen=True, slots=True)
class FileContent:
    """A transparent file to write.

    Attributes:
        sfi: Short file identifier.
        content: From offset 0, at most 128 bytes.
    """

    sfi: int
    content: bytes


def personalise_over(
    card: Transceiver, aid: bytes, transport_maintenance: bytes, keys: CardKeys, files: Sequence[FileContent]
) -> None:
    """Write keys and files into an application and read the files back.

    Each write is atomic. A card that left before its maintenance key was written is begun anew with the same call;
    one that left later refuses the transport key by 6988, and its files are written with `keys.maintenance` as
    transport key.

    Args:
        card: The blank card.
        aid: Of the application.
        transport_maintenance: The maintenance key that the factory wrote, 16 bytes.
        keys: The card's own.
        files: Among them 0015, which carries the number.

    Raises:
        CardRefused: 6988: the transport key is another one. The facts name the command.
        CardNotAsWritten: A file reads back otherwise.
        CardGone: The card left; begin anew.
    """
    demand(card, build(b"\x00\xa4\x04\x00", aid, 0))
    cipher = algorithm(keys.algorithm_id)

    def protected(maintenance: bytes, header: bytes, data: bytes, *, encrypt: bool) -> None:
        challenge = demand(card, _GET_CHALLENGE, size=4)
        demand(card, protected_command(cipher, maintenance, challenge, header, data, encrypt=encrypt))

    for (use, index), key in _in_order(keys):
        header = bytes((0x84, 0xD4, use, index))
        block = bytes((keys.version, keys.algorithm_id)) + _COUNTERS + key
        protected(transport_maintenance, header, block, encrypt=True)
    # The public file last: a card without a number is plainly not finished.
    for file in sorted(files, key=lambda each: each.sfi == SFI_PUBLIC):
        protected(keys.maintenance, bytes((0x04, 0xD6, 0x80 | file.sfi, 0x00)), file.content, encrypt=False)
    for file in files:
        size = len(file.content)
        if demand(card, bytes((0x00, 0xB0, 0x80 | file.sfi, 0x00, size)), size=size) != file.content:
            raise CardNotAsWritten(sfi=f"{file.sfi:02X}")


def _in_order(keys: CardKeys) -> list[tuple[KeyName, bytes]]:
    """All keys to write, the maintenance key last."""
    listed: list[tuple[KeyName, bytes]] = [((use, index), other.key) for (use, index), other in keys.others.items()]
    index = keys.index
    listed += [((KeyUse.PURCHASE, index), keys.purchase), ((KeyUse.LOAD, index), keys.load)]
    return [*listed, ((KeyUse.TAC, index), keys.tac), ((KeyUse.MAINTENANCE, index), keys.maintenance)]
