"""Status words (purse-protocol.md, section 2, "Status words"), with what they mean for people."""

OK = b"\x90\x00"
INVALIDATED = b"\x62\x83"
MEMORY_FAILURE = b"\x65\x81"
WRONG_LENGTH = b"\x67\x00"
LINE_PROTECTION = b"\x69\x00"
NOT_IN_THIS_STATE = b"\x69\x01"
FILE_TYPE_MISMATCH = b"\x69\x81"
SECURITY_STATUS = b"\x69\x82"
KEY_LOCKED = b"\x69\x83"
NO_CHALLENGE = b"\x69\x84"
CONDITIONS = b"\x69\x85"
MAC_MISSING = b"\x69\x87"
MAC_WRONG = b"\x69\x88"
BAD_DATA = b"\x6a\x80"
NOT_SUPPORTED = b"\x6a\x81"
FILE_NOT_FOUND = b"\x6a\x82"
RECORD_NOT_FOUND = b"\x6a\x83"
NO_ROOM = b"\x6a\x84"
WRONG_PARAMETERS = b"\x6a\x86"
KEY_NOT_FOUND = b"\x6a\x88"
BEYOND_END = b"\x6b\x00"
WRONG_INS = b"\x6d\x00"
WRONG_CLA = b"\x6e\x00"
PURSE_MAC_WRONG = b"\x93\x02"
BLOCKED_FOR_EVER = b"\x93\x03"
NOT_ENOUGH_MONEY = b"\x94\x01"
COUNTER_AT_MAXIMUM = b"\x94\x02"
KEY_INDEX_UNSUPPORTED = b"\x94\x03"
NO_PROOF = b"\x94\x06"

# Status word -> (中文, English). 61xx, 63Cx and 6Cxx carry a number and are worded by `meaning`.
_MEANINGS: dict[int, tuple[str, str]] = {
    0x9000: ("成功", "done"),
    0x6281: ("返回数据可能有误", "the data may be wrong"),
    0x6283: ("所选文件无效，应用已锁定", "the selected file is invalid: application blocked"),
    0x6400: ("状态未改变", "the state is unchanged"),
    0x6581: ("写存储器失败", "writing the memory failed"),
    0x6700: ("长度错误", "wrong length"),
    0x6900: ("CLA 与线路保护要求不匹配", "the class byte does not fit the file's protection"),
    0x6901: ("命令不接受，状态无效", "not accepted in this state"),
    0x6981: ("文件类型不匹配", "the file is of another type"),
    0x6982: ("不满足安全状态", "the security status is not satisfied"),
    0x6983: ("密钥已锁死", "the key is locked"),
    0x6984: ("未取随机数", "no challenge was asked for"),
    0x6985: ("使用条件不满足", "the conditions of use are not satisfied"),
    0x6987: ("缺少安全报文 MAC", "the message authentication code is missing"),
    0x6988: ("安全报文 MAC 错误", "the message authentication code is wrong"),
    0x6A80: ("数据域参数错误", "the data is not acceptable"),
    0x6A81: ("功能不支持，或应用、卡片已锁定", "not supported, or application or card blocked"),
    0x6A82: ("未找到文件", "there is no such file"),
    0x6A83: ("未找到记录", "there is no such record"),
    0x6A84: ("文件空间不足", "there is no room in the file"),
    0x6A86: ("参数 P1 P2 错误", "wrong P1 P2"),
    0x6A88: ("未找到密钥", "there is no such key"),
    0x6B00: ("偏移超出文件末尾", "the offset lies beyond the end of the file"),
    0x6D00: ("命令不存在", "there is no such command"),
    0x6E00: ("CLA 错误", "wrong class byte"),
    0x9302: ("MAC1 或 MAC2 错误", "MAC1 or MAC2 is wrong"),
    0x9303: ("应用已永久锁定", "the application is blocked for ever"),
    0x9401: ("金额不足", "not enough money"),
    0x9402: ("交易计数器达到最大值", "the transaction counter is at its maximum"),
    0x9403: ("密钥索引不支持", "the key index is not supported"),
    0x9406: ("所需 MAC 不可用", "the required MAC is not available"),
}


def tries_left(tries: int) -> bytes:
    """63Cx: wrong, x tries left (0 to 15)."""
    return bytes((0x63, 0xC0 | tries))


def wrong_le(right: int) -> bytes:
    """6Cxx: send again with Le = xx."""
    return bytes((0x6C, right & 0xFF))


def meaning(status: bytes) -> tuple[str, str]:
    """What a status word says, in Chinese and English; an unknown one is shown, never guessed."""
    first, second = status
    if first == 0x61:
        return f"还有 {second} 字节数据", f"{second} more bytes to fetch"
    if first == 0x6C:
        return f"Le 错误，应为 {second}", f"wrong Le, {second} is right"
    if first == 0x63 and second >> 4 == 0xC:
        return f"验证失败，还可再试 {second & 15} 次", f"wrong, {second & 15} tries left"
    unknown = status.hex().upper()
    return _MEANINGS.get(first << 8 | second, (f"未知状态字 {unknown}", f"unknown status word {unknown}"))
