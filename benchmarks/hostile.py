"""The app, its visitors and somebody who means it harm.

    python benchmarks/hostile.py                 # a thousand requests of each kind
    python benchmarks/hostile.py --requests 100  # fewer
    python benchmarks/hostile.py --python PATH   # serve with another environment, such as one of requirements.txt alone

While each attack runs, a visitor who was there before goes on clicking, and another one comes in afterwards. The exit
status is 1 if an attack is answered otherwise than it should be, a visitor gets wrong pictures or waits too long, or
the server holds too much. All on loopback, so that attacker and visitors have one address; the attacker is a process of
its own. Linux only.
"""
import argparse
import asyncio
import json
import os
import resource
import signal
import struct
import sys
import time
import zlib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from app import wrong_pictures
from visitors import TIMEOUT, Server, Visitor

MEMORY = 420             # MB that the server may hold at the worst moment: 512 is what there is
HANDS = 20               # connections that the attacker uses at a time
WAIT = 3 * (HANDS + 1)   # the longest wait during an attack, in clicks without one: the queue, threefold
CUT = OSError, EOFError, ConnectionClosed, InvalidHandshake, InvalidMessage


def long_picture() -> bytes:
    "A PNG of 1 by 16,000,000 pixels, in a few hundred bytes: unpacked it is 16 MB, as RGB 48."

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    head = struct.pack('>IIBBBBB', 1, 16_000_000, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(bytes(100))) + chunk(b'IEND', b'')


class Attacker:
    "Each attack does its worst `n` times and returns how often it was answered in which way."
    def __init__(self, port: int, n: int):
        self.server, self.n = SimpleNamespace(port=port, origin=f'http://127.0.0.1:{port}'), n

    async def request(self, method='GET', path='/', host=None, body=b'', **headers) -> str:
        "Status of the answer, or 'cut'."
        lines = [
            f'{method} {path} HTTP/1.1', f'Host: {host or self.host}',
            *(f'{name}: {value}' for name, value in headers.items()),
        ]
        writer = None
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', self.server.port)
            writer.write('\r\n'.join([*lines, '', '']).encode() + body)
            return (await reader.readline()).decode().split()[1]
        except (*CUT, IndexError): return 'cut'
        finally:
            if writer: writer.close()

    @property
    def host(self) -> str: return f'127.0.0.1:{self.server.port}'

    async def many(self, act) -> Counter:
        "`act` so many times, by `HANDS` at once."
        answers, left = Counter(), iter(range(self.n))
        async def hand():
            for i in left: answers[await act(i)] += 1
        await asyncio.gather(*(hand() for _ in range(HANDS)))
        return answers

    async def sends(self, messages, wait: float = 0) -> str:
        "Say all of `messages` over one websocket. 'open' if it is open still, else the code it was closed with."
        visitor = Visitor(self.server, 0)
        try:
            await visitor.connect()
            for message in messages: await visitor.socket.send(message)
            try:
                async with asyncio.timeout(wait or None):
                    while True: await visitor.socket.recv()
            except TimeoutError: return 'open'
        except ConnectionClosed as e: return str(e.rcvd.code if e.rcvd else 'cut')
        except (*CUT, RuntimeError): return 'cut'
        finally:
            if hasattr(visitor, 'socket'): await visitor.close()

    async def uploads(self):
        "Two megabytes to the endpoint for uploads, in every method and some spellings."
        paths = (
            '/_stcore/upload_file/x/y', '/_stcore/upload_file/x/y/', '//_stcore/upload_file/x/y',
            '/_stcore/upload%5Ffile/x/y',
        )
        body = bytes(2_000_000)
        return await self.many(
            lambda i: self.request(
                ('PUT', 'POST', 'DELETE')[i % 3], paths[i % 4], body=body, **{'Content-Length': len(body)}
            )
        )

    async def foreign_origins(self):
        "Pages of other sites that open a websocket."
        origins = 'https://evil.example', 'null', 'http://localhost:3000', f'http://{self.host}.evil.example'
        async def handshake(i):
            try:
                async with connect(f'ws://{self.host}/_stcore/stream', origin=origins[i % 4], proxy=None): return 'open'
            except InvalidHandshake as e: return str(e.response.status_code)
            except CUT: return 'cut'
        return await self.many(handshake)

    async def wrong_hosts(self):
        "Names that this computer does not have."
        hosts = 'evil.example', 'localhost.evil.example', '10.0.0.1', 'a@localhost'
        return await self.many(lambda i: self.request(host=hosts[i % 4]))

    async def closed_paths(self):
        "What Streamlit offers and the app does not use."
        paths = (
            '/_stcore/metrics', '/_stcore/agent/mcp', '/_stcore/script-health-check', '/component/x/y', '/auth/login',
            '/app/static/x', '/../app.py',
        )
        return await self.many(lambda i: self.request(path=paths[i % len(paths)]))

    async def clear_cache(self):
        "Messages that empty the cache of all visitors, and others that are not for visitors."
        kinds = (
            BackMsg(clear_cache=True), BackMsg(set_run_on_save=True), BackMsg(load_git_info=True),
            BackMsg(debug_shutdown_runtime=True),
        )
        messages = [kind.SerializeToString() for kind in kinds] * (self.n // HANDS // 4 + 1)
        return await self.by_all_hands(messages)

    async def by_all_hands(self, messages, wait: float = 2) -> Counter:
        visitor = Visitor(self.server, 0)
        messages = [visitor.message(), *messages]
        return Counter(await asyncio.gather(*(self.sends(messages, wait) for _ in range(HANDS))))

    async def floods(self):
        "Reruns without a pause."
        return await self.by_all_hands([Visitor(self.server, 0).message()] * (self.n // HANDS))

    async def long_pictures(self):
        "Pictures of one pixel by sixteen million."
        visitor = Visitor(self.server, 0)
        await visitor.open()
        await visitor.show_tab('Handwriting')
        await visitor.close()
        messages = [visitor.message(**visitor.sends(long_picture(), 'picture')) for _ in range(self.n // HANDS)]
        return await self.by_all_hands(messages)

    async def huge_states(self):
        "Reruns whose widgets a session would keep: just within the size of a message."
        message = BackMsg()
        message.rerun_script.widget_states.widgets.add(id='x', string_value='x' * 900_000)
        return await self.many(lambda i: self.sends([message.SerializeToString()]))

    async def huge_messages(self):
        "More than a message may have."
        return await self.many(lambda i: self.sends([bytes(1_500_000)]))

    async def garbage(self):
        "Bytes and text that are no messages."
        generator = np.random.default_rng(0)
        messages = [b'\xff' + generator.bytes(200), 'text', b'\x0a\xff\xff\xff\xff\x0f']
        return await self.many(lambda i: self.sends([messages[i % 3]]))

    async def half_open(self):
        "Connections that begin a request and leave it at that. They stay open until the attack is over."
        held = []
        async def begin(i):
            try:
                _, writer = await asyncio.open_connection('127.0.0.1', self.server.port)
                writer.write(b'GET / HTTP/1.1\r\nHost: loc')
                held.append(writer)
                return 'open'
            except OSError: return 'cut'
        answers = await self.many(begin)
        await asyncio.sleep(2)                                       # others have to get through meanwhile
        for writer in held: writer.close()
        return answers

    async def silent_websockets(self):
        "Websockets that say nothing."
        return await self.many(lambda i: self.sends([], wait=.2))


# What each attack may be answered with: it is refused, closed or left unanswered, and never served.
ATTACKS = {
    'uploads': {'405', 'cut'},
    'foreign_origins': {'403'},
    'wrong_hosts': {'403'},
    'closed_paths': {'404', '400'},
    'clear_cache': {'open'},
    'floods': {'open'},
    'long_pictures': {'open'},
    'huge_states': {'1009'},
    'huge_messages': {'1009', 'cut'},
    'garbage': {'1002', '1003'},
    'half_open': {'open', 'cut'},
    'silent_websockets': {'open', 'cut'},
}


def attack(port: int, n: int, name: str) -> Counter:
    "One of `ATTACKS`, with an event loop of its own."
    return asyncio.run(getattr(Attacker(port, n), name)())


def enlist() -> None:
    "The attacker's process: it may have many connections, and lets the server and its visitors go first."
    allow_connections(4096)
    os.nice(10)


async def clicks_until(done: asyncio.Event, visitor: Visitor) -> tuple[list[float], list[tuple]]:
    "Click until `done`, and twice at least. The waits, and what was shown."
    waits, fives = [], []
    while not done.is_set() or len(waits) < 2:
        seconds, pictures = await asyncio.wait_for(visitor.click(), TIMEOUT)
        waits.append(seconds)
        fives.append(visitor.five(pictures))
        await asyncio.sleep(.05)                                     # a visitor looks at what came
    return waits, fives


async def siege(server: Server, n: int, names=tuple(ATTACKS)) -> list[dict]:
    "One attack after another. What each was answered, what the visitors saw meanwhile, and what the server held."
    visitor, calm, loop = Visitor(server, 7), asyncio.Event(), asyncio.get_running_loop()
    attacker = ProcessPoolExecutor(1, mp_context=get_context('spawn'), initializer=enlist)
    await loop.run_in_executor(attacker, os.getpid)                  # it takes seconds to start
    await visitor.open()
    await visitor.show_tab('Handwriting')
    calm.set()
    rows, calm_waits = [], []
    async def calm_clicks():
        calm_waits.extend((await clicks_until(calm, visitor))[0])
        return float(np.percentile(calm_waits, 95))
    for _ in range(4): await calm_clicks()
    for name in names:
        done, read = asyncio.Event(), server.bytes_read()
        bystander = asyncio.create_task(clicks_until(done, visitor))
        start = time.perf_counter()
        try: answers = await loop.run_in_executor(attacker, attack, server.port, n, name)
        finally: done.set()
        seconds = time.perf_counter() - start
        waits, fives = await bystander
        newcomer = Visitor(server, 3)
        _, pictures = await asyncio.wait_for(newcomer.open(), TIMEOUT)
        fives.append(newcomer.five(pictures))
        await newcomer.close()
        rows.append(
            dict(
                name=name, answers=dict(answers), seconds=seconds, alone=await calm_clicks(), waits=waits,
                wrong=wrong_pictures(fives), memory=server.memory(), peak=server.memory('VmHWM'),
                read=server.bytes_read() - read, errors=visitor.errors + newcomer.errors,
            )
        )
    await visitor.close()
    attacker.shutdown()
    return rows


def broken_limits(row: dict) -> list[str]:
    "Which limits an attack broke."
    unexpected = row['answers'].keys() - ATTACKS[row['name']]
    limits = {f'answered {unexpected}': not unexpected, 'errors': not row['errors'], 'wrong pictures': not row['wrong'],
              f'a wait of {max(row["waits"]):.1f} s': max(row['waits']) <= WAIT * row['alone'],
              f'{row["peak"]:.0f} MB': row['peak'] <= MEMORY}
    return [name for name, holds in limits.items() if not holds]


def report(rows: list[dict]) -> bool:
    print(f'without an attack, 95% of the clicks of one visitor wait {rows[-1]["alone"] * 1000:.0f} ms or less')
    print(
        f'{"attack":18} {"seconds":>8} {"waits, p50":>11} {"p95 ms":>7} {"longest":>8} '
        f'{"memory":>7} {"peak MB":>8}  answers'
    )
    for row in rows:
        p50, p95 = (np.percentile(row['waits'], p) * 1000 for p in (50, 95))
        answers = ', '.join(f'{count} × {answer}' for answer, count in sorted(row['answers'].items()))
        print(
            f'{row["name"]:18} {row["seconds"]:8.1f} {p50:11.0f} {p95:7.0f} {max(row["waits"]) * 1000:8.0f} '
            f'{row["memory"]:7.0f} {row["peak"]:8.0f}  {answers}'
        )
    broken = [f'{row["name"]}: {limit}' for row in rows for limit in broken_limits(row)]
    for limit in broken: print(f'broken: {limit}')
    return not broken


def allow_connections(n: int) -> None:
    "Let this process have so many open connections, as far as the system lets it."
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(n, hard) if hard > 0 else n, hard))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--requests', type=int, default=1000, help='of each kind')
    parser.add_argument('--only', nargs='+', choices=ATTACKS, default=list(ATTACKS), help='these kinds only')
    parser.add_argument('--python', default=sys.executable, help='the Python that serves the app (default: this one)')
    parser.add_argument('--out', type=Path, help='file for the figures, JSON')
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))            # so that the server ends, too
    with Server(args.python) as server:
        rows = asyncio.run(siege(server, args.requests, args.only))
        if 'Traceback' in server.output(): print(server.output()[-3000:], file=sys.stderr)
    fine = report(rows)
    if args.out: args.out.write_text(json.dumps(dict(rows=rows, cores=os.cpu_count()), indent=1) + '\n')
    sys.exit(not fine)
