"""The drawing pad and the map of the app: in a browser, by mouse and by finger, and what their messages do to the
server."""
import base64
import importlib.util
import io

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect

from conftest import ROOT
from mnist_vae.explore import TRAITS, traits
from mnist_vae.export import png
from mnist_vae.generator import DigitGenerator
from mnist_vae.picture import VISITORS, PictureError, read_picture, read_pictures
from ports import free_port
from test_app import both_looks, pictures, serve, settle, source, visit, watch

# Strokes, in shares of the pad's side.
SEVEN = [[(.25, .2), (.75, .2), (.45, .85)]]
ONE = [[(.5, .15), (.5, .85)]]
FOUR = [[(.45, .15), (.3, .55), (.75, .55)], [(.65, .15), (.62, .9)]]
TEN = 'in this handwriting'


@pytest.fixture
def app(monkeypatch):
    "The app as a module, with a session of its own; as an import, it does without the package."
    spec = importlib.util.spec_from_file_location('the_app', ROOT / 'app.py')
    spec.loader.exec_module(app := importlib.util.module_from_spec(spec))
    class Session(dict):
        __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__
    monkeypatch.setattr(app.st, 'session_state', Session())
    app.writer, app.PictureError, app.VISITORS = DigitGenerator.load, PictureError, VISITORS
    app.read_picture, app.read_pictures = read_picture, read_pictures
    return app


@pytest.fixture(scope='module')
def server(app_python, tmp_path_factory):
    "The app's address."
    with serve(app_python, tmp_path_factory.mktemp('home'), free_port()) as address: yield address


@pytest.fixture
def tab(server, browser):
    "A function that opens a tab of the app in a browser of its own; in the end no page may have had an error."
    opened = []
    def open_tab(name, **options):
        context = browser.new_context(**{'viewport': {'width': 1280, 'height': 800}} | options)
        page = context.new_page()
        opened.append((context, watch(page)))
        page.goto(f'{server}/?tab={name}')
        page.get_by_role('tab', name=name, selected=True).wait_for()
        return page
    yield open_tab
    for context, problems in opened:
        assert not problems
        context.close()


def pad(page): return page.get_by_role('img', name='Pad to draw')


def draw(page, strokes):
    "Draw on the pad by mouse."
    pad(page).scroll_into_view_if_needed()
    box = pad(page).bounding_box()
    for stroke in strokes:
        for i, (x, y) in enumerate(stroke):
            page.mouse.move(box['x'] + x * box['width'], box['y'] + y * box['height'], steps=6)
            if not i: page.mouse.down()
        page.mouse.up()


def draw_by_finger(page, strokes):
    "Draw on the pad as a touch screen does."
    pad(page).scroll_into_view_if_needed()
    box, screen = pad(page).bounding_box(), page.context.new_cdp_session(page)
    def touch(kind, *points):
        screen.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': [{'x': x, 'y': y} for x, y in points]})
    for stroke in strokes:
        corners = np.array(stroke) * [box['width'], box['height']] + [box['x'], box['y']]
        points = [tuple(a + (b - a) * t) for a, b in zip(corners, corners[1:]) for t in np.linspace(0, 1, 8)]
        touch('touchStart', points[0])
        for point in points[1:]: touch('touchMove', point)
        touch('touchEnd')


def says(page, text):
    return expect(page.get_by_text(text, exact=True).and_(page.locator('p:not([role=status])'))).to_be_visible(
        timeout=30_000
    )


def correct(page, digit):
    page.get_by_role('combobox', name='Which digit it is').click()
    page.get_by_role('option', name=f'It is a {digit}').click()


def open_other_tab_and_return(page, name):
    page.get_by_role('tab', name='Number').click()
    page.get_by_role('img', name='in one handwriting').wait_for()
    settle(page)
    page.get_by_role('tab', name=name).click()
    page.get_by_role('tab', name=name, selected=True).wait_for()
    settle(page)


def whiteness(page) -> float:
    "Share of the pad that is white, as it is seen."
    page.wait_for_function('() => document.fonts.ready')
    image = Image.open(io.BytesIO(pad(page).screenshot())).convert('L')
    return (np.asarray(image) > 200).mean()


# --- handwriting ---

def test_nothing_is_shown_that_nobody_asked_for():
    at = visit(tab='Handwriting')
    assert not pictures(at, of=TEN)
    at.get('button_group')[0].set_value('bold 5').run()
    ((bold, _),) = pictures(at, of=TEN)
    assert 'I read a 5. Wrong?' in [m.value for m in at.markdown]
    at.selectbox(key='told-bold 5').select(9).run()
    ((as_nine, _),) = pictures(at, of=TEN)
    assert as_nine != bold and 'I read a 5, you say 9.' in [m.value for m in at.markdown]
    at.get('button_group')[0].set_value('narrow 8').run()
    assert 'I read an 8. Wrong?' in [m.value for m in at.markdown], 'the correction belongs to the other sample'
    at.get('button_group')[0].set_value('bold 5').run()
    assert pictures(at, of=TEN)[0][0] == as_nine, 'and is kept with it'


@pytest.mark.slow
def test_samples_are_as_they_are_called(app):
    "Which slider does what is up to the weights: a bold 5 must be bolder than the average 5 with any."
    average = app.writer().in_style([])
    for name, (digit, style, value) in app.SAMPLES.items():
        app.st.session_state.sample = name
        of_sample, of_average = traits(torch.stack([app.handwriting(), average[digit]]))[
            :, TRAITS.index(style)
        ].tolist()
        assert name.endswith(f' {digit}') and (of_sample - of_average) * value > 0, name


def as_url(data): return f'data:image/png;base64,{base64.b64encode(data).decode()}'


@pytest.mark.parametrize(
    'sent',
    [
        None, 5, 'text', [], [1, 2], {}, {'kind': 'drawing'}, {'kind': 'drawing', 'picture': None}, {'kind': []},
        {'kind': 'drawing', 'picture': {}, 'serial': 'x'}, {'kind': 'picture', 'picture': 'data:,%00'},
        {'kind': 'picture', 'picture': 'data:;base64,é', 'serial': 10**30},
        {'kind': 'picture', 'picture': as_url(b'GIF89a')},
    ],
    ids=repr,
)
def test_nonsense_of_a_browser_changes_nothing(app, sent):
    digit = app.mine().digit = torch.ones(28, 28)
    app.take(sent)
    assert app.mine().digit is digit
    assert app.mine().note or not isinstance(sent, dict)
    assert not app.mine().note or app.mine().note.startswith('the picture '), 'a sentence of ours'
    assert abs(app.mine().serial) < 2**53, 'what JavaScript can count to'


def test_a_bad_picture_leaves_the_drawing_and_a_good_one_takes_its_place(app):
    three = png(DigitGenerator.load().generate(3, 1, seed=1)[0], 6)
    app.take(dict(kind='drawing', serial=1, picture=as_url(three)))
    drawn = app.handwriting()
    assert drawn.shape == (28, 28) and not app.mine().note
    app.take(dict(kind='picture', serial=2, picture=as_url(b'not a picture')))
    assert app.handwriting() is drawn and app.mine().note
    app.take(dict(kind='picture', serial=3, picture=as_url(three)))
    assert app.mine().is_picture and not app.mine().note
    app.take(dict(kind='nothing', serial=4, picture=''))
    assert app.handwriting() is None


@pytest.mark.parametrize(
    'guesses, told, said',
    [
        ((7, ), None, 'I read a 7. Wrong?'),
        ((8, ), 8, 'I read an 8. Wrong?'),
        ((7, ), 1, 'I read a 7, you say 1.'),
        ((8, 3), None, 'An 8, or a 3?'),
        ((8, 3), 8, 'I read an 8. Wrong?'),
        ((8, 3), 3, 'You say it is a 3.'),
        ((), None, 'I see no digit in this. If it is one, say which.'),
        ((), 8, 'You say it is an 8.'),
    ],
)
def test_doubt_has_words(app, guesses, told, said):
    assert app.opinion(guesses, told) == said


def test_a_number_in_a_picture_is_taken_digit_by_digit(app):
    gen = DigitGenerator.load()
    line = torch.cat([gen.generate(d, 1, seed=3, temperature=.5)[0] for d in (4, 7, 2)], 1)
    page = torch.nn.functional.pad(line, [9] * 4)
    app.take(dict(kind='picture', serial=1, picture=as_url(png(1 - page, 6))))
    assert [gen.read(digit) for digit in app.mine().found] == [4, 7, 2]
    assert app.handwriting() is app.mine().digit and gen.read(app.handwriting()) == 4
    app.st.session_state['which'] = 2
    app.take_other()
    assert gen.read(app.handwriting()) == 2
    app.take(dict(kind='drawing', serial=2, picture=as_url(png(1 - page, 6))))
    assert len(app.mine().found) == 1, 'one digit is drawn at a time'


def test_doubt_is_settled_by_a_tap(tab, tmp_path):
    "A dot is no digit until somebody says so; of two guesses, one tap takes one; a number is shown digit by digit."
    page = tab('Handwriting', viewport={'width': 375, 'height': 800})
    draw(page, [[(.5, .5)]])
    says(page, 'I see no digit in this. If it is one, say which.')
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)
    correct(page, 1)
    says(page, 'You say it is a 1.')
    page.get_by_role('img', name=TEN).wait_for()
    gen = DigitGenerator.load()
    line = torch.cat([gen.generate(d, 1, seed=3, temperature=.5)[0] for d in (4, 7, 2)], 1)
    (tmp_path / 'number.png').write_bytes(png(1 - torch.nn.functional.pad(line, [9] * 4), 6))
    page.set_input_files('input[type=file]', tmp_path / 'number.png')
    says(page, 'I found 3 digits and read 472. Choose the one whose handwriting counts.')
    four = source(page, TEN)
    page.get_by_role('radio', name='7', exact=True).or_(page.get_by_role('button', name='7', exact=True)).click()
    says(page, 'I read a 7. Wrong?')
    source(page, TEN, other_than=four)


def test_drawn_by_mouse(tab):
    page = tab('Handwriting', viewport={'width': 1280, 'height': 800})
    page.get_by_text('Draw a digit here').wait_for()
    draw(page, SEVEN)
    says(page, 'I read a 7. Wrong?')
    expect(page.get_by_text('Draw a digit here')).to_be_hidden()
    seven = source(page, TEN)
    page.get_by_role('button', name='Clear', exact=True).click()
    page.get_by_text('Draw a digit here').wait_for()
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)
    draw(page, FOUR)
    says(page, 'I read a 4. Wrong?')
    settle(page)
    source(page, TEN, other_than=seven)
    names = set()
    for button, mode in (('PNG', 'L'), ('PNG transparent', 'LA')):
        with page.expect_download() as file: page.get_by_role('button', name=button, exact=True).click()
        assert Image.open(file.value.path()).mode == mode
        names.add(file.value.suggested_filename)
    assert len(names) == 2


def test_drawn_by_finger(tab):
    page = tab('Handwriting', viewport={'width': 375, 'height': 700}, has_touch=True, is_mobile=True)
    draw_by_finger(page, FOUR)
    says(page, 'I read a 4. Wrong?')
    expect(page.get_by_role('img', name='It has 2 strokes')).to_be_visible()


def test_undo_takes_back_the_last_stroke(tab):
    page = tab('Handwriting')
    expect(page.get_by_role('button', name='Undo')).to_be_disabled()
    draw(page, FOUR[:1])
    one_stroke = source(page, TEN)
    settle(page)
    draw(page, FOUR[1:])
    source(page, TEN, other_than=one_stroke)
    settle(page)
    page.get_by_role('button', name='Undo').click()
    page.wait_for_function('url => [...document.images].some(i => i.src == url)', arg=one_stroke)
    page.get_by_role('button', name='Undo').click()
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)


def test_drawing_and_correction_outlive_a_change_of_tab(tab):
    page = tab('Handwriting')
    draw(page, SEVEN)
    says(page, 'I read a 7. Wrong?')
    seven = source(page, TEN)
    correct(page, 1)
    says(page, 'I read a 7, you say 1.')
    as_one = source(page, TEN, other_than=seven)
    white = whiteness(page)
    assert white > .02
    open_other_tab_and_return(page, 'Handwriting')
    says(page, 'I read a 7, you say 1.')
    assert source(page, TEN) == as_one
    assert whiteness(page) == pytest.approx(white, rel=.01)
    page.get_by_role('button', name='Undo').click()
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)


def test_a_correction_belongs_to_its_drawing(tab):
    page = tab('Handwriting')
    draw(page, FOUR[:1])
    source(page, TEN)
    settle(page)
    correct(page, 4)
    page.get_by_text(', you say 4.').wait_for()
    draw(page, FOUR[1:])
    says(page, 'I read a 4. Wrong?')
    page.get_by_role('radio', name='bold 5').click()
    says(page, 'I read a 5. Wrong?')
    settle(page)
    page.get_by_role('radio', name='bold 5').click()
    says(page, 'I read a 4. Wrong?')
    expect(page.get_by_role('combobox', name='Which digit it is')).to_have_value('It is a 4')
    page.get_by_role('button', name='Clear', exact=True).click()
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)
    draw(page, SEVEN)
    says(page, 'I read a 7. Wrong?')
    expect(page.get_by_role('combobox', name='Which digit it is')).to_have_value('')


def test_a_drawing_outlives_the_server(app_python, browser, tmp_path):
    page, port = browser.new_page(), free_port()
    with serve(app_python, tmp_path, port) as address:
        page.goto(f'{address}/?tab=Handwriting')
        draw(page, FOUR[:1])
        source(page, TEN)
        settle(page)
    with serve(app_python, tmp_path, port):
        page.get_by_text('Connecting').first.wait_for(state='hidden', timeout=60_000)
        draw(page, FOUR[1:])
        says(page, 'I read a 4. Wrong?')
        expect(page.get_by_role('img', name='It has 2 strokes')).to_be_visible()
    page.close()


def test_a_sample_is_seen_on_the_pad_and_gives_way_to_a_stroke(tab):
    page = tab('Handwriting')
    page.get_by_role('radio', name='bold 5').click()
    says(page, 'I read a 5. Wrong?')
    page.get_by_role('img', name='It shows a picture').wait_for()
    assert whiteness(page) > .02
    open_other_tab_and_return(page, 'Handwriting')
    says(page, 'I read a 5. Wrong?')
    draw(page, SEVEN)
    says(page, 'I read a 7. Wrong?')
    expect(page.get_by_role('radio', name='bold 5')).not_to_be_checked()


def test_pictures_sent(tab, tmp_path):
    page = tab('Handwriting', viewport={'width': 375, 'height': 800})
    digit = DigitGenerator.load().generate(3, 1, seed=1)[0]
    (tmp_path / 'three.png').write_bytes(
        png(1 - torch.nn.functional.pad(digit, (20, 5, 3, 30)), 6)
    )  # dark ink, not centred
    page.set_input_files('input[type=file]', tmp_path / 'three.png')
    says(page, 'I read a 3. Wrong?')
    photo = Image.open(tmp_path / 'three.png').convert('RGB').resize((3000, 3000))
    grain = np.random.default_rng(0).integers(-30, 30, (3000, 3000, 3))
    Image.fromarray((np.asarray(photo) + grain).clip(0, 255).astype(np.uint8)).save(tmp_path / 'photo.jpg', quality=95)
    assert (tmp_path / 'photo.jpg').stat().st_size > 4 * 2**20, 'more than may be sent: the browser reduces it'
    page.get_by_role('button', name='Clear', exact=True).click()
    expect(page.get_by_role('img', name=TEN)).to_have_count(0)
    page.set_input_files('input[type=file]', tmp_path / 'photo.jpg')
    says(page, 'I read a 3. Wrong?')
    three = source(page, TEN)

    Image.new('L', (5000, 4000)).save(tmp_path / 'blank.png')
    (tmp_path / 'half.png').write_bytes((tmp_path / 'three.png').read_bytes()[:200])
    (tmp_path / 'text.png').write_text('<script>alert(1)</script>')
    (tmp_path / 'large.png').write_bytes(bytes(3 * 2**20))
    for name, message in {
        'blank': 'shows no digit',
        'half': 'cannot be read',
        'text': 'cannot be read',
        'large': 'larger than 640 kB',
    }.items():
        page.set_input_files('input[type=file]', tmp_path / f'{name}.png')
        page.get_by_text(message).first.wait_for()
        settle(page)
        assert source(page, TEN) == three, 'what was there stays'


@pytest.mark.parametrize('width, height', [(1280, 720), (375, 667), (320, 640)])
def test_the_pad_comes_first(tab, width, height):
    page = tab('Handwriting', viewport={'width': width, 'height': height})
    pad(page).wait_for()
    # Until the page's font has arrived, the heading is in a larger one, and takes more lines.
    page.evaluate('document.fonts.ready.then(() => new Promise(requestAnimationFrame))')
    page.evaluate('new Promise(requestAnimationFrame)')
    box = pad(page).bounding_box()
    assert box['y'] > 0 and box['y'] + box['height'] <= height, 'all of it is in view'
    draw(page, SEVEN)
    source(page, TEN)
    settle(page)
    reading = (
        page.get_by_text('I read a 7. Wrong?', exact=True).and_(page.locator('p:not([role=status])')).bounding_box()
    )
    if width > 640:
        assert reading['x'] > box['x'] + box['width'] and reading['y'] < box['y'] + box['height'], 'beside it'
    else: assert reading['y'] > box['y'] + box['height'], 'below it'


@both_looks
def test_handwriting_is_accessible(tab, width, scheme):
    page = tab('Handwriting', viewport={'width': width, 'height': 1300}, color_scheme=scheme)
    draw(page, SEVEN)
    source(page, TEN)
    settle(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
    found = Axe().run(page).response['violations']
    assert not found, [(violation['id'], [node['html'] for node in violation['nodes']]) for violation in found]
    expect(page.get_by_role('status').filter(has_text='I read a 7.')).to_have_count(1)


# --- map ---

def test_the_digit_follows_the_point(tab):
    page = tab('Explore', viewport={'width': 1280, 'height': 900})
    there = page.get_by_role('img', name='at this point of the map')
    there.wait_for()
    assert 'eight' in there.get_attribute('alt')
    before = source(page, 'at this point of the map')
    page.get_by_role('slider', name='West to east').focus()
    for _ in range(6): page.keyboard.press('ArrowRight')
    moved = source(page, 'at this point of the map', other_than=before)
    box = page.get_by_role('img', name='Map of handwritings').bounding_box()
    seen = set()
    for x, y in ((.1, .7), (.3, .2), (.6, .1), (.9, .6), (.6, .9)):
        page.mouse.click(box['x'] + x * box['width'], box['y'] + y * box['height'])
        moved = source(page, 'at this point of the map', other_than=moved)
        seen.add(there.get_attribute('alt'))
    assert len(seen) >= 4, 'other islands, other digits'


def test_the_point_outlives_a_change_of_tab(tab):
    page = tab('Explore', viewport={'width': 1280, 'height': 900})
    first = source(page, 'at this point of the map')
    slider = page.get_by_role('slider', name='West to east')
    slider.focus()
    for _ in range(5): page.keyboard.press('ArrowRight')
    source(page, 'at this point of the map', other_than=first)
    settle(page)
    page.wait_for_timeout(300)                                           # longer than the map waits with the last step
    settle(page)
    moved, east = source(page, 'at this point of the map'), slider.input_value()
    open_other_tab_and_return(page, 'Explore')
    assert source(page, 'at this point of the map') == moved
    assert slider.input_value() == east
    slider.focus()
    page.keyboard.press('ArrowRight')
    source(page, 'at this point of the map', other_than=moved)


def test_the_sea_is_called_nearest(tab):
    page = tab('Explore')
    page.get_by_text('On the island of 8').wait_for()
    box = page.get_by_role('img', name='Map of handwritings')
    box.scroll_into_view_if_needed()
    box.click(position={'x': 3, 'y': 3})                                 # a corner
    page.get_by_text('Nearest: 9').wait_for()
    assert 'nearest: 9' in page.get_by_role('slider', name='South to north').get_attribute('aria-valuetext')


@pytest.mark.slow
@pytest.mark.parametrize(
    'point',
    [
        None, 5, 'ab', '12', [], [1], [1, 2, 3], [None, 1], ['x', 'y'], [float('nan'), 0], [10**400, 0],
        {'a': 1, 'b': 2}, [[1], [2]],
    ],
    ids=repr,
)
def test_nonsense_is_no_point(app, point):
    app.islands = lambda: tuple(map(tuple, app.writer().islands.tolist()))
    app.st.session_state.map_point = point
    digit, image = app.writer().at(*app.chosen_point())
    assert image.isfinite().all()
    if point != '12': assert digit == 8


def test_on_a_phone_map_and_digit_are_in_view_together(tab):
    page = tab('Explore', viewport={'width': 375, 'height': 667}, color_scheme='dark')
    there = page.get_by_role('img', name='at this point of the map')
    there.wait_for()
    settle(page)
    there.evaluate('element => element.scrollIntoView()')
    digit, sea = there.bounding_box(), page.get_by_role('img', name='Map of handwritings').bounding_box()
    assert sea['y'] + sea['height'] - digit['y'] < 560 and digit['y'] + digit['height'] <= sea['y']
    dark = page.get_by_role('slider', name='West to east').evaluate('element => getComputedStyle(element).appearance')
    assert dark == 'none', 'drawn by us, not light by the browser'
