"""The app: pick a digit, click, see five; or write a number. Layout only; all logic comes from `mnist_vae`.

    streamlit run app.py
"""
import secrets

import streamlit as st
import torch

from mnist_vae.export import npz, png, sheet, zip_of_pngs
from mnist_vae.generator import MAX_TEXT, DigitGenerator, default_weights, is_number
from mnist_vae.training import MAX_SEED, load_checkpoint

N = 5
NAMES = 'zero one two three four five six seven eight nine'.split()

st.set_page_config('MNIST digit generator', page_icon='✍️')
# Streamlit puts a container's key into its class name: its documented hook for CSS. 28 pixels stay 28 crisp squares.
# The accent is too dark to read on the dark theme's ground: the chosen tab is bold, and underlined by Streamlit.
st.html('''<style>
.st-key-digits img, .st-key-number-line img {image-rendering: pixelated; border-radius: .5rem; outline: 1px solid #8883}
[role=tab][aria-selected=true], [role=tab][aria-selected=true] * {color: inherit !important; font-weight: 600}
</style>''')


@st.cache_resource(show_spinner='Reading the weights …')
def generator() -> DigitGenerator: return DigitGenerator.load()


@st.cache_resource
def quality_card() -> dict: return load_checkpoint(default_weights())[1]['metrics'].get('quality', {})


def new_seed(key: str) -> None:
    st.session_state[key] = secrets.randbits(32)
    st.session_state.notice = ''                                     # a note about the link is not for what came after it


def notice_bad_link() -> str:
    "Drop parameters of the address that cannot be meant. Returns a note that says so, or nothing."
    def bad(name, value): return not (value.isascii() and value.isdigit() and len(value) <= 10 and int(value) <= {'digit': 9}.get(name, MAX_SEED))
    found = [name for name in ('digit', 'seed', 'hand') if name in st.query_params and bad(name, st.query_params[name])]
    if 'number' in st.query_params and not is_number(st.query_params['number']): found.append('number')
    for name in found: del st.query_params[name]
    return f"The link had no usable {' and no usable '.join(found)}: here is something else instead." if found else ''


if 'notice' not in st.session_state:
    bad_link = notice_bad_link()
    for key in ('seed', 'hand'):                                 # into the address too, so that it can be shared as it is
        if key not in st.query_params:
            new_seed(key)
            st.query_params[key] = str(st.session_state[key])
    st.session_state.notice = bad_link

st.title('Handwritten digits, on request')
st.write('Nobody wrote these. A variational autoencoder that has seen 60,000 handwritten digits draws new ones, '
         'each of them the digit you ask for.')
if st.session_state.notice: st.info(st.session_state.notice)
of_digit, of_number, of_quality = st.tabs(['Five of a digit', 'Write a number', 'How good is it?'])

with of_digit:
    with st.container(horizontal=True, vertical_alignment='bottom', key='controls'):
        digit = st.selectbox('Digit', range(10), index=7, width=90, key='digit', bind='query-params')
        seed = st.number_input('Seed', 0, MAX_SEED, step=1, width=180, key='seed', bind='query-params')
        st.button(f'Generate {N} Images', type='primary', on_click=new_seed, args=('seed',))

    images, labels = generator().generate(digit, N, seed), torch.full((N,), digit)
    with st.container(key='digits'), st.grid(N, min_column_width=44, wrap=False, gap='xsmall'):
        for i, image in enumerate(images.numpy(), 1):
            st.image(image, width='stretch', output_format='PNG', alt=f'Handwritten {NAMES[digit]}, variation {i} of {N}')
    with st.container(horizontal=True, key='downloads'):
        name = f'digit-{digit}-seed-{seed}'
        for label, file, data in (('PNG', f'{name}.png', png(sheet(images), scale=8)), ('ZIP', f'{name}.zip', zip_of_pngs(images, labels, seed)),
                                  ('NPZ', f'{name}.npz', npz(images, labels, seed))):
            st.download_button(label, data, file, icon=':material/download:', on_click='ignore')
    st.write(f'{N} variations of {digit}, 28×28 pixels each. This page\'s address shows the same five again, and so does Python:')
    st.code(f'''from mnist_vae.generator import DigitGenerator
DigitGenerator.load().generate({digit}, n={N}, seed={seed})''', language='python', wrap_lines=True)

with of_number:
    with st.container(horizontal=True, vertical_alignment='bottom', key='number-controls'):
        text = st.text_input('Number', '2026', max_chars=MAX_TEXT, width=260, key='number', bind='query-params')
        hand = st.number_input('Handwriting', 0, MAX_SEED, step=1, width=180, key='hand', bind='query-params')
        st.button('New handwriting', type='primary', on_click=new_seed, args=('hand',))
    if not is_number(text): st.warning(f'A number is 1 to {MAX_TEXT} digits from 0 to 9.', icon=':material/edit:')
    else:
        line = generator().write(text, hand)
        with st.container(key='number-line'): st.image(line.numpy(), width=min(56 * len(text), 704), output_format='PNG', alt=f'The number {text} in one handwriting')
        with st.container(horizontal=True, key='number-downloads'):
            for scale in (1, 8):
                st.download_button(f'PNG, transparent, {scale}×', png(line, scale, transparent=True), f'{text}-{scale}x.png',
                                   icon=':material/download:', on_click='ignore')
        st.write('All digits come from one hand: the style of one latent, carried to each digit.')

with of_quality:
    card = quality_card()
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
                      help=f'Accuracy on real test images after learning from generated ones alone. From real ones: {real["cas"]:.2%}')
        st.table({'': ['generated', 'real training images'],
                  **{name.capitalize(): [f'{row[name]:.3f}' for row in (ours, real)] for name in ('precision', 'recall', 'density', 'coverage')}})
    else: st.write('These weights have not been measured yet: `mnist-vae measure` does.')
