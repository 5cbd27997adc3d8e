"""The weights that ship, and the textbook's beside the notebooks, are what they say they are."""
from dataclasses import asdict

import pytest
import torch

from conftest import ROOT
from mnist_vae.checkpoint import FORMAT_VERSION, load_checkpoint, provenance
from mnist_vae.data import load_mnist
from mnist_vae.files import content_hash
from mnist_vae.generator import default_weights
from mnist_vae.metrics import COLUMNS
from mnist_vae.recipe import RECIPES
from mnist_vae.training import evaluate

both = pytest.mark.parametrize('path', [default_weights(), ROOT / 'nbs' / 'plain.pth'], ids=['shipped', 'plain'])


@both
def test_trained_on_all_of_mnist(mnist, path):
    _, checkpoint = load_checkpoint(path)
    assert checkpoint['config']['epochs'] == len(checkpoint['metrics']['history']) == 50
    images, labels = load_mnist()
    now, then = provenance(images, labels, seed=0), checkpoint['provenance']
    assert all(now[key] == then[key] for key in ('images_sha256', 'labels_sha256', 'n_images'))


@both
def test_format_is_the_present_one(path):
    checkpoint = load_checkpoint(path)[1]
    assert checkpoint['format_version'] == FORMAT_VERSION == 2 and checkpoint['sha256'] == content_hash(checkpoint)
    assert 'drop' not in checkpoint['config'], 'a setting of a command that no longer exists'


@both
def test_recipe_is_the_one_it_names(path):
    config = load_checkpoint(path)[1]['config']
    recipe = asdict(RECIPES[config['recipe']])
    assert (recipe.keys() & config.keys()) >= {'epochs', 'kl_weight', 'n_components', 'refine_epochs'}
    assert [name for name in recipe.keys() & config.keys() if recipe[name] != config[name]] == []


@both
def test_recorded_loss_is_the_loss(mnist, path):
    model, checkpoint = load_checkpoint(path)
    recorded = checkpoint['metrics']['test']
    measured = evaluate(model, *load_mnist('test'), seed=checkpoint['config']['seed'])
    assert recorded.keys() == measured.keys()
    for name in recorded: assert abs(recorded[name] - measured[name]) < .01, name


def test_small_enough_to_ship():
    assert default_weights().stat().st_size < 10e6
    assert sum(p.numel() for p in load_checkpoint(default_weights())[0].parameters()) == 1_085_240
    checkpoint = torch.load(default_weights(), weights_only=True)
    assert all(t.dtype == torch.float32 for t in (checkpoint['state_dict'] | checkpoint['prior']).values())


def test_readme_shows_the_cards_of_the_checkpoints():
    plain, ours = (
        load_checkpoint(path)[1]['metrics']['quality'] for path in (ROOT / 'nbs' / 'plain.pth', default_weights())
    )
    expected = {
        'textbook, z from N(0, I)': plain['rows']['N(0, I)'],
        'textbook, class priors': plain['rows']['class priors'],
        '**shipped weights**': ours['rows']['class priors'],
        'real training images': ours['rows']['real training images'],
    }
    lines = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in (ROOT / 'README.md').read_text().splitlines()
        if line.startswith('|')
    ]
    header = next(line for line in lines if 'consistency' in line)
    known = {'C2ST': 'c2st', 'C2ST, 30,000': 'c2st_30k'}
    columns = [known.get(name, name.lower().replace(' ', '_')) for name in header[1:]]
    assert {'consistency', 'worst_digit', 'fid', 'recall', 'coverage', 'cas', 'specks', 'c2st'} <= set(columns)
    shown = {line[0]: line[1:] for line in lines[lines.index(header) + 2:][:len(expected)]}
    figure = lambda row, column: f'{row[column]:{COLUMNS[column]}}' if column in row else '–'
    assert shown == {name: [figure(row, column) for column in columns] for name, row in expected.items()}
    assert '–' not in shown['**shipped weights**'] + shown['real training images'], 'not measured'


def test_card_is_of_these_weights():
    "Figures measured on other weights would tell another story about the same samples."
    _, checkpoint = load_checkpoint(default_weights())
    card = checkpoint['metrics']['quality']
    assert card['n_cas'] == 60_000 and card['seed'] == 0 and card['judge'] >= .995
    for name in ('class priors', 'real training images'):
        assert 0 < card['rows'][name]['cas_se'] < 0.001, 'a mean of several'
    assert {'loss', 'bce', 'kl'} == card['elbo'].keys()
    for name, value in checkpoint['metrics']['test'].items(): assert abs(card['elbo'][name] - value) < .01, name
