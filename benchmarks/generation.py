"""How fast digits are drawn: a million labelled images, five for a click, and what importing the generator costs.

    python benchmarks/generation.py

The yardstick is the matrix products of the decoder alone, at the precision that `sample` works in: double, so that a
seed means the same images everywhere. Beside it the usual ways in single precision: an image at a time, and in batches,
from N(0, I). They take turns, several rounds, so that whatever else the computer does falls on all of them. Memory and
imports are measured in processes of their own.
"""
import json
import subprocess
import sys

import torch

from common import arguments, machine, save, seconds, summary, take_turns
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.generator import SLICE, DigitGenerator, default_weights

AT_A_TIME = 10 * SLICE                       # images that a contestant draws in its turn
OURS, PRODUCTS, PRODUCTS_32, BATCHES, ONE = ('ours', 'matrix products, double', 'matrix products, single',
                                             'in batches, single, N(0, I)', 'one at a time, single, N(0, I)')
A_MILLION = '''import json, sys, time, torch
from mnist_vae.generator import DigitGenerator
try: import resource
except ImportError: resource = None          # Windows
def peak():
    if not resource: return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)
gen, labels = DigitGenerator.load(), torch.arange(int(sys.argv[1])) % 10
torch.set_num_threads(int(sys.argv[2]))
clock = getattr(time, sys.argv[3])
start = clock()
images = gen.sample(labels, seed=0)
print(json.dumps(dict(seconds=clock() - start, peak=peak(), result=images.nbytes)))'''
IMPORT = 'import time; start = time.{0}(); import {1}; print(time.{0}() - start)'


def run(program: str, *args) -> str:
    return subprocess.run(
        [sys.executable, '-c', program, *map(str, args)], capture_output=True, text=True, check=True
    ).stdout


def products(dtype: torch.dtype):
    "A function that does the decoder's matrix products for `SLICE` images, and nothing else."
    layers = [
        layer for layer in load_checkpoint(default_weights())[0].decoder.layers if isinstance(layer, torch.nn.Linear)
    ]
    weights = [layer.weight.detach().to(dtype) for layer in layers]
    inputs, outputs = ([torch.rand(SLICE, w.shape[side], dtype=dtype) for w in weights] for side in (1, 0))
    def once():
        for w, x, out in zip(weights, inputs, outputs): torch.mm(x, w.T, out=out)
    return once


@torch.no_grad()
def in_batches(model, labels, size):
    for y in labels.split(size): model.decode(torch.randn(len(y), model.latent_dim), y)


def main() -> None:
    args = arguments(__file__, __doc__, rounds=7, images=1_000_000)
    gen, (model, _) = DigitGenerator.load(), load_checkpoint(default_weights())
    labels, few = torch.arange(AT_A_TIME) % 10, AT_A_TIME // 20
    ticks = 'process_time' if args.shared else 'perf_counter'
    double, single = products(torch.float64), products(torch.float32)
    figures = summary(take_turns({                                                            # seconds an image
        OURS: lambda: seconds(lambda: gen.sample(labels, seed=0)) / AT_A_TIME,
        PRODUCTS: lambda: seconds(lambda: [double() for _ in range(10)]) / AT_A_TIME,
        PRODUCTS_32: lambda: seconds(lambda: [single() for _ in range(10)]) / AT_A_TIME,
        BATCHES: lambda: seconds(lambda: in_batches(model, labels, SLICE)) / AT_A_TIME,
        ONE: lambda: seconds(lambda: in_batches(model, labels[:few], 1)) / few}, args.rounds))
    base = figures[PRODUCTS]
    print(f"{'drawing digits on the CPU':34}{'of products':>12}{'fastest':>9}{'µs an image':>13}{'fastest':>9}")
    for name, s in sorted(figures.items(), key=lambda item: item[1]['median']):
        print(
            f"{name:34}{base['median'] / s['median']:12.0%}{base['fastest'] / s['fastest']:9.0%}"
            f"{s['median'] * 1e6:13.1f}{s['fastest'] * 1e6:9.1f}"
        )

    clicks = sorted(seconds(lambda: gen.generate(7)) * 1e3 for _ in range(1000))
    p50, p95 = clicks[500], clicks[950]
    print(f'five digits, generate(7): {p50:.2f} ms in the median, {p95:.2f} ms at the 95th percentile of 1,000 calls')

    million = json.loads(run(A_MILLION, args.images, torch.get_num_threads(), ticks))
    print(
        f"{args.images:,} images: {million['seconds']:.1f} s; the process takes {million['peak'] / 1e6:,.0f} MB, "
        f"{million['result'] / 1e6:,.0f} MB of it the result"
    )

    imports = summary(
        take_turns(
            {
                name: lambda name=name: float(run(IMPORT.format(ticks, name)))
                for name in ('torch', 'mnist_vae.generator')
            },
            args.rounds,
        )
    )
    alone, with_ours = (imports[name]['median'] for name in imports)
    print(f'import mnist_vae.generator: {with_ours:.2f} s, of which torch alone takes {alone:.2f} s')
    print(
        'Medians of {rounds} rounds; {cpu}, {threads} threads, {clock} time, PyTorch {torch}.'.format(
            rounds=args.rounds, **machine()
        )
    )
    save(args.out, dict(rounds=args.rounds, images=args.images, seconds_an_image=figures, million=million,
                        generate_ms=dict(p50=p50, p95=p95), import_seconds=imports))


if __name__ == '__main__': main()
