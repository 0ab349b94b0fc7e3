"""`VirtualSam`: a purchase secure access module (PSAM) in memory (purse-protocol.md, 4; purse-crypto.md, 6)."""

import hmac
from collections.abc import Callable, Iterable
from typing import ClassVar

from libs.keystore.handles import KeyKind
from libs.keystore.soft import SoftKeyStore
from libs.purse import apdu, status
from libs.purse.algorithms import Algorithm, algorithm
from libs.purse.apdu import Command
from libs.purse.crypto import MAC_SIZE
from libs.purse.message_code import MESSAGE_CODE_SIZE, message_code_is_genuine
from libs.purse.sam_keys import LEVELS_MAX, KeyRing, SamKey, SamKind, exported_keys
from libs.purse.scheme import ISSUER_ID_SIZE, Scheme
from libs.purse.sequence import FailureCount, MemoryFailures, SequenceStore, SequenceStoreFailed
from libs.purse.transactions import offline_session_input, purchase_mac1_data

__all__ = ["WRONG_MAC2_MAX", "SamKey", "SamKind", "VirtualSam", "issue_sam"]

# Application of the module by scheme (section 4); DF01 and 3F01 were seen too.
_DIRECTORY_FIDS = (b"\x3f\x00", b"\x80\x11", b"\x10\x01", b"\xdf\x01", b"\x3f\x01")
_SFI_MODULE, _SFI_TERMINAL, _SFI_APPLICATION = 0x15, 0x16, 0x17
_INIT_SIZE = 20
# Wrong MAC2s in a row before the module locks itself; a dead PSAM stops a bus, so it is generous [convention].
WRONG_MAC2_MAX = 15
_CHAIN_SIZE_MAX = 4096


class VirtualSam:
    """A PSAM: it derives the purchase key of the card before it, makes MAC1, checks MAC2, and owns the terminal seq.

    Args:
        terminal: Terminal number (file 0016), 6 bytes BCD; enters every MAC and TAC.
        keys: What it holds; a purchase key is found by version and algorithm.
        sequence: Hands out terminal transaction numbers.
        number: PSAM number (file 0015), 10 bytes BCD.
        issuer: Institution id, 8 bytes, for file 0017.
        wrong_mac2_max: Wrong MAC2s in a row before it locks.
        failures: Where that count survives a restart.
    """

    __slots__ = (
        "_chain",
        "_crypt",
        "_expected_mac2",
        "_failures",
        "_files",
        "_keys",
        "_sequence",
        "_terminal",
        "_wrong_mac2_max",
    )

    def __init__(
        self,
        terminal: bytes,
        keys: Iterable[SamKey],
        sequence: SequenceStore,
        *,
        number: bytes = bytes(10),
        issuer: bytes = bytes(ISSUER_ID_SIZE),
        wrong_mac2_max: int = WRONG_MAC2_MAX,
        failures: FailureCount | None = None,
    ) -> None:
        assert len(terminal) == 6, "a terminal number has 6 bytes"
        assert len(number) == 10, "a PSAM number has 10 bytes"
        self._terminal = terminal
        self._keys = KeyRing(keys)
        self._sequence = sequence
        self._wrong_mac2_max = wrong_mac2_max
        self._failures = failures or MemoryFailures()
        self._expected_mac2 = b""
        self._crypt: tuple[Algorithm, bytes] | None = None
        self._chain = b""
        validity = bytes.fromhex("2018010120991231")
        self._files = {
            _SFI_MODULE: number + b"\x01\x00\x00\x00",
            _SFI_TERMINAL: terminal,
            _SFI_APPLICATION: b"\x01" + issuer + bytes(8) + validity,
        }

    def __repr__(self) -> str:
        return f"VirtualSam({self._terminal.hex()}, {len(self._keys)} keys)"

    @property
    def locked(self) -> bool:
        """Too many wrong MAC2s in a row: the module computes nothing any more."""
        return self._failures.count >= self._wrong_mac2_max

    def reset(self) -> None:
        """Power lost and found again; keys, sequence and the count of wrong MAC2s stay."""
        self._expected_mac2 = b""
        self._crypt = None
        self._chain = b""

    def transmit(self, command: bytes) -> bytes:
        """Answer one command APDU with response data and status word; any bytes are answered."""
        parsed = apdu.parse(command)
        if parsed is None:
            return status.WRONG_LENGTH
        handler = self._HANDLERS.get(parsed.ins)
        if handler is None:
            return status.WRONG_INS
        cla, computes, serve = handler
        if parsed.cla != cla:
            return status.WRONG_CLA
        if computes and self.locked:
            return status.KEY_LOCKED
        return serve(self, parsed)

    __call__ = transmit

    def _select(self, command: Command) -> bytes:
        if command.p1 not in (0x00, 0x04) or command.p2:
            return status.WRONG_PARAMETERS
        self.reset()
        return status.OK if command.data in _DIRECTORY_FIDS else status.FILE_NOT_FOUND

    def _read_binary(self, command: Command) -> bytes:
        if command.data:
            return status.WRONG_LENGTH
        content = self._files.get(command.p1 & 0x1F) if command.p1 & 0x80 else None
        if content is None:
            return status.FILE_NOT_FOUND
        if command.p2 >= len(content):
            return status.BEYOND_END
        available = len(content) - command.p2
        if command.le is not None and command.le > available:
            return status.wrong_le(available)
        return content[command.p2 : command.p2 + (command.le or available)] + status.OK

    def _init_for_purchase(self, command: Command) -> bytes:
        """8070: one number of the sequence and MAC1. Refusals spend no number."""
        self._expected_mac2 = b""
        if command.p1 or command.p2:
            return status.WRONG_PARAMETERS
        data = command.data
        levels, rest = divmod(len(data) - _INIT_SIZE, 8)
        if rest or not 1 <= levels <= LEVELS_MAX:
            return status.WRONG_LENGTH
        if command.le not in (None, 0, 8):
            return status.wrong_le(8)
        key = self._keys.find(SamKind.PURCHASE, data[18], data[19], levels)
        if key is None:
            # A key that is there for another number of levels is another mistake than one that is not there.
            held = self._keys.any_level(SamKind.PURCHASE, data[18], data[19])
            return status.BAD_DATA if held else status.KEY_INDEX_UNSUPPORTED
        try:
            number = self._sequence.take()
        except SequenceStoreFailed:
            return status.MEMORY_FAILURE
        if number is None:
            return status.COUNTER_AT_MAXIMUM
        sequence = number.to_bytes(4, "big")
        random, counter, amount, tti, stamp = data[:4], data[4:6], data[6:10], data[10], data[11:18]
        cipher = algorithm(key.algorithm_id)
        session_key = cipher.session_key(
            self._keys.card_key(key, data[_INIT_SIZE:]), offline_session_input(random, counter, sequence)
        )
        self._expected_mac2 = cipher.mac(session_key, amount)
        mac1 = cipher.mac(session_key, purchase_mac1_data(amount, tti, self._terminal, stamp))
        return sequence + mac1 + status.OK

    def _check_mac2(self, command: Command) -> bytes:
        """8072: only after 8070, once."""
        expected, self._expected_mac2 = self._expected_mac2, b""
        if command.p1 or command.p2:
            return status.WRONG_PARAMETERS
        if len(command.data) != MAC_SIZE:
            return status.WRONG_LENGTH
        if not expected:
            return status.NOT_IN_THIS_STATE
        right = hmac.compare_digest(expected, command.data)
        try:
            self._failures.record(0 if right else self._failures.count + 1)
        except SequenceStoreFailed:
            return status.MEMORY_FAILURE
        return status.OK if right else status.PURSE_MAC_WRONG

    def _check_message(self, command: Command) -> bytes:
        """80CA: whether the 9 bytes of the card's GET MESSAGE are genuine."""
        if command.p1 or command.p2:
            return status.WRONG_PARAMETERS
        code = command.data
        if len(code) != MESSAGE_CODE_SIZE:
            return status.WRONG_LENGTH
        keys = self._keys.of_kind(SamKind.MESSAGE, code[0])
        if not keys:
            return status.KEY_INDEX_UNSUPPORTED
        genuine = any(message_code_is_genuine(algorithm(key.algorithm_id), key.key, code) for key in keys)
        return status.OK if genuine else status.PURSE_MAC_WRONG

    def _init_for_crypt(self, command: Command) -> bytes:
        """801A: choose and derive the key of the DES CRYPT that follows; purchase keys are not for that."""
        self._crypt, self._chain = None, b""
        levels, kind = command.p1 >> 5, command.p1 & 0x1F
        if len(command.data) != 8 * levels or not levels:
            return status.WRONG_LENGTH
        if kind in (SamKind.PURCHASE, SamKind.MESSAGE):
            return status.CONDITIONS
        held = self._keys.of_kind(kind, command.p2)
        for key in held:
            if key.levels == levels:
                self._crypt = algorithm(key.algorithm_id), self._keys.card_key(key, command.data)
                return status.OK
        return status.BAD_DATA if held else status.KEY_INDEX_UNSUPPORTED

    def _crypt_blocks(self, command: Command) -> bytes:
        """80FA: P1 b1 MAC, b2 more blocks follow, b3 the first block is the IV; blocks come padded."""
        crypt, self._crypt = self._crypt, None
        chain, self._chain = self._chain, b""
        mac, more, with_iv = command.p1 & 1, command.p1 & 2, command.p1 & 4
        if command.p1 > 7 or command.p2 or (with_iv and not mac):
            return status.WRONG_PARAMETERS
        if crypt is None:
            return status.NOT_IN_THIS_STATE
        cipher, key = crypt
        if not command.data or len(command.data) % cipher.block_size:
            return status.WRONG_LENGTH
        if more:
            self._crypt = crypt
        if not mac:
            return cipher.encrypt(key, command.data) + status.OK
        # A chained MAC keeps one shape from its first command on: IV (or zeros), then blocks.
        chain = chain or (b"" if with_iv else bytes(cipher.block_size))
        chain += command.data
        if len(chain) > _CHAIN_SIZE_MAX:
            self._crypt = None
            return status.WRONG_LENGTH
        if more:
            self._chain = chain
            return status.OK
        if len(chain) == cipher.block_size:
            return status.WRONG_LENGTH
        return cipher.padded_mac(key, chain[cipher.block_size :], chain[: cipher.block_size]) + status.OK

    # Instruction byte -> class byte, whether a locked module refuses it, and who serves it.
    _HANDLERS: ClassVar[dict[int, tuple[int, bool, "_Serve"]]] = {
        0xA4: (0x00, False, _select),
        0xB0: (0x00, False, _read_binary),
        0x70: (0x80, True, _init_for_purchase),
        0x72: (0x80, True, _check_mac2),
        0x1A: (0x80, True, _init_for_crypt),
        0xFA: (0x80, True, _crypt_blocks),
        0xCA: (0x80, True, _check_message),
    }


_Serve = Callable[[VirtualSam, Command], bytes]
_KINDS = {KeyKind.PURCHASE: SamKind.PURCHASE, KeyKind.LOCK: SamKind.LOCK, KeyKind.MESSAGE: SamKind.MESSAGE}


def issue_sam(
    store: SoftKeyStore,
    scheme: Scheme,
    issuer: bytes,
    terminal: bytes,
    sequence: SequenceStore,
    *,
    number: bytes = bytes(10),
    failures: FailureCount | None = None,
) -> VirtualSam:
    """A PSAM for the cards of one issuer, with every purchase, lock and message key that the store holds for it.

    Args:
        store: A store of test keys; a real one lets no master key out.
        scheme: Of the cards.
        issuer: Of the cards, 8 bytes.
        terminal: Terminal number, 6 bytes BCD.
        sequence: Hands out terminal transaction numbers.
        number: PSAM number, 10 bytes BCD.
        failures: Where the count of wrong MAC2s survives a restart.

    Raises:
        KeyUseForbidden: The store's keys are not exportable.
    """
    keys = exported_keys(store, scheme, issuer, _KINDS)
    return VirtualSam(terminal, keys, sequence, number=number, issuer=issuer, failures=failures)
