"""Recipes: every value is the one that is meant, and every stage gets its own. No real data, seconds only."""

import inspect
import math
from dataclasses import FrozenInstanceError, asdict, fields, replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.classifier import Classifier
from mnist_vae.generator import default_weights
from mnist_vae.model import VAE
from mnist_vae.prior import ClassPrior
from mnist_vae.recipe import RECIPES, Recipe, fit, open_fit_state
from mnist_vae.tone import Tone
from mnist_vae.training import StateFile

ODD = Recipe(
    epochs=2,
    batch_size=3,
    lr=0.1,
    kl_weight=0.2,
    cosine=True,
    ema=0.3,
    draws=4,
    n_components=5,
    leave_out=0.4,
    refine_epochs=6,
    refine_leave_out=0.5,
    refine_lr=0.6,
    critic_lr=0.7,
    reader_weight=0.8,
    feature_weight=0.9,
    perceptual_weight=1.1,
    bce_weight=1.2,
    speck_weight=1.3,
    refine_ema=0.13,
    reading_epochs=14,
    reading_drawn=15,
    tone=True,
)
READER = Classifier(2).eval()
LABELS = torch.arange(10).repeat(20)
IMAGES = torch.arange(200, dtype=torch.uint8)[:, None, None].expand(200, 28, 28).clone()


def test_sharp_is_what_ships():
    "The file that ships says how it was made."
    _, checkpoint = load_checkpoint(default_weights())
    known = {name: value for name, value in checkpoint['config'].items() if name in asdict(RECIPES['sharp'])}
    assert {name: asdict(RECIPES['sharp'])[name] for name in known} == known and checkpoint['config'][
        'recipe'
    ] == 'sharp'
    assert {
        'epochs',
        'batch_size',
        'lr',
        'kl_weight',
        'cosine',
        'ema',
        'draws',
        'n_components',
        'leave_out',
        'tone',
        'refine_epochs',
        'refine_leave_out',
    } <= known.keys()


def test_plain_is_the_textbook():
    textbook = dict(epochs=50, batch_size=128, lr=1e-3, kl_weight=1.0, cosine=False, ema=0.0)
    assert (
        RECIPES['plain'] == Recipe()
        and RECIPES['plain'].for_training() == textbook
        and list(RECIPES) == ['plain', 'sharp']
    )
    assert (
        RECIPES['plain'].draws,
        RECIPES['plain'].n_components,
        RECIPES['plain'].leave_out,
        RECIPES['plain'].refine_epochs,
    ) == (1, 40, 0.0, 0)
    assert RECIPES['plain'].for_refinement() == dict(
        epochs=0,
        lr=3e-4,
        critic_lr=8e-4,
        reader_weight=20.0,
        feature_weight=0.45,
        perceptual_weight=15.0,
        bce_weight=0.02,
        speck_weight=4.0,
        ema=0.999,
    )
    assert RECIPES['plain'].refine_leave_out == 0.0 and not RECIPES['plain'].tone


def test_recipe_is_frozen_and_by_name():
    with pytest.raises(FrozenInstanceError):
        RECIPES['plain'].epochs = 3
    with pytest.raises(TypeError):
        Recipe(50)
    for name in 'cosine', 'tone':
        with pytest.raises(ValueError, match=f'^{name} must be True or False, not 1'):
            Recipe(**{name: 1})
    made = Recipe(epochs=np.int64(3), lr=np.float32(0.5), ema=torch.tensor(0.25))
    assert [type(value) for value in (made.epochs, made.lr, made.ema)] == [int, float, float] and (
        made.epochs,
        made.lr,
        made.ema,
    ) == (3, 0.5, 0.25)


BOUNDS = dict(
    epochs=(1, math.inf), batch_size=(1, math.inf), draws=(1, 100), n_components=(1, 1000), refine_epochs=(0, math.inf),
    reading_epochs=(0, math.inf), reading_drawn=(0, 100_000),
)


@pytest.mark.parametrize('name', [field.name for field in fields(Recipe) if field.type is not bool])
def test_values_have_bounds(name):
    if name in BOUNDS:
        low, high = BOUNDS[name]
        good, bad = [low, min(high, 10**6)], [low - 1, 1.5, '3', True] + ([high + 1] if high < math.inf else [])
    elif name in ('ema', 'refine_ema', 'leave_out', 'refine_leave_out'):
        good, bad = [0, 0.999], [1, -0.01, math.nan]
    elif 'lr' in name:
        good, bad = [1e-9, 100], [0, -1, math.inf, 'x']
    else:
        good, bad = [0, 100], [-0.01, math.inf, math.nan, None]
    for value in good:
        assert getattr(replace(RECIPES['plain'], **{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError, match=f'^{name} must be '):
            replace(RECIPES['plain'], **{name: value})


def stand_ins(calls):
    "The stages, each of which only notes what it was given."
    prior = ClassPrior(
        torch.ones(10, 1),
        torch.zeros(10, 1, 20),
        torch.eye(20).expand(10, 1, 20, 20).clone(),
        torch.full((10,), -torch.inf),
    )

    def note(name, result):
        def stage(*args, **options):
            calls[name] = SimpleNamespace(args=args, options=options)
            return result

        return stage

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE()
    return patch.multiple(
        'mnist_vae.recipe',
        train=note('train', (model, [dict(epoch=1, seconds=2.0), dict(epoch=2, seconds=3.0)])),
        fit_prior=note('fit_prior', prior),
        fit_tone=note('fit_tone', Tone(0.1, 0.9)),
        refine=note('refine', [dict(epoch=1)]),
        train_reader=note('train_reader', READER),
    )


def test_each_stage_gets_its_own_values():
    calls = {}
    with stand_ins(calls), patch.object(ClassPrior, 'truncated', lambda self, share, seed: ('truncated', share, seed)):
        made = fit(IMAGES, LABELS, ODD, seed=9, device='cpu', progress=False)
    train, fit_prior, fit_tone, refine = (calls[stage] for stage in ('train', 'fit_prior', 'fit_tone', 'refine'))
    resume = train.options['resume']
    assert train.args == (IMAGES, LABELS)
    assert train.options == dict(
        epochs=2,
        batch_size=3,
        lr=0.1,
        kl_weight=0.2,
        cosine=True,
        ema=0.3,
        seed=9,
        device='cpu',
        progress=False,
        resume=resume,
    )
    assert resume.path is None and fit_prior.options == dict(
        n_components=5, leave_out=0.4, seed=9, progress=False, resume=resume
    )
    assert fit_tone.args == (made.model, made.prior, IMAGES, LABELS, 9) and made.model.tone == Tone(0.1, 0.9)
    assert list(calls).index('fit_tone') < list(calls).index('refine'), 'the decoder is refined behind the levels'
    assert refine.args[0] is made.model and refine.args[1:] == (('truncated', 0.5, 9), IMAGES, LABELS)
    assert refine.options == dict(
        epochs=6,
        lr=0.6,
        critic_lr=0.7,
        reader_weight=0.8,
        feature_weight=0.9,
        perceptual_weight=1.1,
        bce_weight=1.2,
        speck_weight=1.3,
        ema=0.13,
        seed=9,
        device='cpu',
        progress=False,
        resume=resume,
    )

    z, labels = fit_prior.args
    mu, logvar = made.model.encode(IMAGES.flatten(1) / 255)
    generator = torch.Generator().manual_seed(9)
    eps = torch.cat([torch.randn(200, 20, generator=generator) for _ in range(4)])
    torch.testing.assert_close(z, mu.repeat(4, 1) + torch.exp(0.5 * logvar).repeat(4, 1) * eps)
    assert torch.equal(labels, LABELS.repeat(4))

    assert made.config == dict(recipe='custom', seed=9, optimizer='Adam') | asdict(ODD)
    assert made.history == [dict(epoch=1, seconds=2.0), dict(epoch=2, seconds=3.0)] and made.refine_history == [
        dict(epoch=1)
    ]
    assert made.seconds == dict(networks=5.0, priors=0, refinement=0, reading=0)
    assert calls['train_reader'].args == (IMAGES, LABELS) and made.reader is READER
    assert calls['train_reader'].options == dict(
        epochs=14, n_drawn=15, seed=9, device='cpu', progress=False, resume=resume
    )
    assert made.provenance['seed'] == 9 and made.provenance['n_images'] == 200 and 'scikit_learn' in made.provenance


def test_a_reader_is_kept_and_none_is_trained_without_epochs(tmp_path):
    with stand_ins(calls := {}), patch.object(ClassPrior, 'truncated', lambda self, share, seed: self):
        fit(IMAGES, LABELS, ODD, device='cpu', progress=False).save(tmp_path / 'made.pth')
        kept = load_checkpoint(tmp_path / 'made.pth')[1]['reader']
        assert kept.keys() == READER.state_dict().keys()
        assert all(torch.equal(t, kept[name]) for name, t in READER.state_dict().items())
        del calls['train_reader']
        made = fit(IMAGES, LABELS, replace(ODD, reading_epochs=0), device='cpu', progress=False)
    made.save(tmp_path / 'made.pth')
    assert 'train_reader' not in calls and load_checkpoint(tmp_path / 'made.pth')[1]['reader'] is None


def test_no_refinement_without_epochs(tmp_path):
    calls = {}
    with stand_ins(calls):
        made = fit(IMAGES, LABELS, replace(ODD, refine_epochs=0), device='cpu', progress=False)
    assert 'refine' not in calls and made.refine_history == []
    made.save(tmp_path / 'made.pth', note='a trial')
    model, checkpoint = load_checkpoint(tmp_path / 'made.pth')
    assert checkpoint['metrics'] == dict(note='a trial', history=made.history, refine_history=[], seconds=made.seconds)
    assert (
        checkpoint['config'].items() >= made.config.items()
        and checkpoint['provenance'].items() >= made.provenance.items()
    )
    assert all(torch.equal(t, model.state_dict()[name]) for name, t in made.model.state_dict().items())
    assert torch.equal(checkpoint['prior']['means'], made.prior.means)


@pytest.mark.parametrize(
    'recipe, name', [('plain', 'plain'), (Recipe(), 'plain'), (RECIPES['sharp'], 'sharp'), (ODD, 'custom')]
)
def test_recipes_are_named(recipe, name):
    with (
        stand_ins({}),
        patch('mnist_vae.recipe.check_enough'),
        patch.object(ClassPrior, 'truncated', lambda self, share, seed: self),
    ):
        assert fit(IMAGES, LABELS, recipe, device='cpu', progress=False).config['recipe'] == name


def test_what_cannot_end_well_does_not_begin():
    calls = {}
    with stand_ins(calls):
        for options, words in (
            (dict(recipe='fast'), "no recipe 'fast': use one of ..plain., .sharp.. or a Recipe"),
            (dict(seed=-1), '^seed must be'),
            (dict(images=IMAGES / 255), 'images must be'),
            (dict(labels=LABELS[1:]), 'labels must be'),
            (dict(recipe=replace(ODD, n_components=61)), 'digit 0 has 80 latents, 61 Gaussians need at least 81'),
            (dict(recipe=replace(ODD, draws=1, n_components=1)), 'digit 0 has 20 latents, 1 Gaussians'),
            (dict(images=IMAGES[:120], labels=LABELS[:120]), 'refining needs at least 128 images, got 120'),
        ):
            with pytest.raises(ValueError, match=words):
                fit(**dict(images=IMAGES, labels=LABELS, recipe=ODD, device='cpu') | options)
        assert not calls
        few = dict(images=IMAGES[:120], labels=LABELS[:120], device='cpu', progress=False)
        fit(recipe=replace(ODD, refine_epochs=0), **few)
        assert 'train' in calls


def test_networks_that_are_given(tmp_path):
    calls, networks = {}, (VAE(), [dict(epoch=1, seconds=7.0)])
    with stand_ins(calls), patch.object(ClassPrior, 'truncated', lambda self, share, seed: self):
        made = fit(IMAGES, LABELS, ODD, networks=networks, device='cpu', progress=False)
    assert (
        'train' not in calls
        and made.model is not networks[0]
        and made.history == networks[1]
        and made.seconds['networks'] == 7.0
    )


def test_only_the_first_process_goes_on():
    calls = {}
    with stand_ins(calls), patch('mnist_vae.recipe.processes', return_value=(1, 2)):
        assert fit(IMAGES, LABELS, ODD, device='cpu') is None
    assert list(calls) == ['train']


def test_state_knows_all_settings(tmp_path):
    state = open_fit_state(tmp_path / 'run.state', IMAGES, LABELS, ODD, 4, 'cpu')
    assert state.run.items() >= (asdict(ODD) | dict(seed=4, device='cpu')).items()
    assert {
        'images',
        'labels',
        'torch',
        'mnist_vae',
        'scikit_learn',
    } <= state.run.keys() and state.path == tmp_path / 'run.state'
    with stand_ins(calls := {}), patch.object(ClassPrior, 'truncated', lambda self, share, seed: self):
        fit(IMAGES, LABELS, ODD, seed=4, device='cpu', resume=state, progress=False)
        assert calls['train'].options['resume'] is state
        fit(IMAGES, LABELS, ODD, seed=4, device='cpu', resume=str(tmp_path / 'run.state'), progress=False)
        assert calls['train'].options['resume'].run == state.run


@pytest.mark.parametrize('k', [1, 200, 1000])
def test_room_grows_with_the_priors(k):
    "Two states and a checkpoint: the priors count as float64 twice and as float32 once."
    assert replace(ODD, n_components=k).room() - ODD.room() == 10 * (k - 5) * 421 * (2 * 8 + 4)
    assert 119e6 < replace(ODD, n_components=1).room() < 121e6


def test_seconds_of_all_stages_count():
    state = StateFile()
    state.seconds = dict(networks=1.0, priors=3.0, reader=4.0, refinement=5.0, reading=6.0)
    with stand_ins({}), patch.object(ClassPrior, 'truncated', lambda self, share, seed: self):
        made = fit(IMAGES, LABELS, ODD, device='cpu', resume=state, progress=False)
    assert made.seconds == dict(networks=5.0, priors=3.0, refinement=9.0, reading=6.0)


def test_defaults_are_what_ships():
    for function in fit, open_fit_state:
        parameters = inspect.signature(function).parameters
        assert (parameters['recipe'].default, parameters['seed'].default) == ('sharp', 0)
