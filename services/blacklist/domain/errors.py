"""Why the blacklist says no; the reasons of `citycard.blacklist.v1.ErrorReason`."""

from libs.errors import NotFound


class EntryUnknown(NotFound):
    """The card is not on the list. Fact: `entry`."""

    reason = "ENTRY_UNKNOWN"


class VersionUnknown(NotFound):
    """The list never had this version. Fact: `version`."""

    reason = "VERSION_UNKNOWN"
