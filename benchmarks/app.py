"""The app under load, and as one visitor feels it.

    python benchmarks/app.py                    # 50 visitors at once, each does ten things
    python benchmarks/app.py --browser          # one visitor in Chromium: cold start, 30 clicks, 15 strokes of the pen
    python benchmarks/app.py --python PATH      # serve with another environment, such as one of requirements.txt alone

In every round all visitors act at the same moment: most ask for five digits, the others draw one, send a photograph or
look at another tab, and take turns in that. Each picture is fetched, and five digits are compared with what the package
itself draws for the digit and seed that the visitor sees. Before and after, one visitor does the same alone: the wait
in a crowd is measured against theirs, times the number of people in the queue. The exit status is 1 if a limit is
broken: an error, a wrong picture, too long a wait, too much memory, or memory that keeps growing.
"""
import argparse
import asyncio
import io
import json
import os
import shutil
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mnist_vae.generator import DigitGenerator
from visitors import BUTTON, TIMEOUT, N, Server, Visitor, drawing, photograph

MEMORY, GROWTH = 350, 15  # MB: the most it may hold, and the most it may grow from the third round to the last
QUEUE = 2                # times the wait of one visitor alone times the number of visitors: the longest wait in a crowd
ACTS = 'click', 'draw', 'click', 'Number', 'click', 'photograph', 'click', 'Explore', 'click', 'Quality'
DRAWING, PHOTOGRAPH = drawing(), photograph()


async def act(visitor: Visitor, name: str) -> tuple[float, tuple | None]:
    "Do one of `ACTS`. Returns the seconds it took, and for a click digit, seed and pictures."
    if name == 'click':
        seconds, pictures = await visitor.click()
        return seconds, visitor.five(pictures)
    if name == 'draw': seconds, pictures = await visitor.send_picture(DRAWING, 'drawing')
    elif name == 'photograph': seconds, pictures = await visitor.send_picture(PHOTOGRAPH, 'picture')
    else: seconds, pictures = await visitor.show_tab(name)
    if name in ('draw', 'photograph') and not any('in this handwriting' in alt for alt in pictures):
        raise RuntimeError(f'{name}: no ten digits, but {list(pictures)}')
    return seconds, None


def wrong_pictures(replies: list[tuple]) -> int:
    "How many replies show anything else than what the package draws for their digit and seed, to a grey level."
    torch.set_num_threads(1)  # threads that wait for each other on a busy computer are many times slower
    generator = DigitGenerator.load()
    def differs(digit, seed, bodies):
        seen = np.stack([np.asarray(Image.open(io.BytesIO(body)).convert('L')) for body in bodies])
        return np.abs(seen - generator.generate(digit, N, seed).numpy() * 255).max() > 1
    return sum(differs(*reply) for reply in replies)


async def alone(server: Server) -> list[float]:
    "Seconds that one visitor waits who does each of `ACTS`, with nobody else there."
    visitor = Visitor(server, 3)
    await visitor.open()
    seconds = [(await act(visitor, name))[0] for name in ACTS]
    await visitor.close()
    return seconds


async def load(server: Server, visitors: int, acts: int) -> dict:
    "Everybody opens a tab at once, then all act together, `acts` times. What was seen and measured."
    tabs = [Visitor(server, i % 10) for i in range(visitors)]
    rounds, clicks, errors = [], [], []

    async def together(name, acting):
        async def one(i, tab):
            try: return await asyncio.wait_for(acting(i, tab), TIMEOUT)
            except Exception as e: return e
        results = await asyncio.gather(*(one(i, tab) for i, tab in enumerate(tabs)))
        errors.extend(repr(r) for r in results if isinstance(r, Exception))
        good = [r for r in results if not isinstance(r, Exception)]
        clicks.extend(five for _, five in good if five)
        rounds.append(dict(name=name, seconds=[s for s, _ in good], memory=server.memory()))

    async def come_in(i, tab):
        seconds, pictures = await tab.open()
        return seconds, tab.five(pictures)

    start = server.memory()
    await together('open', come_in)
    baseline = await alone(server)                                   # after the weights were read, which happens once
    cpu = server.cpu()
    for r in range(acts):
        await together(f'round {r + 1}', lambda i, tab, r=r: act(tab, ACTS[(i + r) % len(ACTS)]))
    peak, cpu = server.memory('VmHWM'), server.cpu() - cpu
    baseline += await alone(server)
    await asyncio.gather(*(tab.close() for tab in tabs if hasattr(tab, 'socket')), return_exceptions=True)
    errors += [error for tab in tabs for error in tab.errors]
    if 'Traceback' in server.output(): errors.append(server.output())
    waits = [s for row in rounds[1:] for s in row['seconds']]
    return dict(
        start=start, rounds=rounds, peak=peak, cpu=cpu / max(1, visitors * acts), errors=errors, clicks=len(clicks),
        asked=visitors * (acts + 1), wrong=wrong_pictures(clicks), alone=float(np.mean(baseline)), waits=waits,
        growth=rounds[-1]['memory'] - rounds[min(3, acts)]['memory'],
    )


def percentiles(seconds: list[float]) -> str:
    return (
        f'{np.percentile(seconds, 50) * 1000:8.0f} {np.percentile(seconds, 95) * 1000:8.0f}'
        if seconds
        else f'{"-":>8} {"-":>8}'
    )


def broken_limits(found: dict, visitors: int) -> list[str]:
    "Which limits do not hold."
    longest = QUEUE * visitors * found['alone']
    limits = {
        'errors': not found['errors'],
        'wrong pictures': not found['wrong'],
        f'p95 of the waits above {longest:.2f} s': not found['waits'] or np.percentile(found['waits'], 95) <= longest,
        f'more than {MEMORY} MB': found['peak'] <= MEMORY,
        f'memory grew by more than {GROWTH} MB': found['growth'] <= GROWTH,
    }
    return [name for name, holds in limits.items() if not holds]


def report(found: dict, visitors: int) -> bool:
    "Print the table; whether all limits hold."
    print(f'{visitors} visitors at once      p50 ms   p95 ms  memory MB')
    print(f"{'server healthy':23} {'':8} {'':8} {found['start']:10.0f}")
    for row in found['rounds']: print(f"{row['name']:23} {percentiles(row['seconds'])} {row['memory']:10.0f}")
    print(f"{'all rounds; peak':23} {percentiles(found['waits'])} {found['peak']:10.0f}")
    print(
        f"{found['asked']} acts: {len(found['errors'])} errors; {found['clicks']} times five digits, "
        f"{found['wrong']} with those of another seed or digit. "
        f"Memory from round 3 to the last: {found['growth']:+.0f} MB.\n"
        f"The server's CPU: {found['cpu'] * 1000:.0f} ms per act; "
        f"one visitor alone waits {found['alone'] * 1000:.0f} ms, fifty-fold {50 * found['alone']:.1f} s."
    )
    for error in found['errors'][:5]: print(error, file=sys.stderr)
    broken = broken_limits(found, visitors)
    for name in broken: print(f'broken: {name}')
    return not broken


SHOWN = '''() => {
    const found = [...document.querySelectorAll('img')].filter(i => /variation \\d of 5/.test(i.alt));
    const before = window.before || [];
    return found.length == 5 && found.every(i => i.complete && i.naturalWidth && !before.includes(i.src));
}'''
# From the click itself to the first frame in which all five pictures are new and loaded, on the page's own clock.
CLICK = '''() => new Promise((resolve, reject) => {
    const shown = %s;
    window.before = [...document.querySelectorAll('img')].map(i => i.src);
    const button = [...document.querySelectorAll('button')].find(b => b.innerText.includes('%s'));
    const start = performance.now();
    const look = () => {
        const spent = performance.now() - start;
        if (shown()) resolve(spent);
        else if (spent > 30000) reject('no new pictures');
        else requestAnimationFrame(look);
    };
    button.click();
    look();
})''' % (SHOWN, BUTTON)


TEN = 'i => i.alt.includes("in this handwriting")'
# From the pen's lifting to the first frame in which the ten digits are new and loaded, on the page's own clock.
LIFTED = (
    '''() => {
    const ten = () => [...document.images].find(%s), before = ten()?.src;
    window.lifted = new Promise((resolve, reject) => addEventListener('pointerup', () => {
        const start = performance.now();
        const look = () => {
            const spent = performance.now() - start, now = ten();
            if (now && now.src != before && now.complete && now.naturalWidth) resolve(spent);
            else if (spent > 30000) reject('no new digits');
            else requestAnimationFrame(look);
        };
        look();
    }, {capture: true, once: true}));
}'''
    % TEN
)


def pen_lifts(page, address: str, n: int) -> list[float]:
    """Seconds from the lifting of the pen to all ten digits in that handwriting, for `n` sevens that lean more and
    more, each in one stroke."""
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
    with (
        sync_playwright() as p,
        closing(
            p.chromium.launch(
                executable_path=executable, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking']
            )
        ) as chromium,
    ):
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
                        page.wait_for_timeout(200)  # a visitor looks at what came
                    rows[-1] |= {
                        'cpu of a click': (server.cpu() - before) / clicks,
                        'pen': pen_lifts(page, server.origin, 15),
                        'memory': server.memory('VmHWM'),
                    }
            page.context.close()
    return rows


def report_browser(rows: list[dict]) -> bool:
    print('cold start, seconds     server      tab    total  of it the server\'s CPU')
    for i, row in enumerate(rows, 1):
        print(f"{i:<20} {row['server']:9.2f} {row['tab']:8.2f} {row['total']:8.2f} {row['cpu']:8.2f}")
    last, total = rows[-1], np.median([row['total'] for row in rows])
    p95, pen = (np.percentile(last[name], 95) for name in ('clicks', 'pen'))
    print(
        f"server: from its start to the first good health check; tab: from there to five pictures. "
        f"Median total: {total:.2f} s.\n"
        f"next new tab: {last['next tab']:.2f} s; click to new pictures, {len(last['clicks'])} clicks: "
        f"p50 {np.percentile(last['clicks'], 50) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, "
        f"slowest {max(last['clicks']) * 1000:.0f} ms, "
        f"of the server's CPU {last['cpu of a click'] * 1000:.0f} ms each.\n"
        f"pen lifted to ten digits, {len(last['pen'])} strokes: p50 {np.percentile(last['pen'], 50) * 1000:.0f} ms, "
        f"p95 {pen * 1000:.0f} ms; peak memory {last['memory']:.0f} MB."
    )
    limits = {
        'first pictures later than 3 s': total <= 3,
        'p95 of clicks above 300 ms': p95 <= 0.3,
        'p95 of the pen above 300 ms': pen <= 0.3,
        f'more than {MEMORY} MB': last['memory'] <= MEMORY,
    }
    for broken in (name for name, holds in limits.items() if not holds): print(f'broken: {broken}')
    return all(limits.values())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--visitors', type=int, default=50)
    parser.add_argument(
        '--clicks', type=int, help='acts of each visitor (default 10), or clicks in the browser (default 30)'
    )
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
