"""The pictures of the app's tab "How it works", and the textbook's figures, which its own weights lack: web/story/.

    python scripts/build_story.py

They come from mnist_vae.pth and nbs/plain.pth alone. Run it again whenever one of the two changes; a test says if you
forgot.
"""
import json
from pathlib import Path

import torch
from torch import Tensor

from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.export import png, sheet
from mnist_vae.generator import DigitGenerator, default_weights
from mnist_vae.look import ACCENT, GREY, ORANGE
from mnist_vae.prior import ClassPrior, sample_standard_normal

ROOT = Path(__file__).resolve().parent.parent
TEXTBOOK = ROOT / 'nbs' / 'plain.pth'
FOLDER = ROOT / 'web' / 'story'
DIGIT, SEED = 7, 0
SIDE, REACH = 320, 3.9       # of the picture, in pixels; of the plane that it shows, in standard deviations of N(0, I)


def outside(prior: ClassPrior, n: int = 10_000) -> float:
    "Share of draws from N(0, I) with a lower density under the sevens' mixture than 99% of the sevens' own z."
    sevens, generator = torch.full((n,), DIGIT), torch.Generator().manual_seed(SEED)
    own = prior.log_prob(prior.sample(sevens, generator).double(), sevens)
    normal = torch.randn(n, prior.means.shape[-1], generator=generator).double()
    return (prior.log_prob(normal, sevens) < own.quantile(.01)).double().mean().item()


def figures() -> dict:
    "The card of the textbook's network, as far as the app shows it, and how many draws from N(0, I) miss the sevens."
    checkpoint = load_checkpoint(TEXTBOOK)[1]
    card = checkpoint['metrics']['quality']
    rows = {name: card['rows'][name] for name in ('N(0, I)', 'class priors')}
    return dict(rows=rows, nll=card['nll'], outside=round(outside(ClassPrior(**checkpoint['prior'])), 2))


def plane(prior: ClassPrior) -> Tensor:
    """Two orthonormal directions, (latent dimensions, 2): Fisher's discriminant between the sevens and the other
    digits, and the direction across it in which the means of the others differ most.
    """
    labels = torch.arange(10).repeat(500)
    z, means = prior.sample(labels, torch.Generator().manual_seed(SEED)).double(), prior.class_means().double()
    within = (z - means[labels]).mT @ (z - means[labels])
    across = torch.linalg.solve(within, means[DIGIT] - means[torch.arange(10) != DIGIT].mean(0))
    across = across / across.norm()
    rest = means - means @ across[:, None] * across
    up = torch.linalg.svd(rest - rest.mean(0)).Vh[0]
    up = up * up[up.abs().argmax()].sign()                          # a singular vector has no sign of its own
    return torch.stack([across, up], dim=1)


def dots(xy: Tensor, style: str) -> str:
    "Points (N, 2) as circles of an SVG."
    places = (SIDE / 2 * (1 + xy * xy.new_tensor([1, -1]) / REACH)).tolist()
    return f'<g {style}>' + ''.join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>' for x, y in places) + '</g>'


def latents() -> bytes:
    "Where the sevens' latents lie (accent), those of the other digits (grey), and draws from N(0, I) (rings): an SVG."
    prior = ClassPrior(**load_checkpoint(TEXTBOOK)[1]['prior'])
    axes, generator = plane(prior), torch.Generator().manual_seed(SEED)
    others = torch.arange(10).repeat(50)
    others = others[others != DIGIT]
    draw = lambda labels: prior.sample(labels, generator).double() @ axes
    normal = torch.randn(60, len(axes), generator=generator).double() @ axes
    layers = [dots(draw(others), f'fill="{GREY}" fill-opacity=".35"'),
              dots(draw(torch.full((150,), DIGIT)), f'fill="{ACCENT}" fill-opacity=".8"'),
              dots(normal, f'fill="none" stroke="{ORANGE}" stroke-width="2"')]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}">'
            f'{"".join(layers)}</svg>\n').encode()


def bars(z: Tensor) -> bytes:
    "A latent (D,) as bars up and down from a line, one for each number: an SVG."
    step, middle, unit = 10, 30, 9  # pixels: from bar to bar, the line, a standard deviation
    shapes = [
        f'<rect x="{step * i + 1}" y="{middle - max(v, 0) * unit:.1f}" '
        f'width="{step - 2}" height="{abs(v) * unit:.1f}"/>'
        for i, v in enumerate(z.clamp(-3, 3).tolist())
    ]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {step * len(z)} {2 * middle}">'
            f'<g fill="{ACCENT}">{"".join(shapes)}</g>'
            f'<path d="M0 {middle}H{step * len(z)}" stroke="{GREY}"/></svg>\n').encode()


def render() -> dict[str, bytes]:
    "The files, by their names in web/story/."
    sevens = torch.full((10,), DIGIT)
    normal = sample_standard_normal(load_checkpoint(TEXTBOOK)[0], sevens, SEED)
    rows = dict(
        normal=normal, priors=DigitGenerator.load(TEXTBOOK).sample(sevens, SEED),
        refined=DigitGenerator.load().sample(sevens, SEED),
    )
    files = {'textbook.json': (json.dumps(figures(), indent=1) + '\n').encode(), 'latents.svg': latents()}
    files |= {f'sevens-{name}.png': png(sheet(images, columns=5)) for name, images in rows.items()}
    prior = ClassPrior(**load_checkpoint(default_weights())[1]['prior'])
    z = prior.sample(sevens[:3], torch.Generator().manual_seed(SEED))  # those of the first three refined sevens
    for i in range(len(z)): files |= {f'z-{i + 1}.svg': bars(z[i]), f'seven-{i + 1}.png': png(rows['refined'][i])}
    return files


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in render().items():
        (FOLDER / name).write_bytes(data)
        print(f'{name}: {len(data):,} bytes')


if __name__ == '__main__': main()
