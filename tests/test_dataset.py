"""`Digits` passes where torchvision's MNIST does, and `EndlessDigits` never repeats, over workers, ranks and epochs."""
import copy
import inspect
import re
import subprocess
import sys
import warnings

import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor

from conftest import ROOT
from mnist_vae.dataset import BLOCK, Digits, EndlessDigits
from mnist_vae.generator import DigitGenerator

GEN = DigitGenerator.load()


@pytest.fixture(autouse=True)
def forks_are_meant():
    "Python 3.12 warns of a fork in a process with threads, which PyTorch's loader does by design."
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'This process .* is multi-threaded', DeprecationWarning)
        yield


def rows(loader) -> list[bytes]:
    return [image.numpy().tobytes() for images, _ in loader for image in images]


def test_it_has_what_mnist_has():
    digits = Digits(n=30, weights=GEN)
    assert digits.classes == MNIST.classes
    assert digits.class_to_idx == {name: i for i, name in enumerate(MNIST.classes)}
    ours, theirs = (list(inspect.signature(c.__init__).parameters) for c in (Digits, MNIST))
    assert set(theirs) - set(ours) == {'root', 'download'}
    image, label = digits[3]
    assert type(image) is PIL.Image.Image and image.mode == 'L' and type(label) is int


def test_train_and_test_images_have_no_image_in_common():
    sets = [Digits(n=2000, train=train, seed=seed, weights=GEN) for train in (True, False) for seed in (0, 1)]
    images = [image.numpy().tobytes() for digits in sets for image in digits.data]
    assert len(set(images)) == 8000


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_give_the_items_of_one_process(method):
    digits = Digits(n=50, transform=ToTensor(), weights=GEN)
    alone, by_two = (
        list(DataLoader(digits, batch_size=16, **options))
        for options in ({}, dict(num_workers=2, multiprocessing_context=method))
    )
    assert all(torch.equal(a, b) for one, two in zip(alone, by_two, strict=True) for a, b in zip(one, two))


@pytest.mark.parametrize('options', [
    dict(num_workers=2, multiprocessing_context='fork'),
    pytest.param(dict(num_workers=2, multiprocessing_context='spawn'), marks=pytest.mark.slow),
    dict(num_workers=2, multiprocessing_context='fork', persistent_workers=True),
], ids=['fork', 'spawn', 'persistent'])
def test_no_image_comes_twice_over_workers_and_epochs(options):
    n, epochs = 2 * BLOCK + 44, 3
    loader = DataLoader(EndlessDigits(n=n, transform=ToTensor(), weights=GEN), batch_size=50, **options)
    made = []
    for _ in range(epochs):
        torch.manual_seed(0)                # as a program does that starts each epoch from a seed
        made.append(rows(loader))
    assert [len(epoch) for epoch in made] == [n] * epochs
    assert len({image for epoch in made for image in epoch}) == n * epochs
    alone = DataLoader(EndlessDigits(n=n, transform=ToTensor(), weights=GEN), batch_size=50)
    assert [set(epoch) for epoch in made] == [set(rows(alone)) for _ in range(epochs)], 'workers change the order only'


def test_an_epoch_that_was_broken_off_is_not_begun_again():
    "Nor with another number of workers."
    digits = EndlessDigits(n=2 * BLOCK, transform=ToTensor(), weights=GEN)
    seen = []
    for workers in 2, 1, 2:
        for images, _ in DataLoader(digits, batch_size=BLOCK, num_workers=workers, multiprocessing_context='fork'):
            seen += [image.numpy().tobytes() for image in images]
            break
    seen += rows(DataLoader(digits, batch_size=BLOCK))
    assert len(seen) == len(set(seen)) == 5 * BLOCK


def test_ranks_share_nothing(monkeypatch):
    made = []
    for rank in range(2):
        monkeypatch.setenv('RANK', str(rank))
        monkeypatch.setenv('WORLD_SIZE', '2')                    # as torchrun does
        digits = EndlessDigits(n=BLOCK + 10, transform=ToTensor(), weights=GEN)
        loader = DataLoader(digits, batch_size=50, num_workers=2, multiprocessing_context='fork')
        made += rows(loader) + rows(loader)
    assert len(made) == len(set(made)) == 4 * (BLOCK + 10)


def test_a_copy_goes_on_by_itself():
    digits = EndlessDigits(n=20, transform=ToTensor(), weights=GEN)
    first = rows(DataLoader(digits, batch_size=20))
    twin = copy.deepcopy(digits)
    assert rows(DataLoader(twin, batch_size=20)) == rows(DataLoader(digits, batch_size=20))
    assert not set(first) & set(rows(DataLoader(digits, batch_size=20)))


@pytest.mark.slow
def test_the_classic_program_learns_from_digits(mnist):
    "And reads real ones, of which it saw none."
    command = [sys.executable, 'scripts/classic.py', '--images', '3000', '--epochs', '1']
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(re.search(r'reads (.*)% of the real test images', run.stdout)[1]) > 85
