"""The page without a server, in a browser, as a person uses it: in a subfolder of a plain static host."""
import base64
import functools
import importlib.util
import io
import re
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from conftest import ROOT
from mnist_vae.checkpoint import load_checkpoint, save_checkpoint
from mnist_vae.dataset import Digits
from mnist_vae.export import png, sheet, svg, to_bytes
from mnist_vae.generator import DigitGenerator, default_weights
from mnist_vae.picture import read_picture
from mnist_vae.web import browser_weights, page_files, write_page
from test_pad_and_map import FOUR, SEVEN, draw, draw_by_finger, pad


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


class Host:
    "A static host, with the page in a subfolder; `stop` takes it off the network."
    def __init__(self, folder):
        self.page = folder / 'some' / 'play'
        write_page(self.page)
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(folder)))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f'http://127.0.0.1:{self.server.server_port}/some/play/'

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope='module')
def gen(): return DigitGenerator.load()


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp('host'))
    yield host
    host.stop()


@pytest.fixture
def page(browser):
    "A visitor's page; whatever it asks of another host, and every error, is noted in `page.faults`."
    context = browser.new_context(viewport=dict(width=375, height=800), accept_downloads=True)
    page = context.new_page()
    page.faults = []
    page.on('pageerror', lambda error: page.faults.append(str(error)))
    page.on('request', lambda r: '//127.0.0.1:' in r.url or r.url.startswith('blob:') or page.faults.append(r.url))
    yield page
    context.close()


READ = '''selector => [...document.querySelectorAll(selector)].map(canvas => {
    const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, ...Array.from({length: data.length / 4}, (_, i) => data[4 * i])];
})'''


def drawn(page, selector) -> list[np.ndarray]:
    "The grey levels of each canvas."
    return [np.array(levels, np.uint8).reshape(-1, width) for width, *levels in page.evaluate(READ, selector)]


def visit(page, address):
    page.goto(address)
    page.wait_for_selector('body:not(.is-waiting)')


def wait_for(page, what, selector):
    "Wait until the canvas has the words."
    expect(page.locator(selector).first).to_have_attribute('aria-label', what)


def same(page, selector, images) -> bool:
    return np.array_equal(np.stack(drawn(page, selector)), to_bytes(images).numpy())


def test_links_show_the_bytes_of_python_and_the_history_goes_back_and_forward(host, page, gen):
    visit(page, host.address)
    assert same(page, '#five canvas', gen.generate(7, seed=0))
    visit(page, f'{host.address}?digit=3&seed=4294967295')
    assert same(page, '#five canvas', gen.generate(3, seed=2**32 - 1))
    page.locator('#digit').select_option('4')
    wait_for(page, 'Handwritten four, variation 1 of 5', '#five canvas')
    assert page.url.endswith('?digit=4&seed=4294967295') and same(page, '#five canvas', gen.generate(4, seed=2**32 - 1))
    page.get_by_role('button', name='Generate 5 Images').click()
    assert not same(page, '#five canvas', gen.generate(4, seed=2**32 - 1))
    before = drawn(page, '#five canvas')
    page.reload()
    page.wait_for_selector('body:not(.is-waiting)')
    assert np.array_equal(drawn(page, '#five canvas'), before)
    page.go_back()
    page.go_back()
    wait_for(page, 'Handwritten three, variation 1 of 5', '#five canvas')
    assert same(page, '#five canvas', gen.generate(3, seed=2**32 - 1))
    page.go_forward()
    wait_for(page, 'Handwritten four, variation 1 of 5', '#five canvas')
    assert page.faults == []


def test_number_sliders_morph_and_map(host, page, gen):
    visit(page, f'{host.address}?tab=Number&number=314&hand=9')
    assert same(page, '#line', gen.write('314', seed=9)[None])
    page.locator('#number').fill('20 26')
    wait_for(page, 'The number 2026 in one handwriting', '#line')
    assert same(page, '#line', gen.write('2026', seed=9)[None])
    page.locator('#number').fill('12a')
    expect(page.locator('#number-note')).to_have_text('A number is 1 to 20 digits from 0 to 9.')
    page.get_by_role('tab', name='Explore').click()
    page.locator('#style-slant').fill('1.5')
    expect(page.locator('#style')).to_have_attribute('aria-label', re.compile('slant .1.5'))
    assert same(page, '#style', sheet(gen.in_style([1.5]), 10)[None])
    page.locator('#from').select_option('1')
    wait_for(page, 'Twelve steps from a handwritten one to eight', '#morph')
    assert same(page, '#morph', sheet(gen.morph(1, 8, 12, seed=0), 6)[None])
    page.get_by_role('button', name='Animate').click()
    wait_for(page, 'A handwritten one turns into eight and back', '#morph')
    x, y = gen.islands[8].tolist()
    assert same(page, '#there', gen.at(x, y)[1][None])
    page.locator('.map canvas').hover(position=dict(x=20, y=20))
    assert not same(page, '#there', gen.at(x, y)[1][None]), 'what lies under the pointer'
    assert page.faults == []


SCRIBBLE = [[(.1, .1), (.9, .2), (.15, .85), (.9, .75), (.25, .45), (.8, .4), (.35, .1)]]


def on_the_pad(page, gen):
    "The drawing on the pad as Python sees it."
    data = base64.b64decode(pad(page).evaluate('canvas => canvas.toDataURL()').partition(',')[2])
    return read_picture(data, certainty=gen.certainty)


def writes(page, words, has=True):
    "Wait until the model says `words`, and all ten digits are there, or not."
    expect(page.locator('#read-words')).to_have_text(words)
    expect(page.locator('#ten')).to_be_visible(visible=has)
    page.evaluate('new Promise(done => requestAnimationFrame(() => setTimeout(() => setTimeout(done))))')


def test_the_ten_follow_the_pen_and_are_those_of_python(host, page, gen):
    visit(page, f'{host.address}?tab=Handwriting')
    draw(page, FOUR[:1])
    wait_for(page, 'All ten digits, zero to nine, in this handwriting', '#ten')
    before = drawn(page, '#ten')
    box = pad(page).bounding_box()
    page.mouse.move(box['x'] + .65 * box['width'], box['y'] + .15 * box['height'])
    page.mouse.down()
    page.mouse.move(box['x'] + .62 * box['width'], box['y'] + .9 * box['height'], steps=6)
    writes(page, 'I read a 4. Wrong?')
    assert not np.array_equal(drawn(page, '#ten'), before), 'while the pen is down'
    page.mouse.up()
    writes(page, 'I read a 4. Wrong?')
    image = on_the_pad(page, gen)
    assert same(page, '#mine', image[None]) and same(page, '#ten', sheet(gen.restyle(image, 4), 5)[None])
    page.locator('#my-number').fill('31')
    wait_for(page, 'The number 31 in this handwriting', '#my-line')
    assert drawn(page, '#my-line')[0].shape == (28, 56)
    expect(pad(page)).to_have_accessible_name(re.compile('It has 2 strokes'))
    expect(page.locator('.pad-said')).to_have_text('I read a 4. Wrong?')
    assert page.faults == []


def test_correction_undo_sample_and_clear(host, page, gen):
    visit(page, f'{host.address}?tab=Handwriting')
    draw(page, SEVEN)
    writes(page, 'I read a 7. Wrong?')
    image = on_the_pad(page, gen)
    page.locator('#told').select_option('1')
    writes(page, 'You say it is a 1.')
    assert same(page, '#ten', sheet(gen.restyle(image, 1), 5)[None])
    page.get_by_role('tab', name='Number').click()
    page.get_by_role('tab', name='Handwriting').click()
    writes(page, 'You say it is a 1.')
    page.get_by_role('button', name='bold 5').press('Enter')
    writes(page, 'I read a 5. Wrong?')
    expect(pad(page)).to_have_accessible_name(re.compile('It shows a picture'))
    page.get_by_role('button', name='bold 5').press('Enter')
    writes(page, 'You say it is a 1.')
    page.get_by_role('button', name='Undo').click()
    expect(page.locator('#ten')).to_be_hidden()
    draw(page, SEVEN)
    writes(page, 'I read a 7. Wrong?')
    page.get_by_role('button', name='bold 5').click()
    draw(page, FOUR)
    writes(page, 'I read a 4. Wrong?')
    expect(page.get_by_role('button', name='bold 5')).to_have_attribute('aria-pressed', 'false')
    page.get_by_role('button', name='Clear', exact=True).click()
    expect(page.get_by_text('Draw a digit here')).to_be_visible()
    expect(page.locator('#ten')).to_be_hidden()


def test_doubt_is_said_with_one_tap_for_each_answer(host, page):
    visit(page, f'{host.address}?tab=Handwriting')
    draw(page, SCRIBBLE)
    said = re.compile(r'^(An? \d, or an? \d\?|I cannot tell which digit this is\.)$')
    expect(page.locator('#read-words')).to_have_text(said)
    answers = page.locator('#choices button')
    assert answers.count() in (2, 3)
    digit = answers.last.text_content()[-1]
    answers.last.click()
    expect(page.locator('#read-words')).to_have_text(re.compile(f'^You say it is an? {digit}.$'))
    expect(answers).to_have_count(0)


def test_drawn_by_finger(host, browser):
    with browser.new_context(viewport=dict(width=375, height=667), has_touch=True, is_mobile=True) as context:
        page = context.new_page()
        visit(page, f'{host.address}?tab=Handwriting')
        draw_by_finger(page, FOUR)
        writes(page, 'I read a 4. Wrong?')
        ten = page.locator('#ten').bounding_box()
        assert page.evaluate('scrollY') == 0, 'the page does not move under the finger'
        assert ten['y'] > pad(page).bounding_box()['y'] and ten['y'] + ten['height'] <= 720, 'nearly all are in view'


def test_a_picture_is_read_and_a_bad_one_changes_nothing(host, page, gen, tmp_path):
    three = F.pad(gen.generate(3, 1, seed=1)[0], (20, 5, 3, 30))
    (tmp_path / 'three.png').write_bytes(png(1 - three, 6))
    (tmp_path / 'blank.png').write_bytes(png(torch.zeros(40, 40)))
    (tmp_path / 'text.png').write_text('<script>alert(1)</script>')
    visit(page, f'{host.address}?tab=Handwriting')
    page.set_input_files('input[type=file]', tmp_path / 'three.png')
    writes(page, 'I read a 3. Wrong?')
    expect(pad(page)).to_have_accessible_name(re.compile('It shows a picture'))
    ten = drawn(page, '#ten')
    for name, message in ('blank', 'shows no digit'), ('text', 'cannot be read'):
        page.set_input_files('input[type=file]', tmp_path / f'{name}.png')
        expect(page.locator('#hand-note')).to_contain_text(message)
        assert np.array_equal(drawn(page, '#ten'), ten)
    page.locator('#hand-written').get_by_role('button', name='ZIP').wait_for()
    with page.expect_download() as download:
        page.locator('#hand-written').get_by_role('button', name='ZIP').click()
    archive = zipfile.ZipFile(download.value.path())
    assert Image.open(io.BytesIO(archive.read('3_digit_3.png'))).size == (224, 224)


def test_downloads_open_elsewhere(host, page, gen):
    visit(page, f'{host.address}?digit=5&seed=8')
    five = gen.generate(5, seed=8)

    def saved(name):
        with page.expect_download() as download: page.get_by_role('button', name=name, exact=True).click()
        return download.value.suggested_filename, download.value.path().read_bytes()

    name, data = saved('PNG sheet')
    assert name == 'digit-5-seed-8.png' and np.array_equal(np.asarray(Image.open(io.BytesIO(data)))[::8, ::8],
                                                           to_bytes(sheet(five)))
    assert saved('SVG sheet')[1].decode() == svg(sheet(five))
    arrays = np.load(io.BytesIO(saved('NPZ')[1]))
    assert np.array_equal(arrays['images'], to_bytes(five)) and arrays['labels'].tolist() == [5] * 5
    assert arrays['seed'] == 8
    archive = zipfile.ZipFile(io.BytesIO(saved('ZIP')[1]))
    assert archive.testzip() is None and archive.read('labels.csv').startswith(b'file,label,seed\n0_digit_5.png,5,8\n')
    assert np.array_equal(Image.open(io.BytesIO(archive.read('2_digit_5.png'))), to_bytes(five[2]))
    assert saved('Save 3')[0] == 'digit-5-seed-8-3.png'
    visit(page, f'{host.address}?tab=Explore')
    moving = Image.open(io.BytesIO(saved('GIF')[1]))
    frames = to_bytes(gen.morph(3, 8, 24, seed=0))
    for i in (0, 12, 23):
        moving.seek(i)
        assert np.array_equal(np.asarray(moving.convert('L'))[::8, ::8], frames[i]), i
    assert moving.n_frames == 46 and moving.info['loop'] == 0


def test_a_labelled_set_is_read_by_torchvision_and_is_that_of_python(host, page, gen, tmp_path):
    from torchvision.datasets import MNIST
    visit(page, host.address)
    page.get_by_text('Get a labelled set of up to 60,000').click()
    page.get_by_role('textbox', name='Images').fill('0')
    page.get_by_role('button', name='Make the set').click()
    expect(page.locator('#set-note')).to_have_text('Images: a whole number from 1 to 60,000.')
    page.get_by_role('textbox', name='Images').fill('250')
    page.locator('#set-seed').fill('5')
    with page.expect_download() as download: page.get_by_role('button', name='Make the set').click()
    assert download.value.suggested_filename == 'digits-250-seed-5.zip'
    expect(page.locator('#set-note')).to_contain_text('292 images')
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    for is_train, n in (True, 250), (False, 42):
        read, expected = MNIST(tmp_path, train=is_train), Digits(n, train=is_train, seed=5, weights=gen)
        assert torch.equal(read.targets, expected.targets) and torch.equal(read.data, expected.data)


def test_a_set_can_be_cancelled(host, page):
    page.set_default_timeout(20_000)
    visit(page, host.address)
    saved = []
    page.on('download', lambda download: saved.append(download))
    page.get_by_text('Get a labelled set of up to 60,000').click()
    page.get_by_role('textbox', name='Images').fill('60000')
    page.get_by_role('button', name='Make the set').press('Enter')
    expect(page.locator('#set-progress')).not_to_have_js_property('value', 0)
    page.get_by_role('button', name='Cancel').press('Enter')
    expect(page.locator('#set-note')).to_have_text('Cancelled. Nothing was saved.')
    expect(page.get_by_role('progressbar', name='Images drawn')).to_be_hidden()
    page.get_by_role('button', name='Make the set').wait_for()
    assert page.evaluate("document.activeElement.id") == 'set-start' and not saved and page.faults == []


def test_the_card_has_the_figures_of_the_checkpoint(host, page):
    visit(page, f'{host.address}?tab=Quality')
    rows = load_checkpoint(default_weights())[1]['metrics']['quality']['rows']
    table = page.get_by_role('row', name='FID').get_by_role('cell')
    assert table.all_text_contents() == [f'{rows[name]["fid"]:.3f}'
                                         for name in ('class priors', 'real training images')]


def test_weights_that_were_never_measured_have_no_card(tmp_path):
    model, content = load_checkpoint(default_weights())
    save_checkpoint(tmp_path / 'own.pth', model, content['prior'])
    page = page_files(tmp_path / 'own.pth')['index.html'].decode()
    assert 'mnist-vae measure' in page and '<table' not in page


def test_bad_link_falls_back_with_a_note(host, page, gen):
    visit(page, f'{host.address}?digit=x&seed=-1')
    said = 'The link had no usable digit and no usable seed: here is something else instead.'
    expect(page.locator('#note')).to_have_text(said)
    assert same(page, '#five canvas', gen.generate(7, seed=0))


def test_slow_weights_leave_a_page_that_says_what_it_is(host, page, gen):
    held = []
    page.route('**/weights.bin', lambda route: held.append(route))
    page.goto(f'{host.address}?tab=Number&number=42&hand=3', wait_until='domcontentloaded')
    expect(page.get_by_role('heading', name='Handwritten digits, on request')).to_be_visible()
    expect(page.get_by_role('tab', name='Number')).to_have_attribute('aria-selected', 'true')
    expect(page.locator('body')).to_have_class(re.compile('is-waiting'))
    expect(page.get_by_role('alert')).to_be_hidden()
    for route in held: route.continue_()
    wait_for(page, 'The number 42 in one handwriting', '#line')
    assert same(page, '#line', gen.write('42', seed=3)[None])


def test_two_tabs_do_not_disturb_each_other(host, page, gen):
    visit(page, f'{host.address}?digit=1&seed=4')
    other = page.context.new_page()
    visit(other, f'{host.address}?digit=6&seed=4')
    other.get_by_role('tab', name='Handwriting').click()
    draw(other, SEVEN)
    writes(other, 'I read a 7. Wrong?')
    page.locator('#digit').select_option('2')
    wait_for(page, 'Handwritten two, variation 1 of 5', '#five canvas')
    assert same(page, '#five canvas', gen.generate(2, seed=4))
    other.go_back()
    assert same(other, '#five canvas', gen.generate(6, seed=4))


def test_works_offline_after_the_first_visit(page, gen, tmp_path):
    host = Host(tmp_path)
    visit(page, host.address)
    page.evaluate('''new Promise(done => navigator.serviceWorker.controller ? done()
        : navigator.serviceWorker.addEventListener('controllerchange', () => done()))''')
    page.evaluate('''async () => {
        const address = new URL('encoder.bin', location);
        while (!await caches.match(address)) await new Promise(requestAnimationFrame);
    }''')
    host.stop()
    visit(page, f'{host.address}?digit=2&seed=6')
    assert same(page, '#five canvas', gen.generate(2, seed=6))
    page.get_by_role('tab', name='Handwriting').click()
    draw(page, SEVEN)
    writes(page, 'I read a 7. Wrong?')


@pytest.mark.parametrize('damage', ['missing', 'short', 'changed'])
def test_damaged_weights_are_said_and_can_be_mended(page, gen, tmp_path, damage):
    host = Host(tmp_path)
    file = host.page / 'weights.bin'
    whole = file.read_bytes()
    if damage == 'missing': file.unlink()
    else: file.write_bytes(whole[:10**6] if damage == 'short' else whole[:-9] + b'x' + whole[-8:])
    visit(page, host.address)
    expect(page.get_by_role('alert')).to_contain_text('The page cannot draw')
    file.write_bytes(whole)
    page.get_by_role('button', name='Try again').click()
    wait_for(page, 'Handwritten seven, variation 1 of 5', '#five canvas')
    expect(page.get_by_role('alert')).to_be_hidden()
    assert same(page, '#five canvas', gen.generate(7, seed=0))
    host.stop()


@pytest.mark.parametrize('damage', ['missing', 'short', 'of other weights'])
def test_a_damaged_encoder_is_said_and_can_be_mended(page, tmp_path, damage):
    host = Host(tmp_path)
    file = host.page / 'encoder.bin'
    whole = file.read_bytes()
    if damage == 'missing': file.unlink()
    elif damage == 'short': file.write_bytes(whole[:10**6])
    else: file.write_bytes(browser_weights(ROOT / 'nbs' / 'plain.pth')['encoder.bin'])
    visit(page, f'{host.address}?tab=Handwriting')
    expect(page.get_by_role('alert')).to_contain_text('The page cannot read digits')
    draw(page, SEVEN)
    file.write_bytes(whole)
    page.get_by_role('button', name='Try again').click()
    writes(page, 'I read a 7. Wrong?')
    expect(page.locator('#encoder-trouble')).to_be_hidden()
    host.stop()


def test_nothing_moves_by_itself_and_memory_is_small(host, browser):
    "By the benchmark, which also measures times; those are not judged here."
    spec = importlib.util.spec_from_file_location('page_benchmark', ROOT / 'benchmarks' / 'web.py')
    spec.loader.exec_module(benchmark := importlib.util.module_from_spec(spec))
    found = benchmark.used(browser, host.address, slower=1)
    assert found['shift'] < .1 and found['memory'] < 60
    assert len(found['generate']) == 200 and len(found['slide']) == 100


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('tab', ['Generate', 'Handwriting', 'Number', 'Explore', 'Quality'])
def test_anybody_can_use_it(host, browser, scheme, tab):
    "No fault that axe finds, nothing wider than a small telephone, and tabs by arrow keys."
    with browser.new_context(color_scheme=scheme, viewport=dict(width=320, height=640)) as context:
        page = context.new_page()
        visit(page, f'{host.address}?tab={tab}')
        if tab == 'Handwriting':
            draw(page, SEVEN)
            writes(page, 'I read a 7. Wrong?')
        assert Axe().run(page).violations_count == 0
        assert page.evaluate('document.documentElement.scrollWidth') <= 320
        page.get_by_role('tab', name=tab).press('ArrowRight')
        expect(page.get_by_role('tab', selected=True)).not_to_have_text(tab)
