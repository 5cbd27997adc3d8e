"""A free port for a server, also where the tests start many of them side by side."""
import os
import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port of this machine that nobody listens on; OSError if there is none.

    Each process of the tests has its own thousand, below those that the system gives to connections, so that nothing
    takes the port before the server that it is for has started.
    """
    first = 20_000 + 1000 * int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
    for port in random.sample(range(first, first + 1000), 1000):
        with socket.socket() as s, suppress(OSError):
            s.bind(('127.0.0.1', port))
            return port
    raise OSError(f'no port from {first} to {first + 999} is free')
