"""Arithmetic of money: integer fen, never a float, nothing lost in a division."""

from collections.abc import Sequence
from operator import index


def half_up(numerator: int, denominator: int) -> int:
    """Divide and round half up: (2 x numerator + denominator) div (2 x denominator) (docs/domain/README.md, notation).

    Args:
        numerator: Zero or more.
        denominator: One or more.

    Raises:
        TypeError: An argument is no integer; floats are refused.
        ValueError: An argument is out of its range: the rule is defined for non-negative integers only.
    """
    top, bottom = index(numerator), index(denominator)
    if top < 0 or bottom <= 0:
        raise ValueError("half up is defined for a numerator >= 0 and a denominator > 0")
    return (2 * top + bottom) // (2 * bottom)


def largest_remainder(total_fen: int, weights: Sequence[int]) -> list[int]:
    """Split a total by weights so that the shares sum to it exactly.

    Every share is its exact part rounded down; the fen left over go one each to the largest remainders, the earlier
    weight first when remainders are equal, so that the result depends on nothing but the arguments. A negative total
    (a reversal) is the mirror of its positive one: reversing a split gives back every share.

    Args:
        total_fen: The amount to split, in fen.
        weights: Zero or more each, at least one of them positive.

    Returns:
        One share per weight, in fen, in the order of the weights.

    Raises:
        TypeError: An argument is no integer; floats are refused.
        ValueError: No weight is positive, or one is negative.
    """
    total = index(total_fen)
    parts = [index(weight) for weight in weights]
    whole = sum(parts)
    if any(part < 0 for part in parts) or whole <= 0:
        raise ValueError("weights must not be negative, and one must be positive")
    amount = abs(total)
    shares = [amount * part // whole for part in parts]
    left = amount - sum(shares)
    by_remainder = sorted(range(len(parts)), key=lambda i: (-(amount * parts[i] % whole), i))
    for i in by_remainder[:left]:
        shares[i] += 1
    return shares if total >= 0 else [-share for share in shares]


def yuan(fen: int) -> str:
    """Fen as people read them, in yuan with two digits and thousands parted: `51,209.95`, `-0.05`.

    Raises:
        TypeError: The amount is no integer; floats are refused.
    """
    amount = index(fen)
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 100)
    return f"{sign}{whole:,}.{part:02d}"
