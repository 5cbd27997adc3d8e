"""The weights that ship, and the textbook's beside the notebooks, are what they say they are."""
import pytest
import torch

from conftest import ROOT
from mnist_vae.data import load_mnist
from mnist_vae.generator import default_weights
from mnist_vae.training import RECIPES, evaluate, load_checkpoint, provenance


both = pytest.mark.parametrize('path', [default_weights(), ROOT / 'nbs' / 'plain.pth'], ids=['shipped', 'plain'])


@both
def test_trained_on_all_of_mnist(mnist, path):
    _, checkpoint = load_checkpoint(path)
    assert checkpoint['config']['epochs'] == len(checkpoint['metrics']['history']) == 50
    images, labels = load_mnist()
    now, then = provenance(images, labels, seed=0), checkpoint['provenance']
    assert all(now[key] == then[key] for key in ('images_sha256', 'labels_sha256', 'n_images'))


@both
def test_recipe_is_the_one_it_names(path):
    config = load_checkpoint(path)[1]['config']
    assert RECIPES[config['recipe']].items() <= config.items()


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
