"""Taking a JSON-able document apart strictly: what is missing, misspelt or of a wrong type is named."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeVar

from libs.fares.errors import RulePackInvalid

_E = TypeVar("_E", bound=Enum)


class Reader:
    """Takes fields out of one mapping of a document, and knows where it stands for the error."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, Mapping):
            raise RulePackInvalid(where=where, fault="NOT_A_MAPPING", found=type(document).__name__)
        self._left = dict(document)
        self.where = where

    def wrong(self, field: str, fault: str, found: object) -> RulePackInvalid:
        """An error that names the field and what was found in it."""
        return RulePackInvalid(where=f"{self.where}.{field}", fault=fault, found=found)

    def has(self, field: str) -> bool:
        """Tell whether a field is there and was not taken."""
        return field in self._left

    def take(self, field: str) -> object:
        """Take any field out."""
        if field not in self._left:
            raise self.wrong(field, "MISSING", None)
        return self._left.pop(field)

    def text(self, field: str) -> str:
        """Take a text that is not empty."""
        value = self.take(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, "NOT_A_TEXT", value)
        return value

    def flag(self, field: str) -> bool:
        """Take true or false."""
        value = self.take(field)
        if not isinstance(value, bool):
            raise self.wrong(field, "NOT_A_FLAG", value)
        return value

    def integer(self, field: str, low: int, high: int) -> int:
        """Take an integer from low to high, both included."""
        value = self.take(field)
        # In Python True is an integer and in JSON 0.5 is a number; neither is an amount.
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(field, "NOT_AN_INTEGER", value)
        if not low <= value <= high:
            raise self.wrong(field, "OUT_OF_RANGE", value)
        return value

    def readers(self, field: str) -> list["Reader"]:
        """Take a list of mappings."""
        value = self.take(field)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self.wrong(field, "NOT_A_LIST", value)
        return [Reader(each, f"{self.where}.{field}[{index}]") for index, each in enumerate(value)]

    def codes(self, field: str) -> frozenset[int] | None:
        """One-byte codes; a missing field means any."""
        if field not in self._left:
            return None
        value = self.take(field)
        if isinstance(value, str) or not isinstance(value, Sequence) or not value:
            raise self.wrong(field, "NOT_A_LIST", value)
        for code in value:
            if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 255:
                raise self.wrong(field, "NOT_A_CODE", code)
        return frozenset(value)

    def choice(self, field: str, options: type[_E]) -> _E:
        """Take the value of one member of an enum."""
        value = self.take(field)
        found = next((option for option in options if option.value == value), None)
        if found is None:
            raise self.wrong(field, "NOT_A_CHOICE", value)
        return found

    def finish(self) -> None:
        """Refuse what nobody took: a misspelt field would otherwise be a rule that silently does less."""
        if self._left:
            raise self.wrong(sorted(self._left, key=str)[0], "UNKNOWN_FIELD", sorted(self._left, key=str))
