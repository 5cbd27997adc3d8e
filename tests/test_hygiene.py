"""Notebooks stay fit for git and for readers: ids that say something, no metadata, pictures of the README that the
code still draws."""
import base64
import copy
import io
import re
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from conftest import ROOT

NOTEBOOKS = sorted((ROOT / 'nbs').glob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_cell_ids_are_words_and_unique(path):
    "A random id changes with every tool that touches a notebook; a word stays, and the exported module shows it."
    ids = [cell.get('id', '') for cell in nbformat.read(path, as_version=4).cells]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r'[a-z][a-z0-9]*(-[a-z0-9]+)*', name)] == [], (
        'an id is of small letters, figures and hyphens'
    )
    assert [
        name
        for name in ids
        if any(re.fullmatch('[0-9a-f]{6,}', part) and re.search('[0-9]', part) for part in name.split('-'))
    ] == [], 'a random id'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_is_kept_that_changes_from_run_to_run(path):
    "nbdev_clean does it; this says which, and holds for what nbdev_clean is told to let alone."
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) <= {'kernelspec', 'accelerator', 'colab', 'voila'}
    assert notebook.nbformat_minor >= 5, 'without ids for cells'
    for cell in notebook.cells:
        assert not cell.metadata and cell.get('execution_count') is None and not cell.get('attachments'), cell.id
        for output in cell.get('outputs', []):
            assert output.get('execution_count') is None and set(output.get('metadata', {})) <= {
                'image/png',
                'image/gif',
                'image/jpeg',
            }, cell.id
            assert not re.search(
                r'0x[0-9a-f]{6,}', str(output.get('text', '')) + str(output.get('data', {}).get('text/plain', ''))
            ), f'{cell.id}: an address in memory'


CHAPTERS = [
    path
    for path in NOTEBOOKS
    if any(cell.source.startswith('#| default_exp') for cell in nbformat.read(path, as_version=4).cells)
]


def test_chapters_begin_with_the_same_map_and_their_own_place_in_it():
    "The map names the chapters in their order."
    maps, modules = {}, []
    for path in CHAPTERS:
        first, *cells = nbformat.read(path, as_version=4).cells
        modules.append(next(cell.source.split()[-1] for cell in cells if cell.source.startswith('#| default_exp')))
        (drawn,) = re.findall(r'```text\n(.*?)\n```', first.source, re.S)
        assert re.findall(r'\[(.+?)\]', drawn) == modules[-1:], path.name
        maps[path.name] = re.sub(r'[\[\]]', '', drawn)
    assert len(set(maps.values())) == 1, maps
    named = [name for line in maps[path.name].splitlines() for name in line.split(maxsplit=1)[1].split(' → ')]
    assert named == modules
    assert {file.stem for file in (ROOT / 'mnist_vae').glob('[a-z]*.py')} == set(modules)


def test_chapters_are_numbered_without_letters():
    numbers = [re.fullmatch(r'(\d\d)_[a-z_]+', path.stem) for path in NOTEBOOKS if path.stem != 'index']
    assert all(numbers) and len({found[1] for found in numbers}) == len(numbers)


def test_code_follows_the_rules_of_ruff():
    "Lines of at most 120 characters, sorted imports, nothing unused: see ruff.toml."
    places = ('mnist_vae', 'app.py', 'setup.py', 'tests', 'benchmarks', 'scripts')
    found = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', *places], cwd=ROOT,
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_modules_that_may_have_long_lines_have_none_but_their_list_of_names():
    "nbdev wraps `__all__` a little beyond 120 characters, and ruff can excuse whole files only."
    (excused,) = re.findall(r'"mnist_vae/\{(.+)\}\.py" = \["E501"\]', (ROOT / 'ruff.toml').read_text())
    for module in excused.split(','):
        lines = (ROOT / f'mnist_vae/{module}.py').read_text().splitlines()
        assert [line for line in lines if len(line) > 120 and not line.startswith('__all__ = ')] == [], module


# --- what README and start page show ---

def shown(notebook):
    "What a notebook shows, by cell: pictures as arrays, everything else as text."
    kept = {}
    for cell in notebook.cells:
        for i, output in enumerate(cell.get('outputs', [])):
            data = output.get('data', {'text/plain': output.get('text', '')})
            if 'image/png' in data:
                kept[cell.id, i] = np.asarray(
                    Image.open(io.BytesIO(base64.b64decode(data['image/png']))).convert('RGB')
                ).astype(int)
            else: kept[cell.id, i] = data.get('text/markdown', data.get('text/plain'))
    return kept


def blocks(picture, size=12):
    """Mean colours of squares of `size` pixels, so that the edges of letters, which every version of a font draws
    otherwise, do not count."""
    h, w = (side // size * size for side in picture.shape[:2])
    return picture[:h, :w].reshape(h // size, size, w // size, size, 3).mean((1, 3))


def stale(before, after):
    """Names of the cells whose outputs differ: texts at all, pictures where a square is lighter or darker, or of
    another colour, by an eighth."""

    def same(a, b):
        if isinstance(a, str) or isinstance(b, str): return isinstance(a, str) and isinstance(b, str) and a == b
        return a.shape == b.shape and abs(blocks(a) - blocks(b)).max() < 32

    return sorted(
        {
            key[0]
            for key in before.keys() | after.keys()
            if not (key in before and key in after and same(before[key], after[key]))
        }
    )


@pytest.fixture(scope='module')
def index():
    "The notebook as it is kept, and as a kernel makes it now."
    kept = nbformat.read(ROOT / 'nbs/index.ipynb', as_version=4)
    executed = copy.deepcopy(kept)
    for cell in executed.cells:
        if cell.cell_type == 'code': cell.outputs = []
    NotebookClient(
        executed, timeout=600, kernel_name='python3', resources={'metadata': {'path': str(ROOT / 'nbs')}}
    ).execute()
    return shown(kept), shown(executed)


@pytest.mark.slow
def test_readme_shows_what_its_code_draws_now(index):
    kept, now = index
    assert (
        sum(not isinstance(output, str) for output in kept.values())
        == len(list((ROOT / 'README_files').iterdir()))
        >= 2
    )
    assert stale(kept, now) == [], 'run nbs/index.ipynb and scripts/build_readme.py'


@pytest.mark.slow
@pytest.mark.parametrize('cell', ['picture', 'card-picture'])
def test_stale_picture_is_noticed(index, cell):
    "One digit of the fifty in the place of another, or one dot of the card missing."
    kept, now = index
    old = dict(kept)
    picture = old[cell, 0].copy()
    if cell == 'picture': picture[:84, :84] = picture[84:168, 252:336]
    else:
        y, x = np.unravel_index(
            (picture.max(2) - picture.min(2)).argmax(), picture.shape[:2]
        )  # the strongest colour is in a dot
        picture[y - 10:y + 10, x - 10:x + 10] = 255
    old[cell, 0] = picture
    assert stale(old, now) == [cell]
    del old[cell, 0]
    assert stale(old, now) == [cell]
