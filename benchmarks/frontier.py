"""Where right digits, variety and closeness to real ones pull against each other.

    python benchmarks/frontier.py

Trains the networks at several KL weights, fits priors of several sizes, refines decoders with several weights of the
reader, samples each with several shares of the prior left out, and has the judge measure 10,000 samples of each. Writes
benchmarks/frontier.json, which nbs/06_metrics.ipynb plots. About half an hour on two CPU cores.
"""
import argparse
import copy
import json
from pathlib import Path

import torch

from mnist_vae.cli import AFTER
from mnist_vae.data import load_mnist
from mnist_vae.generator import DigitGenerator
from mnist_vae.metrics import balanced, quality, train_judge
from mnist_vae.prior import fit_prior, posterior
from mnist_vae.refine import refine, train_classifier
from mnist_vae.training import RECIPES, train

LEAVE_OUT = 0., .05, .1, .2, .4
REFINE_EPOCHS = 2  # what ships has more; the order of the lines is the same


def main(out: Path, kl_weights: tuple, epochs: int, judge_epochs: int) -> None:
    images, labels = load_mnist()
    test_images, _ = load_mnist('test')
    ordered, some = torch.arange(10).repeat_interleave(1000), balanced(labels, 1000)
    judge = train_judge(images, labels, judge_epochs, progress=False)
    reader = train_classifier(images, labels, progress=False)
    points = [dict(name='real training images') | quality(judge, images[some], labels[some], test_images)]

    def add(name, model, prior, **settings):
        for share in LEAVE_OUT:
            cut = prior.truncated(share) if share else prior
            samples = DigitGenerator(model, cut).sample(ordered, seed=0)
            points.append(dict(name=name, leave_out=share, **settings) | quality(judge, samples, ordered, test_images))
            print(points[-1], flush=True)
        out.write_text(json.dumps(points, indent=1) + '\n')

    for kl_weight in kl_weights:
        model, _ = train(images, labels, **RECIPES['sharp'] | dict(kl_weight=kl_weight, epochs=epochs), progress=False)
        model.cpu()
        generator, moments = torch.Generator().manual_seed(0), posterior(model, images)
        z = torch.cat([model.reparameterize(*moments, generator) for _ in range(2)])
        ships = kl_weight == RECIPES['sharp']['kl_weight']
        for k in (1, 40, 200) if ships else (200,):
            prior = fit_prior(z, labels.repeat(2), n_components=k, progress=False)
            add(f'KL × {kl_weight}, {k} Gaussian' + 's' * (k > 1), model, prior, kl_weight=kl_weight, n_components=k)
        for reader_weight in (0., 20.) if ships else (20.,):
            refined = copy.deepcopy(model)
            refine(refined, prior.truncated(AFTER['sharp']['refine_leave_out']), images, labels, REFINE_EPOCHS, reader_weight=reader_weight,
                   reader=reader, progress=False)
            add(f'KL × {kl_weight}, refined, reader × {reader_weight:g}', refined, prior, kl_weight=kl_weight, n_components=200,
                reader_weight=reader_weight, refine_epochs=REFINE_EPOCHS)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.json'))
    parser.add_argument('--kl-weights', type=float, nargs='+', default=(.05, .1, .2))
    parser.add_argument('--epochs', type=int, default=12, help='of the networks, where what ships has 50 (default: %(default)s)')
    parser.add_argument('--judge-epochs', type=int, default=5, help='(default: %(default)s)')
    args = parser.parse_args()
    main(args.out, tuple(args.kl_weights), args.epochs, args.judge_epochs)
