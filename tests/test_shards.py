"""Data sets in files: the libraries they are for read them; processes, crashes and disks do not change a byte."""
import gc
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml

from conftest import CI, ROOT
from mnist_vae.cli import main
from mnist_vae.export import to_bytes
from mnist_vae.formats import FORMATS
from mnist_vae.generator import DigitGenerator
from mnist_vae.morphology import measure
from mnist_vae.sets import read_labelled
from mnist_vae.shards import write_dataset

N, SHARD, SEED = 60, 10, 3
TEST_SEED = SEED + 2**31


def library(name):
    "A module that a test reads a set with; in CI it must be there."
    return importlib.import_module(name) if CI else pytest.importorskip(name)


def tree(folder: Path) -> dict[str, str]:
    "Hash of each file below a folder."
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*')) if path.is_file()
    }


@pytest.fixture(scope='module')
def drawn():
    "Images that the generator draws at once, uint8, and their labels, by split."
    gen, labels = DigitGenerator.load(), torch.arange(N) % 10
    return {split: (to_bytes(gen.sample(labels, seed=seed)).numpy(), labels.numpy())
            for split, seed in (('train', SEED), ('test', TEST_SEED))}


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    "A folder with a set in each format, both splits."
    folder = tmp_path_factory.mktemp('sets')
    for format in FORMATS:
        for split in 'train', 'test': write_dataset(folder / format, N, SEED, format, split, shard=SHARD)
    return folder


# --- the libraries ---

@pytest.mark.parametrize('split', ['train', 'test'])
def test_torchvision_reads_idx(sets, drawn, split):
    from torchvision.datasets import MNIST
    read = MNIST(sets / 'idx', train=split == 'train', download=False)
    images, labels = drawn[split]
    assert (read.data.numpy() == images).all() and (read.targets.numpy() == labels).all()


def test_idx2numpy_reads_packed_idx_like_the_official_files(tmp_path, drawn):
    import gzip

    import idx2numpy
    write_dataset(tmp_path, N, SEED, gzip=True, shard=SHARD)
    folder = tmp_path / 'MNIST' / 'raw'
    assert sorted(path.name for path in folder.iterdir()) == [
        'train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz']
    for path, expected in zip(sorted(folder.iterdir()), drawn['train']):
        with gzip.open(path) as file: assert (idx2numpy.convert_from_file(file) == expected).all()


def test_numpy_reads_the_arrays_of_keras(sets, drawn):
    with np.load(sets / 'npz' / 'mnist.npz') as arrays:
        for split, (images, labels) in drawn.items():
            assert (arrays[f'x_{split}'] == images).all() and (arrays[f'y_{split}'] == labels).all()
        assert arrays['x_train'].dtype == arrays['y_train'].dtype == np.uint8


def test_torchvision_reads_class_folders(sets, drawn):
    from torchvision.datasets import ImageFolder
    images, labels = drawn['test']
    read = ImageFolder(sets / 'png' / 'test')
    assert len(read) == N and read.classes == [str(digit) for digit in range(10)]
    for (picture, label), (path, _) in zip(read, read.samples):
        i = int(Path(path).stem)
        assert label == labels[i] and (np.asarray(picture.convert('L')) == images[i]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')                # of libraries about one another
@pytest.mark.parametrize('format', ['parquet', 'webdataset', 'png'])
def test_datasets_reads_a_folder_by_its_card(sets, drawn, tmp_path, monkeypatch, format):
    for name in 'HF_HUB_OFFLINE', 'HF_DATASETS_OFFLINE': monkeypatch.setenv(name, '1')
    datasets = library('datasets')
    read = datasets.load_dataset(str(sets / format), cache_dir=str(tmp_path))
    assert set(read) == {'train', 'test'}
    for split, (images, labels) in drawn.items():
        rows = read[split]
        assert len(rows) == N
        for i, row in enumerate(rows):
            if format == 'png': i = int(Path(row['image'].filename).stem)
            picture, label = (row['png'], row['cls']) if format == 'webdataset' else (row['image'], row['label'])
            assert (np.asarray(picture.convert('L')) == images[i]).all() and label == labels[i]
    if format == 'parquet':
        features = read['train'].features
        assert isinstance(features['image'], datasets.Image) and features['label'].names == list('0123456789')


@pytest.mark.filterwarnings('ignore')
def test_webdataset_streams_tar_files(sets, drawn):
    webdataset = library('webdataset')
    pattern = str(sets / 'webdataset' / 'train-{00000..00005}-of-00006.tar')
    read = list(webdataset.WebDataset(pattern, shardshuffle=False).decode('l8').to_tuple('png', 'cls'))
    images, labels = drawn['train']
    assert len(read) == N
    assert all((image == images[i]).all() and label == labels[i] for i, (image, label) in enumerate(read))


# --- traits ---

@pytest.fixture(scope='module')
def measured(drawn):
    "What is known of the training images by their pixels."
    return measure(torch.from_numpy(drawn['train'][0]))


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_traits_are_columns_for_datasets(measured, tmp_path, monkeypatch):
    for name in 'HF_HUB_OFFLINE', 'HF_DATASETS_OFFLINE': monkeypatch.setenv(name, '1')
    folder = tmp_path / 'set'
    argv = ['dataset', str(folder), '-n', '60', '--seed', '3', '--format', 'parquet', '--traits', '--shard', '10']
    assert main(argv) == 0
    card = (folder / 'README.md').read_text()
    assert '--format parquet --split train --traits' in card and '## Traits' in card
    rows = library('datasets').load_dataset(str(folder), cache_dir=str(tmp_path / 'cache'))['train']
    for name, values in measured.items(): assert rows[name] == values.tolist()
    assert len(rows[0]['latent']) == 20 and rows[0]['label'] == 0
    rare, usual = np.argsort(rows['log_density'])[[0, -1]]
    prior = DigitGenerator.load()._prior
    z = torch.tensor(rows['latent'][:], dtype=torch.float64)
    exact = prior.log_prob(z, torch.tensor(rows['label'][:]))
    assert torch.allclose(exact, torch.tensor(rows['log_density'][:]).double(), atol=1e-3)
    assert exact[rare] < exact[usual]


@pytest.mark.filterwarnings('ignore')
def test_traits_lie_beside_pictures_in_tar_files(measured, tmp_path):
    write_dataset(tmp_path, N, SEED, 'webdataset', traits=True)
    pattern = str(tmp_path / 'train-00000-of-00001.tar')
    rows = [row for row, in library('webdataset').WebDataset(pattern, shardshuffle=False).decode().to_tuple('json')]
    assert (np.float32([row['slant'] for row in rows]) == measured['slant'].numpy()).all()
    assert len(rows[7]['latent']) == 20


@pytest.mark.slow
@pytest.mark.parametrize('format', ['idx', 'npz', 'png'])
def test_traits_do_not_depend_on_who_makes_which_shard(measured, tmp_path, format):
    "Nor on a disk that is full meanwhile; and they do not hide the images."
    options = dict(seed=SEED, format=format, traits=True)
    write_dataset(tmp_path / 'whole', N, shard=SHARD, **options)
    with patch('os.fsync', side_effect=[None] * 9 + [OSError(28, 'No space left on device')]):
        with pytest.raises(OSError, match='shards that are finished stay'):
            write_dataset(tmp_path / 'parts', N, shard=SHARD, **options)
    for rank in 1, 0: write_dataset(tmp_path / 'parts', N, shard=SHARD, rank=rank, world=2, **options)
    assert tree(tmp_path / 'parts') == tree(tmp_path / 'whole')
    write_dataset(tmp_path / 'whole', N, split='test', shard=SHARD, **options)
    assert len(read_labelled(tmp_path / 'whole', split='train').images) == N
    if format == 'npz':
        with np.load(tmp_path / 'whole' / 'mnist.npz') as arrays:
            assert arrays['x_train'].shape == arrays['x_test'].shape == (N, 28, 28) and 'slant_test' in arrays.files
            assert (arrays['slant_train'] == measured['slant'].numpy()).all()
        return
    table = np.genfromtxt(tmp_path / 'whole' / 'train.csv', delimiter=',', names=True, dtype=None, encoding=None)
    assert (table['slant'].astype(np.float32) == measured['slant'].numpy()).all()
    assert (table['label'] == np.arange(N) % 10).all() and (tmp_path / 'whole' / 'test.csv').exists()
    if format == 'png': assert all((tmp_path / 'whole' / file).exists() for file in table['file_name'])


# --- the card and the manifest ---

@pytest.mark.parametrize('format', FORMATS)
def test_the_card_says_how_to_make_the_set_again(sets, tmp_path, format, capsys):
    card = (sets / format / 'README.md').read_text()
    facts = yaml.safe_load(card.split('---')[1])
    assert facts['license'] == 'apache-2.0' and facts['size_categories'] == ['n<1K']
    manifest = json.loads((sets / format / 'manifest.json').read_text())
    assert manifest['weights'] in card and '| consistency | worst_digit | fid |' in card
    commands = [line for line in card.splitlines() if line.startswith('mnist-vae dataset DIR')]
    assert len(commands) == 2
    for command in commands:
        assert main([str(tmp_path) if word == 'DIR' else word for word in command.split()[1:]]) == 0
    assert capsys.readouterr() == ('', '')
    assert tree(tmp_path) == tree(sets / format)


def test_the_manifest_has_hashes_of_pixels_and_files(sets, drawn):
    manifest = json.loads((sets / 'parquet' / 'manifest.json').read_text())
    images, _ = drawn['test']
    shards = manifest['splits']['test']['shards']
    assert [shard['pixels'] for shard in shards] == [
        hashlib.sha256(images[shard['start']:shard['stop']].tobytes()).hexdigest() for shard in shards]
    hashes = tree(sets / 'parquet')
    assert {name: facts['sha256'] for name, facts in manifest['files'].items()} == {
        name: sha for name, sha in hashes.items() if name.endswith('.parquet')}
    others = [json.loads((sets / format / 'manifest.json').read_text())['splits'] for format in FORMATS]
    assert len({json.dumps([split['content'] for split in splits.values()]) for splits in others}) == 1


# --- processes ---

WORKERS = '''import os, signal, sys
from mnist_vae.shards import write_dataset

made = []
def count(n):
    "Two shards are always left to the other process: with the fifth that is made, it has made one of them."
    made.append(n)
    if sum(made) == 50: os.kill(os.getpid(), signal.SIGKILL)

if __name__ == '__main__': write_dataset(sys.argv[1], 60, 3, 'npz', shard=10, workers=2, count=count)
'''


@pytest.mark.slow
def test_two_workers_write_the_bytes_of_one_and_end_with_the_process_that_is_killed(sets, tmp_path):
    "Its output ends when the last process that could write to it has ended."
    (tmp_path / 'program.py').write_text(WORKERS)
    command = [sys.executable, str(tmp_path / 'program.py'), str(tmp_path / 'set')]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    assert len(list(tmp_path.glob('set/.unfinished-train/0*.json'))) >= 5
    for split in 'train', 'test': write_dataset(tmp_path / 'set', N, SEED, 'npz', split, shard=SHARD)
    assert tree(tmp_path / 'set') == tree(sets / 'npz')


@pytest.mark.slow
def test_torchrun_shares_the_shards(sets, tmp_path):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m',
               'mnist_vae', 'dataset', str(tmp_path), '--seed', '3', '--format', 'parquet', '--shard', '10']
    subprocess.run([*command, '-n', '60'], check=True, cwd=ROOT, timeout=300)
    assert not list(tmp_path.glob('.unfinished*'))
    write_dataset(tmp_path, N, SEED, 'parquet', 'test', shard=SHARD)
    assert tree(tmp_path) == tree(sets / 'parquet')


@pytest.mark.parametrize('order', [(0, 1, 2), (2, 0, 1)])
def test_ranks_need_not_know_of_each_other(sets, tmp_path, order):
    "The last one finishes; a rank that comes again has nothing to do."
    for split in 'train', 'test':
        options = dict(format='idx', split=split, shard=SHARD, world=3)
        made = [write_dataset(tmp_path, N, SEED, rank=rank, **options) for rank in (*order, order[0])]
        assert made == [None, None, tmp_path / 'manifest.json', tmp_path / 'manifest.json']
    assert tree(tmp_path) == tree(sets / 'idx')


# --- kill -9 ---

KILLS = '''import os, random, shutil, signal, sys
from pathlib import Path
from mnist_vae.formats import FORMATS
from mnist_vae.shards import write_dataset

class Lines:
    "Counts the lines of the package that are run, and kills the process at one of them."
    def __init__(self, last=None): self.n, self.last = 0, last
    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.endswith(('shards.py', 'formats.py')): return None
        self.n += event == 'line'
        if self.n == self.last: os.kill(os.getpid(), signal.SIGKILL)
        return self

def write(folder, lines):
    sys.settrace(lines)
    write_dataset(folder, 60, 3, format, shard=10)
    sys.settrace(None)

chance = random.Random(0)
for format in FORMATS:
    write('whole', whole := Lines())
    shutil.rmtree('whole')
    kills = rounds = 0
    while kills < 5:
        last = chance.randrange(1, whole.n // 2)
        if not (pid := os.fork()):
            write(format, Lines(last))
            os._exit(0)
        was_killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        kills += was_killed
        if not was_killed:
            os.rename(format, f'{format}-{rounds}')
            rounds += 1
    write(format, None)
    os.rename(format, f'{format}-{rounds}')
    print(format, kills, flush=True)
'''


@pytest.mark.slow
def test_killed_at_any_line_the_same_call_makes_what_is_missing(sets, tmp_path):
    "25 times in five formats: the files are those of a run that was not killed, and nothing else is left."
    run = subprocess.run([sys.executable, '-c', KILLS], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(ROOT)),
                         capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    assert [line.split() for line in run.stdout.splitlines()] == [[format, '5'] for format in FORMATS]
    for folder in tmp_path.iterdir():
        format = folder.name.partition('-')[0]
        write_dataset(folder, N, SEED, format, 'test', shard=SHARD)
        assert tree(folder) == tree(sets / format), folder.name


# --- what goes wrong ---

def test_a_full_disk_loses_nothing(sets, tmp_path, capsys):
    "At each place where a file arrives."
    argv = ['dataset', str(tmp_path / 'set'), '-n', '60', '--seed', '3', '--format', 'parquet', '--shard', '10']
    failures, really = 0, os.fsync
    for room in 2, 5, 1, 6, 2, 1, 0, 99:
        left = room

        def fsync(file):
            nonlocal left
            left -= 1
            if left < 0: raise OSError(28, 'No space left on device')
            really(file)
        with patch('os.fsync', fsync): status = main(argv)
        error = capsys.readouterr().err
        failures += status == 1 and 'No space left on device' in error and error.count('\n') == 1
        assert not list(tmp_path.rglob('*.part'))
    assert status == 0 and failures == 7
    write_dataset(tmp_path / 'set', N, SEED, 'parquet', 'test', shard=SHARD)
    assert tree(tmp_path / 'set') == tree(sets / 'parquet')


def test_too_little_room_is_noticed_before_anything_is_drawn(tmp_path, capsys):
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    with patch('shutil.disk_usage', lambda path: usage), patch('mnist_vae.shards.draw_bytes') as drawing:
        assert main(['dataset', str(tmp_path / 'new'), '--format', 'png']) == 1
    assert '252 MB on the disk, 1 are free' in capsys.readouterr().err
    assert not drawing.called and not list(tmp_path.iterdir())


def test_labels_from_a_file(tmp_path, capsys):
    labels = [3, 1, 4, 1, 5, 9]
    (tmp_path / 'text').write_text('3, 1, 4\n1 5 9\n')
    np.save(tmp_path / 'array.npy', np.array(labels, np.uint8))
    made = set()
    for name in 'text', 'array.npy':
        assert main(['dataset', str(tmp_path / f'set of {name}'), '--labels', str(tmp_path / name), '--gzip']) == 0
        folder = tmp_path / f'set of {name}' / 'MNIST' / 'raw'
        made.add(json.dumps(tree(folder)))
    labels_file = folder / 'train-labels-idx1-ubyte.gz'
    assert main(['dataset', str(tmp_path / 'again'), '--labels', str(labels_file), '--gzip']) == 0
    made.add(json.dumps(tree(tmp_path / 'again' / 'MNIST' / 'raw')))
    assert len(made) == 1


@pytest.mark.parametrize('argv, status, expected', [
    (['-n', '0'], 2, '--n must be a whole number from 1'),
    (['--seed', '-1'], 2, '--seed must be'),
    (['--shares', '1,x'], 2, '--shares must be ten numbers separated by commas'),
    (['--shares', '1,2'], 1, 'shares must be ten numbers'),
    (['--format', 'csv'], 2, "'csv' is not one of"),
    (['--gzip', '--format', 'png'], 2, '--gzip is for --format idx'),
    (['--workers', '0'], 2, '--workers must be'),
    (['--labels', 'words.txt'], 1, '--labels: words.txt must hold digits'),
    (['--labels', 'none.txt'], 1, 'none.txt'),
    (['--labels', 'words.txt', '--split', 'both'], 2, '--labels: not with'),
    (['--weights', 'words.txt'], 1, 'words.txt is damaged'),
])
def test_misuse_is_one_line_and_makes_no_folder(tmp_path, monkeypatch, capsys, argv, status, expected):
    monkeypatch.chdir(tmp_path)
    Path('words.txt').write_text('one two')
    assert main(['dataset', 'set', *argv]) == status
    error = capsys.readouterr().err
    assert expected in error and error.count('\n') == 1 and not Path('set').exists()
    assert gc.isenabled()                           # which is off while PyTorch is imported


# --- the how-to ---

@pytest.mark.slow
def test_dask_starts_the_shards_as_the_how_to_says():
    "Ray, which the same script runs, gives up where a busy computer needs more than 30 seconds to start it."
    library('dask.distributed')
    script = subprocess.run([sys.executable, 'scripts/launchers.py', 'dask'], cwd=ROOT, capture_output=True, text=True)
    assert script.returncode == 0, script.stderr
    assert script.stdout == 'dask: the 8 files of a single process, byte for byte\n'
