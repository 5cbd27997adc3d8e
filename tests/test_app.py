"""The app: its logic by Streamlit's own AppTest, and once for real, in a browser."""
import io
import os
import re
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from conftest import ROOT
from mnist_vae.generator import default_weights
from mnist_vae.training import load_checkpoint


@pytest.fixture
def app():
    return visit()


def visit(**parameters):
    "The app at an address with these parameters."
    at = AppTest.from_file(str(ROOT / 'app.py'), default_timeout=60)
    for name, value in parameters.items(): at.query_params[name] = value
    assert not at.run().exception
    return at


def pictures(at, of='variation') -> list[tuple[str, str]]:
    "Address and alternative text of each picture with `of` in the text; the address is made from the content."
    return [(img.url, img.alt) for block in at.get('image') for img in block.proto.imgs if of in img.alt]


def test_five_unique_variations_at_once(app):
    assert app.selectbox[0].options == [str(d) for d in range(10)]
    assert [button.label for button in app.button] == ['Generate 5 Images', 'New handwriting']
    assert len({url for url, _ in pictures(app)}) == 5
    assert [alt for _, alt in pictures(app)] == [f'Handwritten seven, variation {i} of 5' for i in range(1, 6)]


def test_click_gives_new_images(app):
    before = {url for url, _ in pictures(app)}
    app.button[0].click().run()
    after = {url for url, _ in pictures(app)}
    assert len(after) == 5 and not before & after


def test_images_stay_until_something_is_asked(app):
    before = pictures(app)
    assert pictures(app.run()) == before


def test_images_follow_the_digit(app):
    app.selectbox[0].select(3).run()
    assert {alt.split(',')[0] for _, alt in pictures(app)} == {'Handwritten three'}
    assert f'generate(3, n=5, seed={app.number_input[0].value})' in app.code[0].value, 'the code beside them draws the same'


def test_link_reopens_the_same_images(app):
    app.selectbox[0].select(4).run()
    app.button[0].click().run()
    address = {name: str(app.query_params[name][0] if isinstance(app.query_params[name], list) else app.query_params[name]) for name in ('seed', 'hand')}
    assert pictures(visit(digit='4', **address)) == pictures(app)
    assert pictures(visit(digit='4', **address), of='number') == pictures(app, of='number')
    assert pictures(visit(digit='4', seed='12')) == pictures(visit(digit='4', seed='12')) != pictures(visit(digit='4', seed='13'))


@pytest.mark.parametrize('parameters', [dict(digit='x'), dict(digit='12'), dict(seed='-4'), dict(seed='99999999999'), dict(seed='²'),
                                        dict(hand='1e5'), dict(number='12a'), dict(number='1' * 21), dict(digit='<b>', seed='')],
                         ids=lambda parameters: '&'.join(parameters))
def test_bad_link_falls_back_with_a_note(parameters):
    at = visit(**parameters)
    assert all(name in at.info[0].value for name in parameters) and '<' not in at.info[0].value
    assert len(pictures(at)) == 5


def test_number_in_one_handwriting(app):
    ((first, alt),) = pictures(app, of='number')
    assert alt == 'The number 2026 in one handwriting'
    app.button[1].click().run()
    ((second, _),) = pictures(app, of='number')
    assert second != first and len(pictures(app)) == 5
    for bad in ('abc', '1.5', '²', ''):
        app.text_input[0].set_value(bad).run()
        assert not app.exception and not pictures(app, of='number') and 'digits from 0 to 9' in app.warning[0].value, bad
    app.text_input[0].set_value('1').run()
    assert pictures(app, of='number')


def test_quality_is_that_of_the_checkpoint(app):
    card = load_checkpoint(default_weights())[1]['metrics']['quality']['rows']['class priors']
    assert [metric.value for metric in app.metric] == [f'{card["consistency"]:.2%}', f'{card["worst_digit"]:.2%}', f'{card["fid"]:.2f}', f'{card["cas"]:.2%}']


@pytest.fixture(scope='module')
def server(app_python):
    "The app's address, served as README says, on a free port."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    process = subprocess.Popen([app_python, '-m', 'streamlit', 'run', 'app.py', '--server.headless=true',
                                f'--server.port={port}', '--server.address=127.0.0.1'], cwd=ROOT)
    address = f'http://127.0.0.1:{port}'
    try:
        for _ in range(240):
            try:
                if urlopen(f'{address}/_stcore/health', timeout=1).read() == b'ok': break
            except OSError: time.sleep(.25)
            assert process.poll() is None, 'the server ended'
        else: pytest.fail('no answer from the server within a minute')
        yield address
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope='module')
def browser(chromium):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking'])
        yield browser
        browser.close()


@pytest.mark.parametrize('width, scheme', [(1280, 'light'), (375, 'dark')])
def test_visitor_picks_a_digit_and_clicks(server, browser, width, scheme):
    page = browser.new_page(viewport={'width': width, 'height': 720}, color_scheme=scheme)
    problems = []
    page.on('pageerror', lambda e: problems.append(str(e)))
    page.goto(server)

    def shown(name):
        "The five pictures as bytes, once all of `name` are there."
        images = page.get_by_role('img', name=f'Handwritten {name}, variation')
        page.wait_for_function('''name => {
            const found = [...document.querySelectorAll("img")].filter(i => i.alt.startsWith(`Handwritten ${name},`));
            return found.length == 5 && found.every(i => i.complete && i.naturalWidth == 28 && i.naturalHeight == 28);
        }''', arg=name)
        boxes = [image.bounding_box() for image in images.all()]
        assert len({round(box['y']) for box in boxes}) == 1, 'in one row'
        assert all(box['x'] >= 0 and box['x'] + box['width'] <= width and box['width'] > 40 for box in boxes)
        assert {image.evaluate('i => getComputedStyle(i).imageRendering') for image in images.all()} == {'pixelated'}
        return [page.request.get(image.evaluate('i => i.src')).body() for image in images.all()]

    shown('seven')
    page.get_by_role('combobox', name='Digit').click()
    page.get_by_role('option', name='3', exact=True).click()
    first = shown('three')
    assert len(set(first)) == 5
    picture = Image.open(io.BytesIO(first[0]))
    assert (picture.format, picture.size) == ('PNG', (28, 28)), 'every pixel as it was drawn'

    old = [image.evaluate('i => i.src') for image in page.get_by_role('img', name='variation').all()]
    page.get_by_role('button', name='Generate 5 Images').click()
    page.wait_for_function('old => ![...document.querySelectorAll("img")].some(i => old.includes(i.src))', arg=old)
    second = shown('three')
    assert len(set(second)) == 5 and not set(first) & set(second)

    def fits_and_looks(name):
        assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
        if folder := os.environ.get('SCREENSHOTS'): page.screenshot(path=f'{folder}/app-{name}-{scheme}-{width}.png', full_page=True)

    def download(label):
        with page.expect_download() as file: page.get_by_role('button', name=label).click()
        return file.value.suggested_filename, Path(file.value.path()).read_bytes()

    def settle(): page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')   # what comes after the images, too

    settle()
    fits_and_looks('digits')
    seen = [np.asarray(Image.open(io.BytesIO(data)).convert('L')) for data in second]
    seed = re.search(r'seed=(\d+)', page.url)[1]
    name, data = download('NPZ')
    assert name == f'digit-3-seed-{seed}.npz'
    with np.load(io.BytesIO(data)) as arrays: assert np.abs(arrays['images'].astype(int) - seen).max() <= 1 and arrays['labels'].tolist() == [3] * 5
    name, data = download('ZIP')
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 6 and name.endswith('.zip')
    assert Image.open(io.BytesIO(download(re.compile('PNG$'))[1])).size == (8 * (5 * 30 - 2), 8 * 28)

    page.get_by_role('tab', name='Write a number').click()
    page.get_by_role('textbox', name='Number', exact=True).fill('31415926')
    page.keyboard.press('Enter')
    page.get_by_role('img', name='The number 31415926').wait_for()
    settle()
    fits_and_looks('number')
    name, data = download('transparent, 8×')
    assert name == '31415926-8x.png' and Image.open(io.BytesIO(data)).mode == 'LA' and Image.open(io.BytesIO(data)).size == (8 * 8 * 28, 8 * 28)
    page.get_by_role('tab', name='How good is it?').click()
    page.get_by_text('Worst digit').wait_for()
    fits_and_looks('quality')

    visitor = browser.new_page()                                     # somebody who was sent the link
    visitor.goto(page.url)
    visitor.get_by_role('img', name='Handwritten three, variation 5').wait_for()
    shared = [visitor.request.get(image.evaluate('i => i.src')).body() for image in visitor.get_by_role('img', name='variation').all()]
    assert shared == second
    visitor.close()
    assert problems == []
    page.close()
