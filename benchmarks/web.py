"""How fast is the page without a server, and how much memory does it take? In Chromium, on a computer of one's own.

    python benchmarks/web.py                # needs chromium and playwright; half a minute
    python benchmarks/web.py --slower 1     # without slowing the processor down

It writes the page, serves it, and opens it with a cold cache, then with a processor that is four times slower than this
one: five digits at a time, sliders, a drawing on the pad. It prints what was measured beside what it should be.
"""
import argparse
import functools
import shutil
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mnist_vae.web import page_files, write_page

WATCH = '''
window.seen = {shift: 0, tasks: []};
new PerformanceObserver(list => list.getEntries().forEach(entry => {
    if (!entry.hadRecentInput) window.seen.shift += entry.value;
})).observe({type: 'layout-shift', buffered: true});
new PerformanceObserver(list => list.getEntries().forEach(entry => window.seen.tasks.push(entry.duration)))
    .observe({type: 'longtask', buffered: true});
'''
FIRST_FIVE = '''async () => {
    while (!document.querySelector('#five li:last-child canvas')?.ariaLabel) await new Promise(requestAnimationFrame);
    return performance.now();
}'''
GENERATE = '''async (n) => {
    const {DigitGenerator} = await import(new URL('generator.js', location));
    const gen = await DigitGenerator.load(new URL('weights.bin', location));
    const times = [];
    for (let seed = 0; seed < n; seed++) {
        const start = performance.now();
        gen.generate(seed % 10, {seed});
        times.push(performance.now() - start);
        if (seed % 10 === 9) await new Promise(requestAnimationFrame);
    }
    return times;
}'''
SLIDE = '''async (n) => {
    const slider = document.querySelector('#sliders input'), times = [];
    for (let i = 0; i < n; i++) {
        let start;
        requestAnimationFrame(() => { start = performance.now(); });
        slider.value = 2 * Math.sin(i);
        slider.dispatchEvent(new Event('input'));
        await new Promise(requestAnimationFrame);
        times.push(performance.now() - start);
    }
    return times;
}'''
STROKES = [[(.45, .15), (.3, .55), (.75, .55)], [(.65, .15), (.62, .9)]]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


class Server(ThreadingHTTPServer):
    def handle_error(self, *args): pass                 # a page was closed before it had everything


def p95(times: list[float]) -> float: return sorted(times)[int(.95 * len(times))]


def draw(page) -> None:
    "A four on the pad, by mouse."
    box = page.locator('.pad canvas').bounding_box()
    for stroke in STROKES:
        for i, (x, y) in enumerate(stroke):
            page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'], steps=12)
            if not i: page.mouse.down()
        page.mouse.up()


def cold(browser, address: str) -> float:
    "Milliseconds from an empty cache to five digits."
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address, wait_until='commit')
        return page.evaluate(FIRST_FIVE)


def used(browser, address: str, slower: float) -> dict:
    "What a visitor notices who opens every tab, moves a slider and draws."
    with browser.new_context(viewport=dict(width=412, height=823)) as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        client = context.new_cdp_session(page)
        client.send('Emulation.setCPUThrottlingRate', dict(rate=slower))
        page.goto(address)
        page.wait_for_selector('body:not(.is-waiting)')
        found = dict(generate=page.evaluate(GENERATE, 200))
        page.get_by_role('tab', name='Explore').click()
        found['slide'] = page.evaluate(SLIDE, 100)
        page.get_by_role('tab', name='Handwriting').click()
        page.locator('.pad canvas').scroll_into_view_if_needed()
        page.evaluate('window.seen.tasks.length = 0')
        draw(page)
        page.locator('#ten[aria-label]').wait_for()
        found['pen'] = max(page.evaluate('window.seen.tasks'), default=0)
        for name in 'Number', 'Quality', 'Generate': page.get_by_role('tab', name=name).click()
        client.send('HeapProfiler.collectGarbage')
        heap = client.send('Runtime.getHeapUsage')
        found['memory'] = (heap['usedSize'] + heap.get('backingStorageSize', 0)) / 1e6
        return found | dict(shift=page.evaluate('window.seen.shift'))


def main(slower: float, starts: int) -> None:
    from playwright.sync_api import sync_playwright
    chromium = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))))
    sizes = {name: len(content) for name, content in page_files().items()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        write_page(Path(folder))
        server = Server(('127.0.0.1', 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/'
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu'])
        first = sorted(cold(browser, address) for _ in range(starts))
        found = used(browser, address, slower)
        browser.close()
        server.shutdown()
    rest = sum(sizes.values()) - sizes['weights.bin'] - sizes['encoder.bin']
    drawing, reading = (sizes[f'{name}.bin'] / 1e6 for name in ('weights', 'encoder'))
    print(f'files: weights {drawing:.2f} MB (at most 4.2), of reading {reading:.2f} MB, all others {rest / 1e3:.0f} kB')
    median, worst = first[len(first) // 2], first[-1]
    print(f'first five digits, cold cache: median {median:.0f} ms, worst {worst:.0f} (at most 1000)')
    print(f'with a processor {slower:g} times slower:')
    print(f'  generate, five digits: p95 {p95(found["generate"]):.1f} ms (at most 8)')
    print(f'  a frame of a slider: p95 {p95(found["slide"]):.1f} ms (at most 16)')
    print(f'  longest task while the pen moves: {found["pen"]:.0f} ms (at most 50; 0: none was as long)')
    print(f'memory of scripts: {found["memory"]:.0f} MB (at most 60); layout shift: {found["shift"]:.3f} (at most 0.1)')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--slower', type=float, default=4, help='how much slower the processor is made, 4 by default')
    parser.add_argument('--starts', type=int, default=5, help='with a cold cache, 5 by default')
    args = parser.parse_args()
    main(args.slower, args.starts)
