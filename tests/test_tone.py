"""The levels after the sigmoid: in the file, and in every picture that is drawn."""

import pytest
import torch

from mnist_vae.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from mnist_vae.files import save_atomically
from mnist_vae.generator import DigitGenerator, default_weights
from mnist_vae.prior import ClassPrior
from mnist_vae.tone import FULL, Tone

TONE = Tone(black=0.25, white=0.75)


@pytest.fixture(scope='module')
def path(tmp_path_factory):
    "The shipped weights with levels of their own."
    path = tmp_path_factory.mktemp('tone') / 'toned.pth'
    model, checkpoint = load_checkpoint(default_weights())
    model.tone = TONE
    save_checkpoint(path, model, checkpoint['prior'], checkpoint['config'])
    return path


@pytest.fixture(scope='module')
def generators(path):
    "The same networks and priors without levels, and with them."
    model, checkpoint = load_checkpoint(path)
    toned, model.tone = DigitGenerator.load(path), None
    return DigitGenerator(model, ClassPrior(**checkpoint['prior'])), toned


def test_sample_is_the_sigmoid_through_the_levels(generators):
    plain, toned = generators
    labels = torch.arange(10).repeat(3)
    torch.testing.assert_close(toned.sample(labels, seed=1), TONE(plain.sample(labels, seed=1)), rtol=0, atol=1e-6)
    assert torch.equal(toned.sample(labels, seed=1)[:7], toned.sample(labels[:7], seed=1))


@pytest.mark.parametrize(
    'draw',
    [
        lambda gen: gen.generate(7, seed=1),
        lambda gen: gen.write('2026', seed=1),
        lambda gen: gen.restyle(gen.generate(4, n=1, seed=2)[0]),
        lambda gen: gen.in_style([1, -1]),
        lambda gen: gen.morph(1, 7, n=6, seed=3),
        lambda gen: gen.at(0.5, 0.5)[1],
    ],
    ids=['generate', 'write', 'restyle', 'in_style', 'morph', 'at'],
)
def test_whatever_is_drawn_goes_through_the_levels(generators, draw):
    "A sigmoid has no exact 0."
    plain, toned = map(draw, generators)
    assert plain.min() > 0 and (toned == 0).float().mean() > 0.5
    assert 0.9 * FULL < toned.max() <= 1


def test_the_file_keeps_them(path):
    model, checkpoint = load_checkpoint(path)
    assert model.tone == TONE and checkpoint['tone'] == dict(black=0.25, white=0.75)
    assert load_checkpoint(default_weights())[0].tone == (
        Tone(**tone) if (tone := load_checkpoint(default_weights())[1].get('tone')) else None
    )


@pytest.mark.parametrize(
    'tone, words',
    [
        (dict(black=0.8, white=0.2), 'tone: black must be'),
        (dict(black=0.1, white=1.0), 'tone: white must be'),
        (dict(black=float('nan'), white=0.5), 'tone: black must be'),
        (dict(black=0.1), r"tone lacks \['white'\]"),
        (dict(black=0.1, white=0.9, grey=0.5), r"tone has \['grey'\]"),
        ([0.1, 0.9], 'tone must be a dictionary'),
        (dict(black='0.1', white=0.9), 'tone: black must be'),
    ],
)
def test_nonsense_in_a_file_is_refused(path, tmp_path, tone, words):
    bad = tmp_path / 'bad.pth'
    save_atomically(load_checkpoint(path)[1] | dict(tone=tone), bad)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(bad)
