"""How often the reader is right when it says how sure it is, and how sure it is of what is no digit.

    python benchmarks/doubt.py                            # the weights that ship
    python benchmarks/doubt.py --weights mine.pth

Nothing here took part in training the reader: MNIST's test images, a third of scikit-learn's `load_digits`, and shapes
drawn with Pillow (benchmarks/reading.py). What is no digit is drawn with the same pen: scribbles, dots, blots, crosses
and waves. `SURE` and `UNLIKELY` of `mnist_vae.generator` are chosen by the second table.
"""
import argparse
from collections.abc import Iterator
from itertools import islice
from random import Random

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from reading import INK, PAGE, Pen, load_digits, png, strokes

BANDS = 0, .5, .7, .8, .9, .95, .99, 1.0001
LIMITS = .3, .4, .5, .6, .7, .8, .9, .95


# --- what is no digit, on a page of 240×240 ---

def scribble(random: Random) -> Image.Image:
    pen = Pen(random)
    pen.line(*((random.random(), random.random()) for _ in range(random.randrange(9, 16))))
    return pen.page


def dot(random: Random) -> Image.Image:
    pen = Pen(random)
    radius, (x, y) = random.uniform(20, 120), (random.uniform(300, 660) for _ in 'xy')
    pen.draw.ellipse((x - radius, y - radius * random.uniform(.8, 1), x + radius, y + radius), INK)
    return pen.page


def blot(random: Random) -> Image.Image:
    page = Image.new('L', (960, 960), PAGE)
    draw = ImageDraw.Draw(page)
    for _ in range(12):
        x, y, radius = random.gauss(480, 110), random.gauss(480, 110), random.uniform(40, 130)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), INK)
    return page.filter(ImageFilter.GaussianBlur(9))


def cross(random: Random) -> Image.Image:
    pen = Pen(random)
    pen.line((.1, .1), (.9, .9))
    pen.line((.9, .1), (.1, .9))
    return pen.page


def wave(random: Random) -> Image.Image:
    pen, times = Pen(random), random.randrange(4, 7)
    pen.line(*((i / times, .35 + .3 * (i % 2)) for i in range(times + 1)))
    return pen.page


NO_DIGITS = dict(scribble=scribble, dot=dot, blot=blot, cross=cross, wave=wave)


def no_digits(n: int = 60) -> Iterator[tuple[str, bytes]]:
    "Each kind `n` times: its name, the picture."
    for name, draw in NO_DIGITS.items():
        for i in range(n): yield name, png(draw(Random(f'{name} {i}')).resize((240, 240), Image.Resampling.BOX))


# --- the tables ---

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', help='a checkpoint; by default the one that ships')
    args = parser.parse_args()

    from mnist_vae.data import load_mnist
    from mnist_vae.generator import DigitGenerator
    from mnist_vae.picture import PictureError, read_picture
    gen = DigitGenerator.load(args.weights)

    def read(data: bytes) -> torch.Tensor:
        "The probabilities for a picture file, (10,); zeros if no ink is found in it."
        try: return gen.probabilities(read_picture(data, certainty=gen.certainty))
        except PictureError: return torch.zeros(10)

    sources = {'MNIST, test images': [(int(y), gen.probabilities(x)) for x, y in zip(*load_mnist('test'))]}
    sources['load_digits, a third'] = [(digit, read(data)) for digit, data in islice(load_digits(), 0, None, 3)]
    sources['strokes'] = [(digit, read(data)) for _, digit, data in strokes()]
    others = {}
    for name, data in no_digits(): others.setdefault(name, []).append(read(data).max().item())

    print('Said probability, and the share that is right')
    print(' ' * 22 + ''.join(f'{f"{low:.0%} to {min(high, 1):.0%}":>16}' for low, high in zip(BANDS, BANDS[1:])))
    for name, said in sources.items():
        top, right = torch.stack([p.max() for _, p in said]), torch.tensor([int(p.argmax()) == d for d, p in said])
        cells = []
        for low, high in zip(BANDS, BANDS[1:]):
            inside = (low <= top) & (top < high)
            cells.append(f'{right[inside].double().mean():.1%} of {inside.sum()}' if inside.any() else '')
        print(f'{name:22}' + ''.join(f'{cell:>16}' for cell in cells))

    print('\nShare at or above a limit; for digits also the share of those that is right')
    print(' ' * 22 + ''.join(f'{limit:>16.0%}' for limit in LIMITS))
    for name, said in sources.items():
        top, right = torch.stack([p.max() for _, p in said]), torch.tensor([int(p.argmax()) == d for d, p in said])
        cells = [f'{(top >= m).double().mean():.1%}, {right[top >= m].double().mean():.2%}' for m in LIMITS]
        print(f'{name:22}' + ''.join(f'{cell:>16}' for cell in cells))
    for name, top in others.items():
        print(f'{name:22}' + ''.join(f'{np.mean(np.array(top) >= limit):>16.1%}' for limit in LIMITS))
    second = [(d, p.topk(2).indices.tolist()) for said in sources.values() for d, p in said if p.max() < .9]
    if second:
        found = np.mean([d in pair for d, pair in second])
        print(f'\nBelow 90%, the digit is one of the two likeliest in {found:.1%} of {len(second)}')


if __name__ == '__main__': main()
