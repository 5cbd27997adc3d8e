"""The app: pick a digit, click, see five. Layout only; the digits come from `mnist_vae.generator`.

    streamlit run app.py
"""
import secrets

import streamlit as st

from mnist_vae.generator import DigitGenerator

N = 5
NAMES = 'zero one two three four five six seven eight nine'.split()

st.set_page_config('MNIST digit generator', page_icon='✍️')
# Streamlit puts a container's key into its class name: its documented hook for CSS. 28 pixels stay 28 crisp squares.
st.html('<style>.st-key-digits img {image-rendering: pixelated; border-radius: .5rem; outline: 1px solid #8883}</style>')


@st.cache_resource(show_spinner='Reading the weights …')
def generator() -> DigitGenerator: return DigitGenerator.load()


def new_seed() -> None: st.session_state.seed = secrets.randbits(32)


if 'seed' not in st.session_state: new_seed()

st.title('Handwritten digits, on request')
st.write('Nobody wrote these. A variational autoencoder that has seen 60,000 handwritten digits draws new ones, '
         'each of them the digit you ask for.')

with st.container(horizontal=True, vertical_alignment='bottom', key='controls'):
    digit = st.selectbox('Digit', range(10), index=7, width=120)
    st.button(f'Generate {N} Images', type='primary', on_click=new_seed)

images = generator().generate(digit, N, st.session_state.seed).numpy()
with st.container(key='digits'), st.grid(N, min_column_width=44, wrap=False, gap='xsmall'):
    for i, image in enumerate(images, 1):
        st.image(image, width='stretch', output_format='PNG', alt=f'Handwritten {NAMES[digit]}, variation {i} of {N}')
st.write(f'{N} variations of {digit}, 28×28 pixels each. The same again, in Python:')
st.code(f'''from mnist_vae.generator import DigitGenerator
DigitGenerator.load().generate({digit}, n={N}, seed={st.session_state.seed})''', language='python', wrap_lines=True)
