"""What an import brings along: whoever only draws digits waits for nothing that training, plotting or a dashboard
needs."""
import subprocess
import sys
from functools import cache

import pytest

from conftest import ROOT

# PyTorch itself loads torch.distributed and torch.optim, so what counts is what is loaded beyond `import torch`.
PROGRAM = '''import sys, torch
before = set(sys.modules)
import mnist_vae.{module}
print(*sorted(set(sys.modules) - before))'''
FOREIGN = {
    'torchvision',
    'matplotlib',
    'sklearn',
    'ipywidgets',
    'IPython',
    'streamlit',
    'tqdm',
    'scipy',
    'platformdirs',
    'typer',
    'rich',
    'click',
}
TRAINING = {
    'torch.distributed',
    'torch.optim',
    'mnist_vae.step',
    'mnist_vae.training',
    'mnist_vae.refine',
    'mnist_vae.recipe',
}


@cache
def loaded_by(module):
    "The modules that drawing with a module of the package loads, in a process of its own."
    run = subprocess.run(
        [sys.executable, '-c', PROGRAM.format(module=module)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize('module', ['checkpoint', 'generator'])
def test_drawing_loads_nothing_of_training(module):
    loaded = loaded_by(module)
    assert f'mnist_vae.{module}' in loaded
    assert [
        name
        for name in loaded
        if name.split('.')[0] in FOREIGN or any(f'{name}.'.startswith(f'{part}.') for part in TRAINING)
    ] == []


def test_reading_a_checkpoint_is_light():
    loaded = loaded_by('checkpoint')
    assert {name for name in loaded if name.startswith('mnist_vae')} == {
        'mnist_vae',
        *(f'mnist_vae.{m}' for m in ('checkpoint', 'data', 'files', 'model', 'prior', 'tone')),
    }
    assert len(loaded) < 40


@pytest.mark.parametrize('name', ['torch.distributed', 'torch.optim'])
def test_drawing_asks_torch_for_neither_processes_nor_an_optimiser(name):
    "The modules that `generator` loads do not import them by name either."
    modules = [loaded.split('.')[1] for loaded in loaded_by('generator') if loaded.startswith('mnist_vae.')]
    assert [
        module
        for module in modules
        if f'import {name}' in (source := (ROOT / f'mnist_vae/{module}.py').read_text()) or f'from {name}' in source
    ] == []
