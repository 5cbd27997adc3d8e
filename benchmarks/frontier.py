"""Where right digits, variety and closeness to real ones pull against each other.

    python benchmarks/frontier.py

Trains the networks at several KL weights, fits priors of several sizes, refines decoders with several weights of the
reader, samples each with several shares of the prior left out, and has the judge measure 10,000 samples of each. Writes
benchmarks/frontier.json, which nbs/19_metrics.ipynb plots. About three quarters of an hour on two CPU cores.
"""
import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from mnist_vae.classifier import train_judge
from mnist_vae.data import load_mnist
from mnist_vae.generator import DigitGenerator
from mnist_vae.metrics import balanced, quality
from mnist_vae.recipe import RECIPES, fit
from mnist_vae.training import train

LEAVE_OUT = 0., .05, .1, .2, .4
REFINE_EPOCHS = 2  # what ships has more; the order of the lines is the same


def main(out: Path, kl_weights: tuple, epochs: int, judge_epochs: int) -> None:
    images, labels = load_mnist()
    test_images, _ = load_mnist('test')
    ordered, some = torch.arange(10).repeat_interleave(1000), balanced(labels, 1000)
    judge = train_judge(images, labels, judge_epochs, progress=False)
    points = [dict(name='real training images') | quality(judge, images[some], labels[some], test_images)]

    def add(name, networks, recipe, settings):
        "The points of one recipe, on networks that are trained already."
        made = fit(images, labels, recipe, networks=networks, progress=False)
        for share in LEAVE_OUT:
            samples = DigitGenerator(made.model, made.prior.truncated(share)).sample(ordered, seed=0)
            values = {field: getattr(recipe, field) for field in settings}
            points.append(dict(name=name, leave_out=share, **values) | quality(judge, samples, ordered, test_images))
            print(points[-1], flush=True)
        out.write_text(json.dumps(points, indent=1) + '\n')

    for kl_weight in kl_weights:
        ships = kl_weight == RECIPES['sharp'].kl_weight
        base = replace(RECIPES['sharp'], kl_weight=kl_weight, epochs=epochs, leave_out=0., refine_epochs=0,
                       reading_epochs=0)
        networks = train(images, labels, **base.for_training(), progress=False)
        for k in (1, 40, 200) if ships else (200,):
            add(f'KL × {kl_weight}, {k} Gaussian' + 's' * (k > 1), networks, replace(base, n_components=k),
                ('kl_weight', 'n_components'))
        for reader_weight in (0., 20.) if ships else (20.,):
            add(f'KL × {kl_weight}, refined, reader × {reader_weight:g}', networks,
                replace(base, refine_epochs=REFINE_EPOCHS, reader_weight=reader_weight),
                ('kl_weight', 'n_components', 'reader_weight', 'refine_epochs'))


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path(__file__).with_suffix('.json'))
    parser.add_argument('--kl-weights', type=float, nargs='+', default=(.05, .1, .2))
    parser.add_argument('--epochs', type=int, default=12,
                        help='of the networks, where what ships has 50 (default: %(default)s)')
    parser.add_argument('--judge-epochs', type=int, default=5, help='(default: %(default)s)')
    args = parser.parse_args()
    main(args.out, tuple(args.kl_weights), args.epochs, args.judge_epochs)
