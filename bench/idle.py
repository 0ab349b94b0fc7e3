"""Memory of each service that has nothing to do."""

import asyncio
import subprocess
import sys
from typing import Final

import psutil

from bench.result import Context, Result
from city.launcher import Platform
from city.names import SERVICES
from city.servers import LocalServers

_GOAL_MIB: Final = 150
# Start-up leaves garbage and first events behind; after that an idle service only polls.
_SETTLE_S: Final = 10.0
_MIB: Final = 2**20
# What no service of ours can go below: the interpreter with the libraries that every one of them imports.
_BARE: Final = """
import sys
import grpc.aio, nats, numpy, opentelemetry.sdk.trace, protovalidate, psycopg, pydantic_settings
import sqlalchemy.ext.asyncio, structlog
print("ready", flush=True)
sys.stdin.read()
"""


def run(context: Context) -> list[Result]:
    """Resident memory of every service, and of a process that only imports what they import."""
    services = asyncio.run(_services(context))
    bare = _bare_mib()
    what = "a Python process that only imports the libraries a service uses"
    return [
        Result(f"idle.{name}", mib, "MiB", bare, what, goal=_GOAL_MIB, less_is_better=True)
        for name, mib in services.items()
    ]


async def _services(context: Context) -> dict[str, float]:
    LocalServers(context.root).destroy()
    try:
        async with Platform(context.root, narrate=lambda service, what: context.say(f"{service}: {what}")) as platform:
            await asyncio.sleep(_SETTLE_S)
            found: dict[str, float] = {}
            for name in SERVICES:
                mark = platform.state.service(name)
                assert mark is not None, f"{name} fell while idle"
                found[name] = _resident_mib(mark.pid)
            return found
    finally:
        LocalServers(context.root).destroy()


def _resident_mib(pid: int) -> float:
    """Of a process and its descendants."""
    process = psutil.Process(pid)
    members = [process, *process.children(recursive=True)]
    return float(sum(member.memory_info().rss for member in members)) / _MIB


def _bare_mib() -> float:
    command = [sys.executable, "-c", _BARE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None, "the pipe was asked for"
        line = process.stdout.readline()
        assert line == b"ready\n", "a library that every service needs cannot be imported"
        mib = _resident_mib(process.pid)
        process.communicate()
    return mib
