"""The app: five of a digit, your handwriting, numbers, sliders and a map. Layout only; all logic comes from `mnist_vae`.

    streamlit run app.py
"""
from __future__ import annotations

import base64
import gc
import secrets
from contextlib import asynccontextmanager
from importlib import import_module
from threading import Lock, Thread

import streamlit as st

if __name__ == '__main__':                                               # not for the server, which imports this file, too, and need not wait for PyTorch
    import torch

    from mnist_vae.components import MAP, PAD, dot_plot, line_plot
    from mnist_vae.explore import REACH
    from mnist_vae.export import gif, npz, png, sheet, to_bytes, zip_of_pngs
    from mnist_vae.generator import MAX_TEXT, DigitGenerator, default_weights, is_number
    from mnist_vae.picture import FORMATS, MAX_BYTES, read_picture
    from mnist_vae.training import MAX_SEED, load_checkpoint

N, FRAMES = 5, 24
NAMES = 'zero one two three four five six seven eight nine'.split()
# Hands to begin with, for those who neither draw nor upload: a digit, and which of the style's sliders stands where. The weights
# decide on the sliders' order, so they go by name.
SAMPLES = {'slanted 4': (4, 'slant', 2), 'upright 2': (2, 'slant', -1.5), 'wide 3': (3, 'width', 1.5), 'narrow 8': (8, 'width', -2),
           'bold 5': (5, 'thickness', 2), 'fine 7': (7, 'thickness', -2)}

# Streamlit puts a container's key into its class name: its documented hook for CSS. 28 pixels stay 28 crisp squares.
# The accent is too dark to read on the dark theme's ground: what is chosen is bold, and underlined or framed by Streamlit.
STYLE = '''<style>
[class*=st-key-pixels] img {image-rendering: pixelated; border-radius: .5rem; outline: 1px solid #8883}
[role=tab][aria-selected=true], [role=tab][aria-selected=true] *, [role=radio][aria-checked=true], [data-testid=stSliderThumbValue] {
    color: inherit !important; font-weight: 600}
[data-testid=stMainBlockContainer] {padding-top: 3.5rem; padding-bottom: 3rem}
h1 {font-size: clamp(1.9rem, 6vw, 2.75rem) !important}
h2 {font-size: 1.5rem !important}
</style>'''


@st.cache_resource
def turn() -> Lock: return Lock()                                        # fifty visitors at once need the memory of one: a draw takes a millisecond


@st.cache_resource(show_spinner='Reading the weights …')
def generator() -> DigitGenerator:
    torch.set_num_threads(1)                                             # five digits are too little work to share out
    loaded = DigitGenerator.load()
    gc.collect()
    gc.freeze()                                                          # Streamlit collects garbage after each run: not among all of PyTorch's objects
    return loaded


@st.cache_resource(show_spinner=False)
def writer() -> DigitGenerator:
    "The generator, with what handwriting needs: it takes half a second, once, that the first five images need not wait for."
    generator().in_style([])
    return generator()


@st.cache_resource
def measured() -> dict: return load_checkpoint(default_weights())[1]['metrics']


@st.cache_resource
def map_points() -> dict:
    "What the map shows, as plain numbers. In tuples: Streamlit would import pandas, 70 MB, to see whether a list is a table."
    xy, labels = writer().map(1500, seed=0)
    return dict(points=tuple((round(x, 2), round(y, 2), label) for (x, y), label in zip(xy.tolist(), labels.tolist())), islands=islands())


def islands() -> tuple: return tuple(map(tuple, writer().islands.tolist()))


@st.cache_resource(max_entries=64, show_spinner=False)
def animation(start: int, end: int, seed: int) -> bytes:
    there = writer().morph(start, end, FRAMES, seed)
    rest = there.new_ones(6, 1, 1)
    return gif(torch.cat([there[:1] * rest, there, there[-1:] * rest, there.flip(0)]), scale=8)


def new_seed(key: str) -> None:
    st.session_state[key] = secrets.randbits(32)
    st.session_state.notice = ''                                     # a note about the link is not for what came after it


def notice_bad_link() -> str:
    "Drop parameters of the address that cannot be meant. Returns a note that says so, or nothing."
    def bad(name, value): return not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= {'digit': 9}.get(name, MAX_SEED))
    found = [name for name in ('digit', 'seed', 'hand') if name in st.query_params and bad(name, st.query_params[name])]
    if 'number' in st.query_params and not is_number(st.query_params['number']): found.append('number')
    if st.query_params.get('tab', next(iter(TABS))) not in TABS: found.append('tab')
    for name in found:
        if name not in ('seed', 'hand'): del st.query_params[name]      # those two get a new one
    return f"The link had no usable {' and no usable '.join(found)}: here is something else instead." if found else ''


def show(image: torch.Tensor, **options) -> None:
    "An image, float (H, W) in [0, 1], with the very bytes that a download has."
    st.image(to_bytes(image).numpy(), output_format='PNG', **options)


def keep(name: str, key: str, **files) -> None:
    "A row of buttons that keep something: label → file's ending and what makes it, which happens on a click only."
    with st.container(horizontal=True, key=key):
        for label, (ending, make) in files.items():
            st.download_button(label.replace('_', ' '), make, f'{name}.{ending}', icon=':material/download:', on_click='ignore')


def generate_tab(tab) -> None:
    with st.container(horizontal=True, vertical_alignment='bottom', key='controls'):
        digit = st.selectbox('Digit', range(10), index=7, width=90, key='digit', bind='query-params')
        seed = st.number_input('Seed', 0, MAX_SEED, step=1, width=180, key='seed', bind='query-params')
        st.button(f'Generate {N} Images', type='primary', on_click=new_seed, args=('seed',))

    if tab.open:
        with turn(): images = generator().generate(digit, N, seed)
        labels, name = torch.full((N,), digit), f'digit-{digit}-seed-{seed}'
        with st.container(key='pixels-digits'), st.grid(N, min_column_width=44, wrap=False, gap='xsmall'):
            for i, image in enumerate(images, 1):
                show(image, width='stretch', alt=f'Handwritten {NAMES[digit]}, variation {i} of {N}')
            for i, image in enumerate(images, 1):
                st.download_button(f'PNG {i}', lambda image=image: png(image, scale=8), f'{name}-{i}.png', type='tertiary', width='stretch', on_click='ignore')
        keep(name, 'downloads', PNG_sheet=('png', lambda: png(sheet(images), scale=8)), ZIP=('zip', lambda: zip_of_pngs(images, labels, seed)),
             NPZ=('npz', lambda: npz(images, labels, seed)))
        st.write(f'{N} variations of {digit}, 28×28 pixels each. This page\'s address shows the same five again, and so does Python:')
        st.code(f'''from mnist_vae.generator import DigitGenerator
DigitGenerator.load().generate({digit}, n={N}, seed={seed})''', language=None, wrap_lines=True)


def take_picture() -> None:
    "What was drawn or chosen, a data URL, becomes the digit whose handwriting counts; or the note that says why it cannot."
    st.session_state.mine, st.session_state.sample = None, None
    try: st.session_state.mine = read_picture(base64.b64decode(str(st.session_state.pad.picture).partition(',')[2], validate=True))
    except ValueError as e: st.session_state.mine = str(e)               # binascii's error is one, too


def handwriting() -> torch.Tensor | str | None:
    "The digit whose handwriting counts, (28, 28), or a note: the sample that is chosen, else what was drawn or sent last."
    if not st.session_state.sample: return st.session_state.get('mine')
    digit, style, value = SAMPLES[st.session_state.sample]
    return writer().in_style([value if name == style else 0 for name in writer().styles])[digit]


def warn(note: str) -> None: st.warning(f'{note[:1].upper()}{note[1:]}.', icon=':material/draw:')


def show_handwriting(mine: torch.Tensor | str | None) -> None:
    "All ten digits in the handwriting of `mine` (28, 28); or the note that it is, or nothing."
    if mine is None: return
    if isinstance(mine, str): return warn(mine)
    read = writer().read(mine)
    with st.container(horizontal=True, vertical_alignment='center', key='pixels-mine'):
        show(mine, width=56, alt='The digit as the model sees it, 28×28 pixels')
        told = st.selectbox('The model reads', [None, *range(10)], format_func=lambda d: f'a {read}' if d is None else f'no, a {d}', width=140, key=f'told-{read}')
    try: ten = writer().restyle(mine, read if told is None else told)
    except ValueError as e: warn(str(e))
    else:
        with st.container(key='pixels-ten'): show(sheet(ten, columns=10), width='stretch', alt='All ten digits, zero to nine, in this handwriting')
        keep('my-digits', 'hand-downloads', PNG=('png', lambda: png(sheet(ten, columns=10), scale=8)),
             PNG_transparent=('png', lambda: png(sheet(ten, columns=10), scale=8, transparent=True)),
             ZIP=('zip', lambda: zip_of_pngs(ten, torch.arange(10), scale=8)))


def handwriting_tab(tab) -> None:
    if tab.open:
        st.write('Write a digit. The model reads which one it is, and writes all ten the way you do.')
        result = st.container()                                          # above the pad: on a telephone, both are in view
        with st.container(horizontal=True, gap='medium', key='hand-controls'):
            with st.container(width=280): st.components.v2.component('drawing_pad', **PAD)(key='pad', data=dict(limit=MAX_BYTES), on_picture_change=take_picture)
            with st.container(width=340):
                st.session_state.setdefault('sample', None if 'mine' in st.session_state else next(iter(SAMPLES)))
                st.pills('Or take a sample', list(SAMPLES), key='sample')
                st.write(f'A picture: {", ".join(FORMATS)}, up to {MAX_BYTES >> 20} MB, of one digit on plain paper.')
        with result: show_handwriting(handwriting())


def number_tab(tab) -> None:
    with st.container(horizontal=True, vertical_alignment='bottom', key='number-controls'):
        text = st.text_input('Number', '2026', max_chars=MAX_TEXT, width=260, key='number', bind='query-params')
        hand = st.number_input('Handwriting', 0, MAX_SEED, step=1, width=180, key='hand', bind='query-params')
        st.button('New handwriting', type='primary', on_click=new_seed, args=('hand',))
    if tab.open:
        if not is_number(text): st.warning(f'A number is 1 to {MAX_TEXT} digits from 0 to 9.', icon=':material/edit:')
        else:
            line = writer().write(text, hand)
            with st.container(key='pixels-number'): show(line, width=min(56 * len(text), 704), alt=f'The number {text} in one handwriting')
            with st.container(horizontal=True, key='number-downloads'):
                for scale in (1, 8):
                    st.download_button(f'PNG, transparent, {scale}×', lambda scale=scale: png(line, scale, transparent=True), f'{text}-{scale}x.png',
                                       icon=':material/download:', on_click='ignore')
            st.write('All digits come from one hand: the style of one latent, carried to each digit.')


@st.fragment
def sliders() -> None:
    st.header('All ten digits in one style')
    with st.container(horizontal=True, key='sliders'):
        values = [st.slider(name.capitalize(), -float(REACH), float(REACH), 0., .1, format='%+.1f', width=160, key=f'style-{name}') for name in writer().styles]
    ten = sheet(writer().in_style(values), columns=10)
    told = ', '.join(f'{name} {value:+.1f}' for name, value in zip(writer().styles, values))
    with st.container(key='pixels-style'): show(ten, width='stretch', alt=f'All ten digits with {told} standard deviations')
    keep('style', 'style-downloads', PNG=('png', lambda: png(ten, scale=8)))


@st.fragment
def morph() -> None:
    st.header('From one digit to another')
    with st.container(horizontal=True, vertical_alignment='bottom', key='morph-controls'):
        start = st.selectbox('From', range(10), index=3, width=90, key='from')
        end = st.selectbox('To', range(10), index=8, width=90, key='to')
        if 'morph' not in st.session_state: new_seed('morph')
        st.button('Another hand', on_click=new_seed, args=('morph',))
        moving = st.toggle('Move', True, key='moving')
    chosen = st.session_state.morph
    moves = animation(start, end, chosen)
    with st.container(key='pixels-morph'):
        if moving: st.image(moves, width=224, alt=f'A handwritten {NAMES[start]} turns into {NAMES[end]} and back')
        else:
            strip = sheet(writer().morph(start, end, 12, chosen), columns=6)
            show(strip, width=400, alt=f'Twelve steps from a handwritten {NAMES[start]} to {NAMES[end]}')
    keep(f'{start}-to-{end}', 'morph-downloads', GIF=('gif', lambda: moves))


@st.fragment
def atlas() -> None:
    st.header('A map of all handwritings')
    east, north, *_ = writer().styles
    st.write(f'Each island is a digit, look-alikes are neighbours. East on an island is more {east}, north more {north}. Click, drag, or use the sliders.')
    with st.container(horizontal=True, gap='medium', key='map-area'):
        with st.container(width=420):
            state = st.components.v2.component('latent_map', **MAP)(key='map', data=map_points() | dict(at=islands()[8]), default={'at': None}, on_at_change=lambda: None)
        try: there, image = writer().at(*(min(max(float(v), -1e3), 1e3) for v in state.at))
        except (TypeError, ValueError): there, image = writer().at(*islands()[8])      # nothing chosen yet, or nonsense
        with st.container(width=180, key='pixels-there'):
            show(image, width=168, alt=f'The handwritten {NAMES[there]} at this point of the map')
            st.write(f'On the island of **{there}**')


def explore_tab(tab) -> None:
    if tab.open:
        sliders()
        morph()
        atlas()


def quality_tab(tab) -> None:
    card = measured().get('quality', {}) if tab.open else {}
    if 'cas' in card.get('rows', {}).get('class priors', {}):
        rows = card['rows']
        ours, real = rows['class priors'], rows['real training images']
        st.write(f'Ten thousand fresh samples, read by a classifier that took no part in making them. '
                 f'It reads {card["judge"]:.2%} of real test images correctly.')
        with st.container(horizontal=True, key='card'):
            st.metric('Right digit', f'{ours["consistency"]:.2%}', border=True, help=f'Real training images: {real["consistency"]:.2%}')
            st.metric('Worst digit', f'{ours["worst_digit"]:.2%}', border=True, help=f'Real training images: {real["worst_digit"]:.2%}')
            st.metric('FID', f'{ours["fid"]:.2f}', border=True, help=f'Real training images: {real["fid"]:.2f}')
            st.metric('Teaches a reader', f'{ours["cas"]:.2%}', border=True,
                      help=f'Accuracy on real test images after learning from generated ones alone, mean of three. From real ones: {real["cas"]:.2%}')
        ink = '#f0ece4' if st.context.theme.type == 'dark' else '#1c1917'
        with st.container(horizontal=True, key='plots'):
            for title, column, factor in (('Right digit, %', 'consistency', 100), ('FID, less is better', 'fid', 1), ('Recall: how much of the variety', 'recall', 1), ('Coverage', 'coverage', 1)):
                values = {name: factor * rows[row][column] for name, row in (('textbook prior', 'N(0, I)'), ('as generated', 'class priors'), ('real images', 'real training images'))}
                svg, said = dot_plot(title, values, ink, log=column == 'fid')
                st.image(svg, width=330, alt=said)
        st.markdown('\n'.join(['| 10,000 images | generated | real |', '|---|---|---|',
                               *(f'| {name} | {ours[name]:.3f} | {real[name]:.3f} |' for name in ('precision', 'recall', 'density', 'coverage'))]))
        st.header('How it learned')
        svg, said = line_plot('Loss in nats an image', {name.upper(): [row[name] for row in measured()['history']] for name in ('bce', 'kl')}, 'epochs', ink)
        st.image(svg, width=660, alt=said)
    elif tab.open: st.write('These weights have not been measured yet: `mnist-vae measure` does.')


TABS = {'Generate': generate_tab, 'Handwriting': handwriting_tab, 'Number': number_tab, 'Explore': explore_tab, 'Quality': quality_tab}


def page() -> None:
    st.set_page_config('MNIST digit generator', page_icon='✍️')
    st.html(STYLE)

    if 'notice' not in st.session_state:
        bad_link = notice_bad_link()
        for key in ('seed', 'hand'):                                 # into the address too, so that it can be shared as it is
            if key not in st.query_params or key in bad_link:
                new_seed(key)
                st.query_params[key] = str(st.session_state[key])
        st.session_state.notice = bad_link
        if bad_link: st.rerun()                                      # Streamlit takes what it cannot read out of the address; then ours go in
    for key in ('seed', 'hand'):
        if key in st.session_state and key not in st.query_params: st.query_params[key] = str(st.session_state[key])

    st.title('Handwritten digits, on request')
    st.write('Nobody wrote these. A variational autoencoder that has seen 60,000 handwritten digits draws new ones, '
             'each of them the digit you ask for.')
    if st.session_state.notice: st.info(st.session_state.notice)
    # The inputs of every tab are always there, so that they keep their state; what takes time waits until its tab is open.
    for tab, show_tab in zip(st.tabs(list(TABS), key='tab', bind='query-params'), TABS.values()):
        with tab: show_tab(tab)


@asynccontextmanager
async def early(app):
    "While a visitor's browser still loads Streamlit's scripts, import what their first run needs: they wait a second less."
    Thread(target=import_module, args=['mnist_vae.generator'], daemon=True).start()
    yield


if __name__ == '__main__': page()
else: app = st.App(__file__, lifespan=early)
