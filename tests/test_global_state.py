"""The same seed gives the same numbers whatever PyTorch's global settings are, and these are left as they were."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import cache

import pytest
import torch

from conftest import ROOT
from mnist_vae.classifier import Classifier, read, train_classifier
from mnist_vae.generator import DigitGenerator
from mnist_vae.metrics import balanced, frechet_distance, importance_nll, prdc, quality
from mnist_vae.model import VAE, posterior
from mnist_vae.prior import ClassPrior, fit_prior, sample_standard_normal
from mnist_vae.refine import refine
from mnist_vae.training import evaluate, train


@contextmanager
def setting(change, restore):
    change()
    try:
        yield
    finally:
        restore()


def dtype(name):
    return lambda: setting(lambda: torch.set_default_dtype(name), lambda: torch.set_default_dtype(torch.float32))


def flushing():
    return setting(lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False))


def threads(n):
    before = torch.get_num_threads()
    return lambda: setting(lambda: torch.set_num_threads(n), lambda: torch.set_num_threads(before))


def deterministic():
    return setting(lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False))


def low_precision():
    return setting(
        lambda: torch.set_float32_matmul_precision('medium'), lambda: torch.set_float32_matmul_precision('highest')
    )


@contextmanager
def all_at_once():
    with ExitStack() as stack:
        for state in dtype(torch.float16), flushing, deterministic, low_precision:
            stack.enter_context(state())
        for state in torch.device('meta'), torch.autocast('cpu'), torch.inference_mode():
            stack.enter_context(state)
        yield


STATES = {
    'float64': dtype(torch.float64),
    'float16': dtype(torch.float16),
    'bfloat16': dtype(torch.bfloat16),
    'meta': lambda: torch.device('meta'),
    'flush': flushing,
    'inference mode': torch.inference_mode,
    'no_grad': torch.no_grad,
    'autocast': lambda: torch.autocast('cpu', torch.bfloat16),
    'deterministic': deterministic,
    'low precision': low_precision,
    'another seed': lambda: setting(lambda: torch.manual_seed(99), lambda: None),
    'all at once': all_at_once,
}
if torch.cuda.is_available():
    STATES['cuda'] = lambda: torch.device('cuda')
THREADS = {f'{n} threads': threads(n) for n in (1, 2, 3)}


def settings() -> tuple:
    small = torch.full((), 1e-310, dtype=torch.float64, device='cpu')
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.get_float32_matmul_precision(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled('cpu'),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        bool(small * 1 == 0),
        torch.get_rng_state().sum().item(),
    )


@cache
def data():
    labels = torch.arange(10).repeat(25)
    return (DigitGenerator.load().sample(labels, seed=0) * 255).byte(), labels


def drawing() -> dict:
    gen = DigitGenerator.load()
    three = data()[0][3]
    return dict(
        generate=gen.generate(3, 5, seed=7),
        sample=gen.sample([1, 2, 3], seed=1, temperature=0.8),
        read=gen.read(three),
        restyle=gen.restyle(three),
        write=gen.write('2026', seed=3),
        morph=gen.morph(3, 8, 5, seed=2),
        map=gen.map(30, seed=1),
        in_style=gen.in_style([1.0, -1.0]),
        at=gen.at(*gen.islands[4].tolist()),
        styles=gen.styles,
    )


def training() -> dict:
    images, labels = data()
    options = dict(device='cpu', progress=False)
    model, history = train(images, labels, epochs=1, batch_size=64, seed=1, ema=0.9, **options)
    reader = train_classifier(images, labels, epochs=1, width=4, **options)
    z = posterior(model, images)[0]
    prior = fit_prior(z, labels, n_components=1, leave_out=0.1, progress=False)
    made = dict(
        train=list(deepcopy(model.state_dict()).values()),
        loss=history[0]['loss'],
        reader=list(reader.state_dict().values()),
        prior=[prior.weights, prior.means, prior.scale_tril, prior.threshold],
    )
    return made | dict(
        refine=refine(model, prior, images, labels, epochs=1, reader=reader, **options),
        refined=list(model.state_dict().values()),
    )


def given() -> tuple:
    "Networks and a prior, the same in each state, since they were made before it."
    generator = torch.Generator().manual_seed(0)
    networks = VAE(), Classifier(4).eval()
    for network in networks:
        for p in network.parameters():
            torch.nn.init.uniform_(p, -0.1, 0.1, generator=generator)
    prior = ClassPrior(
        torch.ones(10, 1),
        torch.zeros(10, 1, 20),
        torch.eye(20).expand(10, 1, 20, 20).clone(),
        torch.full((10,), -torch.inf),
    )
    return *networks, prior


GIVEN = given()


def measuring() -> dict:
    (images, labels), (model, judge, prior) = data(), GIVEN
    features, _ = read(judge, images)
    some = balanced(labels, 5, seed=1)
    return dict(
        evaluate=evaluate(model, images, labels),
        some=some,
        quality=quality(judge, images, labels, images.flip(0)),
        frechet=frechet_distance(features[:125], features[125:]),
        prdc=prdc(features[:125], features[125:]),
        nll=importance_nll(model, images[:3], labels[:3], prior, n_samples=20),
        standard=sample_standard_normal(model, labels[:5]),
        prior=prior.sample(labels[:9], torch.Generator().manual_seed(1)),
        truncated=prior.truncated(0.1).threshold,
        density=prior.log_prob(posterior(model, images)[0], labels),
    )


def plain(value):
    "Nested results as lists of bytes and numbers, comparable in any state."
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().cpu().numpy().tobytes()
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


@cache
def expected(work):
    return plain(work())


@pytest.mark.parametrize(
    'work, state',
    [(work, name) for work in (drawing, measuring) for name in STATES]
    + [pytest.param(training, name, marks=pytest.mark.slow) for name in STATES]
    + [pytest.param(drawing, name, marks=pytest.mark.slow) for name in THREADS],
)
def test_results_do_not_depend_on_it(work, state):
    data(), expected(work)
    with (STATES | THREADS)[state]():
        before = settings()
        made = work()
        assert settings() == before
    made = plain(made)
    assert [name for name, value in expected(work).items() if made[name] != value] == []


PROGRAM = '''import hashlib, sys, torch
torch.set_num_threads(2)
if sys.argv[1] == 'flush': torch.set_flush_denormal(True)
torch.ones(10**6).sigmoid()                                          # now the helper threads start
from mnist_vae.generator import DigitGenerator
images = DigitGenerator.load().sample(torch.arange(10).repeat(400), seed=0)
torch.set_flush_denormal(False)
print(((images > 0) & (images < 2**-126)).any().item(), hashlib.sha256(images.numpy().tobytes()).hexdigest())
'''


@pytest.mark.slow
def test_helper_threads_that_flush_do_not_draw():
    "Threads inherit the flushing of subnormal numbers, some of which are in the images."
    options = dict(cwd=ROOT, capture_output=True, text=True, check=True)
    run = lambda way: subprocess.run([sys.executable, '-c', PROGRAM, way], **options)
    assert run('flush').stdout == run('normal').stdout
