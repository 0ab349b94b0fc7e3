"""Why the blacklist says no; the reasons of `citycard.blacklist.v1.ErrorReason`."""

from libs.errors import InvalidInput, NotFound, Refusal


class EntryUnknown(NotFound):
    """The card is not on the list. Fact: `entry`."""

    reason = "ENTRY_UNKNOWN"


class VersionUnknown(NotFound):
    """The list never had this version. Fact: `version`."""

    reason = "VERSION_UNKNOWN"


class PeriodEmpty(InvalidInput):
    """An entry would end before it begins. Fact: `until_time`."""

    reason = "PERIOD_EMPTY"


class RowUnknown(NotFound):
    """The list has no such row. Facts: `list`, `row`."""

    reason = "ROW_UNKNOWN"


class RangeOverlaps(Refusal):
    """A number range overlaps one that is listed, or another of the same request. Facts: `first`, `last`, `other`."""

    reason = "RANGE_OVERLAPS"


class RowInvalid(InvalidInput):
    """A row cannot stand in its list. Facts: `index` (from 0), `field`, `list`."""

    reason = "ROW_INVALID"


class ArtefactUnknown(NotFound):
    """No such file was published, or it is no longer kept. Facts: `list`, `version`, `base_version`."""

    reason = "ARTEFACT_UNKNOWN"


class ListUnsigned(Refusal):
    """No key to sign compact lists was given to this service."""

    reason = "LIST_UNSIGNED"


class ReportMalformed(InvalidInput):
    """Columns of a report do not fit together. Facts: `field`, `expected`."""

    reason = "REPORT_MALFORMED"
