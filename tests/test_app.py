"""The app: its logic by Streamlit's own AppTest, and once for real, in a browser."""
import importlib.util
import io
import os
import re
import subprocess
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from streamlit.testing.v1 import AppTest

from conftest import ROOT, free_port
from mnist_vae.explore import TRAITS, traits
from mnist_vae.export import png
from mnist_vae.generator import DigitGenerator, default_weights
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
    number = pictures(visit(tab='Number', **address), of='number')
    assert number == pictures(visit(tab='Number', hand=address['hand']), of='number') != pictures(visit(tab='Number', hand='5'), of='number')
    assert pictures(visit(digit='4', seed='12')) == pictures(visit(digit='4', seed='12')) != pictures(visit(digit='4', seed='13'))


@pytest.mark.parametrize('parameters', [dict(digit='x'), dict(digit='12'), dict(seed='-4'), dict(seed='99999999999'), dict(seed='²'), dict(tab='Nowhere'),
                                        dict(hand='1e5'), dict(number='12a'), dict(number='1' * 21), dict(digit='<b>', seed='')],
                         ids=lambda parameters: '&'.join(parameters))
def test_bad_link_falls_back_with_a_note(parameters):
    at = visit(**parameters)
    assert all(name in at.info[0].value for name in parameters) and '<' not in at.info[0].value
    assert len(pictures(at)) == 5
    at.button[0].click().run()
    assert not at.info, 'the note is for the link, not for what comes after it'


def test_number_in_one_handwriting():
    at = visit(tab='Number')
    ((first, alt),) = pictures(at, of='number')
    assert alt == 'The number 2026 in one handwriting'
    at.button[1].click().run()
    ((second, _),) = pictures(at, of='number')
    assert second != first
    for bad in ('abc', '1.5', '²', ''):
        at.text_input[0].set_value(bad).run()
        assert not at.exception and not pictures(at, of='number') and 'digits from 0 to 9' in at.warning[0].value, bad
    at.text_input[0].set_value('1').run()
    assert pictures(at, of='number')


def test_sample_of_a_handwriting():
    at = visit(tab='Handwriting')
    ((first, _),) = pictures(at, of='in this handwriting')
    told = at.selectbox[1]
    assert told.label == 'The model reads' and told.options[0] == 'a 4', 'the first sample is a slanted 4'
    told.select(9).run()
    ((as_nine, _),) = pictures(at, of='in this handwriting')
    at.get('button_group')[0].set_value('bold 5').run()
    ((bold, _),) = pictures(at, of='in this handwriting')
    assert len({first, as_nine, bold}) == 3 and at.selectbox[1].options[0] == 'a 5'


def test_samples_are_as_they_are_called(monkeypatch):
    "Which slider does what is up to the weights: a bold 5 must be bolder than the average 5 with any."
    spec = importlib.util.spec_from_file_location('the_app', ROOT / 'app.py')
    spec.loader.exec_module(app := importlib.util.module_from_spec(spec))
    average = (gen := DigitGenerator.load()).in_style([])
    monkeypatch.setattr(app, 'writer', lambda: gen)                          # as an import, the app does without PyTorch
    for name, (digit, style, value) in app.SAMPLES.items():
        monkeypatch.setattr(app.st, 'session_state', SimpleNamespace(sample=name))
        of_sample, of_average = traits(torch.stack([app.handwriting(), average[digit]]))[:, TRAITS.index(style)].tolist()
        assert name.endswith(f' {digit}') and (of_sample - of_average) * value > 0, name


def test_sliders_and_morph():
    at = visit(tab='Explore')
    assert [slider.label for slider in at.slider] == [name.capitalize() for name in DigitGenerator.load().styles]
    ((plain, _),) = pictures(at, of='standard deviations')
    at.slider[0].set_value(1.5).run()
    ((slanted, alt),) = pictures(at, of='standard deviations')
    assert slanted != plain and '+1.5' in alt
    ((_, moves),) = pictures(at, of='turns into')
    assert moves == 'A handwritten three turns into eight and back'
    at.toggle[0].set_value(False).run()
    assert not pictures(at, of='turns into') and pictures(at, of='Twelve steps')


def test_quality_is_that_of_the_checkpoint():
    card = load_checkpoint(default_weights())[1]['metrics']['quality']['rows']['class priors']
    at = visit(tab='Quality')
    assert [metric.value for metric in at.metric] == [f'{card["consistency"]:.2%}', f'{card["worst_digit"]:.2%}', f'{card["fid"]:.2f}', f'{card["cas"]:.2%}']


def test_closed_tabs_take_no_time(app):
    assert not app.metric and not app.slider and not pictures(app, of='number') and not pictures(app, of='handwriting')


@pytest.fixture(scope='module')
def server(app_python, tmp_path_factory):
    "The app's address, served as README says, on a free port, for somebody who never ran Streamlit before: no question may hold it up."
    port, home = free_port(), tmp_path_factory.mktemp('home')
    process = subprocess.Popen([app_python, '-m', 'streamlit', 'run', 'app.py', '--server.headless=false',
                                f'--server.port={port}', '--server.address=127.0.0.1'],
                               cwd=ROOT, env=os.environ | dict(HOME=str(home), USERPROFILE=str(home)), stdin=subprocess.DEVNULL)
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


both_looks = pytest.mark.parametrize('width, scheme', [(1280, 'light'), (375, 'dark')])


def settle(page):
    "Wait until the script has run to its end."
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_function('!document.querySelector("[data-testid=stSkeleton]") && [...document.images].every(i => i.complete)')


def watch(page) -> list[str]:
    "The list into which the page's errors go."
    problems = []
    page.on('pageerror', lambda e: problems.append(str(e)))
    return problems


def source(page, alt, other_than=None) -> str:
    "The address of the picture whose alternative text has `alt` in it, once it is another than `other_than`, and is there."
    return page.wait_for_function('''([alt, other]) => [...document.querySelectorAll("img")].find(
        i => i.alt.includes(alt) && i.complete && i.naturalWidth && i.src != other)?.src''', arg=[alt, other_than]).json_value()


# What each tab shows last: a picture with this alternative text.
LAST = {'Generate': 'variation 5 of 5', 'Handwriting': 'in this handwriting', 'Number': 'in one handwriting', 'Explore': 'at this point of the map', 'Quality': 'over 50 epochs'}


@both_looks
@pytest.mark.parametrize('tab', LAST)
def test_fits_and_is_accessible(server, browser, tab, width, scheme):
    page = browser.new_page(viewport={'width': width, 'height': 720}, color_scheme=scheme)
    problems = watch(page)
    page.goto(f'{server}/?tab={tab}')
    page.get_by_role('tab', name=tab, selected=True).wait_for()
    source(page, LAST[tab])
    settle(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
    height = page.evaluate('document.querySelector("[data-testid=stMain]").scrollHeight')
    page.set_viewport_size({'width': width, 'height': height})           # all of it: what is out of view is not looked at
    if folder := os.environ.get('SCREENSHOTS'): page.screenshot(path=f'{folder}/app-{tab.lower()}-{scheme}-{width}.png')
    found = Axe().run(page).response['violations']
    assert not found, [(violation['id'], [node['html'] for node in violation['nodes']]) for violation in found]
    assert not problems
    page.close()


def draw(page, strokes):
    "Draw on the pad; `strokes` are in shares of its side."
    pad = page.get_by_role('img', name='Pad to draw')
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'], steps=6)
            if not i: page.mouse.down()
        page.mouse.up()


def test_handwriting_drawn_and_sent(server, browser, tmp_path):
    page = browser.new_page(viewport={'width': 375, 'height': 800})
    problems = watch(page)
    page.goto(f'{server}/?tab=Handwriting')
    ten = source(page, 'in this handwriting')
    reading = page.get_by_role('combobox', name='The model reads')
    draw(page, [[(.25, .2), (.75, .2), (.45, .85)]])
    seven = source(page, 'in this handwriting', other_than=ten)
    expect(reading).to_have_value('a 7', timeout=30_000)
    page.get_by_role('button', name='Clear').click()
    draw(page, [[(.45, .15), (.3, .55), (.75, .55)], [(.65, .15), (.62, .9)]])                # two strokes
    expect(reading).to_have_value('a 4', timeout=30_000)
    settle(page)
    four = source(page, 'in this handwriting', other_than=seven)
    with page.expect_download() as file: page.get_by_role('button', name='PNG transparent').click()
    assert Image.open(file.value.path()).mode == 'LA'

    digit = DigitGenerator.load().generate(3, 1, seed=1)[0]
    (tmp_path / 'three.png').write_bytes(png(1 - torch.nn.functional.pad(digit, (20, 5, 3, 30)), 6))          # dark ink, not centred
    large = Image.open(tmp_path / 'three.png').resize((1400, 1450))
    large.save(tmp_path / 'three.bmp')
    assert 1.9 * 2**20 < (tmp_path / 'three.bmp').stat().st_size < 2 * 2**20, 'nearly all that may be sent'
    page.set_input_files('input[type=file]', tmp_path / 'three.bmp')
    expect(reading).to_have_value('a 3', timeout=30_000)
    three = source(page, 'in this handwriting', other_than=four)

    Image.new('L', (5000, 4000)).save(tmp_path / 'bomb.png')
    (tmp_path / 'half.png').write_bytes((tmp_path / 'three.png').read_bytes()[:200])
    (tmp_path / 'text.png').write_text('<script>alert(1)</script>')
    (tmp_path / 'large.png').write_bytes(bytes(3 * 2**20))
    for name, message in {'bomb': '5000×4000 pixels', 'half': 'cannot be read', 'text': 'cannot be read', 'large': 'larger than 2 MB'}.items():
        page.set_input_files('input[type=file]', tmp_path / f'{name}.png')
        page.get_by_text(message).first.wait_for()
        settle(page)
    page.get_by_role('radio', name='bold 5').click()
    source(page, 'in this handwriting', other_than=three)
    assert not problems
    page.close()


def test_map_and_sliders(server, browser):
    page = browser.new_page(viewport={'width': 1280, 'height': 900})
    problems = watch(page)
    page.goto(f'{server}/?tab=Explore')
    plain = source(page, 'standard deviations')
    page.get_by_role('slider', name='Slant').focus()
    page.keyboard.press('ArrowRight')
    source(page, 'Slant +0.1'.lower(), other_than=plain)
    with page.expect_download() as file: page.get_by_role('button', name='GIF').click()
    assert Image.open(file.value.path()).n_frames > 24

    there = page.get_by_role('img', name='at this point of the map')
    there.wait_for()
    assert 'eight' in there.get_attribute('alt')
    before = source(page, 'at this point of the map')
    east = page.get_by_label('West to east')
    east.focus()
    for _ in range(6): page.keyboard.press('ArrowRight')
    moved = source(page, 'at this point of the map', other_than=before)
    box = page.get_by_role('img', name='Map of the latent space').bounding_box()
    seen = set()
    for x, y in ((.1, .7), (.3, .2), (.6, .1), (.9, .6), (.6, .9)):
        page.mouse.click(box['x'] + x * box['width'], box['y'] + y * box['height'])
        moved = source(page, 'at this point of the map', other_than=moved)
        seen.add(there.get_attribute('alt'))
    assert len(seen) >= 4, 'other islands, other digits'
    assert not problems
    page.close()


def test_number_is_kept(server, browser):
    page = browser.new_page()
    page.goto(f'{server}/?tab=Number')
    page.get_by_role('textbox', name='Number', exact=True).fill('31415926')
    page.keyboard.press('Enter')
    page.get_by_role('img', name='The number 31415926').wait_for()
    settle(page)
    with page.expect_download() as file: page.get_by_role('button', name='transparent, 8×').click()
    picture = Image.open(file.value.path())
    assert file.value.suggested_filename == '31415926-8x.png' and picture.mode == 'LA' and picture.size == (8 * 8 * 28, 8 * 28)
    page.close()


def test_bad_link_is_mended(server, browser):
    page = browser.new_page()
    page.goto(f'{server}/?digit=12&seed=-1')
    page.get_by_text('no usable digit and no usable seed').wait_for()
    page.wait_for_function('/seed=\\d+/.test(location.href)')                                   # one that can be shared
    page.close()


@both_looks
def test_visitor_picks_a_digit_and_clicks(server, browser, width, scheme):
    page = browser.new_page(viewport={'width': width, 'height': 720}, color_scheme=scheme)
    problems = watch(page)
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

    def download(label):
        with page.expect_download() as file: page.get_by_role('button', name=label).click()
        return file.value.suggested_filename, Path(file.value.path()).read_bytes()

    settle(page)
    seen = [np.asarray(Image.open(io.BytesIO(data)).convert('L')) for data in second]
    seed = re.search(r'seed=(\d+)', page.url)[1]
    name, data = download('NPZ')
    assert name == f'digit-3-seed-{seed}.npz'
    with np.load(io.BytesIO(data)) as arrays: assert np.array_equal(arrays['images'], seen) and arrays['labels'].tolist() == [3] * 5
    name, data = download('ZIP')
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 6 and name.endswith('.zip')
    assert Image.open(io.BytesIO(download('PNG sheet')[1])).size == (8 * (5 * 30 - 2), 8 * 28)

    with page.expect_download() as file: page.get_by_role('button', name='PNG 3').click()
    assert np.array_equal(np.asarray(Image.open(file.value.path()).resize((28, 28), Image.Resampling.NEAREST)), seen[2]), 'one of the five'

    visitor = browser.new_page()                                     # somebody who was sent the link
    visitor.goto(page.url)
    visitor.get_by_role('img', name='Handwritten three, variation 5').wait_for()
    shared = [visitor.request.get(image.evaluate('i => i.src')).body() for image in visitor.get_by_role('img', name='variation').all()]
    assert shared == second
    visitor.close()
    assert problems == []
    page.close()
