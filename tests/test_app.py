"""The app: its logic by Streamlit's own AppTest, and once for real, in a browser."""
import io
import os
import re
import subprocess
import time
import zipfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect
from streamlit.testing.v1 import AppTest

from conftest import ROOT
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.export import to_bytes
from mnist_vae.generator import DigitGenerator, default_weights
from ports import free_port


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
    assert f'generate(3, n=5, seed={app.number_input[0].value})' in app.code[0].value, (
        'the code beside them draws the same'
    )


def test_link_reopens_the_same_images(app):
    app.selectbox[0].select(4).run()
    app.button[0].click().run()
    assert pictures(visit(digit='4', seed=app.query_params['seed'])) == pictures(app)
    number = pictures(visit(tab='Number', hand='7'), of='number')
    assert (
        number
        == pictures(visit(tab='Number', hand='7', seed='3'), of='number')
        != pictures(visit(tab='Number', hand='5'), of='number')
    )
    assert (
        pictures(visit(digit='4', seed='12'))
        == pictures(visit(digit='4', seed='12'))
        != pictures(visit(digit='4', seed='13'))
    )


@pytest.mark.parametrize(
    'parameters',
    [
        dict(digit='x'), dict(digit='12'), dict(seed='-4'), dict(seed='99999999999'), dict(seed='²'),
        dict(tab='Nowhere'), dict(hand='1e5'), dict(number='12a'), dict(number='1' * 21), dict(digit='<b>', seed=''),
    ],
    ids=lambda parameters: '&'.join(parameters),
)
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
    at.button[0].click().run()
    ((second, _),) = pictures(at, of='number')
    assert second != first
    for bad in ('abc', '1.5', '²', ''):
        at.text_input[0].set_value(bad).run()
        assert not at.exception and not pictures(at, of='number') and 'digits from 0 to 9' in at.warning[0].value, bad
    at.text_input[0].set_value(' 1 234\xa0567 ').run()
    ((_, alt),) = pictures(at, of='number')
    assert alt == 'The number 1234567 in one handwriting', 'spaces do not count'
    assert at.query_params['number'] == '1234567'
    assert pictures(visit(tab='Number', number='1 234 567', hand=at.query_params['hand']), of='number') == pictures(
        at, of='number'
    )


def test_sliders_and_morph():
    at = visit(tab='Explore')
    assert [slider.label for slider in at.slider] == [name.capitalize() for name in DigitGenerator.load().styles]
    ((plain, _),) = pictures(at, of='standard deviations')
    at.slider[0].set_value(1.5).run()
    ((slanted, alt),) = pictures(at, of='standard deviations')
    assert slanted != plain and '+1.5' in alt
    assert not pictures(at, of='turns into') and pictures(at, of='Twelve steps')
    at.toggle[0].set_value(True).run()
    ((_, moves),) = pictures(at, of='turns into')
    assert moves == 'A handwritten three turns into eight and back'
    assert not pictures(at, of='Twelve steps')


def test_quality_is_that_of_the_checkpoint():
    card = load_checkpoint(default_weights())[1]['metrics']['quality']['rows']['class priors']
    at = visit(tab='Quality')
    assert [metric.value for metric in at.metric] == [
        f'{card["consistency"]:.2%}', f'{card["worst_digit"]:.2%}', f'{card["fid"]:.2f}', f'{card["cas"]:.2%}',
    ]


def test_closed_tabs_take_no_time(app):
    assert not app.metric and not app.slider and not pictures(app, of='number') and not pictures(app, of='handwriting')


@contextmanager
def serve(python, home, port):
    "Serve the app as README says, for somebody who never ran Streamlit before: no question may hold it up."
    process = subprocess.Popen(
        [
            python, '-m', 'streamlit', 'run', 'app.py', '--server.headless=false', f'--server.port={port}',
            '--server.address=127.0.0.1',
        ],
        cwd=ROOT,
        env=os.environ | dict(HOME=str(home), USERPROFILE=str(home)),
        stdin=subprocess.DEVNULL,
    )
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
def server(app_python, tmp_path_factory):
    "The app's address, on a free port."
    with serve(app_python, tmp_path_factory.mktemp('home'), free_port()) as address: yield address


both_looks = pytest.mark.parametrize('width, scheme', [(1280, 'light'), (375, 'dark')])


def settle(page):
    "Wait until the script has run to its end."
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_function(
        '() => !document.querySelector("[data-testid=stSkeleton]") && [...document.images].every(i => i.complete)'
    )


def watch(page) -> list[str]:
    "The list into which the page's errors go."
    problems = []
    page.on('pageerror', lambda e: problems.append(str(e)))
    return problems


def source(page, alt, other_than=None) -> str:
    """The address of the picture whose alternative text has `alt` in it, once it is another than `other_than`, and is
    there."""
    return page.wait_for_function(
        '''([alt, other]) => [...document.querySelectorAll("img")].find(
        i => i.alt.includes(alt) && i.complete && i.naturalWidth && i.src != other)?.src''',
        arg=[alt, other_than],
    ).json_value()


@cache
def model() -> DigitGenerator: return DigitGenerator.load()


# What an address shows that does not say.
UNSAID = dict(tab='Generate', digit='7', seed='0', number='2026', hand='0')


def asked(url) -> dict:
    "What the address asks for: the last of repeated parameters counts, and nonsense is as if unsaid."
    said = dict(parse_qsl(urlsplit(url).query))
    said['number'] = ''.join(said.get('number', '').split())
    fits = dict(
        tab=lambda v: v in TABS, digit=lambda v: re.fullmatch('[0-9]', v),
        number=lambda v: re.fullmatch('[0-9]{1,20}', v),
        seed=lambda v: re.fullmatch('[0-9]{1,10}', v) and int(v) < 2**32,
    )
    return {
        name: said[name] if name in said and fits.get(name, fits['seed'])(said[name]) else usual
        for name, usual in UNSAID.items()
    }


def grey(page, images) -> list[np.ndarray]:
    """The grey levels of images of the page; of those that the server no longer has, since newer ones took their
    place, none."""
    answers = [page.request.get(image.get_attribute('src', timeout=1000)) for image in images]
    return [np.asarray(Image.open(io.BytesIO(answer.body()))) for answer in answers if answer.ok]


def shown_and_due(page) -> tuple[list[np.ndarray], list[np.ndarray]]:
    "The images that the open tab shows, and those that its address asks for."
    said = asked(page.url)
    if said['tab'] == 'Generate':
        due = model().generate(int(said['digit']), 5, int(said['seed']))
        name = 'zero one two three four five six seven eight nine'.split()[int(said['digit'])]
        images = page.get_by_role('img', name=f'Handwritten {name}, variation')
    elif said['tab'] == 'Number':
        due = model().write(said['number'], int(said['hand']))[None]
        images = page.get_by_role('img', name=f'The number {said["number"]} in one handwriting')
    else: return [], []
    return grey(page, images.all()), list(to_bytes(due).numpy())


def agrees(page) -> bool:
    """Whether the open tab is the address's, and shows what the address asks for; a number that is none shows no
    picture, but says so."""
    said = asked(page.url)
    if not page.get_by_role('tab', name=said['tab'], selected=True).count(): return False
    if said['tab'] == 'Number' and page.get_by_text('digits from 0 to 9').count(): return True
    try: shown, due = shown_and_due(page)
    except PlaywrightError: return False                             # an image made way for another while we looked
    return len(shown) == len(due) and all(map(np.array_equal, shown, due))


def until(page, holds, why, seconds=30):
    "Wait until `holds()`."
    for _ in range(seconds * 10):
        if holds(): return
        page.wait_for_timeout(100)
    assert holds(), why


def alive(page):
    "Wait until the page has come to rest: it shows what the address asks for, and no error."
    settle(page)
    until(page, lambda: agrees(page), f'{page.url} shows something else')
    assert not page.locator('[data-testid=stException]').count(), page.url
    assert 'encountered an error' not in page.inner_text('body'), page.url


def five(page, digit, seed) -> list[str]:
    "The addresses of the five images, once they are those of this digit and seed."
    def due(): return asked(page.url) | dict(digit=str(digit), seed=str(seed)) == asked(page.url) and agrees(page)
    until(page, due, f'not the five of digit {digit} and seed {seed}')
    return [image.get_attribute('src') for image in page.get_by_role('img', name='variation').all()]


# What each tab shows last: a picture with this alternative text. How it works and Quality are looked at in
# test_quality_tab.py.
LAST = {
    'Generate': 'variation 5 of 5',
    'Handwriting': '',
    'Number': 'in one handwriting',
    'Explore': 'at this point of the map',
}
TABS = [*LAST, 'How it works', 'Quality']


@pytest.mark.parametrize('width', [320, 375, 1280])
def test_heading_keeps_its_height_when_its_font_arrives(server, browser, width):
    heights = []
    for fonts in 'none', 'Source Serif':
        page = browser.new_context(viewport=dict(width=width, height=700)).new_page()
        if fonts == 'none': page.route(re.compile(r'\.woff2'), lambda route: route.abort())
        page.goto(server)
        settle(page)
        page.evaluate('document.fonts.ready')
        loaded = page.evaluate('[...document.fonts].filter(f => f.status == "loaded").map(f => f.family).join()')
        assert ('Source Serif' in loaded) == (fonts != 'none')
        heights.append(page.locator('[data-testid=stHeading] h1').first.bounding_box()['height'])
        page.context.close()
    assert heights[0] == heights[1]


@both_looks
@pytest.mark.parametrize('tab', LAST)
def test_fits_and_is_accessible(server, browser, tab, width, scheme):
    page = browser.new_page(viewport={'width': width, 'height': 720}, color_scheme=scheme)
    problems = watch(page)
    page.goto(f'{server}/?tab={tab}')
    page.get_by_role('tab', name=tab, selected=True).wait_for()
    if LAST[tab]: source(page, LAST[tab])                                # Handwriting waits for a digit
    settle(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
    height = page.evaluate('document.querySelector("[data-testid=stMain]").scrollHeight')
    page.set_viewport_size({'width': width, 'height': height})  # all of it: what is out of view is not looked at
    if folder := os.environ.get('SCREENSHOTS'): page.screenshot(path=f'{folder}/app-{tab.lower()}-{scheme}-{width}.png')
    found = Axe().run(page).response['violations']
    assert not found, [(violation['id'], [node['html'] for node in violation['nodes']]) for violation in found]
    assert not problems
    page.close()


def test_sliders_in_a_browser(server, browser):
    page = browser.new_page(viewport={'width': 1280, 'height': 900})
    problems = watch(page)
    page.goto(f'{server}/?tab=Explore')
    plain = source(page, 'standard deviations')
    page.get_by_role('slider', name='Slant').focus()
    page.keyboard.press('ArrowRight')
    source(page, 'Slant +0.1'.lower(), other_than=plain)
    with page.expect_download() as file: page.get_by_role('button', name='GIF').click()
    assert Image.open(file.value.path()).n_frames > 24
    assert not problems
    page.close()


def test_number_is_kept(server, browser):
    page = browser.new_page()
    page.goto(f'{server}/?tab=Number')
    page.get_by_role('textbox', name='Number', exact=True).fill('31415926')
    page.keyboard.press('Enter')
    page.get_by_role('img', name='The number 31415926').wait_for()
    settle(page)
    with page.expect_download() as file: page.get_by_role('button', name='PNG transparent').click()
    picture = Image.open(file.value.path())
    assert (
        file.value.suggested_filename == '31415926-handwriting-0-transparent.png'
        and picture.mode == 'LA'
        and picture.size == (8 * 8 * 28, 8 * 28)
    )
    page.close()


def test_bad_link_gives_way_to_a_good_one(server, browser):
    page = browser.new_page()
    page.goto(f'{server}/?digit=12&seed=-1')
    page.get_by_text('no usable digit and no usable seed').wait_for()
    assert len(set(five(page, 7, 0))) == 5
    page.get_by_role('button', name='Generate 5 Images').click()
    page.wait_for_function('() => /^[?]seed=\\d+$/.test(location.search)')  # one that can be shared
    expect(page.get_by_text('no usable')).to_have_count(0)
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
    with np.load(io.BytesIO(data)) as arrays:
        assert np.array_equal(arrays['images'], seen) and arrays['labels'].tolist() == [3] * 5
    name, data = download('ZIP')
    assert len(zipfile.ZipFile(io.BytesIO(data)).namelist()) == 6 and name.endswith('.zip')
    assert Image.open(io.BytesIO(download('PNG sheet')[1])).size == (8 * (5 * 30 - 2), 8 * 28)

    with page.expect_download() as file: page.get_by_role('button', name='Save 3').click()
    assert np.array_equal(
        np.asarray(Image.open(file.value.path()).resize((28, 28), Image.Resampling.NEAREST)), seen[2]
    ), 'one of the five'

    visitor = browser.new_page()                                     # somebody who was sent the link
    visitor.goto(page.url)
    five(visitor, 3, seed)
    shared = [
        visitor.request.get(image.evaluate('i => i.src')).body()
        for image in visitor.get_by_role('img', name='variation').all()
    ]
    assert shared == second
    visitor.close()
    assert problems == []
    page.close()


def open_tab(page, tab):
    page.get_by_role('tab', name=tab).click()
    page.get_by_role('tab', name=tab, selected=True).wait_for()
    until(page, lambda: asked(page.url)['tab'] == tab, f'the address does not open {tab}')
    settle(page)


def unfold(page, title):
    "Open what is folded away under `title`."
    details = page.locator('details', has_text=title)
    if details.get_attribute('open') is None: details.locator('summary').click()


def choose(page, label, option):
    page.get_by_role('combobox', name=label).click()
    page.get_by_role('option', name=option, exact=True).click()


def type_into(page, role, name, text):
    field = page.get_by_role(role, name=name, exact=True)
    field.focus()
    field.press('ControlOrMeta+a')
    field.press('Delete')
    field.press_sequentially(text)
    field.press('Enter')


@pytest.fixture
def page(server, browser):
    "A page on the app's start, with somewhere to go back to; at the end, it must not have had an error."
    page = browser.new_context().new_page()
    problems = watch(page)
    page.set_default_timeout(20_000)
    page.goto('about:blank')
    page.goto(server)
    five(page, 7, 0)
    alive(page)
    yield page
    page.context.close()
    assert not problems


@pytest.mark.parametrize(
    'tab, folded, field',
    [('Generate', 'Get these five again', 'Seed'), ('Number', 'Get this handwriting again', 'Handwriting')],
)
def test_whatever_is_typed_into_a_seed(page, tab, folded, field):
    open_tab(page, tab)
    unfold(page, folded)
    spin = page.get_by_role('spinbutton', name=field)
    parameter = 'seed' if field == 'Seed' else 'hand'
    for text, seed in (
        ('1', '1'), ('0', '0'), ('5', '5'), ('', '0'), ('abc', '0'), ('4294967295', '4294967295'),
        ('4294967296', '4294967295'), ('1', '1'),
    ):
        type_into(page, 'spinbutton', field, text)
        page.wait_for_function(
            '([name, seed]) => (new URLSearchParams(location.search).get(name) ?? "0") == seed', arg=[parameter, seed]
        )
        alive(page)
    for button, seed in (('Decrement', '0'), ('Increment', '1'), ('Increment', '2'), ('Decrement', '1')):
        page.get_by_role('button', name=button).click()
        expect(spin).to_have_value(seed)
        until(page, lambda seed=seed: asked(page.url)[parameter] == seed, f'{button} to {seed}')
        alive(page)


def test_any_address_can_be_used(server, page):
    for query in (
        'seed=0&hand=0', 'digit=7', 'seed=1&seed=2', 'digit=3&digit=x',
        'tab=Generate&digit=7&seed=0&number=2026&hand=0', 'tab=Number&number=+1+2+', 'tab=Number&number=&hand=',
        'seed=%00', 'digit=%C2%B2', 'embed=true', 'x=1&x=2', 'tab=&digit=',
    ):
        page.goto(f'{server}/?{query}')
        alive(page)
        open_tab(page, 'Generate')
        choose(page, 'Digit', '4')
        five(page, 4, before := asked(page.url)['seed'])
        page.get_by_role('button', name='Generate 5 Images').click()
        until(page, lambda before=before: asked(page.url)['seed'] != before, f'no new images after {query}')
        alive(page)
        page.go_back()
        five(page, 4, before)
        alive(page)
    page.reload()
    alive(page)


def test_one_press_of_back_leaves_a_first_visit(page, server):
    for address in (server, f'{server}/?digit=12', f'{server}/?tab=Number&hand=7', f'{server}/?seed=4&seed=5'):
        page.goto('about:blank#before')
        page.goto(address)
        alive(page)
        page.go_back()
        assert page.url == 'about:blank#before'


def test_back_and_forward_through_what_was_generated(page):
    "Each click is an entry of the history, so is each tab."
    button = page.get_by_role('button', name='Generate 5 Images')
    choose(page, 'Digit', '3')
    seen = [five(page, 3, 0)]
    seeds = [0]
    for _ in range(3):
        button.click()
        until(page, lambda: int(asked(page.url)['seed']) != seeds[-1], 'no new seed in the address')
        seeds.append(int(asked(page.url)['seed']))
        seen.append(five(page, 3, seeds[-1]))
    assert len({tuple(images) for images in seen}) == 4
    open_tab(page, 'Number')
    alive(page)
    page.go_back()
    for seed, images in reversed(list(zip(seeds, seen))):
        assert five(page, 3, seed) == images
        alive(page)
        page.go_back()
    five(page, 7, 0)
    expect(page.get_by_role('combobox', name='Digit')).to_have_value('7')
    for seed, images in zip(seeds, seen):
        page.go_forward()
        assert five(page, 3, seed) == images
    page.go_forward()
    page.get_by_role('tab', name='Number', selected=True).wait_for()
    alive(page)
    page.go_back()
    button.click()                                                   # from here on, another way
    until(page, lambda: int(asked(page.url)['seed']) not in seeds, 'no new seed in the address')
    alive(page)


def a_second_tab(page):
    "Somebody opens the same address beside it."
    other = page.context.new_page()
    other.goto(page.url)
    alive(other)
    other.close()


def in_tab(tab, act):
    def do(page, rng):
        open_tab(page, tab)
        act(page, rng)
    return do


SEEDS = ['0', '1', '', 'abc', '4294967295', '4294967296', '77', '1e5', '-3']
NUMBERS = ['2026', '', 'abc', ' 12 34 ', '1' * 21, '0', '007', '31415926535897932384']
LINKS = [
    '', 'seed=0&hand=0', 'digit=7', 'seed=1&seed=2', 'digit=12&seed=-1', 'tab=Nowhere', 'tab=Number&number=12a',
    'tab=Explore', 'digit=3&seed=00012',
]


def type_seed(page, rng):
    unfold(page, 'Get these five again')
    type_into(page, 'spinbutton', 'Seed', rng.choice(SEEDS))


def type_hand(page, rng):
    unfold(page, 'Get this handwriting again')
    type_into(page, 'spinbutton', 'Handwriting', rng.choice(SEEDS))


def step_seed(page, rng):
    unfold(page, 'Get these five again')
    for _ in range(rng.choice([1, 1, 3])):
        button = page.get_by_role('button', name=rng.choice(['Decrement', 'Increment']))
        if button.is_enabled(): button.click()


def generate(page, rng):
    page.get_by_role('button', name='Generate 5 Images').click(click_count=rng.choice([1, 1, 2, 5]))


def generate_and_hurry_back(page, rng):
    generate(page, rng)
    page.evaluate('history.back()')


def choose_and_generate(page, rng):
    choose(page, 'Digit', rng.choice('0123456789'))
    generate(page, rng)


def move_a_slider(page, rng):
    page.get_by_role('slider', name=rng.choice(['Slant', 'Width', 'Height', 'Thickness'])).focus()
    page.keyboard.press(rng.choice(['ArrowRight', 'ArrowLeft', 'Home', 'End']))


def hasty_tabs(page, rng):
    for tab in rng.choices(TABS, k=4): page.get_by_role('tab', name=tab).click()


ACTS = [
    in_tab('Generate', lambda page, rng: choose(page, 'Digit', rng.choice('0123456789'))),
    in_tab('Generate', generate),
    in_tab('Generate', type_seed),
    in_tab('Generate', step_seed),
    in_tab('Generate', choose_and_generate),
    in_tab('Generate', generate_and_hurry_back),
    in_tab('Number', lambda page, rng: type_into(page, 'textbox', 'Number', rng.choice(NUMBERS))),
    in_tab('Number', type_hand),
    in_tab(
        'Number',
        lambda page, rng: page.get_by_role('button', name='New handwriting').click(click_count=rng.choice([1, 3])),
    ),
    in_tab('Explore', move_a_slider),
    in_tab('Explore', lambda page, rng: choose(page, rng.choice(['From', 'To']), rng.choice('0123456789'))),
    in_tab('Explore', lambda page, rng: page.get_by_text('Animate').click()),
    lambda page, rng: open_tab(page, rng.choice(TABS)),
    hasty_tabs,
    lambda page, rng: page.go_back(),
    lambda page, rng: page.go_back(),
    lambda page, rng: page.go_forward(),
    lambda page, rng: page.evaluate('{setTimeout(() => history.back()); setTimeout(() => history.back())}'),
    lambda page, rng: page.reload(),
    lambda page, rng: page.goto(page.url.partition('?')[0] + '?' + rng.choice(LINKS)),
    lambda page, rng: a_second_tab(page),
]


def test_back_overtakes_a_click(page, server):
    """The answer to a click may come when the visitor has already gone back: what is shown and the address agree all
    the same."""
    for _ in range(15):
        before = page.url
        page.get_by_role('button', name='Generate 5 Images').click()
        until(page, lambda before=before: page.url != before, 'no new images')
        generate_and_hurry_back(page, Random(0))
        alive(page)


def test_sixty_random_acts(page, server):
    "Whatever a visitor does in whatever order: no error, and always the pictures of the address."
    rng = Random(3)  # among its acts are clicks that a press of Back overtakes
    for _ in range(60):
        rng.choice(ACTS)(page, rng)
        try:
            alive(page)
        except PlaywrightError:  # back to before the visit began, or another document meanwhile
            if not page.url.startswith(server):
                page.goto(server)
            alive(page)


def controls(page) -> dict:
    "What the open tab's controls say, and its pictures show."
    return page.evaluate("""() => {
        const panel = document.querySelector("[role=tabpanel]:not([hidden]):not([inert])");
        const said = field => field.type == "checkbox" ? field.checked : field.value;
        const values = [...panel.querySelectorAll("input, [role=slider]")].map(field => [
            field.getAttribute("aria-label"), field.getAttribute("aria-valuenow") ?? said(field)]);
        return {values, pictures: [...panel.querySelectorAll("img")].map(image => [image.alt, image.src])};
    }""")


def test_changing_tabs_loses_nothing(page):
    "Set everything, walk through all tabs and back: each tab is as it was left."
    left = {}

    def leave(tab, *seen):
        "Note how the tab is, once it has come to rest and pictures whose texts have `seen` in them are there."
        for text in seen: page.get_by_role('img', name=text).first.wait_for()

        def rests():
            alive(page)
            before, left[tab] = left.get(tab), controls(page)
            return before == left[tab]
        until(page, rests, f'{tab} does not come to rest')

    choose(page, 'Digit', '4')
    page.get_by_role('button', name='Generate 5 Images').click()
    until(page, lambda: asked(page.url)['seed'] != '0', 'no new images')
    leave('Generate', 'Handwritten four, variation 5')
    open_tab(page, 'Number')
    type_into(page, 'textbox', 'Number', '31 415')
    page.get_by_role('button', name='New handwriting').click()
    until(page, lambda: asked(page.url)['hand'] != '0', 'no new handwriting')
    leave('Number', 'The number 31415')
    open_tab(page, 'Handwriting')
    page.get_by_role('radio', name='bold 5').click()
    page.get_by_text('I read a 5').first.wait_for()
    choose(page, 'Which digit it is', 'It is a 3')
    page.get_by_text('you say 3').wait_for()
    leave('Handwriting', 'in this handwriting')
    open_tab(page, 'Explore')
    for name, steps in dict(Slant=7, Width=-3, Thickness=12).items():
        page.get_by_role('slider', name=name).focus()
        for _ in range(abs(steps)): page.keyboard.press('ArrowRight' if steps > 0 else 'ArrowLeft')
    choose(page, 'From', '5')
    choose(page, 'To', '2')
    page.get_by_role('img', name='from a handwritten five to two').wait_for()
    strip = source(page, 'from a handwritten five to two')
    page.get_by_role('button', name='New handwriting').click()
    source(page, 'from a handwritten five to two', other_than=strip)
    page.get_by_text('Animate').click()
    before = source(page, 'at this point of the map')
    page.get_by_label('West to east').focus()
    for _ in range(6): page.keyboard.press('ArrowRight')
    source(page, 'at this point of the map', other_than=before)
    leave('Explore', 'slant +0.7, width -0.3, height +0.0, thickness +1.2', 'five turns into two')
    for tab in [*TABS, *reversed(TABS)]:
        open_tab(page, tab)
        alive(page)
        if tab in left: until(page, lambda tab=tab: controls(page) == left[tab], f'{tab} is not as it was left')


def test_first_act_after_a_restart_counts(app_python, browser, tmp_path):
    "The server stops and starts again, as for an update; a visitor whose page stayed open goes on."
    port, page = free_port(), browser.new_page()
    problems = watch(page)

    def slant_is_seen(said): return page.get_by_role('img', name='slant +0.1').count()

    def move_slider():
        page.get_by_role('slider', name='Slant').focus()
        page.keyboard.press('ArrowRight')

    acts = [(lambda: page.get_by_role('button', name='Generate 5 Images').click(), lambda said: said['seed'] != '0'),
            (lambda: choose(page, 'Digit', '9'), lambda said: said['digit'] == '9' and said['seed'] != '0'),
            (page.go_back, lambda said: said['digit'] == '7' and said['seed'] != '0'),
            (lambda: page.get_by_role('tab', name='Explore').click(), lambda said: said['tab'] == 'Explore'),
            (move_slider, slant_is_seen)]
    with serve(app_python, tmp_path, port) as address:
        page.goto(address)
        five(page, 7, 0)
        alive(page)
    for i, (act, counts) in enumerate(acts):
        page.wait_for_selector('[data-testid=stApp]:not([data-test-connection-state=CONNECTED])')
        with serve(app_python, tmp_path, port):
            page.wait_for_selector('[data-testid=stApp][data-test-connection-state=CONNECTED]', timeout=60_000)
            act()
            until(page, lambda counts=counts: counts(asked(page.url)), f'act {i} does not count')
            alive(page)
    assert not problems
    page.close()


def test_nothing_moves_by_itself(server, browser):
    page = browser.new_page(reduced_motion='reduce')
    for tab in TABS:
        page.goto(f'{server}/?tab={tab}')
        if LAST.get(tab): source(page, LAST[tab])    # the Handwriting tab shows no picture before something is drawn
        alive(page)
        files = [
            page.request.get(image.get_attribute('src')).body()
            for image in page.locator('img[src^="http"], img[src^="/"]').all()
        ]
        assert not [data[:6] for data in files if data[:3] == b'GIF'], tab
    open_tab(page, 'Explore')
    with page.expect_download() as strip: download_buttons(page, 'morph-downloads')[0].click()
    assert Image.open(strip.value.path()).size == (8 * (6 * 30 - 2), 8 * (2 * 30 - 2)), (
        'the twelve steps as they are shown'
    )
    page.get_by_text('Animate').click()
    page.get_by_role('img', name='three turns into eight').wait_for()
    page.get_by_text('Animate').click()
    page.get_by_role('img', name='Twelve steps').wait_for()
    page.close()


def download_buttons(page, key='') -> list:
    "What saves a file, in the open tab or in its part `key`."
    return page.locator(f'{f".st-key-{key} " if key else ""}[data-testid=stDownloadButton] button:visible').all()


def save_all(page) -> dict[str, bytes]:
    "Press everything that saves a file. Returns name → bytes."
    files = {}
    for button in download_buttons(page):
        with page.expect_download() as file: button.click()
        name, data = file.value.suggested_filename, Path(file.value.path()).read_bytes()
        assert name not in files, f'two files {name}'
        files[name] = data
    assert files
    return files


def test_files_that_differ_have_different_names(page):
    "Whatever is saved in whatever state."
    saved = {}

    def save():
        alive(page)
        for name, data in save_all(page).items():
            assert re.fullmatch(r'[\w.+-]+', name, re.ASCII), name
            assert saved.setdefault(name, data) == data, f'two different files are called {name}'

    def click(name): page.get_by_role('button', name=name).click()

    def then(name):
        "Wait until a picture is there whose text has `name` in it."
        page.get_by_role('img', name=name).first.wait_for()
        save()

    save()
    choose(page, 'Digit', '0')
    then('Handwritten zero, variation 5')
    before = page.url
    click('Generate 5 Images')
    until(page, lambda: page.url != before, 'no new images')
    save()
    open_tab(page, 'Handwriting')
    page.get_by_role('radio', name='bold 5').click()
    then('in this handwriting')
    ten = source(page, 'in this handwriting')
    choose(page, 'Which digit it is', 'It is a 3')
    ten = source(page, 'in this handwriting', other_than=ten)
    save()
    page.get_by_role('radio', name='fine 7').click()
    source(page, 'in this handwriting', other_than=ten)
    save()
    open_tab(page, 'Number')
    save()
    for _ in range(2):
        before = page.url
        click('New handwriting')
        until(page, lambda before=before: page.url != before, 'no new handwriting')
        save()
    type_into(page, 'textbox', 'Number', '02026')
    then('The number 02026')
    open_tab(page, 'Explore')
    save()
    for key, value in dict(ArrowRight='+0.1', ArrowLeft='+0.0', Home='-2.0').items():
        page.get_by_role('slider', name='Slant').focus()
        page.keyboard.press(key)
        then(f'slant {value}')
    choose(page, 'From', '8')
    then('Twelve steps from a handwritten eight to eight')
    strip = source(page, 'Twelve steps')
    click('New handwriting')
    source(page, 'Twelve steps', other_than=strip)
    save()
    assert len(saved) > 40
