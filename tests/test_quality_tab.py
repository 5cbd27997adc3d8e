"""The tabs "How it works" and "Quality": they say what the weights' cards hold, and can be read on a phone."""
import json
import os
import re
import sys

import pytest
import streamlit
import torch
from axe_playwright_python.sync_playwright import Axe
from streamlit.testing.v1 import AppTest

from conftest import ROOT
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.export import png
from mnist_vae.generator import default_weights
from mnist_vae.look import INTRODUCTION, TITLE
from mnist_vae.prior import ClassPrior
from test_app import server, settle, watch  # noqa: F401, the fixture

sys.path.insert(0, str(ROOT / 'scripts'))
import build_story  # noqa: E402

CARD = load_checkpoint(default_weights())[1]['metrics']
TEXTBOOK = load_checkpoint(build_story.TEXTBOOK)[1]['metrics']['quality']


def visit(tab: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / 'app.py'), default_timeout=60)
    at.query_params['tab'] = tab
    assert not at.run().exception
    return at


def plots(at) -> dict[str, str]:
    "What the plots say to a screen reader, by their titles."
    labels = re.findall(r'role="img" aria-label="(.*?)"', ''.join(block.proto.body for block in at.get('html')))
    return {label.split(', ')[0].split(':')[0]: label for label in labels}


def words(at) -> str: return '\n'.join(block.value for block in at.markdown)


def test_quality_compares_like_with_like():
    "The textbook is the textbook's network, not this model's decoder fed with N(0, I)."
    ours, real = CARD['quality']['rows']['class priors'], CARD['quality']['rows']['real training images']
    rows = TEXTBOOK['rows']['N(0, I)'], TEXTBOOK['rows']['class priors'], ours, real
    found = plots(visit('Quality'))
    for title, column, form in (
        ('Images read as another digit', 'consistency', '.2%'), ('The same for the worst digit', 'worst_digit', '.2%'),
        ('Errors of a classifier trained on them', 'cas', '.2%'),
    ):
        values = [f'{1 - row[column]:{form}}' for row in rows]
        assert found[title].endswith(
            'textbook, z from N(0, I) {}, textbook, class priors {}, this model {}, real images {}'.format(*values)
        )
        assert 'logarithmic scale, ← less is better' in found[title], 'where 98.45% and 99.80% would look alike'
    for title, column, better in (
        ('FID', 'fid', 'less'), ('Recall', 'recall', 'more'), ('Coverage', 'coverage', 'more'),
    ):
        assert all(f'{row[column]:.2f}' in found[title] for row in rows) and f'{better} is better' in found[title]


def test_faults_stand_beside_the_gains():
    ours, real, said = (
        CARD['quality']['rows']['class priors'], CARD['quality']['rows']['real training images'],
        words(visit('Quality')),
    )
    assert f'Recall is {ours["recall"]:.3f}, real images reach {real["recall"]:.3f}' in said
    assert (
        f'{CARD["quality"]["nll"]["class priors, grey"][0]:.0f} ±' in said
        and f'{TEXTBOOK["nll"]["class priors, grey"][0]:.0f} ±' in said
    )
    assert ('Easier to read than real digits' in said) == (ours['consistency'] > real['consistency'])


def test_every_stage_of_training_is_shown():
    at = visit('Quality')
    found, said = plots(at), words(at)
    history, refined = CARD['history'], CARD['refine_history']
    assert found['Loss of the networks'].endswith(
        f'KL from {history[0]["kl"]:.1f} to {history[-1]["kl"]:.1f} over {len(history)} epochs'
    )
    assert f'pixels from {refined[0]["pixels"]:.2f} to {refined[-1]["pixels"]:.2f}' in found['Loss of the critics']
    assert f'over {len(refined)} epochs' in found['Other losses of the decoder']
    minutes = round(CARD['seconds']['priors'] / 60)
    assert f'**2. Class priors**, {minutes} min' in said and 'no epochs to plot' in said


@pytest.mark.parametrize(
    'missing, said_instead', [('refine_history', 'keep no record of one'), ('quality', 'have not been measured yet')]
)
def test_what_the_weights_do_not_record_is_said(monkeypatch, missing, said_instead):
    "Weights of one's own may lack a stage, or the card."
    streamlit.cache_resource.clear()
    monkeypatch.setattr(
        'mnist_vae.checkpoint.load_checkpoint',
        lambda path: (None, {'metrics': {k: v for k, v in CARD.items() if k != missing}}),
    )
    try: assert said_instead in words(visit('Quality'))
    finally: streamlit.cache_resource.clear()


def test_how_it_works_tells_the_three_stages_and_says_vae_gan():
    at = visit('How it works')
    said, alts = words(at), [image.alt for block in at.get('image') for image in block.proto.imgs]
    shares = TEXTBOOK['rows']['N(0, I)'], TEXTBOOK['rows']['class priors'], CARD['quality']['rows']['class priors']
    assert f'{build_story.figures()["outside"]:.0%} of all draws from N(0, I)' in said
    assert re.findall(r'(\d\d\.\d\d%)', said) == [f'{row["consistency"]:.2%}' for row in shares]
    assert 'VAE-GAN' in said and 'not a plain variational autoencoder' in said
    assert [alt.split(' ')[0] for alt in alts] == ['Ten', 'A', 'Ten', 'Ten']
    assert 'https://github.com/' in said and '.github.io/' in said


def test_page_begins_with_the_shared_texts():
    at = visit('Generate')
    assert at.title[0].value == TITLE and at.markdown[0].value == INTRODUCTION
    assert not any('seven' in block.proto.body for block in at.get('html')), 'a closed tab costs nothing'


def test_story_is_in_step_with_the_weights():
    files = build_story.render()
    assert {path.name for path in build_story.FOLDER.iterdir()} == files.keys(), 'run scripts/build_story.py'
    assert [name for name, data in files.items() if (build_story.FOLDER / name).read_bytes() != data] == [], (
        'run scripts/build_story.py'
    )


def test_bars_are_those_of_the_sevens_beside_them():
    model, checkpoint = load_checkpoint(default_weights())
    z = ClassPrior(**checkpoint['prior']).sample(
        torch.full((3,), build_story.DIGIT), torch.Generator().manual_seed(build_story.SEED)
    )
    files = build_story.render()
    with torch.no_grad(): images = model.draw(z.float(), torch.full((3,), build_story.DIGIT)).view(-1, 28, 28)
    for i in range(3):
        assert files[f'z-{i + 1}.svg'] == build_story.bars(z[i])
        assert files[f'seven-{i + 1}.png'] == png(images[i])


@pytest.mark.parametrize('width, scheme', [(1280, 'light'), (1280, 'dark'), (375, 'light'), (375, 'dark')])
@pytest.mark.parametrize(
    'tab, last',
    [
        ('How it works', 'A plain one does not draw like this.'),
        ('Quality', f'over {len(CARD["refine_history"])} epochs'),
    ],
)
def test_fits_and_is_accessible(server, browser, tab, last, width, scheme):  # noqa: F811
    page = browser.new_page(viewport={'width': width, 'height': 720}, color_scheme=scheme)
    problems = watch(page)
    page.goto(f'{server}/?tab={tab.replace(" ", "+")}')
    page.get_by_role('tab', name=tab, selected=True).wait_for()
    if tab == 'Quality': page.locator(f'figure[aria-label$="{last}"]').last.wait_for()
    else: page.get_by_text(last).wait_for()
    settle(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= width, 'nothing to scroll sideways'
    page.set_viewport_size(
        {'width': width, 'height': page.evaluate('document.querySelector("[data-testid=stMain]").scrollHeight')}
    )
    if folder := os.environ.get('SCREENSHOTS'):
        page.screenshot(path=f'{folder}/app-{tab.lower().replace(" ", "-")}-{scheme}-{width}.png')
    words = json.loads(
        page.evaluate('''() => JSON.stringify(
        [...document.querySelectorAll(".plot :is(figcaption, small, span, b)")].map(e => {
        const style = getComputedStyle(e), box = e.getBoundingClientRect();
        return [parseFloat(style.fontSize), style.fontFamily, box.left, box.right]}))''')
    )
    font = page.evaluate('getComputedStyle(document.querySelector("[data-testid=stMarkdownContainer] p")).fontFamily')
    assert len(words) > 50 if tab == 'Quality' else not words
    for size, family, left, right in words: assert size >= 14 and family == font and 0 <= left and right <= width
    found = Axe().run(page).response['violations']
    assert not found, [(violation['id'], [node['html'] for node in violation['nodes']]) for violation in found]
    assert not problems
    page.close()
