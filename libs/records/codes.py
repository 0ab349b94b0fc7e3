"""Result codes, file codes and record kinds, as data (record-formats.md, sections 1 and 3)."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.records.errors import FileCode


class Kind(IntEnum):
    """Kind of a record (业务类型)."""

    PURCHASE = 0x01
    ENTRY = 0x02
    EXIT = 0x03
    CORRECTION = 0x04
    LOAD_JOURNAL = 0x05
    REFUND_DEBIT = 0x06
    CARD_LOCKED = 0x07
    GREY = 0x08
    PASS_USED = 0x09
    METER_READ = 0x0A


class CardLedgerEffect(Enum):
    """What a result does to the card's ledger."""

    NONE = "none"
    DEBIT = "debit"


class AcquirerEffect(Enum):
    """What a result does for the acquirer."""

    NONE = "none"
    PAID = "paid"
    SUSPENSE = "suspense"
    PAID_AS_COVERED = "paid_as_covered"


@dataclass(frozen=True, slots=True)
class KindFacts:
    """One row of the table of kinds.

    Attributes:
        tti: Transaction type identifiers that the kind may carry.
        has_tac: True, False, or None where it depends: a pass use has one if its TTI is 09.
        moves_money: Whether accepting such a record posts anything.
    """

    kind: Kind
    zh: str
    en: str
    tti: tuple[int, ...]
    has_tac: bool | None
    moves_money: bool


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """One row of the table of result codes.

    Attributes:
        code: The integer whose decimal digits are the code.
        final: False for codes that are decided again later; RS headers count those as pending.
    """

    code: int
    zh: str
    en: str
    card_ledger: CardLedgerEffect
    acquirer: AcquirerEffect
    final: bool

    @property
    def text(self) -> str:
        """The two digits people see."""
        return f"{self.code:02d}"


class ResultCode(IntEnum):
    """Verdict on one record."""

    ACCEPTED = 0
    DUPLICATE = 1
    CONFLICT = 2
    FORMAT = 10
    CARD_UNKNOWN = 11
    TAC_WRONG = 12
    KEY_UNKNOWN = 13
    BLACKLISTED = 20
    CARD_EXPIRED = 21
    CARD_NOT_ENABLED = 22
    OVER_LIMIT = 23
    ACCEPTED_BALANCE_JUMP = 24
    ACCEPTED_COUNTER_GAP = 25
    ACCEPTED_LATE = 26
    TOO_LATE = 27
    IN_FUTURE = 28
    ACQUIRER_UNKNOWN = 30
    TERMINAL_UNKNOWN = 31
    PSAM_REVOKED = 32
    TEST_RECORD = 33
    PENDING = 50
    SYSTEM_ERROR = 90

    @property
    def facts(self) -> ResultFacts:
        """Meaning and effects of the code."""
        return RESULT_CODES[self]


_NONE, _DEBIT = CardLedgerEffect.NONE, CardLedgerEffect.DEBIT
_UNPAID, _PAID, _SUSPENSE, _COVERED = (
    AcquirerEffect.NONE,
    AcquirerEffect.PAID,
    AcquirerEffect.SUSPENSE,
    AcquirerEffect.PAID_AS_COVERED,
)

RESULT_CODES: Final = MappingProxyType(
    {
        ResultCode(row.code): row
        for row in (
            ResultFacts(0, "接受", "accepted", _DEBIT, _PAID, True),
            ResultFacts(1, "重复记录（内容完全相同）", "byte-identical duplicate", _NONE, _UNPAID, True),
            ResultFacts(2, "冲突：相同关键字而内容不同", "other content under the same key", _NONE, _SUSPENSE, False),
            ResultFacts(10, "格式、校验码、BCD 或保留字节错误", "format, CRC, BCD or reserved byte wrong",
                        _NONE, _UNPAID, True),
            ResultFacts(11, "本地发卡方无此卡", "unknown card of an own issuer", _NONE, _SUSPENSE, False),
            ResultFacts(12, "TAC 错误", "TAC wrong", _NONE, _UNPAID, True),
            ResultFacts(13, "密钥版本或算法未知", "key version or algorithm unknown", _NONE, _SUSPENSE, False),
            ResultFacts(20, "交易时卡已列入黑名单", "card blacklisted at that time", _DEBIT, _SUSPENSE, False),
            ResultFacts(21, "交易时卡已过期", "card expired at that time", _DEBIT, _SUSPENSE, False),
            ResultFacts(22, "卡未启用", "card not enabled", _DEBIT, _SUSPENSE, False),
            ResultFacts(23, "超过行业限额", "over the amount limit of the industry", _DEBIT, _SUSPENSE, False),
            ResultFacts(24, "接受；余额不连续", "accepted; balance does not continue", _DEBIT, _PAID, True),
            ResultFacts(25, "接受；此前卡计数有缺口", "accepted; counter gap before it", _DEBIT, _PAID, True),
            ResultFacts(26, "接受；迟到，风险由收单方承担", "accepted late, at the acquirer's risk",
                        _DEBIT, _COVERED, True),
            ResultFacts(27, "迟到过久", "too late", _DEBIT, _SUSPENSE, False),
            ResultFacts(28, "时间超前 24 小时以上", "time more than 24 h in the future", _DEBIT, _SUSPENSE, False),
            ResultFacts(30, "收单方未知或与发送方不符", "acquirer unknown or not the sender", _NONE, _UNPAID, True),
            ResultFacts(31, "终端或 PSAM 未登记", "terminal or PSAM not registered", _NONE, _SUSPENSE, False),
            ResultFacts(32, "PSAM 在此之前已注销", "PSAM revoked before that time", _DEBIT, _SUSPENSE, False),
            ResultFacts(33, "生产环境中的测试记录或测试卡", "test record or test card in production",
                        _NONE, _UNPAID, True),
            ResultFacts(50, "待定：灰记录或等待异地发卡方答复", "pending: grey, or foreign issuer's answer awaited",
                        _NONE, _SUSPENSE, False),
            ResultFacts(90, "系统错误，请重发", "system error: send again", _NONE, _UNPAID, False),
        )
    }
)  # fmt: skip
"""Every result code; the order of the rows is that of the standard."""

FILE_CODES: Final = MappingProxyType(
    {
        FileCode.PROCESSED: ("已处理", "processed"),
        FileCode.MALFORMED: ("文件头或文件尾格式错误", "header or trailer malformed"),
        FileCode.SENDER_UNKNOWN: ("发送方未知", "sender unknown"),
        FileCode.COUNT_MISMATCH: ("记录数不符", "record count mismatch"),
        FileCode.SUM_MISMATCH: ("金额合计不符", "sum mismatch"),
        FileCode.DIGEST_MISMATCH: ("摘要不符", "digest mismatch"),
        FileCode.BATCH_NUMBER_REUSED: ("批次号已用于其他内容", "batch number already used with other content"),
        FileCode.SYSTEM_ERROR: ("系统错误，请重发", "system error: send again"),
    }
)
"""Meaning of every file code, Chinese and English."""

KINDS: Final = MappingProxyType(
    {
        row.kind: row
        for row in (
            KindFacts(Kind.PURCHASE, "消费", "purchase", (6, 9), True, True),
            KindFacts(Kind.ENTRY, "进站/上车", "complex purchase, entry", (9,), True, True),
            KindFacts(Kind.EXIT, "出站/下车", "complex purchase, exit", (9,), True, True),
            KindFacts(Kind.CORRECTION, "补票/补登", "correction at a service gate", (9, 6), True, True),
            KindFacts(Kind.LOAD_JOURNAL, "充值流水", "load journal", (2,), True, False),
            KindFacts(Kind.REFUND_DEBIT, "退资扣款", "refund debit", (6,), True, True),
            KindFacts(Kind.CARD_LOCKED, "锁卡记录", "card locked by terminal", (0,), False, False),
            KindFacts(Kind.GREY, "灰记录", "grey record", (6, 9), False, False),
            KindFacts(Kind.PASS_USED, "年票/月票使用", "pass used", (0, 9), None, False),
            KindFacts(Kind.METER_READ, "抄表", "meter read", (0,), False, False),
        )
    }
)
"""Every kind of record."""

ACCEPTED_CODES: Final = frozenset(code for code, row in RESULT_CODES.items() if row.acquirer in (_PAID, _COVERED))
"""Codes that an RS header counts as accepted: 00 24 25 26."""
PENDING_CODES: Final = frozenset(code for code, row in RESULT_CODES.items() if not row.final)
"""Codes that an RS header counts as pending: every one that is not final."""


def _table(members: frozenset[ResultCode]) -> npt.NDArray[np.bool_]:
    table = np.zeros(100, dtype=np.bool_)
    table[[int(code) for code in members]] = True
    table.setflags(write=False)
    return table


IS_RESULT_CODE: Final = _table(frozenset(ResultCode))
"""(100,) booleans: look-up columns for arrays of codes 0-99, as are the next three."""
IS_ACCEPTED: Final = _table(ACCEPTED_CODES)
IS_PENDING: Final = _table(PENDING_CODES)
DEBITS_CARD: Final = _table(frozenset(code for code, row in RESULT_CODES.items() if row.card_ledger is _DEBIT))
