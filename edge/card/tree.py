"""A card as a tree: applications, files, purses, logs, in Chinese and English. Reads only, changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from libs.purse import status, tlv
from libs.purse.apdu import build
from libs.purse.inspect import AIDS, Found, discover
from libs.purse.layouts import decode, record_layout
from libs.purse.scheme import Scheme
from libs.purse.transactions import PurseId
from libs.purse.transceiver import Transceiver, exchange

_RECORDS_MAX = 32
_SFI_MAX = 30
_NAMES = {
    0x01: ("目录或存折文件", "directory or deposit file"),
    0x02: ("钱包文件", "purse file"),
    0x05: ("发行基本信息", "issuing data"),
    0x15: ("公共应用基本信息", "public application data"),
    0x16: ("持卡人基本信息", "cardholder"),
    0x17: ("管理信息或复合记录", "management data or complex records"),
    0x18: ("交易明细", "transaction log"),
    0x19: ("高速公路复合记录", "highway record"),
    0x1A: ("行程状态", "trip state"),
    0x1E: ("公共交通过程信息", "transit log"),
}
_PURSES = {PurseId.ED: ("电子存折", "electronic deposit ED"), PurseId.EP: ("电子钱包", "electronic purse EP")}
_BLOCKED = frozenset({status.NOT_SUPPORTED, status.INVALIDATED, status.BLOCKED_FOR_EVER})


@dataclass(frozen=True, slots=True)
class Node:
    """One line and what is inside it.

    Attributes:
        zh: What it is.
        en: The same.
        text: What it says.
        raw: Its bytes in hexadecimal; empty for a heading.
        children: What it contains.
    """

    zh: str
    en: str
    text: str = ""
    raw: str = ""
    children: list["Node"] = field(default_factory=list)


def read_tree(card: Transceiver, atr: bytes = b"") -> Node:
    """The whole card: every application that it has, not only those we know.

    Raises:
        CardGone: The card left.
    """
    root = Node("卡片", "card", f"ATR {atr.hex().upper()}" if atr else "")
    for found in discover(card):
        root.children.append(_application(card, found))
    if not root.children:
        root.children.append(Node("没有应用", "no application"))
    return root


def to_json(node: Node) -> dict[str, object]:
    """The same tree for programs; empty parts are left out."""
    said: dict[str, object] = {"zh": node.zh, "en": node.en}
    if node.text:
        said["text"] = node.text
    if node.raw:
        said["raw"] = node.raw
    if node.children:
        said["children"] = [to_json(child) for child in node.children]
    return said


def _application(card: Transceiver, found: Found) -> Node:
    scheme = AIDS.get(found.name)
    label = found.label.decode("ascii", "replace")
    kind = {Scheme.CJ: "城市一卡通 city union", Scheme.JT: "交通联合 T-Union"}.get(scheme, "") if scheme else ""
    node = Node("应用", "application", " ".join(part for part in (kind, label) if part), found.name.hex().upper())
    fci, word = exchange(card, build(b"\x00\xa4\x04\x00", found.name, 0))
    if word in _BLOCKED:
        zh, en = status.meaning(word)
        node.children.append(Node("已锁定", "blocked", f"{zh} {en}", word.hex().upper()))
        return node
    if word != status.OK:
        zh, en = status.meaning(word)
        node.children.append(Node("无法选择", "cannot be selected", f"{zh} {en}", word.hex().upper()))
        return node
    version = dict(tlv.walk(fci)).get(0x9F08, b"")
    if version:
        node.children.append(Node("应用版本", "application version", raw=version.hex().upper()))
    node.children.extend(_purses(card))
    for sfi in range(1, _SFI_MAX + 1):
        node.children.extend(_file(card, scheme, sfi))
    return node


def _purses(card: Transceiver) -> Iterator[Node]:
    for purse, (zh, en) in _PURSES.items():
        data, word = exchange(card, bytes((0x80, 0x5C, 0x00, purse, 0x04)))
        if word == status.OK and len(data) == 4:
            fen = int.from_bytes(data, "big")
            yield Node(zh, en, f"{fen // 100}.{fen % 100:02d} 元 yuan", data.hex().upper())


def _file(card: Transceiver, scheme: Scheme | None, sfi: int) -> list[Node]:
    """A file by its short identifier; none when there is no such file."""
    zh, en = _NAMES.get(sfi, ("文件", "file"))
    heading = f"SFI {sfi:02X}"
    data, word = exchange(card, bytes((0x00, 0xB0, 0x80 | sfi, 0x00, 0x00)))
    if word == status.OK:
        return [Node(zh, en, heading, data.hex().upper(), _fields(scheme, sfi, data))]
    if word == status.FILE_TYPE_MISMATCH:
        records = list(_records(card, scheme, sfi))
        return [Node(zh, en, heading, children=records)]
    if word == status.FILE_NOT_FOUND:
        return []
    meaning = " ".join(status.meaning(word))
    return [Node(zh, en, f"{heading} {meaning}", word.hex().upper())]


def _records(card: Transceiver, scheme: Scheme | None, sfi: int) -> Iterator[Node]:
    for number in range(1, _RECORDS_MAX + 1):
        data, word = exchange(card, bytes((0x00, 0xB2, number, sfi << 3 | 4, 0x00)))
        if word != status.OK:
            return
        yield Node("记录", "record", str(number), data.hex().upper(), _fields(scheme, sfi, data))


def _fields(scheme: Scheme | None, sfi: int, data: bytes) -> list[Node]:
    layout = record_layout(scheme, sfi, data) if scheme is not None else None
    if layout is None:
        return []
    return [Node(each.zh, each.en, each.text, each.raw.hex().upper()) for each in decode(layout, data)]
