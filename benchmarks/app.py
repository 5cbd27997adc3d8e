"""The app under load, and as one visitor feels it.

    python benchmarks/app.py                    # 50 visitors at once, each clicks ten times
    python benchmarks/app.py --browser          # one visitor in Chromium: cold start, 30 clicks, 15 strokes of the pen
    python benchmarks/app.py --python PATH      # serve with another environment, such as one of requirements.txt alone

The visitors of the first speak Streamlit's own protocol, as a browser does: a websocket with its Origin and XSRF token, a rerun
that carries the state of every widget, the button as a trigger, then the pictures over HTTP. In every round all of them click
at the same moment. Each picture is compared with what the package itself draws for the digit and seed that the visitor sees.
The exit status is 1 if a limit is broken: an error, a wrong picture, too much memory, or memory that keeps growing.
Linux only: memory is read from /proc.
"""
import argparse
import asyncio
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import torch
from PIL import Image
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import connect

from mnist_vae.generator import DigitGenerator

ROOT = Path(__file__).resolve().parent.parent
N = 5                    # pictures of one click
BUTTON = 'Generate 5 Images'
PICTURE = re.compile(r'variation (\d) of 5')
TIMEOUT = 180            # seconds that anything may take, on a busy computer too
MEMORY, GROWTH = 350, 15  # MB: the most it may hold, and the most it may grow from the third round to the last


def image_environment() -> dict[str, str]:
    "The variables that the Dockerfile sets: memory is measured as it will be."
    (line,) = re.findall(r'^ENV (.*)', (ROOT / 'Dockerfile').read_text(), re.M)
    return dict(pair.split('=') for pair in line.split())


def free_port() -> int:
    with closing(socket.socket()) as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Server:
    "The app as a process of its own on loopback; `with` waits until it is healthy, and ends it."
    def __init__(self, python: str = sys.executable, command: list[str] | None = None, cwd: Path = ROOT, env: dict | None = None, port: int = 0):
        self.port = port or free_port()
        self.command = command or [python, '-m', 'streamlit', 'run', 'app.py', '--server.headless=true',
                                   '--server.address=127.0.0.1', f'--server.port={self.port}']
        self.cwd, self.env, self.origin = cwd, env or os.environ | image_environment(), f'http://127.0.0.1:{self.port}'

    def __enter__(self):
        self.log = tempfile.TemporaryFile('w+')
        self.started = time.perf_counter()
        self.process = subprocess.Popen(self.command, cwd=self.cwd, env=self.env, stdout=self.log, stderr=subprocess.STDOUT)
        while time.perf_counter() - self.started < TIMEOUT:
            try:
                if urlopen(f'{self.origin}/_stcore/health', timeout=1).read() == b'ok':
                    self.seconds = time.perf_counter() - self.started
                    return self
            except OSError: time.sleep(.02)
            if self.process.poll() is not None: break
        self.stop()
        raise RuntimeError(f'the server did not become healthy:\n{self.output()}')

    def __exit__(self, *_): self.stop()

    def stop(self) -> int:
        "Ask it to end, as an operator's container does. Its exit status."
        self.process.terminate()
        try: return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def output(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def memory(self, of: str = 'VmRSS') -> float:
        "Resident memory in MB (10⁶ bytes), shared libraries included; `of='VmHWM'` is its peak since the start."
        return int(re.search(rf'{of}:\s+(\d+) kB', Path(f'/proc/{self.process.pid}/status').read_text())[1]) * 1024 / 1e6


    def cpu(self) -> float:
        "Processor time so far in seconds: what the server would take if nothing else ran."
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


class Visitor:
    "One session: what a browser tab sends, and what it shows."
    def __init__(self, server: Server, digit: int): self.server, self.query, self.widgets, self.values, self.errors = server, f'digit={digit}', {}, {}, []

    async def get(self, path: str) -> tuple[str, bytes]:
        "Head and body."
        reader, writer = await asyncio.open_connection('127.0.0.1', self.server.port)
        try:
            writer.write(f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\nOrigin: {self.server.origin}\r\n\r\n'.encode())
            head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
            if ' 200 ' not in head.splitlines()[0]: raise RuntimeError(f'{path}: {head.splitlines()[0]}')
            return head, await reader.readexactly(int(re.search(r'(?i)content-length: (\d+)', head)[1]))
        finally: writer.close()

    async def open(self):
        "Come in as a new tab does, and wait for the first pictures."
        head, _ = await self.get('/_stcore/health')
        self.cookie, self.token = re.search(r'(?i)set-cookie: (_streamlit_xsrf=([^;\s]+))', head).groups()
        self.socket = await connect(f'ws://127.0.0.1:{self.server.port}/_stcore/stream', origin=self.server.origin, max_size=None, proxy=None, ping_interval=None,
                                    subprotocols=['streamlit', self.token], additional_headers={'Cookie': self.cookie})
        return await self.run()

    async def close(self): await self.socket.close()

    def note(self, kind: str, widget):
        "A widget has arrived: as the page does, keep its value unless it is new or the script has set another."
        self.widgets[kind, widget.label] = widget
        if kind == 'button' or (widget.id in self.values and not widget.set_value): return
        if kind == 'selectbox': value = dict(string_value=widget.raw_value if widget.set_value else widget.options[widget.default])
        else:
            value = widget.value if widget.set_value else widget.default
            value = dict(string_value=value) if kind == 'text_input' else dict(int_value=int(value)) if widget.data_type == widget.INT else dict(double_value=value)
        self.values[widget.id] = value

    def shown(self, kind: str, label: str) -> int:
        (value,) = self.values[self.widgets[kind, label].id].values()
        return int(value)

    async def run(self, button=None) -> tuple[float, tuple]:
        """Run the script, for a click if there is a `button`, until it has finished.

        Returns the seconds until all five pictures were here, and (digit, seed, the pictures' bytes).
        """
        message = BackMsg()
        message.rerun_script.query_string = self.query
        for name, value in self.values.items(): message.rerun_script.widget_states.widgets.add(id=name, **value)
        if button: message.rerun_script.widget_states.widgets.add(id=button.id, trigger_value=True)
        start, addresses, bodies, seconds = time.perf_counter(), {}, None, None
        await self.socket.send(message.SerializeToString())
        while True:
            reply = ForwardMsg()
            reply.ParseFromString(await self.socket.recv())
            kind = reply.WhichOneof('type')
            if kind == 'new_session': self.session_id = reply.new_session.initialize.session_id
            elif kind == 'page_info_changed': self.query = reply.page_info_changed.query_string
            elif kind == 'session_event' and reply.session_event.WhichOneof('type') == 'script_compilation_exception': self.errors.append('the script does not compile')
            elif kind == 'delta' and reply.delta.WhichOneof('type') == 'new_element':
                element = reply.delta.new_element
                name = element.WhichOneof('type')
                if name == 'exception': self.errors.append(str(element))
                elif name in ('selectbox', 'number_input', 'text_input', 'button'): self.note(name, getattr(element, name))
                elif name == 'imgs':
                    addresses.update({int(found[1]): img.url for img in element.imgs.imgs if (found := PICTURE.search(img.alt))})
                    if len(addresses) == N and bodies is None:
                        bodies = [body for _, body in await asyncio.gather(*(self.get(addresses[i]) for i in sorted(addresses)))]   # a browser, too, fetches them side by side
                        seconds = time.perf_counter() - start
            elif kind == 'script_finished':
                if reply.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY: break
                if reply.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR: raise RuntimeError('the script does not compile')
        if bodies is None: raise RuntimeError(f'{len(addresses)} pictures instead of {N}')
        return seconds, (self.shown('selectbox', 'Digit'), self.shown('number_input', 'Seed'), bodies)

    async def click(self): return await self.run(self.widgets['button', BUTTON])


def wrong_pictures(replies: list[tuple]) -> int:
    "How many replies show anything else than what the package draws for their digit and seed, to a grey level."
    torch.set_num_threads(1)                                         # threads that wait for each other on a busy computer are many times slower
    generator = DigitGenerator.load()
    def differs(digit, seed, bodies):
        seen = np.stack([np.asarray(Image.open(io.BytesIO(body)).convert('L')) for body in bodies])
        return np.abs(seen - generator.generate(digit, N, seed).numpy() * 255).max() > 1
    return sum(differs(*reply) for reply in replies)


async def load(server: Server, visitors: int, clicks: int) -> dict:
    "Everybody opens a tab at once, then all click together, `clicks` times. What was seen and measured."
    tabs = [Visitor(server, i % 10) for i in range(visitors)]
    rounds, replies, errors = [], [], []

    async def together(name, act):
        async def one(tab):
            try: return await asyncio.wait_for(act(tab), TIMEOUT)
            except Exception as e: return e
        results = await asyncio.gather(*map(one, tabs))
        errors.extend(repr(r) for r in results if isinstance(r, Exception))
        good = [r for r in results if not isinstance(r, Exception)]
        replies.extend(reply for _, reply in good)
        rounds.append(dict(name=name, seconds=[s for s, _ in good], memory=server.memory()))

    start = server.memory()
    await together('open', Visitor.open)
    cpu = server.cpu()
    for i in range(clicks): await together(f'click {i + 1}', Visitor.click)
    peak, cpu = server.memory('VmHWM'), server.cpu() - cpu
    await asyncio.gather(*(tab.close() for tab in tabs if hasattr(tab, 'socket')), return_exceptions=True)
    errors += [error for tab in tabs for error in tab.errors]
    if 'Traceback' in server.output(): errors.append(server.output())
    return dict(start=start, rounds=rounds, peak=peak, cpu=cpu / max(1, visitors * clicks), errors=errors, replies=len(replies), asked=visitors * (clicks + 1),
                seeds=len({seed for _, seed, _ in replies}), wrong=wrong_pictures(replies),
                growth=rounds[-1]['memory'] - rounds[min(3, clicks)]['memory'])


def percentiles(seconds: list[float]) -> str: return f'{np.percentile(seconds, 50) * 1000:8.0f} {np.percentile(seconds, 95) * 1000:8.0f}' if seconds else f'{"-":>8} {"-":>8}'


def report(found: dict, visitors: int) -> bool:
    "Print the table; whether all limits hold."
    print(f'{visitors} visitors at once      p50 ms   p95 ms  memory MB')
    print(f"{'server healthy':23} {'':8} {'':8} {found['start']:10.0f}")
    for row in found['rounds']: print(f"{row['name']:23} {percentiles(row['seconds'])} {row['memory']:10.0f}")
    print(f"{'all clicks; peak':23} {percentiles([s for row in found['rounds'][1:] for s in row['seconds']])} {found['peak']:10.0f}")
    print(f"{found['asked']} requests: {len(found['errors'])} errors ({len(found['errors']) / found['asked']:.2%}), {found['wrong']} with pictures "
          f"of another seed or digit, {found['seeds']} different seeds. Memory from round 3 to the last: {found['growth']:+.0f} MB. "
          f"The server's CPU: {found['cpu'] * 1000:.0f} ms a click.")
    for error in found['errors'][:5]: print(error, file=sys.stderr)
    limits = {'errors': not found['errors'] and found['replies'] == found['asked'], 'wrong pictures': not found['wrong'],
              'seeds that two visitors share': found['seeds'] == found['asked'],
              f'more than {MEMORY} MB': found['peak'] <= MEMORY, f'memory grew by more than {GROWTH} MB': found['growth'] <= GROWTH}
    for broken in (name for name, holds in limits.items() if not holds): print(f'broken: {broken}')
    return all(limits.values())


SHOWN = '''() => {
    const found = [...document.querySelectorAll('img')].filter(i => /variation \\d of 5/.test(i.alt));
    return found.length == 5 && found.every(i => i.complete && i.naturalWidth) && !found.some(i => (window.before || []).includes(i.src));
}'''
# From the click itself to the first frame in which all five pictures are new and loaded, on the page's own clock.
CLICK = '''() => new Promise((resolve, reject) => {
    const shown = %s;
    window.before = [...document.querySelectorAll('img')].map(i => i.src);
    const button = [...document.querySelectorAll('button')].find(b => b.innerText.includes('%s')), start = performance.now();
    const look = () => shown() ? resolve(performance.now() - start) : performance.now() - start > 30000 ? reject('no new pictures') : requestAnimationFrame(look);
    button.click();
    look();
})''' % (SHOWN, BUTTON)


TEN = 'i => i.alt.includes("in this handwriting")'
# From the pen's lifting to the first frame in which the ten digits are new and loaded, on the page's own clock.
LIFTED = '''() => {
    const ten = () => [...document.images].find(%s), before = ten()?.src;
    window.lifted = new Promise((resolve, reject) => addEventListener('pointerup', () => {
        const start = performance.now();
        const look = () => ten() && ten().src != before && ten().complete && ten().naturalWidth ? resolve(performance.now() - start)
            : performance.now() - start > 30000 ? reject('no new digits') : requestAnimationFrame(look);
        look();
    }, {capture: true, once: true}));
}''' % TEN


def pen_lifts(page, address: str, n: int) -> list[float]:
    "Seconds from the lifting of the pen to all ten digits in that handwriting, for `n` sevens that lean more and more, each in one stroke."
    page.goto(f'{address}/?tab=Handwriting')
    pad, clear = page.get_by_role('img', name='Pad to draw'), page.get_by_role('button', name='Clear', exact=True)
    pad.scroll_into_view_if_needed()
    seconds = []
    for i in range(n):
        if i:
            page.wait_for_timeout(400)                               # a visitor looks at what came
            clear.click()
        page.wait_for_function(f'() => ![...document.images].some({TEN})')
        box, lean = pad.bounding_box(), .3 * i / n
        points = (.25, .2), (.75, .2), (.6 - lean, .85)
        page.evaluate(LIFTED)
        for j, (x, y) in enumerate(points):
            page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'], steps=8)
            if not j: page.mouse.down()
        page.mouse.up()
        seconds.append(page.evaluate('window.lifted') / 1000)
    return seconds


def browser(python: str, clicks: int, starts: int) -> list[dict]:
    "Cold starts of the server with a first tab each; in the last one, clicks and strokes of the pen."
    from playwright.sync_api import sync_playwright
    executable = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not executable: raise RuntimeError('neither chromium nor google-chrome is on the PATH')
    rows = []
    with sync_playwright() as p, closing(p.chromium.launch(executable_path=executable, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking'])) as chromium:
        for i in range(starts):
            page = chromium.new_context().new_page()                 # nothing in its cache
            with Server(python) as server:
                opened = time.perf_counter()
                page.goto(server.origin, wait_until='commit')
                page.wait_for_function(SHOWN, timeout=TIMEOUT * 1000)
                now = time.perf_counter()
                rows.append(dict(server=server.seconds, tab=now - opened, total=now - server.started, cpu=server.cpu()))
                if i == starts - 1:
                    second = chromium.new_context().new_page()
                    opened = time.perf_counter()
                    second.goto(server.origin, wait_until='commit')
                    second.wait_for_function(SHOWN, timeout=TIMEOUT * 1000)
                    rows[-1]['next tab'] = time.perf_counter() - opened
                    second.context.close()
                    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
                    rows[-1]['clicks'], before = [], server.cpu()
                    for _ in range(clicks):
                        rows[-1]['clicks'].append(page.evaluate(CLICK) / 1000)
                        page.wait_for_timeout(200)                   # a visitor looks at what came
                    rows[-1] |= {'cpu of a click': (server.cpu() - before) / clicks, 'pen': pen_lifts(page, server.origin, 15), 'memory': server.memory('VmHWM')}
            page.context.close()
    return rows


def report_browser(rows: list[dict]) -> bool:
    print('cold start, seconds     server      tab    total  of it the server\'s CPU')
    for i, row in enumerate(rows, 1): print(f"{i:<20} {row['server']:9.2f} {row['tab']:8.2f} {row['total']:8.2f} {row['cpu']:8.2f}")
    last, total = rows[-1], np.median([row['total'] for row in rows])
    p95, pen = (np.percentile(last[name], 95) for name in ('clicks', 'pen'))
    print(f"server: from its start to the first good health check; tab: from there to five pictures. Median total: {total:.2f} s.\n"
          f"next new tab: {last['next tab']:.2f} s; click to new pictures, {len(last['clicks'])} clicks: p50 {np.percentile(last['clicks'], 50) * 1000:.0f} ms, "
          f"p95 {p95 * 1000:.0f} ms, slowest {max(last['clicks']) * 1000:.0f} ms, of the server's CPU {last['cpu of a click'] * 1000:.0f} ms each.\n"
          f"pen lifted to ten digits, {len(last['pen'])} strokes: p50 {np.percentile(last['pen'], 50) * 1000:.0f} ms, p95 {pen * 1000:.0f} ms; peak memory {last['memory']:.0f} MB.")
    limits = {'first pictures later than 3 s': total <= 3, 'p95 of clicks above 300 ms': p95 <= .3, 'p95 of the pen above 300 ms': pen <= .3,
              f'more than {MEMORY} MB': last['memory'] <= MEMORY}
    for broken in (name for name, holds in limits.items() if not holds): print(f'broken: {broken}')
    return all(limits.values())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--visitors', type=int, default=50)
    parser.add_argument('--clicks', type=int, help='of each visitor (default 10; in the browser 30)')
    parser.add_argument('--browser', action='store_true', help='one visitor in Chromium instead')
    parser.add_argument('--starts', type=int, default=5, help='cold starts in the browser')
    parser.add_argument('--python', default=sys.executable, help='the Python that serves the app (default: this one)')
    parser.add_argument('--out', type=Path, help='file for the figures, JSON')
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))            # so that the server ends, too
    if args.browser: fine = report_browser(found := browser(args.python, args.clicks or 30, args.starts))
    else:
        with Server(args.python) as server: found = asyncio.run(load(server, args.visitors, args.clicks or 10))
        fine = report(found, args.visitors)
    if args.out: args.out.write_text(json.dumps(dict(found=found, cores=os.cpu_count()), indent=1) + '\n')
    sys.exit(not fine)
