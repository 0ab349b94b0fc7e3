"""Why a list is not taken; the list in force stays."""

from enum import StrEnum

from libs.errors import Conflict, InvalidInput


class Fault(StrEnum):
    """What is wrong with the bytes of a list; public for ever."""

    LENGTH = "LENGTH"
    MAGIC = "MAGIC"
    FORMAT = "FORMAT"
    PURPOSE = "PURPOSE"
    FORM = "FORM"
    RESERVED = "RESERVED"
    VERSION = "VERSION"
    SIGNER = "SIGNER"
    SIGNATURE = "SIGNATURE"
    DIGEST = "DIGEST"
    COUNT = "COUNT"
    SECTION = "SECTION"
    KIND = "KIND"
    VARINT = "VARINT"
    ORDER = "ORDER"
    NUMBER = "NUMBER"
    TIME = "TIME"


class ListRefused(InvalidInput):
    """The bytes are no list that may be used. Facts: `fault`, and what was expected and found where that helps."""

    reason = "LIST_REFUSED"

    def __init__(self, fault: Fault | str, **facts: object) -> None:
        super().__init__(fault=fault, **facts)

    @property
    def fault(self) -> Fault:
        """What was wrong."""
        return Fault(self.facts["fault"])

    def __reduce__(self) -> tuple[object, ...]:
        # The base class rebuilds from keyword facts, and the fault is one of them.
        return (_refused_again, (self.facts,))


def _refused_again(facts: dict[str, str]) -> ListRefused:
    return ListRefused(**facts)


class DeltaMisfit(Conflict):
    """A delta does not start at the list that is held: fetch the whole list.

    Facts: `version`, `base_version`; the versions may be equal while the histories differ.
    """

    reason = "DELTA_MISFIT"


class EntryInvalid(InvalidInput):
    """An entry cannot stand in a list; facts: `index`, `field`."""

    reason = "LIST_ENTRY_INVALID"
