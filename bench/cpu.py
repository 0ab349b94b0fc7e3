"""CPU time of this process and of a database server: a figure that the other users of a machine do not change."""

from dataclasses import dataclass
from typing import Self

import psutil


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds of user and system time since each process began.

    Attributes:
        client: Of this process, all its threads.
        server: Of the server and its workers, those that have ended included.
    """

    client: float
    server: float

    def __sub__(self, other: Self) -> "CpuTimes":
        return CpuTimes(self.client - other.client, self.server - other.server)

    def per_record_us(self, count: int) -> tuple[float, float]:
        """(client, server) in microseconds per record."""
        return self.client / count * 1e6, self.server / count * 1e6


def cpu_times(server_pid: int) -> CpuTimes:
    """What was used until now; `server_pid` is the first process of the server."""
    mine = psutil.Process().cpu_times()
    server = psutil.Process(server_pid)
    times = server.cpu_times()
    # The server has waited for its dead workers, so their time is in its children's; the living are asked themselves.
    total = times.user + times.system + times.children_user + times.children_system
    for worker in server.children():
        try:
            of_worker = worker.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += of_worker.user + of_worker.system
    return CpuTimes(mine.user + mine.system, total)
