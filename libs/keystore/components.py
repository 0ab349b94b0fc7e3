"""Loading a key under dual control: two people bring one component each, and neither knows the key.

The key is the exclusive or of the components. Each component and the key have a check value (KCV): the first 3 bytes
of an enciphered zero block, which both people and the protocol of the ceremony may see.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from libs.keystore.errors import CheckValueWrong, ComponentMalformed
from libs.purse.algorithms import algorithm

KEY_SIZE = 16
CHECK_VALUE_SIZE = 3
COMPONENTS_MIN = 2


@dataclass(frozen=True, slots=True)
class Component:
    """What one person brings: 16 bytes, typed in or drawn from an envelope.

    Raises:
        ComponentMalformed: Another number of bytes.
    """

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) != KEY_SIZE:
            raise ComponentMalformed(why=f"{len(self.value)} bytes, not {KEY_SIZE}")

    @classmethod
    def from_text(cls, text: str) -> "Component":
        """From 32 hexadecimal digits, blanks allowed. The error never repeats what was typed.

        Raises:
            ComponentMalformed: Something else.
        """
        try:
            return cls(bytes.fromhex(text))
        except ValueError:
            raise ComponentMalformed(why="not hexadecimal digits") from None

    def check_value(self, algorithm_id: int) -> bytes:
        """Of the component as if it were a key of that algorithm; 3 bytes."""
        return key_check_value(self.value, algorithm_id)


def key_check_value(key: bytes, algorithm_id: int) -> bytes:
    """The first 3 bytes of an enciphered zero block."""
    cipher = algorithm(algorithm_id)
    return cipher.encrypt(key, bytes(cipher.block_size))[:CHECK_VALUE_SIZE]


def combine(components: Sequence[Component], algorithm_id: int, check_value: bytes) -> bytes:
    """The key that two or more components make.

    Args:
        components: At least two, all different.
        algorithm_id: Of the key.
        check_value: What the key was announced to have, 3 bytes.

    Raises:
        ComponentMalformed: Fewer than two, or two alike, which cancel each other out.
        CheckValueWrong: A component was mistyped, or is of another key.
    """
    if len(components) < COMPONENTS_MIN:
        raise ComponentMalformed(why="dual control needs two components")
    if len({component.value for component in components}) != len(components):
        raise ComponentMalformed(why="two components are alike")
    whole = 0
    for component in components:
        whole ^= int.from_bytes(component.value, "big")
    key = whole.to_bytes(KEY_SIZE, "big")
    found = key_check_value(key, algorithm_id)
    if not hmac.compare_digest(found, check_value):
        raise CheckValueWrong(expected=check_value.hex().upper(), found=found.hex().upper())
    return key
