"""Specks, detectors and nearest neighbours, on images made by hand. The chapter shows them at work."""
import math

import torch

from mnist_vae.realism import detected, nearest, specks, train_detector


def stripes(n, axis, seed):
    "`n` images of noise with a bright line along an axis, uint8."
    images = torch.randint(0, 64, (n, 28, 28), generator=torch.Generator().manual_seed(seed))
    images.select(axis, 14).fill_(255)
    return images.byte()


def test_a_speck_has_no_inked_neighbour():
    images = torch.zeros(3, 28, 28, dtype=torch.uint8)
    images[0, 0, 27] = 9
    images[1, 5, 5] = 8
    images[2, 5, 5] = images[2, 6, 6] = 255
    assert specks(images).tolist() == [True, False, False]


def test_detectors_follow_their_seed():
    real, fake, state = stripes(64, 1, 0), stripes(64, 2, 1), torch.get_rng_state()
    first, again, other = (train_detector(real, fake, epochs=1, seed=seed) for seed in (3, 3, 4))
    weights = [torch.cat([t.flatten().float() for t in d.state_dict().values()]) for d in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(state, torch.get_rng_state())
    assert detected(first, real, fake) + detected(first, fake, real) == 1


def test_the_nearest_image_has_the_same_label():
    training = torch.zeros(3, 28, 28, dtype=torch.uint8)
    training[0, 0, 0] = training[1, 0, 1] = 255
    image = training[2:].clone()
    far, at = nearest(image, torch.tensor([7]), (training, torch.tensor([1, 7, 1])))
    assert at.tolist() == [1] and far.tolist() == [1]
    far, at = nearest(image, torch.tensor([4]), (training, torch.tensor([1, 7, 1])))
    assert at.tolist() == [-1] and far.tolist() == [math.inf]
