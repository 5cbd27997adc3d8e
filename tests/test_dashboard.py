"""The dashboard: served by Voilà as README says, and used in a browser.

What it does without one is tested in its notebook.
"""
import base64
import io
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from jupyter_core.paths import jupyter_path
from PIL import Image
from playwright.sync_api import expect

from conftest import ROOT
from mnist_vae.export import sheet
from mnist_vae.generator import DigitGenerator
from mnist_vae.look import DARK, INTRODUCTION, LIGHT, TITLE
from ports import free_port

(PAGE,) = (ROOT / 'nbs').glob('*_dashboard.ipynb')
SLIDERS = ['Digit', 'How many', 'Temperature', 'Slant', 'Width', 'Height', 'Thickness', 'From', 'To', 'Frame']
WAIT = 120_000   # milliseconds: a kernel imports torch before its page comes


@contextmanager
def serving(command, folder, log, ready):
    "The page's address, served by `command` in `folder` on a free port, once `ready` stands in the server's log."
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    options = ['--no-browser', f'--port={(port := free_port())}', '--Voila.port_retries=0']
    # A kernel's five TCP ports are chosen before it starts. Servers that start at once choose the same, and one dies.
    if sys.platform == 'linux': options.append('--KernelManager.transport=ipc')
    with open(log, 'w') as out:
        process = subprocess.Popen([*command, *options], cwd=folder, stdout=out, stderr=out, env=environment)
    try:
        for _ in range(480):
            if ready in log.read_text(): break
            assert process.poll() is None, log.read_text()
            time.sleep(.25)
        else: pytest.fail(f'not ready within two minutes\n{log.read_text()}')
        yield f'http://127.0.0.1:{port}'
        assert 'Traceback' not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope='module')
def template():
    "Voilà finds the page's template where pip has put it."
    found = [path for path in jupyter_path('voila', 'templates', 'mnist-vae') if Path(path, 'index.html.j2').exists()]
    assert found, "no template: run pip install -e '.[dashboard]' again"
    source = ROOT / 'share/jupyter/voila/templates/mnist-vae'
    old = [path.name for path in source.iterdir() if Path(found[0], path.name).read_bytes() != path.read_bytes()]
    assert not old, f"{old} in {found[0]} are not those of the repository: run pip install -e '.[dashboard]' again"


@pytest.fixture(scope='module')
def server(template, tmp_path_factory):
    "The page's address, served by Voilà in the repository, once a process waits for a visitor."
    command = [sys.executable, '-m', 'voila', PAGE.relative_to(ROOT)]
    with serving(command, ROOT, tmp_path_factory.mktemp('voila') / 'log.txt', 'filled with') as address: yield address


def opened(browser, server, problems, width=1280, height=1500, scheme='light', address=''):
    """The page, once its pictures are there; into `problems` goes what it complains of, and every request to another
    host."""
    page = browser.new_context(viewport={'width': width, 'height': height}, color_scheme=scheme).new_page()
    page.set_default_timeout(WAIT)
    page.on('pageerror', lambda e: problems.append(str(e)))
    page.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
    page.on('request', lambda r: None if r.url.startswith((server, 'data:', 'blob:')) else problems.append(r.url))
    page.goto(server + address)
    page.wait_for_function(
        '() => [...document.querySelectorAll(".mnist-dash img")].filter(i => i.complete && i.naturalWidth).length == 4'
    )
    page.wait_for_function('() => document.querySelectorAll(".mnist-dash [role=slider][aria-label]").length == 10')
    return page


@pytest.fixture
def visit(server, browser):
    "A function that opens the page for another visitor. In the end, no page may have had a problem."
    pages, problems = [], []

    def open_page(*args, **kwargs):
        pages.append(opened(browser, server, problems, *args, **kwargs))
        return pages[-1]
    yield open_page
    for page in pages: page.context.close()
    assert problems == []


def picture(page, alt) -> torch.Tensor:
    """The ink, (H, W) in [0, 1], of the image whose alternative text begins with the words `alt`; waits until it is
    there."""
    data = page.wait_for_function(
        '''alt => [...document.querySelectorAll(".mnist-dash img")].find(
        i => i.complete && i.alt.startsWith(alt) && !/[\\w.]/.test(i.alt[alt.length] ?? ""))?.src''',
        arg=alt,
    ).json_value()
    return (
        torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(data.split(',')[1]))).getchannel('A'))) / 255
    )


def alts(page) -> list[str]: return page.locator('.mnist-dash img').evaluate_all('images => images.map(i => i.alt)')


# The least contrast of the text of the page, as WCAG 2 defines it, with the element that has it.
CONTRAST = '''() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if ((c[3] ?? 1) > .99) return c;
    }
    return [255, 255, 255];
  };
  let least = [99, ''];
  const texts = '.mnist-dash :is(h1, h2, p, code, a, button, input, .widget-label, .widget-readout)';
  for (const e of document.querySelectorAll(texts)) {
    if (!e.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < least[0]) least = [ratio, e.outerHTML.slice(0, 200)];
  }
  return least;
}'''


@pytest.mark.parametrize(
    'width, height, scheme, address',
    [
        (1280, 1400, 'light', ''), (1280, 1400, 'dark', ''), (375, 2000, 'dark', ''), (375, 2000, 'light', ''),
        (1280, 1400, 'light', '/?theme=dark'),
    ],
)
def test_first_page(visit, width, height, scheme, address):
    page = visit(width, height, scheme, address)
    assert page.title() == page.get_by_role('heading', level=1).inner_text() == TITLE
    assert page.get_by_text(INTRODUCTION).count() == 1
    assert [re.sub(r'seed \d+', 'seed', alt) for alt in alts(page)] == [
        'Handwritten seven, variations: 10, seed, temperature 1',
        'The handwritten digits zero to nine, slant +0.0, width +0.0, height +0.0, thickness +0.0',
        'Frame 1 of 24 on the way from three to eight',
        'Six steps from three to eight, seed',
    ]
    assert [slider.get_attribute('aria-label') for slider in page.get_by_role('slider').all()] == SLIDERS
    assert (
        'import' not in page.locator('body').inner_text()
        and 'from mnist_vae' not in page.content().split('application/vnd.voila.cell-output')[0]
    ), 'no cell of the chapter'
    assert page.evaluate(
        '[document.documentElement.scrollWidth, document.querySelector(".mnist-dash").scrollWidth]'
    ) <= [width, width], 'nothing to scroll sideways'
    boxes = [
        box.bounding_box()
        for box in page.locator('.mnist-dash :is(img, button, input, .noUi-handle, .widget-readout)').all()
    ]
    assert all(box['x'] >= 0 and box['x'] + box['width'] <= width for box in boxes)
    scale = [
        image.bounding_box()['width'] / image.evaluate('i => i.naturalWidth')
        for image in page.locator('.mnist-dash img').all()
    ]
    assert all(abs(k - round(k)) < 1e-6 and k >= 2 for k in scale), 'every pixel of an image has the same size'
    assert {
        image.evaluate('i => getComputedStyle(i).imageRendering') for image in page.locator('.mnist-dash img').all()
    } == {'pixelated'}
    least, where = page.evaluate(CONTRAST)
    assert least >= 4.5, where
    dark = scheme == 'dark' or 'dark' in address
    paper = page.evaluate('''() => [document.elementFromPoint(1, 1), document.querySelector(".mnist-dash")].map(e => {
        for (; getComputedStyle(e).backgroundColor == "rgba(0, 0, 0, 0)"; e = e.parentElement);
        return getComputedStyle(e).backgroundColor})''')
    expected = (DARK if dark else LIGHT)['paper']
    assert ['#%02x%02x%02x' % tuple(map(int, re.findall(r'\d+', colour))) for colour in paper] == 2 * [expected], (
        'the page around it is of the same paper'
    )
    if folder := os.environ.get('SCREENSHOTS'):
        page.screenshot(path=f'{folder}/dashboard-{scheme}{"-theme-dark" if address else ""}-{width}.png')


def test_sliders_by_keyboard(visit):
    page, gen = visit(), DigitGenerator.load()
    seed = int(page.get_by_role('spinbutton', name='Seed').first.input_value())
    seven = picture(page, 'Handwritten seven')
    # Every frame that is shown while pictures change: is one missing, or somewhere else? And how long from key to
    # picture?
    page.evaluate('''() => {
      window.seen = []; window.times = [];
      const place = document.querySelector('.mnist-pictures');
      const box = () => JSON.stringify(document.querySelector('.mnist-pictures img').getBoundingClientRect());
      const first = box();
      const look = () => {
        const i = place.querySelector('img');
        seen.push(Boolean(i && i.complete && i.naturalWidth && box() == first));
        requestAnimationFrame(look);
      };
      look();
      let pressed = 0;
      document.addEventListener('keydown', () => pressed = performance.now(), true);
      const changed = new MutationObserver(() => {
        if (pressed) times.push(performance.now() - pressed);
        pressed = 0;
      });
      changed.observe(place.querySelector('.widget-html'), {childList: true, subtree: true});
    }''')
    page.get_by_role('slider', name='Digit').focus()
    page.keyboard.press('ArrowRight')
    eight = picture(page, 'Handwritten eight')
    assert not torch.equal(seven, eight)
    torch.testing.assert_close(eight, sheet(gen.generate(8, 10, seed)), atol=.0021, rtol=0)
    page.get_by_role('slider', name='Temperature').focus()
    for t in ('0.95', '0.9', '0.85', '0.8', '0.75'):
        page.keyboard.press('ArrowLeft')
        picture(page, f'Handwritten eight, variations: 10, seed {seed}, temperature {t}')
    expect(page.locator('.mnist-dash code').first).to_contain_text('temperature=0.75')
    seen, times = page.evaluate('[seen, times]')
    print(f'\nfrom a key to the new picture: {", ".join(f"{t:.0f}" for t in times)} ms; frames seen: {len(seen)}')
    assert len(times) == 6 and len(seen) > 6 and all(seen), 'a picture was missing, or moved'

    page.get_by_role('slider', name='Slant').focus()
    page.keyboard.press('End')
    torch.testing.assert_close(
        picture(page, 'The handwritten digits zero to nine, slant +2.0'), sheet(gen.in_style([2.0])), atol=0.0021,
        rtol=0,
    )
    page.get_by_role('button', name='Average handwriting').press('Enter')
    picture(page, 'The handwritten digits zero to nine, slant +0.0')


def test_morph_plays_and_is_saved(visit):
    page = visit()
    picture(page, 'Frame 1 of 24')
    page.get_by_role('button', name='Play or pause').press('Enter')
    picture(page, 'Frame 24 of 24 on the way from three to eight')
    page.get_by_role('button', name='Make a GIF').click()
    with page.expect_download() as file: page.get_by_role('link', name='Save as GIF').click()
    assert re.fullmatch(r'3-to-8-seed-\d+\.gif', file.value.suggested_filename)
    movie = Image.open(file.value.path())
    assert movie.n_frames > 24 and movie.size == (8 * 28, 8 * 28)
    with page.expect_download() as file: page.get_by_role('link', name='Save as PNG').first.click()
    assert Image.open(file.value.path()).size == (8 * 148, 8 * 58), 'large enough to use'


def test_bad_seed_is_mended(visit):
    page = visit()
    field = page.get_by_role('spinbutton', name='Seed').first
    for typed, meant in (('-5', 0), ('99999999999', 2**32 - 1), ('12', 12)):
        field.fill(typed)
        field.press('Tab')
        picture(page, f'Handwritten seven, variations: 10, seed {meant}')


def test_visitors_do_not_see_each_other(visit):
    first, second = visit(), visit()
    before = alts(second), [image.get_attribute('src') for image in second.locator('.mnist-dash img').all()]
    first.get_by_role('slider', name='Digit').focus()
    first.keyboard.press('Home')
    picture(first, 'Handwritten zero')
    first.get_by_role('button', name='New handwriting').click()
    first.wait_for_function(
        '() => ![...document.querySelectorAll(".mnist-dash img")].some(i => i.alt.includes("slant +0.0, width +0.0"))'
    )
    second.get_by_role('slider', name='How many').focus()
    second.keyboard.press('ArrowLeft')
    picture(second, 'Handwritten seven, variations: 9')
    assert alts(second)[1:] == before[0][1:]
    assert [image.get_attribute('src') for image in second.locator('.mnist-dash img').all()][1:] == before[1][1:]


@pytest.mark.parametrize(
    'path',
    [
        f'voila/files/{PAGE.name}', 'voila/files/plain.pth', 'voila/render/index.ipynb', 'voila/tree/', 'index.ipynb',
        'api/contents/',
    ],
)
def test_nothing_else_is_served(server, path):
    with pytest.raises(HTTPError) as error: urlopen(f'{server}/{path}', timeout=60)
    assert error.value.code in (403, 404)


# How else the page is started: command, and in which folder. `voila.json` is read in the root only, so here no process
# waits for visitors.
ELSEWHERE = {
    'voila in nbs': ([sys.executable, '-m', 'voila', PAGE.name], PAGE.parent),
    'voila in another folder': ([sys.executable, '-m', 'voila', PAGE], None),
    'mnist-vae-dashboard in another folder': ([Path(sys.executable).with_name('mnist-vae-dashboard')], None),
}


def portrait(page) -> np.ndarray:
    "All of the page, with a seed of our own."
    for field in page.get_by_role('spinbutton', name='Seed').all():
        field.fill('7')
        field.press('Tab')
    picture(page, 'Handwritten seven, variations: 10, seed 7')
    picture(page, 'Six steps from three to eight, seed 7')
    for i in (0, 2): expect(page.locator('.mnist-dash code').nth(i)).to_contain_text('seed=7')
    page.evaluate('document.activeElement.blur()')
    page.wait_for_function(
        '() => [...document.querySelectorAll(".mnist-dash img")].every(i => i.complete && i.naturalWidth)'
    )
    page.evaluate(  # a picture that has arrived may still wait for its decoder, and then be painted a frame later
        '''() => Promise.all([...document.querySelectorAll(".mnist-dash img")].map(i => i.decode()))
        .then(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))))'''
    )
    return np.asarray(
        Image.open(io.BytesIO(page.screenshot(full_page=True, animations='disabled', caret='hide'))).convert('RGB')
    )


@pytest.mark.parametrize('start', ELSEWHERE)
def test_looks_the_same_from_whatever_folder(server, browser, start, tmp_path):
    command, folder = ELSEWHERE[start]
    problems = []
    ready = (
        'filled with' if 'mnist-vae-dashboard' in start else 'is running at'
    )  # the command brings the settings along
    with serving(command, folder or tmp_path, tmp_path / 'log.txt', ready) as address:
        for width, scheme in ((1280, 'light'), (375, 'dark')):
            portraits = []
            for origin in (server, address):
                page = opened(browser, origin, problems, width, 1500, scheme)
                portraits.append(portrait(page))
                page.context.close()
            if folder_of_screenshots := os.environ.get('SCREENSHOTS'):
                for name, shot in zip(('root', start), portraits):
                    Image.fromarray(shot).save(f'{folder_of_screenshots}/dashboard-{name}-{scheme}-{width}.png')
            assert portraits[0].shape == portraits[1].shape, (start, width, scheme)
            different = (abs(np.subtract(*portraits, dtype=int)) > 2).any(
                2
            )  # the browser may round a curve's edge by a level
            assert not different.any(), (
                start, width, scheme, [(axis.min(), axis.max()) for axis in different.nonzero()],
            )
    assert problems == []
