"""Chapters stand in the order in which they import one another: each can be read, exported and run with only those
before it."""
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from conftest import ROOT


def module_of(path):
    "The module that a notebook exports, None if it exports nothing."
    return next(
        (
            cell.source.split()[-1]
            for cell in nbformat.read(path, as_version=4).cells
            if cell.source.startswith('#| default_exp')
        ),
        None,
    )


CHAPTERS = {path: module for path in sorted((ROOT / 'nbs').glob('[0-9]*.ipynb')) if (module := module_of(path))}
MODULES = list(CHAPTERS.values())


def mentioned(source):
    """Modules of the package that code names: in an import, in a string for another process, or as the target of a
    patch."""
    names = re.findall(r'mnist_vae\.([a-z_]+)', source) + re.findall(r'from mnist_vae import ([\w, ]+)', source)
    return {name for part in names for name in part.split(', ')} & set(MODULES)


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_uses_chapters_before_it_only(path):
    """Its tests and pictures too, so that a reader who goes from the first to the last never needs what is still to
    come."""
    allowed = set(MODULES[:MODULES.index(CHAPTERS[path]) + 1])
    later = {cell.id: names for cell in nbformat.read(path, as_version=4).cells
             if cell.cell_type == 'code' and (names := mentioned(cell.source) - allowed)}
    assert later == {}


@pytest.mark.parametrize(
    'source, names',
    [
        ('from mnist_vae.generator import DigitGenerator', {'generator'}), ('    import mnist_vae.cli', {'cli'}),
        ('from mnist_vae import data, loss', {'data', 'loss'}),
        ("with patch('mnist_vae.training.train'): pass", {'training'}),
        ("open('../mnist_vae.pth'); mnist_vae.__version__", set()),
    ],
)
def test_a_chapter_that_is_used_is_noticed(source, names):
    assert mentioned(source) == names


PROGRAM = '''import importlib, sys
from pathlib import Path
from nbdev.export import nb_export

sys.path.insert(0, '.')
for notebook in sys.argv[1:]:
    known = set(Path('mnist_vae').glob('*.py'))
    nb_export(notebook, lib_path='mnist_vae')
    (made,) = set(Path('mnist_vae').glob('*.py')) - known
    importlib.invalidate_caches()
    module = importlib.import_module(f'mnist_vae.{made.stem}')
    assert Path(module.__file__).resolve() == made.resolve(), module.__file__
    print(made.stem)
'''


def test_package_grows_chapter_by_chapter(tmp_path):
    "From an empty package: each notebook is exported and its module imported, before the next one is."
    shutil.copytree(ROOT / 'nbs', tmp_path / 'nbs', ignore=shutil.ignore_patterns('*.pth', '.ipynb_checkpoints'))
    shutil.copy(ROOT / 'settings.ini', tmp_path)
    (tmp_path / 'mnist_vae').mkdir()
    shutil.copy(ROOT / 'mnist_vae/__init__.py', tmp_path / 'mnist_vae')
    for data in (ROOT / 'mnist_vae').iterdir():                            # what a module reads and no notebook makes
        if data.is_file() and data.suffix != '.py': shutil.copy(data, tmp_path / 'mnist_vae')
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM, *(f'nbs/{path.name}' for path in CHAPTERS)], cwd=tmp_path, capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == MODULES
    for module in MODULES:
        made, kept = ((root / f'mnist_vae/{module}.py').read_text() for root in (tmp_path, ROOT))
        assert made == kept, f'{module}: run nbdev_export'
