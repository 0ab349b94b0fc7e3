"""A file layer under SQLite that writes down what reaches the medium, and builds the image of any moment of it.

`recorded()` puts itself in front of the operating system's own layer for as long as it lasts. Works where Python's
sqlite3 uses a shared library; elsewhere `available` is False.
"""

import contextlib
import ctypes
import ctypes.util
import random
from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p, cast, string_at
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class _IoMethods(Structure):
    pass


_FILE = c_void_p
_METHODS = [
    ("xClose", CFUNCTYPE(c_int, _FILE)),
    ("xRead", CFUNCTYPE(c_int, _FILE, c_void_p, c_int, c_int64)),
    ("xWrite", CFUNCTYPE(c_int, _FILE, c_void_p, c_int, c_int64)),
    ("xTruncate", CFUNCTYPE(c_int, _FILE, c_int64)),
    ("xSync", CFUNCTYPE(c_int, _FILE, c_int)),
    ("xFileSize", CFUNCTYPE(c_int, _FILE, POINTER(c_int64))),
    ("xLock", CFUNCTYPE(c_int, _FILE, c_int)),
    ("xUnlock", CFUNCTYPE(c_int, _FILE, c_int)),
    ("xCheckReservedLock", CFUNCTYPE(c_int, _FILE, POINTER(c_int))),
    ("xFileControl", CFUNCTYPE(c_int, _FILE, c_int, c_void_p)),
    ("xSectorSize", CFUNCTYPE(c_int, _FILE)),
    ("xDeviceCharacteristics", CFUNCTYPE(c_int, _FILE)),
]
_IoMethods._fields_ = [("iVersion", c_int), *_METHODS]

_OPEN = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)


class _Vfs(Structure):
    _fields_ = [
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", _OPEN),
        ("xDelete", _DELETE),
        *((name, c_void_p) for name in (
            "xAccess", "xFullPathname", "xDlOpen", "xDlError", "xDlSym", "xDlClose", "xRandomness", "xSleep",
            "xCurrentTime", "xGetLastError", "xCurrentTimeInt64", "xSetSystemCall", "xGetSystemCall", "xNextSystemCall",
        )),
    ]  # fmt: skip


def _library() -> Any:
    try:
        import _sqlite3

        library = ctypes.CDLL("libsqlite3.so.0")
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        library.sqlite3_vfs_find.argtypes = [c_char_p]
        library.sqlite3_vfs_register.argtypes = [POINTER(_Vfs), c_int]
        library.sqlite3_vfs_unregister.argtypes = [POINTER(_Vfs)]
        # Only the library that Python itself uses is of use: both must be the same file in memory.
        maps = Path("/proc/self/maps").read_text()
        shared = "libsqlite3.so" in maps and getattr(_sqlite3, "__file__", None)
    except (OSError, ImportError, AttributeError):
        return None
    return library if shared else None


_LIBRARY = _library()
available = _LIBRARY is not None

_HEADER = 16


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that was done to a file: create, write, truncate, sync, delete (`at` 1: and the folder synced)."""

    what: str
    name: str
    at: int = 0
    data: bytes = b""


@dataclass
class Recording:
    """Everything that was done, in order.

    Attributes:
        ops: Of all files.
    """

    ops: list[Op] = field(default_factory=list)

    def killed(self, cut: int) -> dict[str, bytes]:
        """The files after the process died behind `cut` operations: the system still writes what it was given."""
        return _applied(self.ops[:cut])

    def powerless(self, cut: int) -> dict[str, bytes]:
        """The files after a power cut: of every file only what its last sync covered."""
        return _applied(self._kept(cut, lambda op: False))

    def scattered(self, cut: int, draw: random.Random) -> dict[str, bytes]:
        """The same, but of what was not synced some operations reached the medium, others not."""
        return _applied(self._kept(cut, lambda op: draw.random() < 0.5))

    def torn(self, cut: int, share: float) -> dict[str, bytes] | None:
        """The files after the last write was cut within; None when the last operation is no write."""
        last = self.ops[cut - 1]
        if last.what != "write" or len(last.data) < 2:
            return None
        length = min(len(last.data) - 1, max(1, int(len(last.data) * share)))
        return _applied([*self.ops[: cut - 1], Op("write", last.name, last.at, last.data[:length])])

    def _kept(self, cut: int, luck: Any) -> list[Op]:
        synced: dict[str, int] = {}
        for index, op in enumerate(self.ops[:cut]):
            if op.what == "sync" or (op.what == "delete" and op.at):
                synced[op.name] = index
        return [op for index, op in enumerate(self.ops[:cut]) if index <= synced.get(op.name, -1) or luck(op)]


def _applied(ops: list[Op]) -> dict[str, bytes]:
    files: dict[str, bytearray] = {}
    for op in ops:
        if op.what == "delete":
            files.pop(op.name, None)
            continue
        content = files.setdefault(op.name, bytearray())
        if op.what == "write":
            if len(content) < op.at:
                content.extend(bytes(op.at - len(content)))
            content[op.at : op.at + len(op.data)] = op.data
        elif op.what == "truncate":
            del content[op.at :]
    return {name: bytes(content) for name, content in files.items()}


def lay_down(image: dict[str, bytes], folder: Path) -> None:
    """Write an image into an empty folder."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in image.items():
        (folder / name).write_bytes(content)


@contextlib.contextmanager
def recorded() -> Iterator[Recording]:
    """Everything that SQLite does to files meanwhile, of databases opened meanwhile."""
    assert _LIBRARY is not None, "ask `available` first"
    library = _LIBRARY
    recording = Recording()
    base = library.sqlite3_vfs_find(None)
    names: dict[int, str] = {}

    def inner(file: int) -> int:
        return file + _HEADER

    def methods_of(file: int) -> _IoMethods:
        (pointer,) = (c_void_p * 1).from_address(inner(file))
        return cast(pointer, POINTER(_IoMethods)).contents

    def plain(name: str) -> Any:
        def call(file: int, *rest: Any) -> int:
            return int(getattr(methods_of(file), name)(inner(file), *rest))

        return call

    def close(file: int) -> int:
        names.pop(file, None)
        return int(methods_of(file).xClose(inner(file)))

    def write(file: int, data: int, size: int, at: int) -> int:
        recording.ops.append(Op("write", names[file], at, string_at(data, size)))
        return int(methods_of(file).xWrite(inner(file), data, size, at))

    def truncate(file: int, size: int) -> int:
        recording.ops.append(Op("truncate", names[file], size))
        return int(methods_of(file).xTruncate(inner(file), size))

    def sync(file: int, flags: int) -> int:
        recording.ops.append(Op("sync", names[file]))
        return int(methods_of(file).xSync(inner(file), flags))

    own = {"xClose": close, "xWrite": write, "xTruncate": truncate, "xSync": sync}
    methods = _IoMethods(1, *(kind(own.get(name, plain(name))) for name, kind in _METHODS))

    def open_(vfs: int, path: bytes | None, file: int, flags: int, out: Any) -> int:
        where = (c_void_p * 1).from_address(file)
        where[0] = None
        code = int(base.contents.xOpen(cast(base, c_void_p), path, inner(file), flags, out))
        if code == 0:
            names[file] = Path(path.decode()).name if path else "temporary"
            recording.ops.append(Op("create", names[file]))
            where[0] = ctypes.addressof(methods)
        return code

    def delete(vfs: int, path: bytes, sync_folder: int) -> int:
        recording.ops.append(Op("delete", Path(path.decode()).name, sync_folder))
        return int(base.contents.xDelete(cast(base, c_void_p), path, sync_folder))

    vfs = _Vfs()
    ctypes.memmove(byref(vfs), base, ctypes.sizeof(_Vfs))
    vfs.zName = b"recording"
    vfs.szOsFile = base.contents.szOsFile + _HEADER
    vfs.xOpen, vfs.xDelete = _OPEN(open_), _DELETE(delete)
    assert library.sqlite3_vfs_register(byref(vfs), 1) == 0
    try:
        yield recording
    finally:
        library.sqlite3_vfs_unregister(byref(vfs))
        library.sqlite3_vfs_register(base, 1)
        # SQLite may call until its last file is closed; whoever records keeps these alive by keeping the recording.
        recording._alive = (vfs, methods, base)  # type: ignore[attr-defined]  # a place to hang them on, read by nobody
