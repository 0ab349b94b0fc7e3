"""One view on the logs of many processes: each line with the name of its writer, JSON made readable."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")
_LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
# Said by the prefix, or of no use to a person who reads along.
_HIDDEN = frozenset({"timestamp", "level", "event", "service", "span_id", "logger"})


class LogView:
    """Follows log files; services write to files, not to us, so that they outlive the view and never wait for it."""

    def __init__(self, console: Console, names: Iterable[str]) -> None:
        self._console = console
        self._names = tuple(names)
        self._colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(self._names)}
        self._width = max((len(name) for name in self._names), default=0)
        self._read_bytes: dict[Path, int] = {}

    def follow(self, name: str, log: Path) -> None:
        """Show what is written to this file from now on."""
        self._read_bytes[log] = log.stat().st_size if log.exists() else 0
        self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])

    def show_new(self) -> None:
        """Print the complete lines that were written since the last call; half a line waits for its end."""
        for log, position in self._read_bytes.items():
            try:
                with log.open("rb") as file:
                    file.seek(position)
                    block = file.read()
            except FileNotFoundError:
                continue
            complete = block.rpartition(b"\n")[0] + b"\n" if b"\n" in block else b""
            self._read_bytes[log] = position + len(complete)
            for line in complete.decode("utf-8", "replace").splitlines():
                self._print(log.stem, readable(line))

    def say(self, name: str, message: str, style: str = "bold") -> None:
        """A line of our own about a process."""
        self._print(name, Text(message, style=style))

    def _print(self, name: str, text: Text) -> None:
        prefix = Text(f"{name:<{self._width}} │ ", style=self._colours.get(name, "white"))
        self._console.print(prefix + text, soft_wrap=True)


def readable(line: str) -> Text:
    """A JSON log line as `12:00:00 event key=value`; any other line as it is."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return Text(line)
    if not isinstance(entry, dict) or "event" not in entry:
        return Text(line)
    text = Text(_time_of_day(str(entry.get("timestamp", ""))), style="dim")
    text.append(str(entry["event"]), style=_LEVEL_STYLES.get(str(entry.get("level")), "none"))
    for key, value in entry.items():
        if key not in _HIDDEN:
            text.append(f" {key}=", style="dim")
            text.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text


def _time_of_day(timestamp: str) -> str:
    try:
        return datetime.fromisoformat(timestamp).strftime("%H:%M:%S ")
    except ValueError:
        return ""
