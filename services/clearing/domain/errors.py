"""Why clearing says no; the reasons are those of `citycard.clearing.v1.ErrorReason`."""

from libs.errors import AlreadyExists, InvalidInput, NotFound, Refusal


class ParticipantUnknown(NotFound):
    """No such participant; fact `participant`."""

    reason = "PARTICIPANT_UNKNOWN"


class ParticipantExists(AlreadyExists):
    """The name is taken by a participant with other facts; fact `participant`."""

    reason = "PARTICIPANT_EXISTS"


class InstitutionInUse(AlreadyExists):
    """Institution id and operator number belong to another; facts `institution_id`, `participant`."""

    reason = "INSTITUTION_IN_USE"


class FileUnknown(NotFound):
    """No such file; fact `file`."""

    reason = "FILE_UNKNOWN"


class FileNotJudged(Refusal):
    """Its records are still being judged; fact `file`."""

    reason = "FILE_NOT_JUDGED"


class RecordUnknown(NotFound):
    """No such record; fact `record`."""

    reason = "RECORD_UNKNOWN"


class WindowUnknown(NotFound):
    """No such window; fact `window`."""

    reason = "WINDOW_UNKNOWN"


class WindowOrder(Refusal):
    """An earlier window of the participant is open; fact `window` names it."""

    reason = "WINDOW_ORDER"


class WindowBusy(Refusal):
    """Files accepted for the window are not judged yet; facts `window`, `file_count`."""

    reason = "WINDOW_BUSY"


class StatementUnknown(NotFound):
    """No such statement; fact `statement`."""

    reason = "STATEMENT_UNKNOWN"


class FarePackInvalid(InvalidInput):
    """The fare pack cannot be used; facts `fault`, `where`."""

    reason = "FARE_PACK_INVALID"


class FarePackExists(AlreadyExists):
    """Another pack begins at the same instant; fact `effective_time`."""

    reason = "FARE_PACK_EXISTS"


class FarePackUnknown(NotFound):
    """No fare pack was in force at the record's instant; fact `record`."""

    reason = "FARE_PACK_UNKNOWN"


class TimeZoneUnknown(InvalidInput):
    """The time zone is not in the database of time zones; fact `time_zone`."""

    reason = "TIME_ZONE_UNKNOWN"
