"""The files of city-union (CJ) and T-Union (JT) cards as layouts (card-files.md, sections 2, 3 and 8).

The two forms of file 0015 are told apart by the AID, never by content.
"""

from collections.abc import Mapping

from libs.purse.layouts.fields import As, Field, Layout
from libs.purse.scheme import Scheme

Codes = Mapping[int, tuple[str, str]]

ENABLED: Codes = {0: ("未启用", "not enabled"), 1: ("启用", "enabled")}
YES_NO: Codes = {0: ("否", "no"), 1: ("是", "yes")}
APPLICATION_TYPE: Codes = {2: ("仅电子钱包", "purse only")}
INTERCONNECTION: Codes = {0: ("不互通", "not interconnected"), 1: ("互通", "interconnected")}
CERTIFICATE: Codes = {
    0: ("身份证", "ID card"),
    1: ("军官证", "officer's card"),
    2: ("护照", "passport"),
    3: ("入境证", "entry permit"),
    4: ("临时身份证", "temporary ID card"),
}
MAIN_TYPE: Codes = {
    0x01: ("普通卡", "ordinary"),
    0x02: ("学生卡", "student"),
    0x03: ("老人卡", "senior"),
    0x04: ("免费卡", "free"),
    0x05: ("优惠卡", "discount"),
    0x06: ("员工卡", "staff"),
    0x0A: ("月票卡", "pass"),
    0xFF: ("测试卡", "test"),
}
TTI: Codes = {
    0x01: ("存折圈存", "ED load"),
    0x02: ("钱包圈存", "EP load"),
    0x03: ("存折圈提", "ED unload"),
    0x04: ("存折取现", "ED cash withdrawal"),
    0x05: ("存折消费", "ED purchase"),
    0x06: ("钱包消费", "EP purchase"),
    0x07: ("修改透支限额", "overdraft change"),
    0x09: ("复合消费", "complex purchase"),
    0x91: ("灰锁", "grey lock"),
    0x92: ("灰锁", "grey lock"),
    0x93: ("解扣", "debit and unlock"),
    0x94: ("解扣", "debit and unlock"),
    0x95: ("联机解锁", "online unlock"),
    0x96: ("联机解锁", "online unlock"),
}
TRANSIT_TYPE: Codes = {
    0x03: ("进站/上车", "entry, boarding"),
    0x04: ("出站/下车", "exit, alighting"),
    0x06: ("单次消费", "single purchase"),
    0x08: ("补票", "correction"),
    0x0A: ("圈存", "load"),
    **dict.fromkeys((1, 2, 5, 7, 9), ("信用应用", "credit application")),
}
INDUSTRY: Codes = {
    0x01: ("地铁", "metro"),
    0x02: ("公交", "bus"),
    0x03: ("市内轮渡", "city ferry"),
    0x04: ("出租车", "taxi"),
    0x05: ("租赁车", "hire car"),
    0x06: ("公共自行车", "public bike"),
    0x07: ("停车", "parking"),
    0x08: ("长途客运", "coach"),
    0x09: ("轮渡", "ferry"),
    0x0A: ("城际铁路", "intercity rail"),
    0x0B: ("航空", "aviation"),
    0x0C: ("高速公路", "highway toll"),
    0x0E: ("市郊铁路", "suburban rail"),
}
TRIP_STATE: Codes = {0: ("初始", "initial"), 1: ("已上车", "boarded"), 2: ("已下车", "alighted")}
RECORD_LOCK: Codes = {0: ("未锁定", "not locked"), 1: ("锁定", "locked")}
COMPLEX_IDENTIFIER: Codes = {0x02: ("轨道", "rail"), 0x03: ("公交", "bus"), 0x11: ("控制", "control")}

PUBLIC_CJ = Layout(
    "0015",
    "公共应用基本信息",
    "public application data",
    30,
    (
        Field("issuer_code", "发卡方代码", "issuer code", 0, 2, As.DIGITS),
        Field("city", "城市代码", "city code", 2, 2, As.DIGITS),
        Field("industry", "行业代码", "industry code", 4, 2, As.DIGITS),
        Field("enabled", "启用标志", "enabled flag", 8, 1, As.CODE, ENABLED),
        Field("version", "应用版本", "application version", 9, 1, As.NUMBER),
        Field("interconnection", "互通标识", "interconnection flag", 10, 2, As.DIGITS),
        Field("serial", "应用序列号", "application serial number", 12, 8, As.DIGITS),
        Field("start", "启用日期", "start date", 20, 4, As.DATE),
        Field("expiry", "有效日期", "expiry date", 24, 4, As.DATE),
    ),
)
PUBLIC_JT = Layout(
    "0015",
    "公共应用基本信息",
    "public application data",
    30,
    (
        Field("issuer", "发卡机构标识", "issuer id", 0, 8, As.INSTITUTION),
        Field("application_type", "应用类型标识", "application type", 8, 1, As.CODE, APPLICATION_TYPE),
        Field("version", "应用版本", "application version", 9, 1, As.NUMBER),
        Field("serial", "应用序列号", "application serial number", 10, 10, As.DIGITS),
        Field("start", "启用日期", "start date", 20, 4, As.DATE),
        Field("expiry", "有效日期", "expiry date", 24, 4, As.DATE),
        Field("fci_data", "发卡方自定义 FCI 数据", "issuer FCI data", 28, 2),
    ),
)
ISSUING = Layout(
    "0005",
    "发行基本信息",
    "issuing data",
    40,
    (
        Field("issuer_code", "发卡方代码", "issuer code", 0, 2, As.DIGITS),
        Field("city", "城市代码", "city code", 2, 2, As.DIGITS),
        Field("industry", "行业代码", "industry code", 4, 2, As.DIGITS),
        Field("test", "测试标志", "test flag", 6, 1, As.CODE, YES_NO),
        Field("serial", "发行流水号", "serial", 8, 8, As.DIGITS),
        Field("card_type", "卡类型", "card type", 16, 2),
        Field("issued", "发行日期", "issue date", 18, 4, As.DATE),
        Field("device", "发行设备", "issuing device", 22, 6, As.DIGITS),
        Field("version", "卡版本", "card version", 28, 2),
        Field("start", "启用日期", "start date", 30, 4, As.DATE),
        Field("expiry", "有效日期", "expiry date", 34, 4, As.DATE),
    ),
)


def _holder(certificate_size: int) -> Layout:
    return Layout(
        "0016",
        "持卡人基本信息",
        "cardholder",
        23 + certificate_size,
        (
            Field("main_type", "卡类型", "card type", 0, 1, As.CODE, MAIN_TYPE),
            Field("staff", "职工标识", "staff flag", 1, 1, As.CODE, YES_NO),
            Field("holder", "持卡人姓名", "name", 2, 20, As.TEXT),
            Field("certificate", "证件号码", "certificate number", 22, certificate_size, As.ASCII),
            Field("certificate_type", "证件类型", "certificate type", 22 + certificate_size, 1, As.CODE, CERTIFICATE),
        ),
    )


HOLDER_CJ, HOLDER_JT = _holder(16), _holder(32)
MANAGEMENT_JT = Layout(
    "0017",
    "管理信息",
    "management data",
    60,
    (
        Field("country", "国家代码", "country code", 0, 4, As.DIGITS),
        Field("province", "省级代码", "province code", 4, 2, As.DIGITS),
        Field("city", "城市代码", "city code", 6, 2, As.DIGITS),
        Field("interconnection", "互通卡种", "interconnection kind", 8, 2, As.CODE, INTERCONNECTION),
        Field("card_kind", "卡种类型", "card kind", 10, 1, As.NUMBER),
    ),
)
COMPLEX_RECORD = Layout(
    "0017",
    "复合消费记录",
    "complex record",
    3,
    (
        Field("identifier", "记录标识", "identifier", 0, 1, As.CODE, COMPLEX_IDENTIFIER),
        Field("length", "长度", "length", 1, 1, As.NUMBER),
        Field("lock", "应用锁定标志", "lock flag", 2, 1, As.CODE, RECORD_LOCK),
    ),
)
LOG = Layout(
    "0018",
    "交易明细",
    "transaction log",
    23,
    (
        Field("counter", "交易序号", "counter, after the transaction", 0, 2, As.NUMBER),
        Field("overdraft_limit_fen", "透支限额", "overdraft limit", 2, 3, As.FEN),
        Field("amount_fen", "交易金额", "amount", 5, 4, As.FEN),
        Field("tti", "交易类型", "transaction type", 9, 1, As.CODE, TTI),
        Field("terminal", "终端机编号", "terminal number", 10, 6, As.DIGITS),
        Field("at", "交易时间", "date and time", 16, 7, As.STAMP),
    ),
)
TRANSIT_LOG = Layout(
    "001E",
    "公共交通过程信息",
    "transit log",
    48,
    (
        Field("type", "交易类型", "type", 0, 1, As.CODE, TRANSIT_TYPE),
        Field("terminal", "终端编号", "terminal", 1, 8, As.DIGITS),
        Field("industry", "行业代码", "industry", 9, 1, As.CODE, INDUSTRY),
        Field("line", "线路", "line", 10, 4, As.DIGITS),
        Field("station", "站点及预留", "station and reserve", 14, 3),
        Field("amount_fen", "交易金额", "amount", 17, 4, As.FEN),
        Field("balance_fen", "交易后余额", "balance after", 21, 4, As.FEN),
        Field("at", "交易时间", "date and time", 25, 7, As.STAMP),
        Field("city", "受理方城市代码", "accepting city", 32, 2, As.DIGITS),
        Field("institution", "受理方机构标识", "accepting institution", 34, 8, As.INSTITUTION),
        Field("fare_fen_max", "未完成行程最高票价", "highest fare of an incomplete trip", 42, 4, As.FEN),
        Field("duration_min_max", "最长时间（分钟）", "longest duration in minutes", 46, 2, As.NUMBER),
    ),
)


def _leg(prefix: str, zh: str, en: str, at: int) -> tuple[Field, ...]:
    """The part that boarding and alighting have in common."""
    return (
        Field(f"{prefix}_city", f"{zh}城市", f"{en} city", at, 2, As.DIGITS),
        Field(f"{prefix}_institution", f"{zh}机构", f"{en} institution", at + 2, 8, As.INSTITUTION),
        Field(f"{prefix}_operator", f"{zh}运营商", f"{en} operator", at + 10, 2, As.DIGITS),
        Field(f"{prefix}_line", f"{zh}线路", f"{en} line", at + 12, 2, As.DIGITS),
        Field(f"{prefix}_stop", f"{zh}站点", f"{en} stop", at + 14, 1, As.NUMBER),
        Field(f"{prefix}_vehicle", f"{zh}车辆", f"{en} vehicle", at + 15, 8, As.ASCII),
        Field(f"{prefix}_terminal", f"{zh}终端", f"{en} terminal", at + 23, 8, As.DIGITS),
        Field(f"{prefix}_at", f"{zh}时间", f"{en} time", at + 31, 7, As.STAMP),
    )


BUS_TRIP = Layout(
    "001A",
    "公交行程",
    "bus trip",
    128,
    (
        Field("identifier", "记录 ID", "record id", 0, 2),
        Field("length", "长度", "length", 2, 1, As.NUMBER),
        Field("valid", "有效标志", "valid flag", 3, 1, As.CODE, YES_NO),
        Field("kind", "交易类型", "kind; 1 staged fare", 4, 1, As.NUMBER),
        Field("lock", "锁定标志", "lock flag", 5, 1, As.CODE, RECORD_LOCK),
        Field("trip", "行程编号", "trip number", 6, 8, As.DIGITS),
        Field("state", "行程状态", "state", 14, 1, As.CODE, TRIP_STATE),
        *_leg("boarding", "上车", "boarding", 15),
        Field("boarding_fare_fen", "标注票价", "marked (maximum) fare", 53, 4, As.FEN),
        Field("direction", "方向", "direction", 57, 1, As.NUMBER),
        *_leg("alighting", "下车", "alighting", 58),
        Field("alighting_fare_fen", "实收票价", "fare", 96, 4, As.FEN),
        Field("distance", "里程", "distance", 100, 2, As.NUMBER),
    ),
)

# The discount state (card-lifecycle-and-fares.md, section 4) behind the head of a record of file 001A [convention].
DISCOUNT_STATE = Layout(
    "001A/20",
    "优惠状态",
    "discount state",
    128,
    (
        Field("identifier", "记录 ID", "record id", 0, 2),
        Field("length", "长度", "length", 2, 1, As.NUMBER),
        Field("month", "月份", "month", 5, 3, As.DIGITS),
        Field("metro_paid_fen", "地铁累计", "metro paid", 8, 4, As.FEN),
        Field("bus_paid_fen", "公交累计", "bus paid", 12, 4, As.FEN),
        Field("trips", "乘次", "trips", 16, 2, As.NUMBER),
        Field("last_mode", "上次方式", "last mode", 18, 1, As.NUMBER),
        Field("last_line", "上次线路", "last line", 19, 3, As.DIGITS),
        Field("last_paid_at", "上次付费时间", "last paid tap", 22, 7, As.STAMP),
        Field("last_amount_fen", "上次金额", "last amount", 29, 4, As.FEN),
        Field("transfer_used", "换乘优惠已用", "transfer used", 33, 1, As.CODE, YES_NO),
    ),
)
_DISCOUNT_RECORD = b"\x27\x20"

# (scheme, short file identifier) -> layout of the file, or of each of its records.
LAYOUTS: Mapping[tuple[Scheme, int], Layout] = {
    (Scheme.CJ, 0x15): PUBLIC_CJ,
    (Scheme.JT, 0x15): PUBLIC_JT,
    (Scheme.CJ, 0x16): HOLDER_CJ,
    (Scheme.JT, 0x16): HOLDER_JT,
    (Scheme.CJ, 0x17): COMPLEX_RECORD,
    (Scheme.JT, 0x17): MANAGEMENT_JT,
    (Scheme.CJ, 0x18): LOG,
    (Scheme.JT, 0x18): LOG,
    (Scheme.JT, 0x1A): BUS_TRIP,
    (Scheme.CJ, 0x1E): TRANSIT_LOG,
    (Scheme.JT, 0x1E): TRANSIT_LOG,
}


def layout_of(scheme: Scheme, sfi: int) -> Layout | None:
    """The layout of a file of a known application; None when nobody told us."""
    return LAYOUTS.get((scheme, sfi))


def record_layout(scheme: Scheme, sfi: int, record: bytes) -> Layout | None:
    """The layout of one record: file 001A of a JT card holds records of two kinds, told apart by their identifiers."""
    if (scheme, sfi) == (Scheme.JT, 0x1A) and record[:2] == _DISCOUNT_RECORD:
        return DISCOUNT_STATE
    return layout_of(scheme, sfi)
