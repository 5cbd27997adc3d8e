"""Bring the figures in the text up to date: in the notebooks' Markdown and in docs/.

    python scripts/figures.py

A figure that depends on the weights or on a measurement is followed by a comment that says where it comes from, which
neither GitHub nor Jupyter nor the site shows:

    The shipped weights have a recall of 0.893<!--{ours.recall:.3f}-->.

Between the braces stands a field of Python's `str.format`. These names are known:

    ours, textbook, textbook_normal, real   rows of the quality cards: the shipped weights and the textbook's, both with
                                            class priors, the textbook's with N(0, I), real images: ours.recall
    trained.minutes, trained.networks, …    how long the stages of the shipped weights took, in minutes
    before, first, last                     losses of the shipped weights before refinement, in its first and last epoch
    frontier[NAME, SHARE]                   a point of benchmarks/frontier.json: frontier[KL × 0.1, 1 Gaussian, 5%].fid
    printed[CHAPTER, CELL, i]               number i, from 0, that a notebook's cell printed: printed[metrics, hands, 2]
"""
import json
import re
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import nbformat

from mnist_vae.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
FIGURE = re.compile(r'([-−]?\d(?:[\d,]*\d)?(?:\.\d+)?%?)<!--(\{[^{}]+\})-->')
COMMENT = re.compile(r'<!--\s*\{[^{}]*\}\s*-->')
NUMBER = re.compile(r'[-−]?\d(?:[\d,]*\d)?(?:\.\d+)?%?')


class Figures:
    "Where figures come from: checkpoints, benchmarks and the outputs of notebooks below `root`."

    def __init__(self, root: Path = ROOT): self.root = root

    @cached_property
    def _shipped(self) -> dict: return load_checkpoint(self.root / 'mnist_vae.pth')[1]['metrics']

    @cached_property
    def _plain(self) -> dict: return load_checkpoint(self.root / 'nbs' / 'plain.pth')[1]['metrics']

    @property
    def ours(self): return SimpleNamespace(**self._shipped['quality']['rows']['class priors'])

    @property
    def real(self): return SimpleNamespace(**self._shipped['quality']['rows']['real training images'])

    @property
    def textbook(self): return SimpleNamespace(**self._plain['quality']['rows']['class priors'])

    @property
    def textbook_normal(self): return SimpleNamespace(**self._plain['quality']['rows']['N(0, I)'])

    @property
    def trained(self):
        stages = {stage: seconds / 60 for stage, seconds in self._shipped['seconds'].items()}
        return SimpleNamespace(**stages, minutes=sum(stages.values()))

    @property
    def before(self): return SimpleNamespace(**self._shipped['history'][-1])

    @property
    def first(self): return SimpleNamespace(**self._shipped['refine_history'][0])

    @property
    def last(self): return SimpleNamespace(**self._shipped['refine_history'][-1])

    @cached_property
    def frontier(self) -> dict[str, SimpleNamespace]:
        points = json.loads((self.root / 'benchmarks' / 'frontier.json').read_text(encoding='utf-8'))
        key = lambda point: f"{point['name']}, {point['leave_out']:.0%}" if 'leave_out' in point else point['name']
        return {key(point): SimpleNamespace(**point) for point in points}

    @property
    def printed(self): return _Printed(self.root)

    def __getitem__(self, name: str): return getattr(self, name)


class _Printed:
    "The numbers that cells printed, as text: `['chapter, cell, i']` is number i."

    def __init__(self, root: Path): self.root = root

    def __getitem__(self, place: str) -> str:
        chapter, cell_id, i = place.split(', ')
        path, = (self.root / 'nbs').glob(f'[0-9][0-9]_{chapter}.ipynb')
        cell, = [cell for cell in nbformat.read(path, as_version=4).cells if cell.id == cell_id]
        return NUMBER.findall(''.join(output.get('text', '') for output in cell.outputs))[int(i)]


def brought_up_to_date(text: str, figures: Figures) -> str:
    "The `text` with the present figures. ValueError, which names the comment, for one that cannot be understood."
    def present(match: re.Match) -> str:
        try: figure = match[2].format_map(figures)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f'<!--{match[2]}-->: {type(error).__name__}: {error}') from None
        return f'{figure}<!--{match[2]}-->'

    new = FIGURE.sub(present, text)
    if len(FIGURE.findall(new)) != len(COMMENT.findall(new)):
        understood = {f'<!--{field}-->' for _, field in FIGURE.findall(new)}
        lost = [comment for comment in COMMENT.findall(new) if comment not in understood]
        raise ValueError(f'{lost or "a comment"}: no figure stands before it')
    return new


def update(root: Path = ROOT) -> dict[Path, str]:
    "The files that are not up to date, with the text that they should have."
    figures, stale = Figures(root), {}
    for path in sorted((root / 'nbs').glob('*.ipynb')):
        old = path.read_text(encoding='utf-8')
        notebook = json.loads(old)
        for cell in notebook['cells']:
            if cell['cell_type'] != 'markdown': continue
            cell['source'] = brought_up_to_date(''.join(cell['source']), figures).splitlines(keepends=True)
        new = json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'
        if new != old: stale[path] = new
    for path in sorted((root / 'docs').rglob('*.md')):
        old = path.read_text(encoding='utf-8')
        if (new := brought_up_to_date(old, figures)) != old: stale[path] = new
    return stale


if __name__ == '__main__':
    for path, text in update().items():
        path.write_text(text, encoding='utf-8', newline='\n')
        print(path.relative_to(ROOT))
