"""Are digits and readings of web/generator.js those of Python, byte for byte, in Node, Chromium and Firefox?

    python benchmarks/same_bytes.py                 # 21,600 images of 12 seeds, numbers, morphs, drawings: minutes
    python benchmarks/same_bytes.py --images 2      # 960 of them

Engines that are not there are left out. It prints how many bytes are equal, and how many probabilities differ by no
more than 1e-5, and writes the counts to same_bytes.json.
"""
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from common import arguments, save
from mnist_vae.export import png, to_bytes
from mnist_vae.generator import DigitGenerator
from mnist_vae.picture import read_picture
from mnist_vae.web import write_weights

ROOT = Path(__file__).resolve().parent.parent
SEEDS = 0, 1, 2, 7, 42, 123, 2026, 5489, 65_535, 2**31, 2**32 - 2, 2**32 - 1
TEMPERATURES = 0, .5, 1, 1.5
ENGINES = {
    'Node': ['node'],
    'Chromium': ['chromium', 'chromium-browser', 'google-chrome'],
    'Firefox': ['firefox-esr', 'firefox'],
}
# Drawings on the pad, as strokes of points: a one whose centre of mass is between two pixels, a slashed zero with its
# speck, a four of two strokes, a dot, a frame at the border.
DRAWINGS = [
    [[[140, 42], [140, 238]]],
    [[[140, 30], [60, 90], [60, 200], [140, 250], [220, 200], [220, 90], [140, 30]],
     [[200, 40], [80, 240]], [[20, 20]]],
    [[[126, 42], [84, 154], [210, 154]], [[182, 42], [174, 252]]], [[[140, 140]]],
    [[[5, 5], [275, 5], [275, 275], [5, 275], [5, 5]]],
]
CLOSE = 1e-5        # of probabilities
PATIENCE = 600      # seconds for a browser, on a computer that is busy with other things


def plan(n: int) -> list[tuple[str, list]]:
    "Calls of the generator in JavaScript: `n` images for each of 12 seeds, ten digits and four temperatures, and more."
    calls = [('generate', [digit, dict(n=n, seed=seed, temperature=temperature)])
             for seed in SEEDS for digit in range(10) for temperature in TEMPERATURES]
    calls.append(('sample', [[3, 1, 4, 1, 5, 9], dict(seed=9, start=10_000)]))
    calls += [('write', ['0123456789', dict(seed=seed)]) for seed in range(2 * n)]
    calls += [('restyle', [digit, dict(n=1, seed=seed)]) for seed in range(n) for digit in range(10)]
    calls += [('morph', [start, (start + step) % 10, dict(n=8, seed=step)])
              for step in range(1 + n // 4) for start in range(10)]
    values = torch.linspace(-2, 2, 4 * n).tolist()
    calls += [('inStyle', [[v, -v, values[-1 - i] / 2, v / 3]]) for i, v in enumerate(values)]
    calls += [('probabilities', [digit, dict(n=1, seed=seed, temperature=1.5)])
              for seed in range(n) for digit in range(10)]
    calls += [('writeAs', ['0123456789', digit, dict(n=1, seed=n)]) for digit in range(10)]
    calls += [('readPicture', [strokes]) for strokes in DRAWINGS + scrawls(n)]
    calls += [('at', [4 * v, 3 * values[-1 - i // 2]]) for i, v in enumerate(values)]
    return calls


def scrawls(n: int) -> list[list]:
    "`n` drawings of one to three crooked strokes."
    rng = np.random.default_rng(0)
    return [[rng.integers(0, 281, (rng.integers(2, 6), 2)).tolist() for _ in range(1 + i % 3)] for i in range(n)]


def painted(strokes: list) -> np.ndarray:
    "A drawing as the pad has it, uint8 (280, 280): what a round pen leaves, in arithmetic that JavaScript has, too."
    y, x = np.mgrid[:280, :280] + .5
    distance = np.full((280, 280), np.inf)
    for stroke in strokes:
        for (ax, ay), (bx, by) in zip(stroke, stroke[1:] or stroke):
            along = (x - ax) * (bx - ax) + (y - ay) * (by - ay)
            t = (along / max((bx - ax) ** 2 + (by - ay) ** 2, 1)).clip(0, 1)
            dx, dy = x - ax - t * (bx - ax), y - ay - t * (by - ay)
            distance = np.minimum(distance, np.sqrt(dx * dx + dy * dy))
    return np.floor(255 * (11.5 - distance).clip(0, 1) + .5).astype(np.uint8)


def by_python(gen: DigitGenerator, name: str, args: list) -> torch.Tensor:
    "What a call of the plan gives in Python: bytes, or probabilities."
    *args, last = args
    options = last if isinstance(last, dict) else {}
    if not options: args = [*args, last]
    if name == 'probabilities': return gen.probabilities(gen.generate(*args, **options)[0])
    if name == 'writeAs':
        text, digit = args
        return to_bytes(gen.write(text, options['seed'], gen.generate(digit, **options)[0], digit)).flatten()
    if name == 'readPicture':
        drawing = png(torch.from_numpy(painted(*args)) / 255)
        return to_bytes(read_picture(drawing, certainty=gen.certainty)).flatten()
    if name == 'restyle': images = gen.restyle(gen.generate(*args, **options)[0], *args)
    elif name == 'at': _, images = gen.at(*args)
    else: images = getattr(gen, {'inStyle': 'in_style'}.get(name, name))(*args, **options)
    return to_bytes(images).flatten()


def prepare(folder: Path, calls: list) -> list[np.ndarray]:
    "Write what the engines need into `folder`; what they should draw, call by call."
    write_weights(folder)
    (folder / 'plan.json').write_text(json.dumps(calls))
    gen = DigitGenerator.load()
    return [by_python(gen, *call).numpy() for call in calls]


class _Handler(SimpleHTTPRequestHandler):
    "Serves the page, the modules and the weights, and takes what the page sends."
    def translate_path(self, path):
        name = path.lstrip('/')
        if name in ('weights.bin', 'encoder.bin', 'plan.json'): return str(self.server.folder / name)
        return str(ROOT / name)

    def do_GET(self):
        if self.path != '/': return super().do_GET()
        page = b'<!doctype html><script type="module" src="/benchmarks/same_bytes.js"></script>'
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()
        self.wfile.write(page)

    def do_POST(self):
        self.server.sent = self.path, self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(204)
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, *args): pass


def in_node(program: str, folder: Path) -> bytes:
    return subprocess.run([program, ROOT / 'benchmarks/same_bytes.js', folder], capture_output=True, check=True).stdout


def in_browser(command: Callable[[str, str], list[str]], folder: Path) -> bytes:
    "What a page draws in the browser that `command` starts, given a folder for its profile and an address."
    with ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server, tempfile.TemporaryDirectory() as profile:
        server.folder, server.arrived = folder, threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = subprocess.Popen(command(profile, f'http://127.0.0.1:{server.server_port}/'),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not server.arrived.wait(PATIENCE): raise TimeoutError(f'no answer from {browser.args[0]}')
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
    what, sent = server.sent
    if what != '/bytes': raise RuntimeError(sent.decode())
    return sent


def chromium(program: str, folder: Path) -> bytes:
    options = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run']
    return in_browser(lambda profile, url: [program, *options, f'--user-data-dir={profile}', url], folder)


def firefox(program: str, folder: Path) -> bytes:
    return in_browser(lambda profile, url: [program, '--headless', '--no-remote', '--profile', profile, url], folder)


def found(engine: str) -> str | None:
    "The path of an engine, if it is there."
    return next(filter(None, map(shutil.which, ENGINES[engine])), None)


def draw(engine: str, folder: Path) -> np.ndarray:
    "All bytes that an engine draws for the plan in `folder`."
    how = {'Node': in_node, 'Chromium': chromium, 'Firefox': firefox}[engine]
    return np.frombuffer(how(found(engine), folder), np.uint8)


def count(calls: list, expected: list[np.ndarray], drawn: np.ndarray) -> dict[str, dict]:
    "For each method: bytes, or probabilities, those that are equal, or close, and the largest difference."
    n_bytes = sum(wanted.nbytes for wanted in expected)
    if n_bytes != len(drawn): raise ValueError(f'{len(drawn):,} bytes, not {n_bytes:,}')
    counts, at = {}, 0
    for (name, _), wanted in zip(calls, expected):
        got = drawn[at:at + wanted.nbytes].copy().view(wanted.dtype)
        at += wanted.nbytes
        unit, close = ('bytes', 0) if wanted.dtype == np.uint8 else ('probabilities', CLOSE)
        row, gap = counts.setdefault(name, {unit: 0, 'equal': 0, 'largest': 0}), np.abs(got.astype(float) - wanted)
        row[unit] += len(wanted)
        row['equal'] += int((gap <= close).sum())
        row['largest'] = max(row['largest'], gap.max().item())
    return counts


if __name__ == '__main__':
    args = arguments(__file__, __doc__, images=45)
    calls, figures = plan(args.images), {}
    with tempfile.TemporaryDirectory() as folder:
        expected = prepare(Path(folder), calls)
        for engine in filter(found, ENGINES):
            figures[engine] = count(calls, expected, draw(engine, Path(folder)))
            for name, row in figures[engine].items():
                (unit, n), (_, n_equal), (_, largest) = row.items()
                print(f'{engine:9} {name:13} {n_equal:11,} of {n:11,} {unit} equal, largest difference {largest:g}')
    save(args.out, dict(images=args.images * len(SEEDS) * len(TEMPERATURES) * 10, seeds=len(SEEDS), engines=figures))
