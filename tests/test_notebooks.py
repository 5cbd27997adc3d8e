"""Every notebook runs, and everything made from notebooks is in step with them."""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbdev.test import test_nb as run_notebook

from conftest import CI, ROOT, why_no_mnist

NOTEBOOKS = sorted((ROOT / 'nbs').glob('*.ipynb'))


def code(path):
    return '\n'.join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == 'code')


# These train networks, fit priors or serve pages. The longest come first, as they are run in this order.
SLOW = ['19_metrics', '18_realism', '11_refine', '09_prior', '15_explore', '32_cli', '26_score', '06_training',
        '07_classifier', '08_reader', '13_recipe', '05_step', '16_generator', '01_data', '10_tone',
        '12_checkpoint', '17_picture', '21_dataset', '24_morphology', '25_shards', '29_web']
START_HERE = ROOT / 'nbs/00_start_here.ipynb'       # test_colab.py runs it, with small hyperparameters


def to_run():
    "Each notebook as a parameter, slow ones first."
    stems = SLOW + [path.stem for path in NOTEBOOKS if path.stem not in SLOW]
    for path in (ROOT / f'nbs/{stem}.ipynb' for stem in stems):
        marks = [pytest.mark.slow] * (path.stem in SLOW)
        if path != START_HERE: yield pytest.param(path, marks=marks, id=path.stem)


@pytest.mark.parametrize('path', list(to_run()))
def test_notebook_runs(path, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1')      # nbdev sets it for good, and a later nbdev_export would then do nothing
    if 'load_mnist(' in code(path) and not CI and (reason := why_no_mnist()): pytest.skip(reason)
    if "['node'" in code(path) and not CI and not shutil.which('node'): pytest.skip('node is not on the PATH')
    passed, _ = run_notebook(path)
    assert passed, f'{path.name} failed: the traceback is in the captured stderr'


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "A copy of the sources, cleaned and exported anew."
    copy = tmp_path_factory.mktemp('exported')
    shutil.copy(ROOT / 'settings.ini', copy)
    for folder in ('nbs', 'mnist_vae'):
        shutil.copytree(
            ROOT / folder, copy / folder, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints')
        )
    for command in ('nbdev_clean', 'nbdev_export'):
        subprocess.run([Path(sys.executable).with_name(command)], cwd=copy, check=True)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize('folder, pattern', [('nbs', '*.ipynb'), ('mnist_vae', '*.py')])
def test_export_changes_nothing(exported, folder, pattern):
    before, after = ({p.name: p.read_text() for p in (root / folder).glob(pattern)} for root in (ROOT, exported))
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [], 'run nbdev_clean and nbdev_export'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_imports_nothing_of_nbdev(path):
    assert not re.search(r'^\s*(from|import) (nbdev|fastcore|execnb)', code(path), re.M), 'Colab has none of them'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_its_outputs_and_stays_small(path):
    outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get('outputs', [])]
    assert any({'image/png', 'image/svg+xml'} & out.get('data', {}).keys() for out in outputs), (
        'a chapter shows something'
    )
    assert not any(out.output_type == 'error' for out in outputs)
    assert path.stat().st_size < 1e6


def test_readme_is_in_step_with_index():
    sys.path.insert(0, str(ROOT / 'scripts'))
    from build_readme import PICTURES, render
    files = render()
    readme = files['README.md'].decode()
    assert readme.startswith('# ') and '#| ' not in readme
    assert {name for name in files if not (ROOT / name).exists()} == set(), 'run scripts/build_readme.py'
    assert [name for name, data in files.items() if (ROOT / name).read_bytes() != data] == [], (
        'run scripts/build_readme.py'
    )
    assert {p.name for p in (ROOT / PICTURES).iterdir()} == {name.split('/')[1] for name in files if '/' in name}
