"""A run that is stopped, by whatever, goes on and ends in the same bits; and what cannot end well does not begin."""
import errno
import json
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from unittest.mock import patch

import pytest
import torch

from conftest import ROOT
from mnist_vae.cli import main
from mnist_vae.generator import DigitGenerator
from mnist_vae.recipe import Recipe, fit, open_fit_state
from mnist_vae.training import StateFile, load_state, save_state, train

TINY = Recipe(epochs=1, batch_size=100, n_components=2, refine_epochs=1)


def same(a, b) -> bool:
    "Whether two nested results are equal to the last bit."
    if isinstance(a, torch.Tensor): return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)): return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope='module')
def data():
    labels = torch.arange(10).repeat(60)
    return (DigitGenerator.load().sample(labels, seed=0) * 255).byte(), labels


@pytest.fixture(autouse=True)
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bits(tmp_path, data):
    torch.save(data, tmp_path / 'data.pt')
    env = os.environ | dict(OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    program = subprocess.run([sys.executable, ROOT / 'tests' / 'killed_run.py', tmp_path, '1'], check=True,
                             capture_output=True, text=True, env=env)
    told = json.loads(program.stdout)
    print(told)
    stages = Counter(kill['place'].partition(',')[0] for kill in told['kills'])
    assert len(told['kills']) >= 20 and stages.keys() == {'', 'networks', 'priors', 'reader', 'refinement', 'reading'}
    assert any(kill['in_write'] for kill in told['kills'])
    assert all(kill['lost'] <= 0 for kill in told['kills']), 'what was kept is not lost'
    assert len(told['places']) == 1 + 2 + 10 + 12 + 2 + 2, 'each epoch of each stage is kept'
    whole = torch.load(tmp_path / 'undisturbed.pt')
    for i in range(told['runs']): assert same(torch.load(tmp_path / f'killed{i}.pt'), whole)
    runs = ['undisturbed', *(f'killed{i}' for i in range(told['runs']))]
    names = {'data.pt', 'other.state'} | {f'{run}.{end}' for run in runs for end in ('pt', 'json')}
    assert set(told['left']) == names, 'no temporary file stays'


@pytest.fixture
def command(tmp_path, data, monkeypatch):
    "Run `mnist-vae train` on the small data set: its exit status."
    splits = dict(train=data, test=(data[0][:50], data[1][:50]))
    monkeypatch.setattr('mnist_vae.data.load_mnist', lambda split, root=None: splits[split])

    def run(*options, out=tmp_path / 'mine.pth'):
        return main(['train', '--out', str(out), '--recipe', 'plain', '--epochs', '2', '--components', '1',
                     '--device', 'cpu', '--quiet', *map(str, options)])
    return run


def stop_at(place, error, seen=None):
    "A stand-in for `save_state` that keeps the state `place` and then raises `error`."
    def save_and_stop(state, path):
        save_state(state, path)
        if seen is not None: seen.append(state['place'])
        if state['place'] == place: raise error
    return patch('mnist_vae.training.save_state', save_and_stop)


@pytest.mark.slow
def test_command_goes_on_where_it_was_stopped(command, tmp_path, capsys):
    with stop_at('networks, epoch 1 of 2', KeyboardInterrupt): assert command() == 130
    state = tmp_path / 'mine.pth.state'
    assert capsys.readouterr().err == f'mnist-vae: stopped: the same command goes on from {state}\n'
    assert [p.name for p in tmp_path.iterdir()] == ['mine.pth.state']

    seen = []
    with stop_at('priors, digit 3 of 10', KeyboardInterrupt, seen): assert command() == 130
    assert f'{state}: going on after networks, epoch 1 of 2\n' in capsys.readouterr().out
    assert seen == ['networks, epoch 2 of 2'] + [f'priors, digit {d} of 10' for d in (1, 2, 3)]
    assert command() == 0
    assert f'{state}: going on after priors, digit 3 of 10\n' in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ['mine.pth'], 'the state goes when the result is there'

    assert command(out=tmp_path / 'whole.pth') == 0
    a, b = (torch.load(tmp_path / name, weights_only=True) for name in ('mine.pth', 'whole.pth'))
    assert same(a['state_dict'], b['state_dict']) and same(a['prior'], b['prior'])


def test_ctrl_c_before_anything_is_kept(command, capsys):
    with patch('mnist_vae.training._Run.epoch', side_effect=KeyboardInterrupt): assert command() == 130
    assert capsys.readouterr().err == 'mnist-vae: stopped: nothing was kept yet, the same command starts anew\n'


def test_other_settings_are_refused_by_name_and_restart_begins_anew(command, tmp_path, capsys, data, monkeypatch):
    with stop_at('networks, epoch 1 of 2', KeyboardInterrupt): command()
    kept = (tmp_path / 'mine.pth.state').read_bytes()
    capsys.readouterr()
    for options, was, now in ((('--seed', 1), 'seed=0', 'seed=1'),
                              (('--refine-epochs', 1), 'refine_epochs=0', 'refine_epochs=1')):
        assert command(*options) == 1
        error = capsys.readouterr().err
        assert f'mine.pth.state is the state of a run with {was}, not {now}: use the same' in error
        assert error.count('\n') == 1
    with patch('mnist_vae.training.versions', lambda: dict(torch='1.0')):
        assert command() == 1 and 'not torch=1.0, ' in capsys.readouterr().err
    with patch('sklearn.__version__', '0.1'):
        assert command() == 1 and 'not scikit_learn=0.1' in capsys.readouterr().err
    monkeypatch.setattr('mnist_vae.data.load_mnist', lambda split, root=None: (255 - data[0], data[1]))
    assert command() == 1 and 'images=' in capsys.readouterr().err
    assert (tmp_path / 'mine.pth.state').read_bytes() == kept, 'none of them touches it'

    seen = []
    with stop_at(None, None, seen): assert command('--restart', '--seed', 1) == 0
    assert seen[0] == 'networks, epoch 1 of 2' and 'going on' not in capsys.readouterr().out


def test_nothing_begins_that_cannot_end(command, tmp_path, capsys, monkeypatch):
    "Each of these is told in one line before the networks are trained, and leaves nothing behind."
    (tmp_path / 'file').write_bytes(b'')
    (folder := tmp_path / 'folder').mkdir()
    trains = patch('mnist_vae.training._Run.epoch', side_effect=AssertionError('it trains'))

    def refused(*options, status=1, **where):
        with trains: assert command(*options, **where) == status
        error = capsys.readouterr().err
        assert error.count('\n') == 1 and '[Errno' not in error and not list(folder.iterdir())
        return error
    assert 'there is no folder' in refused(out=tmp_path / 'no' / 'mine.pth')
    assert 'there is no folder' in refused(out=tmp_path / 'file' / 'mine.pth')
    assert '--out: ' in (error := refused(out=folder)) and 'is a folder: name a file' in error
    assert '--out: / is a folder: name a file' in refused(out='/')
    assert 'is not a file' in refused(out='/dev/null')
    assert 'File name too long' in refused(out=folder / ('x' * 240))
    (tmp_path / 'file').chmod(0o444)
    assert 'is read-only' in refused(out=tmp_path / 'file')
    few = type('usage', (), dict(free=1000))
    with patch('shutil.disk_usage', return_value=few):
        needed = -(-Recipe(n_components=1).room() // 10**6)
        assert f'No space left on device ({needed} MB are needed)' in refused(out=folder / 'x')
    with patch('os.posix_fallocate', side_effect=OSError(errno.EDQUOT, 'Disk quota exceeded')):
        assert 'x cannot be written: Disk quota exceeded' in refused(out=folder / 'x')
    assert '--refine-leave-out: there is no refinement' in refused('--refine-leave-out', .1, status=2)
    assert '--device: meta cannot be used here' in refused('--device', 'meta')
    assert 'digit 0 has 60 latents, 100 Gaussians need at least 120' in refused('--components', 100)

    def no_test_set(split, root=None):
        if split == 'test': raise RuntimeError('the test images are not there')
        return torch.zeros(200, 28, 28, dtype=torch.uint8), torch.arange(10).repeat(20)
    monkeypatch.setattr('mnist_vae.data.load_mnist', no_test_set)
    assert 'the test images are not there' in refused()


def test_a_full_disk_is_told_in_one_line_and_the_last_state_stays(command, tmp_path, capsys):
    state = tmp_path / 'mine.pth.state'
    with stop_at('networks, epoch 1 of 2', KeyboardInterrupt): command()
    before, limits = state.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    with patch('mnist_vae.files.check_room'):                         # there was room when it began
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1000, limits[1]))
            assert command() == 1
        finally: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert error == (f'mnist-vae: {state} could not be written, and stays as it was: File too large; '
                     'the same call goes on from there\n')
    assert state.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['mine.pth.state']
    assert command() == 0 and [p.name for p in tmp_path.iterdir()] == ['mine.pth']


def test_the_result_that_cannot_be_written_is_not_lost(command, tmp_path, capsys):
    full = OSError(errno.ENOSPC, 'mine.pth cannot be written: No space left on device')
    with patch('mnist_vae.recipe.save_checkpoint', side_effect=full): assert command() == 1
    assert 'No space left' in capsys.readouterr().err and (tmp_path / 'mine.pth.state').exists()
    with patch('mnist_vae.training._Run.epoch', side_effect=AssertionError('it trains')): assert command() == 0


def test_a_lost_folder_is_told_in_one_line(command, tmp_path, capsys):
    (folder := tmp_path / 'folder').mkdir()

    def lose(state, path):
        folder.rmdir()
        save_state(state, path)
    with patch('mnist_vae.training.save_state', lose): assert command(out=folder / 'mine.pth') == 1
    assert capsys.readouterr().err == f'mnist-vae: there is no folder {folder}: make it, or name another file\n'


def test_a_damaged_state_is_refused(tmp_path, data):
    "Of 300 with a flipped bit, a cut or an insertion, each is refused or holds all that it held before."
    path, rng = tmp_path / 'run.state', random.Random(0)
    state = StateFile(path, dict(epochs=1))
    state.kept('networks')
    state.keep('networks', dict(weights=torch.arange(2000.)), 'networks, epoch 1 of 1')
    whole, kept, refused = path.read_bytes(), load_state(path), 0
    for kind in range(300):
        content, i = bytearray(whole), rng.randrange(len(whole))
        if kind % 3 == 0: content[i] ^= 1 << rng.randrange(8)
        elif kind % 3 == 1: del content[i:i + rng.choice((1, 100, len(whole)))]
        else: content[i:i] = rng.randbytes(rng.choice((1, 100)))
        path.write_bytes(content)
        try: assert same(load_state(path), kept)
        except ValueError as e:
            refused += 1
            assert 'is damaged' in str(e) and 'delete it to start anew' in str(e)
    assert refused > 250, 'the rest are in the padding between the parts of the file'


@pytest.mark.slow
def test_room_is_enough_for_a_real_run(tmp_path, data):
    "The state of the last stage, twice, and the result take less than is asked for."
    path, seen = tmp_path / 'run.state', []

    def save_and_weigh(state, path):
        save_state(state, path)
        seen.append(path.stat().st_size)
    with patch('mnist_vae.training.save_state', save_and_weigh):
        made = fit(*data, TINY, device='cpu', resume=path, progress=False)
    made.save(tmp_path / 'made.pth')
    assert 2 * max(seen) + (tmp_path / 'made.pth').stat().st_size < TINY.room() < 200e6
    assert open_fit_state(path, *data, TINY, device='cpu').place == 'refinement, epoch 1 of 1'


@pytest.mark.slow
def test_networks_that_are_given_are_not_trained_again(data):
    networks = train(*data, **TINY.for_training(), device='cpu', progress=False)
    before = [p.clone() for p in networks[0].parameters()]
    with patch('mnist_vae.recipe.train', side_effect=AssertionError('it trains')):
        made = fit(*data, TINY, networks=networks, device='cpu', progress=False)
    assert same(before, list(networks[0].parameters())), 'refinement changes a copy'
    assert same(made.model.state_dict(), fit(*data, TINY, device='cpu', progress=False).model.state_dict())
