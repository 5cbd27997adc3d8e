"""How many pictures of digits are read right, by where they come from and by digit.

    python benchmarks/reading.py                          # the weights that ship
    python benchmarks/reading.py --bayes                  # Bayes' rule, the reading without a trained reader
    python benchmarks/reading.py --fonts DIR              # fonts from this folder too, e.g. unpacked Debian packages

Nothing here took part in training the reader. MNIST's test images are read as they are; all others are drawn as dark
ink on a light page, saved as PNG and read as a picture file is: scikit-learn's `load_digits`, the digits of the fonts
named in `FONTS`, of which those that are not installed are left out, and shapes drawn with Pillow that few of MNIST's
writers make. Last, the fonts' digits with other pens, on other paper and in other light.
"""
import argparse
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

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


# --- paper, pens and light, as in photographs; ink is float (H, W) in [0, 1] ---

def thinned(ink: np.ndarray) -> np.ndarray:
    "The middle line of strokes, three pixels wide. Source: Zhang & Suen 1984."
    a, goes_on = np.pad(ink > .5, 1).astype(np.uint8), True
    while goes_on:
        goes_on = False
        for half in (0, 2), (2, 0):
            n, ne, e, se, s, sw, w, nw = p = [
                np.roll(a, by, (0, 1))
                for by in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            ]
            turns = sum((p[i] == 0) & (p[(i + 1) % 8] == 1) for i in range(8))
            first, second = (n * e * s, e * s * w) if half == (0, 2) else (n * e * w, n * s * w)
            off = (a == 1) & (2 <= sum(p)) & (sum(p) <= 6) & (turns == 1) & (first == 0) & (second == 0)
            goes_on |= bool(off.any())
            a[off] = 0
    line = Image.fromarray(a[1:-1] * 255).filter(ImageFilter.MaxFilter(3)).filter(ImageFilter.GaussianBlur(.6))
    return np.asarray(line) / 255


def on_paper(ink: np.ndarray, paper: float = 238, dark: float = 45) -> np.ndarray: return paper - (paper - dark) * ink


def ramp(shape: tuple[int, int], random: Random) -> np.ndarray:
    "From 0 to 1 across the page, in any direction."
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:1:shape[0] * 1j, 0:1:shape[1] * 1j]
    way = x * math.cos(angle) + y * math.sin(angle)
    return (way - way.min()) / np.ptp(way)


def shadow(grey: np.ndarray, random: Random) -> np.ndarray:
    return grey * np.where(ramp(grey.shape, random) > random.uniform(.35, .65), .6, 1.)


def ruled(grey: np.ndarray, random: Random) -> np.ndarray:
    grey, step = grey.copy(), random.randrange(28, 48)
    for y in range(random.randrange(step), len(grey), step): grey[y:y + 2] = np.minimum(grey[y:y + 2], 165)
    return grey


def chalk(ink: np.ndarray, random: Random) -> np.ndarray:
    dust = np.random.default_rng(random.randrange(2**31)).normal(.8, .3, ink.shape)
    return on_paper(ink * dust.clip(0, 1), 55, 220)


def pasted(inner: np.ndarray, outer: np.ndarray, random: Random, margin: int = 0) -> np.ndarray:
    "`inner` somewhere in `outer`."
    top, left = (random.randrange(margin, room + 1 - margin) for room in np.subtract(outer.shape, inner.shape))
    outer[top:top + inner.shape[0], left:left + inner.shape[1]] = inner
    return outer


def speck(grey: np.ndarray, random: Random) -> np.ndarray:
    grey = grey.copy()
    top, left = (random.choice([8, side - 25]) for side in grey.shape)
    grey[top:top + 12, left:left + 14] = 50
    return grey


def small(ink: np.ndarray, random: Random) -> np.ndarray:
    little = Image.fromarray((255 * ink).astype(np.uint8)).resize((70, 70), Image.Resampling.BOX)
    return on_paper(pasted(np.asarray(little) / 255, np.zeros((480, 640)), random))


KINDS = {
    'plain': lambda ink, random: on_paper(ink),
    'thin pen': lambda ink, random: on_paper(thinned(ink)),
    'pencil': lambda ink, random: on_paper(thinned(ink), 235, 150),
    'faint pencil': lambda ink, random: on_paper(thinned(ink), 235, 190),
    'light falls to half': lambda ink, random: on_paper(ink) * (1 - .5 * ramp(ink.shape, random)),
    'edge of a shadow': lambda ink, random: shadow(on_paper(ink), random),
    'ruled': lambda ink, random: ruled(on_paper(ink), random),
    'squared': lambda ink, random: ruled(ruled(on_paper(ink), random).T, random).T,
    'chalk': chalk,
    'yellow marker': lambda ink, random: np.stack([on_paper(ink, 240, v) for v in (238, 222, 70)], 2),
    'dark desk': lambda ink, random: pasted(on_paper(ink), np.full((340, 340), 70.), random, 20),
    'speck': lambda ink, random: speck(on_paper(ink), random),
    'small': small,
}


def photograph(page: Image.Image, kind: str, seed: str) -> bytes:
    "A page as this kind of picture, with the grain of a camera."
    random, ink = Random(f'{kind} {seed}'), (PAGE - np.asarray(page).astype(float)) / (PAGE - INK)
    grey = KINDS[kind](ink.clip(0, 1), random)
    grey = grey + np.random.default_rng(random.randrange(2**31)).normal(0, 3, grey.shape)
    return png(Image.fromarray(grey.clip(0, 255).astype(np.uint8)))


# --- the table ---

def row(name: str, said: list[tuple[int, int]]) -> str:
    "A line of the table, from pairs of digit and reading."
    of = Counter(digit for digit, _ in said)
    right = Counter(digit for digit, read in said if digit == read)
    cells = [f'{right[d] / of[d]:>6.1%}' if of[d] else ' ' * 6 for d in range(10)]
    return f'{name:26}{sum(right.values()) / len(said):>7.2%} of {len(said):<6}' + ' '.join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', help='a checkpoint; by default the one that ships')
    parser.add_argument('--bayes', action='store_true', help="read by Bayes' rule")
    parser.add_argument('--fonts', type=Path, action='append', default=[], help='a folder with fonts')
    args = parser.parse_args()

    from mnist_vae.checkpoint import load_checkpoint
    from mnist_vae.data import load_mnist
    from mnist_vae.generator import DigitGenerator, default_weights
    from mnist_vae.picture import PictureError, read_picture
    from mnist_vae.prior import ClassPrior
    model, kept = load_checkpoint(args.weights or default_weights())
    gen = DigitGenerator(model, ClassPrior(**kept['prior'])) if args.bayes else DigitGenerator.load(args.weights)

    def read_file(data: bytes) -> int:
        try: return gen.read(read_picture(data, certainty=gen.certainty))
        except PictureError: return -1

    print(f"{'':26}right{'':11}" + ' '.join(f'{d:>6}' for d in range(10)))
    print(row('MNIST, test images', [(int(y), gen.read(x)) for x, y in zip(*load_mnist('test'))]), flush=True)
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
    glyphs = [(d, glyph(font, d)) for font in fonts for d in range(10)]
    for kind in KINDS if glyphs else ():
        said = [(d, read_file(photograph(page, kind, str(i)))) for i, (d, page) in enumerate(glyphs)]
        print(row(f'fonts, {kind}', said), flush=True)


if __name__ == '__main__': main()
