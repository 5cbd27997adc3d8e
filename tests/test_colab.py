"""The notebook for Colab: small, in a fresh kernel and a folder of its own; its first cell, on a Colab of straw; and
what it shows."""
import ast
import re
import sys
from configparser import ConfigParser

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from conftest import ROOT
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.generator import DigitGenerator
from mnist_vae.model import HIDDEN, LATENT_DIM
from mnist_vae.recipe import RECIPES

PATH = ROOT / 'nbs' / '00_start_here.ipynb'
CELLS = {cell.id: cell for cell in nbformat.read(PATH, as_version=4).cells}
SMALL = dict(N_IMAGES=4000, AE_EPOCHS=1, EPOCHS=12, BATCH_SIZE=32, N_GAUSSIANS=2, N_SAMPLES=20, JUDGE_EPOCHS=2)

# What Colab ships, by the names that are imported: `pip list` there, less what nothing here needs.
COLAB = {
    'IPython',
    'PIL',
    'google',
    'ipywidgets',
    'matplotlib',
    'numpy',
    'platformdirs',
    'sklearn',
    'torch',
    'torchvision',
    'tqdm',
}
NOT_ON_COLAB = {'nbdev', 'fastcore', 'execnb'}  # fastcore is there, but newer than nbdev's
OPTIONAL = {'pillow_heif'}  # whoever reads a HEIC without it is told to install it


def settings() -> dict:
    config = ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']


def run(cells, folder):
    "Run these cells in a fresh kernel that works in `folder`. Returns them, with their outputs."
    nb = nbformat.v4.new_notebook(
        cells=[nbformat.from_dict(cell | dict(outputs=[])) if cell.cell_type == 'code' else cell for cell in cells]
    )
    NotebookClient(nb, timeout=900, kernel_name='python3', resources=dict(metadata=dict(path=str(folder)))).execute()
    return nb.cells


def text(cell) -> str:
    return ''.join(out.text for out in cell.outputs if out.output_type == 'stream' and out.name == 'stdout')


def imports(source) -> set[str]:
    "The packages that Python source imports anywhere in it; lines of IPython magic are left out."
    nodes = list(ast.walk(ast.parse(re.sub(r'(?m)^(\s*)%.*$', r'\1pass', source))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split('.')[0] for name in names}


@pytest.fixture(scope='module')
def straw(tmp_path_factory):
    "A folder for PYTHONPATH whose pip notes what it was asked for instead of doing it."
    folder = tmp_path_factory.mktemp('straw')
    (folder / 'pip').mkdir()
    (folder / 'pip' / '__init__.py').touch()
    (folder / 'pip' / '__main__.py').write_text(
        f'import sys\nopen({str(folder / "asked")!r}, "a").write(" ".join(sys.argv[1:]) + "\\n")\n'
    )
    return folder


@pytest.fixture(scope='module')
def small_run(straw, tmp_path_factory):
    """The whole notebook with small hyperparameters: its folder, its cells, and the names of all modules that its
    kernel loaded."""
    from conftest import CI, why_no_mnist
    if not CI and (reason := why_no_mnist()): pytest.skip(reason)
    cells = [cell.copy() for cell in CELLS.values()]
    hyper = next(cell for cell in cells if cell.id == 'hyperparameters')
    for name, value in SMALL.items():
        hyper.source, n = re.subn(rf'(?m)^{name} = \S+', f'{name} = {value}', hyper.source)
        assert n == 1, f'{name} is not a hyperparameter of the notebook'
    folder = tmp_path_factory.mktemp('small')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', f'{straw}:{ROOT}')
        ran = run(cells + [nbformat.v4.new_code_cell('import sys\nprint(*sys.modules)', id='modules')], folder)
    ran = {cell.id: cell for cell in ran}
    return folder, ran, text(ran['modules']).split()


def test_runs_small_and_saves_a_generator(small_run):
    folder, cells, _ = small_run
    assert [path.name for path in folder.iterdir()] == ['mnist_vae.pth']
    config = load_checkpoint(folder / 'mnist_vae.pth')[1]['config']
    assert (config['epochs'], config['batch_size'], config['n_components']) == (12, 32, 2)
    digits = torch.arange(10).repeat(10)
    images = DigitGenerator.load(folder / 'mnist_vae.pth').sample(digits, seed=0)
    assert images.shape == (100, 28, 28) and 0 <= images.min() and images.max() <= 1
    reader = DigitGenerator.load()  # the weights that ship read what the small ones drew
    share = sum(reader.read(image) == d for image, d in zip(images, digits)) / 100
    assert share > .6, f'only {share:.0%} of the digits are the ones that were asked for'


def test_progress_stays_in_place(small_run):
    _, cells, _ = small_run
    pictures = [out for out in cells['train'].outputs if 'image/png' in out.get('data', {})]
    assert len(pictures) == 1 and len(cells['train'].outputs) <= 3, 'one bar, one picture, one line for all epochs'


def test_imports_nothing_that_colab_lacks(small_run):
    _, cells, modules = small_run
    assert not NOT_ON_COLAB & {name.split('.')[0] for name in modules}
    ours = [ROOT / (name.replace('.', '/') + '.py') for name in modules if name.startswith('mnist_vae.')]
    assert ROOT / 'mnist_vae' / 'metrics.py' in ours
    sources = [cell.source for cell in CELLS.values() if cell.cell_type == 'code'] + [path.read_text() for path in ours]
    needed = set().union(*map(imports, sources)) - sys.stdlib_module_names - OPTIONAL
    assert 'mnist_vae' in needed and needed - {'mnist_vae'} <= COLAB, (
        f'{needed - COLAB} must be installed by the first cell'
    )


def test_installs_nothing_elsewhere(small_run, straw):
    _, cells, _ = small_run
    assert cells['install'].outputs == cells['download'].outputs == []
    assert not (straw / 'asked').exists()


def test_installs_the_package_alone_on_colab(straw, tmp_path, monkeypatch):
    colab = tmp_path / 'python' / 'google' / 'colab'
    colab.mkdir(parents=True)
    (colab.parent / '__init__.py').touch()
    (colab / '__init__.py').touch()
    (colab / 'files.py').write_text('def download(path): print("downloads", path)\n')
    monkeypatch.setenv('PYTHONPATH', f'{straw}:{colab.parent.parent}')
    code = [cell for cell in CELLS.values() if cell.cell_type == 'code']
    assert code[0].id == 'install'
    cells = {
        cell.id: cell for cell in run([CELLS[name] for name in ('install', 'hyperparameters', 'download')], tmp_path)
    }
    url = settings()['git_url']
    assert (straw / 'asked').read_text().splitlines() == [
        f'install -q --no-deps git+{url}'
    ]  # neither torch nor anything else
    assert text(cells['download']) == 'downloads mnist_vae.pth\n'
    (straw / 'asked').unlink()


def test_opens_on_colab_with_a_gpu():
    nb, config = nbformat.read(PATH, as_version=4), settings()
    assert nb.metadata.accelerator == 'GPU' and nb.metadata.colab.gpuType == 'T4' and 'widgets' not in nb.metadata
    here = f'{config["user"]}/{config["repo"]}/blob/{config["branch"]}/nbs'
    assert f'(https://colab.research.google.com/github/{here}/{PATH.name})' in nb.cells[0].source
    links = re.findall(r'\(https://github.com/([^)]+\.ipynb)\)', '\n'.join(cell.source for cell in nb.cells))
    assert links and all(link.startswith(here) and (PATH.parent / link.split('/')[-1]).exists() for link in links)


def test_shows_the_whole_run():
    hyper = {}
    exec(CELLS['hyperparameters'].source, hyper)
    assert (hyper['N_IMAGES'], hyper['LATENT_DIM'], hyper['HIDDEN']) == (60_000, LATENT_DIM, HIDDEN)
    plain = RECIPES['plain']
    assert [hyper[name] for name in ('EPOCHS', 'BATCH_SIZE', 'LR', 'KL_WEIGHT', 'N_GAUSSIANS')] == \
        [plain.epochs, plain.batch_size, plain.lr, plain.kl_weight, plain.n_components]
    code = [cell for cell in CELLS.values() if cell.cell_type == 'code']
    outputs = [out for cell in code for out in cell.outputs]
    assert not any('application/vnd.jupyter.widget-view+json' in out.get('data', {}) for out in outputs), (
        'a bar without its kernel is an error message'
    )
    assert all(out.metadata['image/png'].get('alt') for out in outputs if 'image/png' in out.get('data', {}))
    # The text says that a quarter is wrong, and that the class priors mend it. So do the figures above and below it.
    assert text(CELLS['train']).startswith('50 epochs;')
    right = float(re.search(r'right digits from N\(0, I\): ([\d.]+)% of 10,000', text(CELLS['judge']))[1])
    mended = float(re.search(r'(?m)^40 Gaussians a digit +([\d.]+)% right', text(CELLS['prior']))[1])
    accuracy = float(re.search(r'reads ([\d.]+)% of the real', text(CELLS['judge']))[1])
    assert 70 < right < 80 and mended > 97.5 and accuracy >= 99.5
