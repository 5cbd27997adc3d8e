"""Training that two processes share is the training of one."""
import json
import os
import subprocess
import sys

import pytest
import torch

from conftest import ROOT
from mnist_vae.export import write_idx
from mnist_vae.generator import DigitGenerator
from mnist_vae.training import train

pytestmark = pytest.mark.slow

PROGRAM = '''import json, os, sys, torch
from mnist_vae.generator import DigitGenerator
from mnist_vae.training import train
torch.set_num_threads(1)
torch.distributed.init_process_group('gloo')
labels = torch.arange(10).repeat(130)
images = (DigitGenerator.load().sample(labels, seed=0) * 255).byte()
model, history = train(images, labels, epochs=3, batch_size=100, kl_weight=.2, cosine=True, ema=.9, device='cpu',
                       progress=False)
flat = torch.nn.utils.parameters_to_vector(model.parameters())
rank = torch.distributed.get_rank()
figures = dict(history=history, sum=flat.double().sum().item(), norm=flat.double().norm().item())
json.dump(figures, open(f'{sys.argv[1]}/{rank}.json', 'w'))
'''


def test_two_processes_train_as_one(tmp_path):
    program = tmp_path / 'program.py'
    program.write_text(PROGRAM)
    subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', program, tmp_path],
        check=True, timeout=300, env=os.environ | dict(OMP_NUM_THREADS='1'),
    )
    first, second = (json.loads((tmp_path / f'{rank}.json').read_text()) for rank in (0, 1))
    assert first['norm'] == second['norm'] and first['sum'] == second['sum'], 'both hold the same weights'

    labels = torch.arange(10).repeat(130)
    images = (DigitGenerator.load().sample(labels, seed=0) * 255).byte()
    model, history = train(
        images, labels, epochs=3, batch_size=100, kl_weight=0.2, cosine=True, ema=0.9, device='cpu', progress=False
    )
    for alone, shared in zip(history, first['history'], strict=True):
        for name in 'loss', 'bce', 'kl': assert abs(alone[name] - shared[name]) < 1e-3 * alone[name], (alone, shared)
    norm = torch.nn.utils.parameters_to_vector(model.parameters()).double().norm().item()
    assert abs(norm - first['norm']) < 1e-4 * norm


def test_command_under_torchrun_writes_one_checkpoint(tmp_path):
    "As `torchrun -m mnist_vae train`; of a set of its own, which both processes read, and one says so."
    labels = torch.arange(10).repeat(60)
    write_idx(tmp_path / 'set', DigitGenerator.load().sample(labels, seed=0), labels)
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m', 'mnist_vae',
        'train', '--recipe', 'plain', '--epochs', '1', '--components', '1', '--device', 'cpu', '--quiet',
        '--data', tmp_path / 'set', '--out', tmp_path / 'shared.pth',
    ]
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    out = subprocess.run(command, check=True, timeout=500, capture_output=True, text=True, env=env).stdout
    assert out.count('shared.pth: ') == out.count('600 training images') == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ['set', 'shared.pth']
    assert DigitGenerator.load(tmp_path / 'shared.pth').generate(3, seed=0).shape == (5, 28, 28)
