"""The app: its logic by Streamlit's own AppTest, and once for real, in a browser."""
import io
import os
import socket
import subprocess
import time
from urllib.request import urlopen

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from conftest import ROOT


@pytest.fixture
def app():
    at = AppTest.from_file(str(ROOT / 'app.py'), default_timeout=60).run()
    assert not at.exception
    return at


def pictures(at) -> list[tuple[str, str]]:
    "Address and alternative text of each picture; the address is made from the content."
    return [(img.url, img.alt) for block in at.get('image') for img in block.proto.imgs]


def test_five_unique_variations_at_once(app):
    assert app.selectbox[0].options == [str(d) for d in range(10)]
    assert [button.label for button in app.button] == ['Generate 5 Images']
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
    assert f'generate(3, n=5, seed={app.session_state.seed})' in app.code[0].value, 'the code beside them draws the same'


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

    assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
    assert problems == []
    if folder := os.environ.get('SCREENSHOTS'): page.screenshot(path=f'{folder}/app-{scheme}-{width}.png')
    page.close()
