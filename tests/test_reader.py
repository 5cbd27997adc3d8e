"""What the reader learns from, and that it is trained as promised. Its chapter shows how well it reads."""
import pytest
import torch

from mnist_vae.reader import SHAPES, drawn_digits, reader_of, scribbles, train_reader, varied


def stream(seed=0): return torch.Generator().manual_seed(seed)


def test_digits_are_drawn_as_large_as_those_of_mnist():
    shapes, digits = drawn_digits(2, stream())
    assert len(shapes) == len(digits) == 2 * len(SHAPES) and set(digits.tolist()) == set(range(10))
    rows, columns = (shapes.amax(axis).ne(0).sum(1) for axis in (2, 1))
    assert 19 <= torch.maximum(rows, columns).min() and torch.maximum(rows, columns).max() <= 22
    assert torch.equal(shapes, drawn_digits(2, stream())[0])
    assert not torch.equal(shapes, drawn_digits(2, stream(1))[0])


def test_variations_stay_images():
    images = drawn_digits(1, stream())[0] / 255
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = varied(images), varied(images)
    assert first.shape == images.shape and first.min() >= 0 and first.max() <= 1
    assert not torch.equal(first, second)


@pytest.fixture(scope='module')
def lesson():
    "Scribbles stand for MNIST's digits here: what is learned does not matter."
    return scribbles(16, stream()), torch.arange(64) % 10


def test_training_follows_its_seed(lesson):
    state, before = torch.get_rng_state(), [t.clone() for t in lesson]
    made = [
        train_reader(*lesson, epochs=1, seed=seed, n_drawn=1, device='cpu', progress=False) for seed in (5, 5, 6)
    ]
    assert torch.equal(state, torch.get_rng_state()) and all(map(torch.equal, before, lesson))
    weights = [torch.cat([t.flatten().float() for t in reader.state_dict().values()]) for reader in made]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    reader = reader_of(made[0].state_dict())
    x = lesson[0][:9] / 255
    assert torch.equal(reader(x), made[0](x)) and not reader.training


def test_wrong_options_are_named(lesson):
    with pytest.raises(ValueError, match='n_drawn must be'): train_reader(*lesson, n_drawn=-1)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match='the reader has other layers'): reader_of(dict(w=torch.ones(1)))
