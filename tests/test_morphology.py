"""Slant, thickness and the other measures agree with Morpho-MNIST's definitions, computed by scikit-image and SciPy."""
import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from conftest import CI, ROOT
from mnist_vae.dataset import Digits
from mnist_vae.morphology import measure

N = 60
NEXT = np.array([[0, 0, 0], [0, 0, 1], [2**.5, 1, 2**.5]])         # distances to neighbours, each pair once


def module(name):
    return importlib.import_module(name) if CI else pytest.importorskip(name)


def by_scikit_image(image: np.ndarray) -> dict[str, float]:
    "Morpho-MNIST's measures of an image, uint8 (28, 28), straight from the paper."
    transform, morphology = module('skimage.transform'), module('skimage.morphology')
    large = (255 * transform.pyramid_expand(image, upscale=4, order=3)).astype(np.uint8).astype(float)
    shape = large >= (large.min() + large.max()) / 2
    skeleton, distance = morphology.medial_axis(shape, return_distance=True, rng=0)
    moments = module('skimage.measure').moments_central(large, order=2)
    shear = moments[1, 1] / moments[2, 0]
    y, x = np.mgrid[:112, :112]
    middle = (y * large).sum() / large.sum()

    def extent(at):
        "Between where 1% and 99% of the ink lies below."
        below = [large[at < t].sum() / large.sum() for t in range(112)]
        return np.diff(np.interp([.01, .99], below, range(112)))[0] / 4
    return dict(
        area=shape.sum() / 16, length=(ndimage.correlate(skeleton * 1., NEXT, mode='constant') * skeleton).sum() / 4,
        thickness=2 * distance[skeleton].mean() / 4, slant=np.rad2deg(np.arctan(-shear)),
        width=extent(x + .5 - shear * (y - middle)), height=extent(y))


def test_measures_agree_with_scikit_image():
    "Ties in the order in which a skeleton loses its pixels are broken at random there, which moves its ends."
    digits = Digits(N).data
    ours, theirs = measure(digits), [by_scikit_image(image) for image in digits.numpy()]
    bounds = dict(area=(2, .15), length=(5, 1.2), thickness=(.2, .02), slant=(.2, .02), width=(.1, .01),
                  height=(.1, .01))                                # the largest difference, and the mean
    for name, (largest, mean) in bounds.items():
        off = np.abs(ours[name].numpy() - np.array([row[name] for row in theirs]))
        assert off.max() < largest and off.mean() < mean, name
    assert torch.allclose(ours['ink'], digits.float().sum((1, 2)) / 255)


@pytest.mark.slow
def test_measures_do_not_depend_on_threads_or_company():
    program = ('import torch; from mnist_vae.dataset import Digits; from mnist_vae.morphology import measure\n'
               'for part in Digits(60).data.split(7): print(*measure(part)["thickness"].tolist(), sep="\\n")')
    run = subprocess.run([sys.executable, '-c', program], cwd=ROOT, env=os.environ | dict(OMP_NUM_THREADS='1'),
                         capture_output=True, text=True, check=True)
    assert list(map(float, run.stdout.split())) == measure(Digits(N).data)['thickness'].tolist()
