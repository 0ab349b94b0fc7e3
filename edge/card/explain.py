"""Every byte of an exchange with a card or PSAM, said in Chinese and English (purse-protocol.md, sections 2 and 4).

An `Explainer` follows the selections of a session, for the same file has another layout in another application.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from libs.purse import apdu, status, tlv
from libs.purse.apdu import Command
from libs.purse.card.profiles import SFI_PUBLIC
from libs.purse.crypto import MAC_SIZE
from libs.purse.inspect import AIDS
from libs.purse.layouts import As, Field, Layout, decode, layout_of, record_layout
from libs.purse.layouts.tables import TTI
from libs.purse.scheme import Scheme
from libs.purse.transactions import PurseId

_TAGS = {
    0x6F: ("文件控制信息", "file control information"),
    0x84: ("DF 名称", "DF name"),
    0xA5: ("专用数据", "proprietary data"),
    0x88: ("目录文件短标识", "short identifier of the directory file"),
    0x50: ("应用标签", "application label"),
    0x61: ("应用模板", "application template"),
    0x4F: ("应用标识", "application identifier"),
    0x9D: ("DDF 名称", "DDF name"),
    0xBF0C: ("发卡方自定义数据", "issuer discretionary data"),
    0x9F08: ("应用版本", "application version"),
    0x9F0C: ("公共应用基本信息 0015", "public application data, file 0015"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """Some bytes and what they are.

    Attributes:
        raw: The bytes.
        zh: What they are.
        en: The same.
        text: What they say, where that is more than the bytes.
        depth: How far inside other bytes.
    """

    raw: bytes
    zh: str
    en: str
    text: str = ""
    depth: int = 0


def _layout(name: str, *fields: tuple[str, str, str, int, As]) -> Layout:
    """A layout of fields one behind the other."""
    at, placed = 0, []
    for key, zh, en, size, as_ in fields:
        placed.append(Field(key, zh, en, at, size, as_, TTI if as_ is As.CODE else None))
        at += size
    return Layout(name, name, name, at, tuple(placed))


_KID = ("kid", "密钥索引", "key index", 1, As.NUMBER)
_AMOUNT = ("amount", "交易金额", "amount", 4, As.FEN)
_TERMINAL = ("terminal", "终端机编号", "terminal number", 6, As.DIGITS)
_DATE = ("date", "交易日期", "date", 4, As.DATE)
_TIME = ("time", "交易时间", "time", 3, As.TIME)
_SEQUENCE = ("sequence", "终端交易序号", "terminal seq", 4, As.NUMBER)
_BALANCE = ("balance", "余额", "balance", 4, As.FEN)
_RANDOM = ("random", "伪随机数", "random", 4, As.BYTES)
_LIMIT = ("limit", "透支限额", "overdraft limit", 3, As.FEN)
_VERSION = ("version", "密钥版本", "key version", 1, As.NUMBER)
_ALGORITHM = ("algorithm", "算法标识", "algorithm id", 1, As.NUMBER)
_TTI = ("tti", "交易类型标识", "transaction type", 1, As.CODE)


def _mac(name: str) -> tuple[str, str, str, int, As]:
    return (name.lower(), name, name, 4, As.BYTES)


_INITIALISE = _layout("initialise", _KID, _AMOUNT, _TERMINAL)
_ONLINE_COUNTER = ("counter", "联机交易序号", "online counter, before", 2, As.NUMBER)
_OFFLINE_COUNTER = ("counter", "脱机交易序号", "offline counter, before", 2, As.NUMBER)
_ANSWER_A = _layout("answer A", _BALANCE, _ONLINE_COUNTER, _VERSION, _ALGORITHM, _RANDOM, _mac("MAC1"))
_ANSWER_B = _layout("answer B", _BALANCE, _OFFLINE_COUNTER, _LIMIT, _VERSION, _ALGORITHM, _RANDOM)
_ANSWER_LIMIT = _layout(
    "answer", _BALANCE, _ONLINE_COUNTER, _LIMIT, _VERSION, _ALGORITHM, _RANDOM, _mac("MAC1")
)  # fmt: skip
_SAM_INIT = _layout(
    "init sam", _RANDOM, _OFFLINE_COUNTER, _AMOUNT, _TTI, _DATE, _TIME, _VERSION, _ALGORITHM,
    ("serial", "应用序列号（分散因子）", "card serial (factor)", 8, As.BYTES),
    ("factor2", "二级分散因子", "level-2 factor", 8, As.BYTES),
    ("factor3", "三级分散因子", "level-3 factor", 8, As.BYTES),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of a command.

    Attributes:
        zh: Name.
        en: The same.
        data: Layout of the command data.
        answer: Layout of the response data.
    """

    zh: str
    en: str
    data: Layout | None = None
    answer: Layout | None = None


_PLAIN = {
    0xA4: _Form("选择", "SELECT"),
    0xB0: _Form("读二进制", "READ BINARY"),
    0xB2: _Form("读记录", "READ RECORD"),
    0xD6: _Form("写二进制", "UPDATE BINARY"),
    0xDC: _Form("写记录", "UPDATE RECORD"),
    0xE2: _Form("追加记录", "APPEND RECORD"),
    0x84: _Form("取随机数", "GET CHALLENGE"),
    0x82: _Form("外部认证", "EXTERNAL AUTHENTICATE"),
    0x88: _Form("内部认证", "INTERNAL AUTHENTICATE"),
    0x20: _Form("验证口令", "VERIFY PIN"),
    0xC0: _Form("取响应", "GET RESPONSE"),
}
_LOAD_CREDIT = _layout("credit", _DATE, _TIME, _mac("MAC2"))
_FINANCIAL = {
    0x5C: _Form("读余额", "GET BALANCE", answer=_layout("balance", _BALANCE)),
    0x52: _Form("圈存", "CREDIT FOR LOAD", _LOAD_CREDIT, _layout("tac", _mac("TAC"))),
    0x58: _Form(
        "修改透支限额", "UPDATE OVERDRAW LIMIT", _layout("limit", _LIMIT, _DATE, _TIME, _mac("MAC2")),
        _layout("tac", _mac("TAC")),
    ),
    0x5A: _Form(
        "取交易认证", "GET TRANSACTION PROVE",
        _layout("counter", ("counter", "交易序号", "counter", 2, As.NUMBER)),
        _layout("proof", _mac("MAC2"), _mac("TAC")),
    ),
    0x5E: _Form("修改或重装口令", "CHANGE or RELOAD PIN"),
    0xDC: _Form("更新复合应用数据缓存", "UPDATE CAPP DATA CACHE"),
    0xCA: _Form(
        "取安全认证码", "GET MESSAGE",
        answer=_layout("message", ("code", "安全认证码", "authentication code", 9, As.BYTES)),
    ),
    0x70: _Form("MAC1 计算", "INIT SAM FOR PURCHASE", _SAM_INIT, _layout("mac1", _SEQUENCE, _mac("MAC1"))),
    0x72: _Form("校验 MAC2", "CREDIT SAM FOR PURCHASE", _layout("mac2", _mac("MAC2"))),
    0x1A: _Form("通用 DES 计算初始化", "INIT FOR DESCRIPT"),
    0xFA: _Form("通用 DES 计算", "DES CRYPT"),
}  # fmt: skip
_INITIALISES = {
    (0x00, 1): _Form("圈存初始化（存折）", "INITIALIZE FOR LOAD, ED", _INITIALISE, _ANSWER_A),
    (0x00, 2): _Form("圈存初始化", "INITIALIZE FOR LOAD, EP", _INITIALISE, _ANSWER_A),
    (0x01, 1): _Form("消费初始化（存折）", "INITIALIZE FOR PURCHASE, ED", _INITIALISE, _ANSWER_B),
    (0x01, 2): _Form("消费初始化", "INITIALIZE FOR PURCHASE, EP", _INITIALISE, _ANSWER_B),
    (0x02, 1): _Form("取现初始化", "INITIALIZE FOR CASH WITHDRAW", _INITIALISE, _ANSWER_B),
    (0x03, 2): _Form("复合消费初始化", "INITIALIZE FOR CAPP PURCHASE", _INITIALISE, _ANSWER_B),
    (0x04, 1): _Form("修改透支限额初始化", "INITIALIZE FOR UPDATE", _layout("update", _KID, _TERMINAL), _ANSWER_LIMIT),
    (0x05, 1): _Form("圈提初始化", "INITIALIZE FOR UNLOAD", _INITIALISE, _ANSWER_A),
}
_DEBITS = {
    0x01: _Form(
        "消费", "DEBIT", _layout("debit", _SEQUENCE, _DATE, _TIME, _mac("MAC1")),
        _layout("proof", _mac("TAC"), _mac("MAC2")),
    ),
    0x03: _Form("圈提", "DEBIT FOR UNLOAD", _LOAD_CREDIT, _layout("mac3", _mac("MAC3"))),
}  # fmt: skip
_PROTECTED = {
    0x24: _Form("口令解锁", "PIN UNBLOCK"),
    0x1E: _Form("应用锁定", "APPLICATION BLOCK"),
    0x18: _Form("应用解锁", "APPLICATION UNBLOCK"),
    0x16: _Form("卡片锁定", "CARD BLOCK"),
    0xD4: _Form("写密钥", "WRITE KEY"),
}
_UNKNOWN = _Form("未知命令", "unknown command")
_MACED = 0x04
_ENTRY = b"\x61"
_TAG_PUBLIC = 0x9F0C


class Explainer:
    """Explains the exchanges of one session in turn."""

    def __init__(self) -> None:
        self._scheme: Scheme | None = None
        self._command: Command | None = None

    def command(self, sent: bytes) -> list[Line]:
        """The bytes of a command, in order, each once."""
        command = self._command = apdu.parse(sent)
        if command is None:
            return [Line(sent, "长度矛盾的命令", "a command whose lengths contradict")]
        form = _form(command)
        lines = [
            Line(sent[:1], "CLA", "CLA", "安全报文 secure messaging" if command.cla & _MACED else ""),
            Line(sent[1:2], "INS", "INS", f"{form.zh} {form.en}"),
            Line(sent[2:4], "P1 P2", "P1 P2", _parameters(command)),
        ]
        if command.data:
            lines.append(Line(sent[4:5], "Lc", "Lc", f"{len(command.data)} 字节 bytes"))
            lines += self._data(command, form)
        if command.le is not None:
            lines.append(Line(sent[-1:], "Le", "Le", "全部 all" if not command.le else f"{command.le} 字节 bytes"))
        return lines

    def response(self, received: bytes) -> list[Line]:
        """The bytes of the response to the command before, in order, each once."""
        if len(received) < 2:
            return [Line(received, "无状态字", "no status word")]
        data, word = received[:-2], received[-2:]
        command, lines = self._command, []
        if command is not None and command.ins == 0xA4 and command.p1 == 0x04:
            selected = word == status.OK or word in (status.INVALIDATED, status.NOT_SUPPORTED)
            self._scheme = AIDS.get(command.data) if selected else self._scheme
        if data:
            lines = list(self._answer(command, data))
        zh, en = status.meaning(word)
        return [*lines, Line(word, "状态字", "status word", f"{zh} {en}")]

    def _data(self, command: Command, form: _Form) -> list[Line]:
        data, mac = command.data, b""
        if command.cla & _MACED and len(data) >= MAC_SIZE:
            data, mac = data[:-MAC_SIZE], data[-MAC_SIZE:]
        layout = form.data or self._addressed(command, command.data)
        lines = []
        if layout is not None and data:
            lines = _fields(layout, data)
        elif data:
            lines = [Line(data, *_DATA_NAMES.get(command.ins, ("数据", "data")), depth=1)]
        return [*lines, Line(mac, "MAC4", "MAC4", depth=1)] if mac else lines

    def _answer(self, command: Command | None, data: bytes) -> Iterator[Line]:
        if command is None:
            yield Line(data, "数据", "data")
            return
        layout = _form(command).answer or self._addressed(command, data)
        if command.ins == 0xA4 or (command.ins == 0xB2 and data[:1] == _ENTRY):
            yield from self._template(data, 0)
        elif layout is not None:
            yield from _fields(layout, data)
        else:
            yield Line(data, *_ANSWER_NAMES.get(command.ins, ("数据", "data")))

    def _addressed(self, command: Command, record: bytes) -> Layout | None:
        """Layout of the file that a file command names by its short identifier, from its first byte on."""
        if self._scheme is None:
            return None
        if command.ins in (0xB0, 0xD6) and command.p1 & 0x80 and not command.p2:
            return layout_of(self._scheme, command.p1 & 0x1F)
        return record_layout(self._scheme, command.p2 >> 3, record) if command.ins in (0xB2, 0xDC, 0xE2) else None

    def _template(self, data: bytes, depth: int) -> Iterator[Line]:
        """Objects of a template: tag and length, then the value or what is inside."""
        shown = 0
        for start, value_start, tag, value in tlv.objects(data):
            if start > shown:
                yield Line(data[shown:start], "填充", "padding", depth=depth)
            shown = value_start + len(value)
            zh, en = _TAGS.get(tag, ("未知标签", "unknown tag"))
            if tlv.constructed(tag):
                yield Line(data[start:value_start], zh, en, f"{len(value)} 字节 bytes", depth)
                yield from self._template(value, depth + 1)
            elif tag == _TAG_PUBLIC and (layout := self._public()):
                yield Line(data[start:value_start], zh, en, f"{len(value)} 字节 bytes", depth)
                yield from (replace(line, depth=depth + 1) for line in _fields(layout, value))
            else:
                text = value.decode("ascii") if value and all(32 <= byte < 127 for byte in value) else ""
                yield Line(data[start:shown], zh, en, text, depth)
        if shown < len(data):
            yield Line(data[shown:], "未知", "unknown", depth=depth)

    def _public(self) -> Layout | None:
        return layout_of(self._scheme, SFI_PUBLIC) if self._scheme is not None else None


_DATA_NAMES = {
    0xA4: ("文件名或标识", "name or file id"),
    0x20: ("口令", "PIN"),
    0x5E: ("口令数据", "PIN data"),
    0x82: ("加密后的随机数", "enciphered challenge"),
    0x1A: ("分散因子", "factors"),
    0xFA: ("已填充的数据块", "padded blocks"),
    0xCA: ("安全认证码", "authentication code"),
}
_ANSWER_NAMES = {0x84: ("随机数", "random"), 0xFA: ("结果", "result"), 0x88: ("结果", "result")}


def _form(command: Command) -> _Form:
    if command.cla == 0x80:
        if command.ins == 0x50:
            return _INITIALISES.get((command.p1, command.p2), _UNKNOWN)
        if command.ins == 0x54:
            return _DEBITS.get(command.p1, _UNKNOWN)
        return _FINANCIAL.get(command.ins, _UNKNOWN)
    if command.cla == 0x84:
        return _PROTECTED.get(command.ins, _UNKNOWN)
    return _PLAIN.get(command.ins, _UNKNOWN) if command.cla in (0x00, _MACED) else _UNKNOWN


def _parameters(command: Command) -> str:
    """What P1 and P2 say."""
    p1, p2 = command.p1, command.p2
    if command.ins == 0xA4:
        return {0x04: "按名称 by name", 0x00: "按文件标识 by file id"}.get(p1, "")
    if command.ins in (0xB0, 0xD6) and p1 & 0x80:
        return f"短文件标识 SFI {p1 & 0x1F:02X}，偏移 offset {p2}"
    if command.ins in (0xB0, 0xD6):
        return f"当前文件 current file，偏移 offset {p1 << 8 | p2}"
    if command.ins in (0xB2, 0xDC, 0xE2):
        how = "记录号 record" if p2 & 7 == 4 else "记录标识 identifier"
        return f"短文件标识 SFI {p2 >> 3:02X}，{how} {p1:02X}"
    if command.ins == 0x5C and p2 in (PurseId.ED, PurseId.EP):
        return "电子钱包 EP" if p2 == PurseId.EP else "电子存折 ED"
    if command.ins == 0x5A:
        zh, en = TTI.get(p2, ("未知", "unknown"))
        return f"交易类型 {p2:02X} {zh} {en}"
    if command.cla == 0x84 and command.ins == 0x1E:
        return "永久 for ever" if p2 else "可逆 reversible"
    return ""


def _fields(layout: Layout, data: bytes) -> list[Line]:
    lines = []
    for reading in decode(layout, data):
        text = "" if reading.text == reading.raw.hex().upper() else reading.text
        lines.append(Line(reading.raw, reading.zh, reading.en, text, 1))
    return lines
