"""How many pictures of digits are read right, by where they come from and by digit.

    python benchmarks/reading.py                          # the weights that ship
    python benchmarks/reading.py --bayes                  # Bayes' rule, the reading without a trained reader
    python benchmarks/reading.py --fonts DIR              # fonts from this folder too, e.g. unpacked Debian packages

Nothing here took part in training the reader. MNIST's test images are read as they are; all others are drawn as dark
ink on a light page, saved as PNG and read as a picture file is: scikit-learn's `load_digits`, the digits of the fonts
named in `FONTS`, of which those that are not installed are left out, and shapes drawn with Pillow that few of MNIST's
writers make.
"""
import argparse
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAGE, INK = 240, 40     # grey values
# One file for each family, by the name of the file. The fonts in Debian's packages fonts-sil-andika, fonts-bwht,
# fonts-smc-chilanka, fonts-sjfonts, fonts-dkg-handwriting, fonts-ecolier-court, fonts-humor-sans, fonts-isabella,
# fonts-smc-karumbi, fonts-klee, fonts-kristi, fonts-lobstertwo, fonts-opendyslexic, fonts-ocr-b, fonts-tlwg-purisa-ttf,
# fonts-radisnoir, fonts-rufscript, fonts-seto, fonts-tomsontalks, fonts-jura, fonts-play, fonts-hack, fonts-engadget.
FONTS = (
    'Andika-Regular.ttf', 'BecauseWeConnect-Regular.otf', 'BecauseWeLearn-Regular.otf', 'BecauseWeMentor-Regular.otf',
    'Chilanka-Regular.otf', 'Delphine.ttf', 'Ecolier-court.ttf', 'Engadget.ttf', 'Hack-Regular.ttf', 'Humor-Sans.ttf',
    'Isabella.ttf', 'Jura-Regular.otf', 'Karumbi-Regular.ttf', 'KleeOne-Regular.ttf', 'Kristi.ttf',
    'LobsterTwo-Regular.otf', 'OCRB.otf', 'OpenDyslexic-Regular.otf', 'Play-Regular.ttf', 'Purisa.ttf',
    'RadisSans-medium.otf', 'Rufscript010.ttf', 'SteveHand.ttf', 'TomsonTalks.ttf', 'dkg.ttf', 'setofont.ttf',
)


def png(page: Image.Image) -> bytes:
    page.save(out := io.BytesIO(), 'PNG', compress_level=1)
    return out.getvalue()


def load_digits() -> Iterator[tuple[int, bytes]]:
    "All 1,797 images of 8×8 pixels with 17 grey levels, enlarged twenty times."
    from sklearn import datasets
    found = datasets.load_digits()
    for ink, digit in zip(found.images / 16, found.target):
        large = np.asarray(Image.fromarray(ink.astype(np.float32)).resize((160, 160), Image.Resampling.BICUBIC))
        grey = np.pad(PAGE - (PAGE - INK) * large.clip(0, 1), 30, constant_values=PAGE)
        yield int(digit), png(Image.fromarray(grey.astype(np.uint8)))


def glyph(font: ImageFont.FreeTypeFont, digit: int) -> Image.Image:
    "A digit of a font in the middle of a page."
    page = Image.new('L', (240, 240), PAGE)
    ImageDraw.Draw(page).text((120, 120), str(digit), INK, font, anchor='mm')
    return page


def find_fonts(names: tuple[str, ...], folders: list[Path]) -> list[ImageFont.FreeTypeFont]:
    "Those of the fonts that there are."
    files = {path.name: path for folder in folders for path in sorted(folder.rglob('*.[ot]tf'))}
    return [ImageFont.truetype(files[name], 130) for name in names if name in files]


# --- shapes that few of MNIST's writers make, drawn with Pillow ---

class Pen:
    "Draws on a page of 240×240 as a round pen does; coordinates are from 0 to 1, and each stroke is a little off."
    def __init__(self, random: Random):
        self.random, self.width = random, random.uniform(8, 22)
        self.page = Image.new('L', (960, 960), PAGE)
        self.draw, self.stretch = ImageDraw.Draw(self.page), random.uniform(.55, .95)
        self.slant = random.gauss(0, .12)

    def line(self, *points: tuple[float, float]) -> None:
        off = lambda: self.random.gauss(0, .015)
        places = []
        for x, y in points:
            x, y = (x - .5) * self.stretch + self.slant * (.5 - y) + off(), y - .5 + off()
            places.append((480 + 560 * x, 480 + 560 * y))
        radius = 2 * self.width
        self.draw.line(places, INK, int(2 * radius), joint='curve')
        for x, y in places: self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), INK)

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, end: float) -> None:
        "Part of an ellipse; angles in degrees, clockwise from the right."
        wobble = [self.random.gauss(1, .05) for _ in range(4)]
        angles = [math.radians(start + (end - start) * i / 40) for i in range(41)]
        off, self.random.gauss = self.random.gauss, lambda mean, spread: 0
        self.line(*((x + rx * wobble[0] * math.cos(a), y + ry * wobble[1] * math.sin(a)) for a in angles))
        self.random.gauss = off


def one_with_flag(pen, u): pen.line((.5 - .1 - .35 * u(), .12 + .25 * u()), (.55, 0), (.52, 1))


def one_with_foot(pen, u):
    pen.line((.5, 0), (.5, 1))
    foot = .12 + .25 * u()
    pen.line((.5 - foot, 1), (.5 + foot, 1))


def one_with_both(pen, u):
    one_with_flag(pen, u)
    foot = .15 + .25 * u()
    pen.line((.52 - foot, 1), (.52 + foot, 1))


def curled_nine(pen, u):
    pen.arc(.5, .28, .32, .28, 0, 360)
    pen.line((.82, .3), (.82, .72))
    pen.arc(.5, .72, .32, .28, 0, 130 + 40 * u())


def oval(pen): pen.arc(.5, .5, .38, .5, -90, 270)


def slashed_zero(pen, u):
    oval(pen)
    out = .12 * u()
    pen.line((.82 + out, .1 - out), (.18 - out, .9 + out))


def dotted_zero(pen, u):
    oval(pen)
    pen.width *= .8
    pen.line((.5, .5), (.5, .5))


def crossed_seven(pen, u):
    pen.line((.1, .02), (.92, 0), (.4 + .1 * u(), 1))
    pen.line((.3, .48 + .08 * u()), (.9, .46))


def open_four(pen, u):
    pen.line((.2 + .15 * u(), 0), (.1, .58), (.9, .55))
    pen.line((.68 + .08 * u(), .15 + .15 * u()), (.66, 1))


def round_six(pen, u):
    pen.arc(.5, .66, .36, .33, 0, 360)
    pen.line((.62 + .2 * u(), 0), (.3, .25), (.15, .6))


def open_eight(pen, u):
    pen.arc(.5, .26, .28, .25, 90, 320 - 30 * u())
    pen.arc(.5, .74, .34, .25, -90, 270)
    pen.line((.5, .5), (.72, .36), (.82, .1 - .05 * u()))


STROKES = {
    '1 with a flag': (1, one_with_flag), '1 with a foot': (1, one_with_foot), '1 with both': (1, one_with_both),
    'curled 9': (9, curled_nine), 'slashed 0': (0, slashed_zero), 'dotted 0': (0, dotted_zero),
    'crossed 7': (7, crossed_seven), 'open 4': (4, open_four), 'round 6': (6, round_six),
    '8 open at the top': (8, open_eight),
}


def drawn(shape: Callable, seed: str) -> Image.Image:
    "A shape drawn by a pen of its own."
    random = Random(seed)
    shape(pen := Pen(random), random.random)
    return pen.page.resize((240, 240), Image.Resampling.BOX)


def strokes(n: int = 40) -> Iterator[tuple[str, int, bytes]]:
    "Each of the shapes `n` times: its name, its digit, the picture."
    for name, (digit, shape) in STROKES.items():
        for i in range(n): yield name, digit, png(drawn(shape, f'{name} {i}'))


# --- the table ---

def row(name: str, said: list[tuple[int, int]]) -> str:
    "A line of the table, from pairs of digit and reading."
    of = Counter(digit for digit, _ in said)
    right = Counter(digit for digit, read in said if digit == read)
    cells = [f'{right[d] / of[d]:>6.1%}' if of[d] else ' ' * 6 for d in range(10)]
    return f'{name:20}{sum(right.values()) / len(said):>7.2%} of {len(said):<6}' + ' '.join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', help='a checkpoint; by default the one that ships')
    parser.add_argument('--bayes', action='store_true', help="read by Bayes' rule")
    parser.add_argument('--fonts', type=Path, action='append', default=[], help='a folder with fonts')
    args = parser.parse_args()

    from mnist_vae.data import load_mnist
    from mnist_vae.generator import DigitGenerator
    from mnist_vae.picture import PictureError, read_picture
    gen = DigitGenerator.load(args.weights)
    read = gen.read_by_bayes if args.bayes else gen.read

    def read_file(data: bytes) -> int:
        try: return read(read_picture(data))
        except PictureError: return -1

    print(f"{'':20}right{'':11}" + ' '.join(f'{d:>6}' for d in range(10)))
    print(row('MNIST, test images', [(int(y), read(x)) for x, y in zip(*load_mnist('test'))]), flush=True)
    print(row('load_digits', [(digit, read_file(data)) for digit, data in load_digits()]), flush=True)
    fonts, every = find_fonts(FONTS, [Path('/usr/share/fonts'), *args.fonts]), []
    for font in fonts:
        said = [(d, read_file(png(glyph(font, d)))) for d in range(10)]
        every += said
    if every: print(row(f'{len(fonts)} fonts', every))
    every = {}
    for name, digit, data in strokes(): every.setdefault(name, []).append((digit, read_file(data)))
    print(row('strokes', sum(every.values(), [])))
    for name, said in every.items(): print(row(f'  {name}', said))


if __name__ == '__main__': main()
