"""Streamlit app: five of a digit, your handwriting, numbers, sliders, a map. Layout only: the logic is in `mnist_vae`.

    streamlit run app.py
"""
from __future__ import annotations

import base64
import gc
import json
import math
import secrets
import zlib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mnist_vae.look import (
    ACCENT,
    GREY,
    INTRODUCTION,
    NAMES,
    ORANGE,
    SITE,
    SOURCE,
    TITLE,
    dot_plot,
    line_plot,
    plot_style,
)

if __name__ == '__main__':             # not for the server, which imports this file, too, and need not wait for PyTorch
    import torch

    from mnist_vae.checkpoint import load_checkpoint
    from mnist_vae.data import MAX_SEED
    from mnist_vae.explore import REACH
    from mnist_vae.export import gif, npz, png, sheet, to_bytes, zip_of_pngs
    from mnist_vae.generator import MAX_TEXT, DigitGenerator, default_weights, is_number
    from mnist_vae.picture import FORMATS, VISITORS, PictureError, read_picture, read_pictures

N, FRAMES = 5, 24
WEB = Path(__file__).with_name('web')
STORY_DIGIT = 7
SENT = 5 << 17         # bytes of a picture file that the server takes in one message; the pad makes larger ones smaller
# Handwritings to begin with, for those who neither draw nor upload: a digit, a slider of style and its position.
SAMPLES = {
    'slanted 4': (4, 'slant', 2), 'upright 2': (2, 'slant', -1.5),
    'wide 3': (3, 'width', 1.5), 'narrow 8': (8, 'width', -2),
    'bold 5': (5, 'thickness', 2), 'fine 7': (7, 'thickness', -2),
}

# Streamlit puts a container's key into its class name: its documented hook for CSS. 28 pixels stay 28 crisp squares.
# The accent is too dark to read on the dark theme: what is chosen is bold, and underlined or framed by Streamlit.
STYLE = '''<style>
.st-key-pixels-digits button {padding: .25rem}
.st-key-pixels-digits button p {font-size: clamp(.75rem, 3.5vw, .875rem); overflow: visible; text-overflow: clip}
[class*=st-key-pixels] img {image-rendering: pixelated; border-radius: .5rem; outline: 1px solid #8883}
[role=tab][aria-selected=true], [role=tab][aria-selected=true] *, [role=radio][aria-checked=true],
[data-testid=stSliderThumbValue] {
    color: inherit !important; font-weight: 600}
[data-testid=stMainBlockContainer] {padding-top: 3.5rem; padding-bottom: 3rem}
h1 {font-size: clamp(1.9rem, 6vw, 2.75rem) !important}
h2 {font-size: 1.5rem !important}
@media (max-width: 640px) {
    .st-key-map-area {row-gap: .75rem !important}
    div:has(> .st-key-pixels-there) {order: -1; flex-basis: 100%; max-width: 100%}
    .st-key-pixels-there {flex-direction: row !important; align-items: center}
    .st-key-pixels-there > * {width: auto !important}
    .st-key-pixels-there img {width: 4.5rem !important}
}
</style>'''


@st.cache_resource(show_spinner='Reading the weights …')
def generator() -> DigitGenerator:
    torch.set_num_threads(1)                                             # five digits are too little work to share out
    loaded = DigitGenerator.load()
    gc.collect()
    gc.freeze()                          # Streamlit collects garbage after each run: not among all of PyTorch's objects
    return loaded


@st.cache_resource(show_spinner=False)
def writer() -> DigitGenerator:
    "The generator, prepared for handwriting: half a second, once, that the first five images need not wait for."
    generator().in_style([])
    return generator()


@st.cache_resource
def measured() -> dict: return load_checkpoint(default_weights())[1]['metrics']


@st.cache_resource
def map_points() -> dict:
    "What the map shows, as tuples of numbers: given a list, Streamlit would import pandas, 70 MB, to look for a table."
    xy, labels = writer().map(1500, seed=0)
    points = tuple((round(x, 2), round(y, 2), label) for (x, y), label in zip(xy.tolist(), labels.tolist()))
    return dict(points=points, islands=islands())


def islands() -> tuple: return tuple(map(tuple, writer().islands.tolist()))


@st.cache_resource(max_entries=64, show_spinner=False)
def animation(start: int, end: int, seed: int) -> bytes:
    there = writer().morph(start, end, FRAMES, seed)
    rest = there.new_ones(6, 1, 1)
    return gif(torch.cat([there[:1] * rest, there, there[-1:] * rest, there.flip(0)]), scale=8)


# What an address without parameters shows. Each of these is a parameter of the address, and the key of a widget.
START = dict(tab='Generate', digit=7, seed=0, number='2026', hand=0)


def without_spaces(text: str) -> str: return ''.join(text.split())


def whole_number(text: str, largest: int) -> int | None:
    "The number that `text` spells, or None if it spells none from 0 to `largest`."
    text = without_spaces(text)
    if not (text.isascii() and text.isdigit() and len(text) <= 10): return None
    return int(text) if int(text) <= largest else None


def read_parameter(name: str, text: str) -> int | str | None:
    "What the parameter `name` of the address asks for, or None if that cannot be shown."
    if name == 'tab': return text if text in TABS else None
    if name == 'number': return without_spaces(text) if is_number(without_spaces(text)) else None
    return whole_number(text, 9 if name == 'digit' else MAX_SEED)


def read_address() -> tuple[dict, list[str]]:
    "What the address asks for, and the names of its parameters that cannot be shown."
    read = {name: read_parameter(name, st.query_params[name]) for name in START if name in st.query_params}
    unusable = [name for name, value in read.items() if value is None]
    return START | {name: value for name, value in read.items() if value is not None}, unusable


def follow_address(address: dict) -> None:
    """Set the widgets to what the address asks for: on the first run, and when the visitor goes back or forward.

    No widget is bound to the address (Streamlit would rewrite it, one entry of the history at a time), and none has a
    callback: after a restart of the server, the first run of a session may be a click in a page that the old server
    drew. Streamlit then knows no callbacks yet, while the widgets' values, which the browser sends along, count.
    """
    run = get_script_run_ctx()
    if run.is_history_navigation: sent = set()
    elif 'address' in st.session_state:
        # A run that was cut off by the next click leaves no state of the widgets that it had not reached.
        for name in START: st.session_state.setdefault(name, st.session_state.address[name])
        return
    else: sent = {state.id.rpartition('-')[2] for state in run.session_state.get_widget_states()}
    # what the browser was told last: going back, it may not have heard it yet
    st.session_state.setdefault('address', address)
    st.session_state.update({name: value for name, value in address.items() if name not in sent})


def write_address(asked: dict) -> bool:
    "Let the address say what is shown now. Returns whether it did so all along; else the history gets a new entry."
    shown = {name: st.session_state.setdefault(name, value) for name, value in st.session_state.address.items()}
    shown['number'] = without_spaces(shown['number'])
    if not is_number(shown['number']): shown['number'] = st.session_state.address['number']
    if shown == asked == st.session_state.address: return True
    st.session_state.address = shown
    st.query_params.from_dict({name: value for name, value in shown.items() if value != START[name]})
    return False


def new_seed() -> int: return secrets.randbits(32)


def show(image: torch.Tensor, **options) -> None:
    "An image, float (H, W) in [0, 1], with the very bytes that a download has."
    st.image(to_bytes(image).numpy(), output_format='PNG', **options)


def keep(name: str, key: str, **files) -> None:
    "A row of buttons that save something: label → file's ending and what makes it, which happens on a click only."
    with st.container(horizontal=True, gap='small', key=key):
        for label, (ending, make) in files.items():
            kind, *more = label.split('_')                        # the label's other words tell files of one kind apart
            file_name = f'{"-".join([name, *more])}.{ending}'
            st.download_button(label.replace('_', ' '), make, file_name, icon=':material/download:', on_click='ignore')


def generate_tab(tab) -> None:
    if not tab.open: return
    with st.container(horizontal=True, vertical_alignment='bottom', gap='small', key='controls'):
        digit = st.selectbox('Digit', range(10), width=90, filter_mode=None, key='digit', persist_state='session')
        if st.button(f'Generate {N} Images', type='primary'): st.session_state.seed = new_seed()
    five = st.container(key='five')
    with st.expander('Get these five again'):
        seed = st.number_input('Seed', 0, MAX_SEED, step=1, width=200, key='seed', persist_state='session')
        st.write('The same digit with the same seed gives the same five images: here, at this page\'s address, and in '
                 'Python.')
        st.code(f'''from mnist_vae.generator import DigitGenerator
DigitGenerator.load().generate({digit}, n={N}, seed={seed})''', language=None, wrap_lines=True)
    with five: show_five(digit, seed)


def show_five(digit: int, seed: int) -> None:
    images = generator().generate(digit, N, seed)
    labels, name = torch.full((N,), digit), f'digit-{digit}-seed-{seed}'
    with st.container(key='pixels-digits'), st.grid(N, min_column_width=44, wrap=False, gap='xsmall'):
        for i, image in enumerate(images, 1):
            show(image, width='stretch', alt=f'Handwritten {NAMES[digit]}, variation {i} of {N}')
        for i, image in enumerate(images, 1):
            st.download_button(f'Save {i}', lambda image=image: png(image, scale=8), f'{name}-{i}.png',
                               width='stretch', on_click='ignore')
    st.write(f'{N} images, 28×28 pixels each. Save all:')
    keep(name, 'downloads', PNG_sheet=('png', lambda: png(sheet(images), scale=8)),
         ZIP=('zip', lambda: zip_of_pngs(images, labels, seed)),
         NPZ=('npz', lambda: npz(images, labels, seed)))


def component(name: str, **options):
    "Show the component that web/`name`.html, .css and .js make."
    parts = {kind: (WEB / f'{name}.{kind}').read_text('utf-8') for kind in ('html', 'css', 'js')}
    return st.components.v2.component(name, **parts)(**options)


def mine() -> SimpleNamespace:
    """What this visitor drew or sent last, and what the pad has to know.

    `digit` (28, 28) or None, `found` (N, 28, 28) all digits of the picture it was in, `is_picture` whether that is
    a file, `note` why something else could not be read, `serial` the pad's count of its messages, `session` a name of
    this visit.
    """
    nothing_yet = SimpleNamespace(digit=None, found=(), is_picture=False, note='', serial=0,
                                  session=secrets.token_hex(4))
    return st.session_state.setdefault('mine', nothing_yet)


def from_data_url(url) -> bytes:
    "The bytes of a data URL. PictureError for anything else."
    try: return base64.b64decode(str(url).partition(',')[2], validate=True)
    except ValueError: raise PictureError('the picture did not arrive whole: choose it again') from None


def digits_in(data: bytes, kind: str) -> torch.Tensor:
    "All digits of a picture file, (N, 28, 28), or the one that was drawn; PictureError."
    if kind == 'picture': return read_pictures(data, VISITORS, writer().certainty)
    return read_picture(data, VISITORS, writer().certainty)[None]


def take_picture() -> None: take(st.session_state.pad.sent)


def take(sent) -> None:
    "Make what the pad sent, a drawing or a picture file as a data URL, the visitor's digit, or note why it cannot be."
    my = mine()
    if not isinstance(sent, Mapping): return                             # of a browser's making: anything may come
    kind, serial = sent.get('kind'), sent.get('serial')
    my.serial = serial if isinstance(serial, int) and abs(serial) < 2**53 else 0
    my.note, found = '', ()
    if kind != 'nothing':
        try: found = digits_in(from_data_url(sent.get('picture')), kind)
        except PictureError as e: my.note = str(e)
        if my.note: return                                               # what was there stays
    goes_on = kind == 'drawing' and my.digit is not None and not my.is_picture and not st.session_state.get('sample')
    if not goes_on: st.session_state['told-drawing'] = None   # another digit, of which the visitor has said nothing yet
    my.found, my.is_picture = found, kind == 'picture'
    my.digit = found[0] if len(found) else None
    st.session_state.sample, st.session_state['which'] = None, 0


def forget_note() -> None: mine().note = ''


def handwriting() -> torch.Tensor | None:
    "The digit whose handwriting counts, (28, 28): the sample that is chosen, else what was drawn or sent last."
    sample = st.session_state.get('sample')
    if not sample: return mine().digit
    digit, style, value = SAMPLES[sample]
    return writer().in_style([value if name == style else 0 for name in writer().styles])[digit]


def warn(note: str) -> None: st.warning(f'{note[:1].upper()}{note[1:]}.', icon=':material/draw:')


def a(digit: int) -> str: return f'{"an" if digit == 8 else "a"} {digit}'


def image_url(image: torch.Tensor) -> str: return f'data:image/png;base64,{base64.b64encode(png(image)).decode()}'


def show_pad(image: torch.Tensor | None, said: str) -> None:
    "The pad: with the drawing on it, or with `image` (28, 28) if that is a sample or a picture file."
    my = mine()
    shown = image_url(image) if image is not None and (st.session_state.get('sample') or my.is_picture) else ''
    pad = component('pad', key='pad', on_sent_change=take_picture,
                    data=dict(limit=SENT, session=my.session, serial=my.serial, shown=shown, said=said))
    if isinstance(pad.sent, Mapping) and pad.sent.get('serial') != my.serial:
        take(pad.sent)                                       # after a restart, Streamlit does not know the callback yet
        if pad.sent.get('serial') == my.serial: st.rerun()


def told_key() -> str: return f'told-{st.session_state.get("sample") or "drawing"}'


def opinion(guesses: tuple[int, ...], told: int | None) -> str:
    "What the model says of a digit, and, if they differ, what the visitor says."
    if told is not None and guesses[:1] != (told,):
        return f'I read {a(guesses[0])}, you say {told}.' if len(guesses) == 1 else f'You say it is {a(told)}.'
    if not guesses: return 'I see no digit in this. If it is one, say which.'
    if len(guesses) == 2 and told is None: return f'{a(guesses[0]).capitalize()}, or {a(guesses[1])}?'
    return f'I read {a(guesses[0])}. Wrong?'


def tell(digit: int) -> None: st.session_state[told_key()] = digit


def reading(image: torch.Tensor, guesses: tuple[int, ...]) -> int | None:
    "Show what the model sees and reads. Returns the digit, which the visitor may correct; None if nobody knows it."
    key = told_key()                                    # a correction belongs to this digit and to no other
    told = st.session_state.get(key)
    with st.container(horizontal=True, vertical_alignment='center', gap='small', key='pixels-mine'):
        show(image, width=56, alt='The digit as the model sees it, 28×28 pixels')
        st.markdown(opinion(guesses, told), width='content')
        if len(guesses) == 2 and told is None:
            for digit in guesses: st.button(f'It is {a(digit)}', key=f'tell-{digit}', on_click=tell, args=[digit])
        st.selectbox('Which digit it is', range(10), None, lambda d: f'It is {a(d)}', key, placeholder='It is …',
                     width=124, filter_mode=None, label_visibility='collapsed', persist_state='session')
    return told if told is not None else guesses[0] if guesses else None


def choose() -> None:
    "Show all digits that were found in a picture, if there are several, to choose the one whose handwriting counts."
    my = mine()
    if len(my.found) < 2 or st.session_state.get('sample'): return
    guesses = [writer().guesses(digit) for digit in my.found]
    line = ''.join(str(digits[0]) if len(digits) == 1 else '?' for digits in guesses)
    st.write(f'I found {len(line)} digits and read **{line}**. Choose the one whose handwriting counts.')
    with st.container(key='pixels-found'):
        columns = min(len(line), 10)
        show(sheet(my.found, columns=columns), width=40 * columns, alt=f'The digits as the model sees them: {line}')
    st.pills('The digit whose handwriting counts', range(len(line)), default=None,
             format_func=lambda i: line[i], key='which', on_change=take_other, wrap=True,
             label_visibility='collapsed', persist_state='session')


def take_other() -> None:
    "Another of the digits in the picture was chosen."
    which = st.session_state.get('which') or 0
    mine().digit, st.session_state['told-drawing'] = mine().found[which], None


def show_handwriting(image: torch.Tensor, guesses: tuple[int, ...]) -> None:
    "The digit `image` (28, 28), what it may be, and, if anybody knows, all ten digits in its handwriting."
    digit = reading(image, guesses)
    if digit is None: return
    try: ten = writer().restyle(image, digit)
    except ValueError as e: return warn(str(e))
    with st.container(key='pixels-ten'):
        show(sheet(ten, columns=5), width='stretch', alt='All ten digits, zero to nine, in this handwriting')
    row = sheet(ten, columns=10)
    checksum = zlib.crc32(to_bytes(image).numpy().tobytes())
    keep(f'my-{digit}-{checksum:08x}', 'hand-downloads',
         PNG=('png', lambda: png(row, scale=8)),
         PNG_transparent=('png', lambda: png(row, scale=8, transparent=True)),
         ZIP=('zip', lambda: zip_of_pngs(ten, torch.arange(10), scale=8)))


def handwriting_tab(tab) -> None:
    if not tab.open: return
    image = handwriting()
    guesses = () if image is None else writer().guesses(image)
    pad, result = st.columns([5, 7], gap='medium')
    with pad: show_pad(image, '' if image is None else opinion(guesses, None))
    with result:
        if mine().note: warn(mine().note)
        if image is None: st.write('Draw one digit on the pad. The model reads it, and writes all ten the way you do.')
        else:
            choose()
            show_handwriting(image, guesses)
        st.pills('Or start from a sample', list(SAMPLES), key='sample', on_change=forget_note, wrap=True,
                 persist_state='session')
        if image is None: st.write('A photo will do, too: a digit or a whole number on plain paper, '
                                   f'{", ".join(FORMATS[:-1])} or {FORMATS[-1]}.')


def number_tab(tab) -> None:
    if not tab.open: return
    with st.container(horizontal=True, vertical_alignment='bottom', gap='small', width=420, key='number-controls'):
        number = without_spaces(st.text_input('Number', max_chars=2 * MAX_TEXT, key='number', persist_state='session'))
        if st.button('New handwriting', type='primary', key='new-hand'): st.session_state.hand = new_seed()
    line = st.container(key='line')
    with st.expander('Get this handwriting again'):
        hand = st.number_input('Handwriting', 0, MAX_SEED, step=1, width=200, key='hand', persist_state='session')
        st.write('The same number writes in the same handwriting: here, at this page\'s address, and in Python.')
        text = number if is_number(number) else st.session_state.address['number']
        program = f"from mnist_vae.generator import DigitGenerator\nDigitGenerator.load().write('{text}', seed={hand})"
        st.code(program, language=None, wrap_lines=True)
    with line: show_number(number, hand)


def show_number(number: str, hand: int) -> None:
    if not is_number(number):
        st.warning(f'A number is 1 to {MAX_TEXT} digits from 0 to 9.', icon=':material/edit:')
        return
    line = writer().write(number, hand)
    with st.container(key='pixels-number'):
        show(line, width=min(56 * len(number), 704), alt=f'The number {number} in one handwriting')
    keep(f'{number}-handwriting-{hand}', 'number-downloads', PNG=('png', lambda: png(line, scale=8)),
         PNG_transparent=('png', lambda: png(line, scale=8, transparent=True)))


def sliders() -> None:
    st.header('All ten digits in one style')
    styles = writer().styles
    with st.grid(len(styles), min_column_width=130, key='sliders'):
        values = [st.slider(name.capitalize(), -float(REACH), float(REACH), 0., .1, format='%+.1f', key=f'style-{name}',
                            persist_state='session')
                  for name in styles]
    ten = sheet(writer().in_style(values), columns=10)
    with st.container(key='pixels-style'):
        show(ten, width='stretch', alt='All ten digits with '
                                       f'{", ".join(f"{name} {value:+.1f}" for name, value in zip(styles, values))} '
                                       'standard deviations')
    name = '-'.join(f'{name}{value:+.1f}' for name, value in zip(styles, values) if value)
    keep(f'style-{name or "average"}', 'style-downloads', PNG=('png', lambda: png(ten, scale=8)))


def morph() -> None:
    st.header('From one digit to another')
    with st.container(horizontal=True, vertical_alignment='bottom', gap='small', key='morph-controls'):
        look = dict(width=90, filter_mode=None, persist_state='session')
        start = st.selectbox('From', range(10), index=3, key='from', **look)
        end = st.selectbox('To', range(10), index=8, key='to', **look)
        if st.button('New handwriting', key='new-morph-hand'): st.session_state.morph = new_seed()
        # Off at first: whoever asked their system for less motion gets none, and everybody can stop it.
        animate = st.toggle('Animate', key='animate', persist_state='session')
    hand = st.session_state.setdefault('morph', 0)
    strip = sheet(writer().morph(start, end, 12, hand), columns=6)
    with st.container(key='pixels-morph'):
        if animate: st.image(animation(start, end, hand), width=224, alt=f'A handwritten {NAMES[start]} turns into '
                                                                         f'{NAMES[end]} and back')
        else: show(strip, width=400, alt=f'Twelve steps from a handwritten {NAMES[start]} to {NAMES[end]}')
    keep(f'{start}-to-{end}-handwriting-{hand}', 'morph-downloads', PNG=('png', lambda: png(strip, scale=8)),
         GIF=('gif', lambda: animation(start, end, hand)))


def chosen_point() -> tuple[float, float]:
    "The point of the map that this visitor chose; the middle of an island if there is none that can be used."
    try:
        x, y = (min(max(float(v), -1e3), 1e3) for v in st.session_state.get('map_point', islands()[8]))
        if math.isnan(x) or math.isnan(y): raise ValueError
    except (TypeError, ValueError, OverflowError): return islands()[8]
    return x, y


def atlas() -> None:
    st.header('A map of all handwritings')
    east, north, *_ = writer().styles
    st.write(f'Each island is a digit, look-alikes are neighbours. On an island, {east} grows to the east and {north} '
             'to the north. '
             'Click, drag, or use the sliders.')
    with st.container(horizontal=True, gap='medium', key='map-area'):
        with st.container(width=420, key='map-sea'):
            data = map_points() | dict(at=islands()[8])
            at = component('map', key='map', data=data, default={'at': None}, on_at_change=lambda: None).at
        if at is not None: st.session_state.map_point = at               # Streamlit forgets it when the tab is closed
        point = chosen_point()
        there, image = writer().at(*point)
        with st.container(width=252, key='pixels-there'):
            show(image, width=252, alt=f'The handwritten {NAMES[there]} at this point of the map')
            is_on_island = math.dist(point, islands()[there]) <= 1
            st.write(f'On the island of **{there}**' if is_on_island else f'Nearest: **{there}**')


def explore_tab(tab) -> None:
    if tab.open:
        sliders()
        morph()
        atlas()


ROWS = 'textbook, z from N(0, I)', 'textbook, class priors', 'this model', 'real images'


def story(name: str) -> bytes: return (WEB / 'story' / name).read_bytes()


def data_url(name: str) -> str:
    "A picture of the story as an address that holds it."
    kind = {'png': 'png', 'svg': 'svg+xml'}[name.rpartition('.')[2]]
    return f'data:image/{kind};base64,{base64.b64encode(story(name)).decode()}'


@st.cache_resource
def card_rows() -> dict:
    "The rows of the quality card that the page compares, by their names there; none if nothing was ever measured."
    card = measured().get('quality', {}).get('rows', {})
    if 'cas' not in card.get('class priors', {}): return {}
    textbook = json.loads(story('textbook.json'))['rows']
    rows = textbook['N(0, I)'], textbook['class priors'], card['class priors'], card['real training images']
    return dict(zip(ROWS, rows))


def read_right(row: str) -> str:
    "The share of images that are read as the digit asked for, as a text; `row` is one of `ROWS`."
    rows = card_rows()
    return f'{rows[row]["consistency"]:.2%}' if rows else 'an unknown share'


def show_sevens(name: str, alt: str) -> None:
    with st.container(key=f'pixels-{name}'):
        st.image(story(f'sevens-{name}.png'), width=444, alt=f'Ten sevens {alt}')


def explain_decoder() -> None:
    st.header('A digit and 20 numbers make an image')
    st.write('You choose the digit. The app draws 20 random numbers, together called z, which stand for a handwriting: '
             'how slanted, how wide, '
             'how bold. The *decoder*, a small neural network, turns the two into the 784 grey levels of an image. '
             'Another z, another handwriting:')
    flow = ''.join(f'<span class="how-digit">{STORY_DIGIT}</span><img src="{data_url(f"z-{i}.svg")}" alt="A z: 20 '
                   'numbers, drawn as bars up and down">'
                   f'<span class="how-decoder">decoder →</span><img class="pixels" src="{data_url(f"seven-{i}.png")}" '
                   'alt="The seven that it gives">'
                   for i in (1, 2, 3))
    style = (WEB / 'how.css').read_text(encoding='utf-8')
    st.html(f'<style>{style}</style><div class="how">{flow}</div>')


def explain_failure() -> None:
    "Why samples from N(0, I) are often another digit."
    textbook = json.loads(story('textbook.json'))
    st.header('Why 20 random numbers are not enough')
    st.write('The decoder learned from an *encoder*, which turns images into z. The textbook says: to generate, draw z '
             'from the standard normal '
             'distribution, N(0, I), whatever the digit. Ten sevens, generated in this way by a network that was '
             'trained in the textbook\'s way:')
    show_sevens('normal', 'with z from N(0, I): some are nines, some are scribbles')
    st.write(f'A classifier reads {read_right(ROWS[0])} of 10,000 such images as the digit that was asked for. The '
             'reason: '
             'the encoder never sees the label, so each digit settles in its own region of the space of z. '
             'The picture shows a plane through that space; the dots are drawn from the class priors, of which the '
             'next section tells.')
    with st.container(horizontal=True, vertical_alignment='center', gap='medium', key='latents'):
        st.image(story('latents.svg').decode(), width=300, alt='A plane through the space of z. The sevens fill a '
                                                               'region at the right; draws from N(0, I) lie everywhere')
        with st.container(width=300):
            st.html(f'<p><span style="color: {ACCENT}">●</span> z of sevens</p><p><span style="color: {GREY}">●</span> '
                    'z of the other digits</p>'
                    f'<p><span style="color: {ORANGE}">○</span> draws from N(0, I)</p>')
            st.write(f'About {textbook["outside"]:.0%} of all draws from N(0, I) lie farther out than 99% of the '
                     'sevens\' z, in places where the decoder '
                     'hardly ever had to draw a seven.')


def explain_class_priors() -> None:
    st.header('Class priors: z from where the digit is')
    st.write('The remedy: after training, a mixture of Gaussians is fitted to each digit\'s own z, and z is drawn from '
             'there. '
             'The same network, with these *class priors*:')
    show_sevens('priors', 'of the same network with class priors: all are sevens, some are blurred')
    st.write(f'Now {read_right(ROWS[1])} are read as the digit that was asked for. But the strokes are blurred, as is '
             'usual for a variational autoencoder.')


def explain_refinement() -> None:
    st.header('Refinement: sharp strokes')
    st.write('The app\'s own network gives less weight to N(0, I) in training (a KL weight of 0.1 instead of 1). After '
             'its class priors were fitted, '
             'its decoder was trained against two *critics*, networks that learn to tell generated images from real '
             'ones, while a classifier insisted on the right digit:')
    show_sevens('refined', 'of this app\'s model: the strokes are sharp')
    st.write(f'{read_right(ROWS[2])} are read as the digit that was asked for. So this is not a plain variational '
             'autoencoder (VAE): it is a conditional VAE '
             'whose decoder was refined adversarially, a VAE-GAN. A plain one does not draw like this.')
    st.write(f'The tab *Quality* has the figures, good and bad. [The site]({SITE}/) explains every step with its code, '
             f'and [the source]({SOURCE}) is open.')


def how_tab(tab) -> None:
    if not tab.open: return
    explain_decoder()
    explain_failure()
    explain_class_priors()
    explain_refinement()


def wrong(share: float) -> float:
    "1 − share; not 0, which a logarithmic scale does not have: none of 10,000 counts as half of one."
    return max(1 - share, .5 / 10_000)


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60: return f'{minutes // 60} h {minutes % 60} min'
    return f'{minutes} min' if minutes else f'{seconds:.0f} s'


def comparison(rows: dict) -> str:
    "Plots of the card's columns, each with a row for textbook, this model and real images."
    def column(name, of=float): return {row: of(values[name]) for row, values in rows.items()}
    return ''.join([
        dot_plot('Images read as another digit', column('consistency', wrong), '.2%', log=True),
        dot_plot('The same for the worst digit', column('worst_digit', wrong), '.2%', log=True),
        dot_plot('FID, the distance from real images', column('fid'), log=True),
        dot_plot('Errors of a classifier trained on them', column('cas', wrong), '.2%', log=True),
        dot_plot('Recall: real variety that is reached', column('recall'), more_is_better=True),
        dot_plot('Coverage: real images with one nearby', column('coverage'), more_is_better=True)])


def known_faults(rows: dict) -> list[str]:
    "What is not good yet, as far as the card knows."
    ours, real = rows['this model'], rows['real images']
    nll, textbook = measured()['quality'].get('nll', {}), json.loads(story('textbook.json'))['nll']
    faults = [f'**Less variety than real digits.** Recall is {ours["recall"]:.3f}, real images reach '
              f'{real["recall"]:.3f}.',
              '**Slightly worse as training data.** A classifier trained on generated digits alone makes '
              f'{wrong(ours["cas"]):.2%} errors on real ones, '
              f'one trained on real digits {wrong(real["cas"]):.2%}.']
    if ours['consistency'] > real['consistency']:
        faults.append(f'**Easier to read than real digits**: {ours["consistency"]:.2%} against '
                      f'{real["consistency"]:.2%}. Refinement rewards what a classifier reads with ease, '
                      'and the judge is a classifier with the same kind of layers, though trained separately. A judge '
                      'of another kind may be stricter.')
    if row := nll.get('class priors, grey'):
        faults.append(f'**A worse density model.** The estimate of −log p(x | digit) is {row[0]:.0f} ± {row[1]:.0f} '
                      'nats per image, '
                      f'the textbook\'s {textbook["class priors, grey"][0]:.0f} ± '
                      f'{textbook["class priors, grey"][1]:.0f}: '
                      'a small KL weight and refinement favour sharp images over likelihood.')
    return faults


def show_training() -> None:
    "All stages of training: how long each took, and what was recorded of it."
    metrics = measured()
    seconds = {stage: f', {duration(s)}' for stage, s in metrics.get('seconds', {}).items()}
    st.header('How it learned')
    st.write(f'**1. Networks**{seconds.get("networks", "")}. Encoder and decoder learn to copy images through z. BCE '
             'says how far the copy is from the image, '
             'KL how much information z carries about it.')
    parts = {name.upper(): [row[name] for row in metrics['history']] for name in ('bce', 'kl')}
    st.html(line_plot('Loss of the networks', parts, 'epochs', note='nats per image'))
    st.write(f'**2. Class priors**{seconds.get("priors", "")}. A mixture of Gaussians is fitted to the z of each '
             'digit. This stage has no epochs to plot.')
    history = metrics.get('refine_history')
    if not history:
        st.write('**3. Refinement.** These weights keep no record of one.')
        return
    st.write(f'**3. Refinement**{seconds.get("refinement", "")}. Two critics, one of images and one of a classifier\'s '
             'features, learn to tell generated from real digits; '
             'the decoder learns to mislead them. It must still copy real digits (BCE), also as a classifier sees them '
             '(perceptual), and draw the digit asked for (reader).')
    critics = {name: [row[name] for row in history] for name in ('pixels', 'features') if name in history[0]}
    losses = {name: [100 * row[key] / history[0][key] for row in history]
              for key, name in dict(bce='BCE', perceptual='perceptual', reader='reader').items() if history[0].get(key)}
    plots = []
    if critics:
        plots.append(line_plot('Loss of the critics', critics, 'epochs', '.2f',
                               note='2: they cannot tell; 0: they always can'))
    if losses:
        plots.append(line_plot('Other losses of the decoder', losses, 'epochs', '.0f',
                               note='in per cent of the first epoch'))
    st.html(f'<div class="plots">{"".join(plots)}</div>')


def quality_tab(tab) -> None:
    if not tab.open: return
    rows = card_rows()
    if not rows:
        st.write('These weights have not been measured yet: `mnist-vae measure` does it.')
        return
    ours, real = rows['this model'], rows['real images']
    st.write('How good are the digits? We generate 10,000 and show them to a judge, a classifier that was trained on '
             'real digits only '
             f'and took no part in training the model. It reads {measured()["quality"]["judge"]:.2%} of the real test '
             'images correctly.')
    with st.container(horizontal=True, key='card'):
        for label, column, form in (('Right digit', 'consistency', '.2%'), ('Worst digit', 'worst_digit', '.2%'),
                                    ('FID, less is better', 'fid', '.2f'), ('Trains a classifier', 'cas', '.2%')):
            st.metric(label, f'{ours[column]:{form}}', f'real images: {real[column]:{form}}',
                      delta_color='off', delta_arrow='off', border=True)
    st.header('Compared with the textbook and with real images')
    st.write('The *textbook* is another network with the same layers, trained in the usual way; class priors are the '
             'remedy that the tab *How it works* shows. '
             'The dotted line marks real images.')
    st.html(f'{plot_style()}<div class="plots">{comparison(rows)}</div>')
    st.header('What is not good yet')
    st.markdown('\n'.join(f'- {fault}' for fault in known_faults(rows)))
    show_training()


TABS = {
    'Generate': generate_tab, 'Handwriting': handwriting_tab, 'Number': number_tab,
    'Explore': explore_tab, 'How it works': how_tab, 'Quality': quality_tab,
}


def page() -> None:
    st.set_page_config('MNIST digit generator', page_icon='✍️')
    st.html(STYLE)

    asked, unusable = read_address()
    follow_address(asked)

    st.title(TITLE)
    st.write(INTRODUCTION)
    note = st.container()
    for tab, show_tab in zip(st.tabs(list(TABS), key='tab', on_change='rerun'), TABS.values()):
        with tab: show_tab(tab)
    if write_address(asked) and unusable:
        note.info(f"The link had no usable {' and no usable '.join(unusable)}: here is something else instead.")


@asynccontextmanager
async def early(app):
    "Import what a visitor's first run needs while their browser still loads Streamlit's scripts: it saves a second."
    open_browser()
    Thread(target=import_module, args=['mnist_vae.generator'], daemon=True).start()
    yield


if __name__ == '__main__': page()
else:                                             # the server: it imports this file once, and runs it for every visitor
    import uvicorn
    from starlette.middleware import Middleware

    from mnist_vae.server import Guard, guard_settings, open_browser, take_turns, tighten

    take_turns()
    tighten(uvicorn.Server)
    guard = Middleware(Guard, **guard_settings(WEB))
    app = st.App(__file__, lifespan=early, middleware=[guard])
