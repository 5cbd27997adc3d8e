"""The command, as people and programs use it: what it prints where, what it writes, how it fails."""
import gzip
import hashlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import zipfile
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import PIL.Image
import pytest
import torch

from conftest import ROOT
from mnist_vae.checkpoint import load_checkpoint
from mnist_vae.cli import app, main
from mnist_vae.export import png, to_bytes, write_idx
from mnist_vae.generator import DigitGenerator
from ports import free_port

sys.path.insert(0, str(ROOT / 'benchmarks'))
import visitors

COMMANDS = sorted(each.name or each.callback.__name__ for each in app.registered_commands)


@pytest.fixture(scope='module')
def gen(): return DigitGenerator.load()


@pytest.fixture(scope='module')
def small(gen):
    "600 images, a stand-in for a set that cannot be had here, and their labels."
    labels = torch.arange(10).repeat(60)
    return gen.sample(labels, seed=0), labels


@pytest.fixture
def run(capsys):
    "Run the command in this process: standard output and standard error."
    def run(*argv, status=0):
        capsys.readouterr()
        assert main([str(word) for word in argv]) == status, capsys.readouterr().err
        return capsys.readouterr()
    return run


# --- help ---

def test_help_has_an_example_and_loads_no_torch():
    "Of every command, in a process of its own."
    program = '''import sys
from mnist_vae.cli import app, main
for each in app.registered_commands:
    assert main([each.name or each.callback.__name__, '--help']) == 0
    print('=' * 9)
print(sorted({'torch', 'numpy', 'PIL', 'streamlit', 'mnist_vae.data', 'mnist_vae.files'} & sys.modules.keys()))'''
    run = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True)
    *helps, loaded = run.stdout.split('=' * 9)
    assert loaded.strip() == '[]'
    assert len(helps) == len(COMMANDS) and all('mnist-vae ' in text.partition('Examples:')[2] for text in helps)


def test_the_command_alone_shows_its_help_and_is_misuse(run):
    shown = run(status=2)
    assert all(f' {name} ' in shown.out for name in COMMANDS) and shown.err == ''


def test_completion_knows_the_commands_and_changes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    for name, value in dict(_MNIST_VAE_COMPLETE='complete_bash', COMP_WORDS='mnist-vae ', COMP_CWORD='1').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit): main([])
    assert sorted(capsys.readouterr().out.split()) == COMMANDS and not list(tmp_path.iterdir())


HOW_TOS = sorted(f'docs/how-to/{path.name}' for path in (ROOT / 'docs/how-to').iterdir())


@pytest.mark.parametrize('name', ['README.md', 'CONTRIBUTING.md', *HOW_TOS])
def test_what_the_papers_tell_to_type_exists(run, name):
    "Each command and each option, in blocks for the shell and in the text."
    text = (ROOT / name).read_text()
    typed = [words.split() for words in re.findall(r'(?:^|[|`&] ?)mnist-vae ([a-z]+(?: [^`\n|#&]*)?)', text, re.M)]
    for command, *words in typed:
        options = [word for word in words if word.startswith('-') and word != '-']
        if command in ('app', 'dashboard'): continue                 # what follows is Streamlit's and Voila's
        assert command in COMMANDS, f'{name}: mnist-vae {command}'
        known = run(command, '--help').out
        assert [option for option in options if option not in known] == [], f'{name}: mnist-vae {command}'
    if name in ('README.md', 'docs/how-to/use-the-command.md'): assert len(typed) > 8


# --- digits ---

def read_back(path):
    "What a library makes of a file: grey levels of one image (H, W), or of several (N, 28, 28)."
    if path.suffix == '.npz':
        with np.load(path) as arrays: return arrays['images']
    if path.suffix == '.zip':
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith('.png')]
            return np.stack([np.asarray(PIL.Image.open(io.BytesIO(archive.read(name)))) for name in names])
    with PIL.Image.open(path) as picture:
        if path.suffix == '.png': return np.asarray(picture.convert('L'))[::4, ::4]
        frames = []
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert('L'))[::4, ::4])
        return np.stack(frames)


def test_files_hold_what_the_generator_draws(run, gen, tmp_path):
    expected = to_bytes(gen.generate(7, n=3, seed=1)).numpy()
    for ending in 'npz', 'zip', 'gif', 'png', 'PNG':
        path = tmp_path / f'sevens.{ending}'
        assert run('generate', 7, '-n', 3, '--seed', 1, '-o', path) == ('', '')
        found = read_back(path.rename(path.with_suffix(f'.{ending.lower()}'))).astype(int)
        if found.ndim == 2: found = np.stack([found[:28, i:i + 28] for i in (0, 30, 60)])
        assert np.abs(found - expected).max() <= (8 if ending == 'gif' else 0), ending


def test_many_are_those_of_one_call(run, gen, tmp_path):
    "More than are decoded at a time."
    run('generate', 3, '-n', 5000, '--seed', 2, '--temperature', .5, '-o', tmp_path / 'threes.npz')
    expected = gen.sample(torch.full((5000,), 3), seed=2, temperature=.5)
    assert (read_back(tmp_path / 'threes.npz') == to_bytes(expected).numpy()).all()


def test_write_and_restyle_are_those_of_the_generator(run, gen, tmp_path):
    run('write', '2026', '--seed', 5, '-o', tmp_path / 'year.png')
    assert (read_back(tmp_path / 'year.png') == to_bytes(gen.write('2026', seed=5)).numpy()).all()
    run('write', '2026', '--seed', 5, '-o', tmp_path / 'year.npz')
    assert read_back(tmp_path / 'year.npz').shape == (4, 28, 28)

    seven = gen.generate(7, n=1, seed=1)[0]
    (tmp_path / 'photo.png').write_bytes(png(1 - seven, scale=8))           # dark on light
    run('restyle', tmp_path / 'photo.png', '--digit', 7, '-o', tmp_path / 'ten.npz')
    assert read_back(tmp_path / 'ten.npz').shape == (10, 28, 28)


def test_read_takes_files_and_standard_input(run, gen, tmp_path, monkeypatch):
    paths = []
    for digit in 3, 7:
        paths.append(tmp_path / f'{digit}.png')
        paths[-1].write_bytes(png(1 - gen.generate(digit, n=1, seed=1)[0], scale=8))
    assert run('read', paths[0]).out == '3\n'
    assert run('read', *paths).out == f'3\t{paths[0]}\n7\t{paths[1]}\n'
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO(paths[1].read_bytes())))
    assert run('read', '-').out == '7\n'
    monkeypatch.setattr('sys.stdin', SimpleNamespace(buffer=io.BytesIO()))
    assert 'standard input is empty' in run('read', '-', status=1).err


def test_a_photograph_may_be_larger_than_the_app_takes(run, gen, tmp_path):
    seven = PIL.Image.fromarray(to_bytes(1 - gen.generate(7, n=1, seed=1)[0]).numpy()).resize((2000, 2000))
    noise = np.random.default_rng(0).integers(0, 20, (2000, 2000, 3), dtype=np.uint8)
    pixels = np.asarray(seven.convert('RGB')) // 2 + 60 + noise
    PIL.Image.fromarray(pixels).save(tmp_path / 'photo.jpg', quality=100)
    assert (tmp_path / 'photo.jpg').stat().st_size > 2 * 2**20
    assert run('read', tmp_path / 'photo.jpg').out == '7\n'


def test_a_file_that_is_there_stays_whole_where_the_new_one_cannot_be_written(run, tmp_path):
    (path := tmp_path / 'sevens.png').write_bytes(b'mine')
    with patch('os.fsync', side_effect=OSError(28, 'No space left on device')):
        assert 'No space left on device' in run('generate', 7, '-o', path, status=1).err
    assert path.read_bytes() == b'mine' and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_svg_is_drawn_by_a_browser_as_png_is(run, browser, tmp_path):
    for ending in 'png', 'svg': run('generate', 7, '-n', 2, '--seed', 1, '-o', tmp_path / f'sevens.{ending}')
    expected = np.asarray(PIL.Image.open(tmp_path / 'sevens.png').convert('L')).astype(int)
    page = browser.new_page(viewport=dict(width=expected.shape[1], height=expected.shape[0]))
    page.goto((tmp_path / 'sevens.svg').as_uri())
    shown = np.asarray(PIL.Image.open(io.BytesIO(page.screenshot())).convert('L')).astype(int)
    assert np.abs(shown - expected).max() <= 1
    page.close()


def test_doubt_is_told_beside_the_digit(run, gen, tmp_path):
    line = torch.cat([gen.generate(d, 1, seed=3, temperature=.5)[0] for d in (4, 7, 2)], 1)
    blob = torch.zeros(40, 40)
    blob[10:30, 10:30] = 1
    for name, image in dict(number=line, blob=blob).items():
        (tmp_path / f'{name}.png').write_bytes(png(1 - torch.nn.functional.pad(image, [9] * 4), 6))
    out, err = run('read', tmp_path / 'number.png')
    assert (out, err) == ('472\n', '')
    out, err = run('read', tmp_path / 'number.png', tmp_path / 'blob.png')
    assert re.fullmatch(r'472\t\S*number.png\n\d\t\S*blob.png\n', out)
    assert re.fullmatch(r'\S*blob.png: it may show no digit\n', err)


# --- terminals, pipes, code pages ---

@pytest.mark.slow
def test_output_survives_code_pages_and_pipes(tmp_path):
    "In processes of their own, as `python -m mnist_vae`; neither bars nor remarks come along."
    for encoding, characters in {'cp1252': ' .:-=+*#%@\r\n', 'cp437': ' ▀▄█\r\n'}.items():
        env = os.environ | dict(PYTHONIOENCODING=encoding, PYTHONPATH=str(ROOT))
        command = [sys.executable, '-m', 'mnist_vae', 'generate', '7', '-n', '1']
        drawn = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
        text = drawn.stdout.decode(encoding)
        assert set(text) <= set(characters) and len(text.splitlines()) == 14 and drawn.stderr == b''


def test_a_card_is_not_lost_on_a_code_page(monkeypatch):
    "Its minus signs are printed as hyphens, and numbers stay what they are."
    stream = io.TextIOWrapper(io.BytesIO(), 'cp1252')
    monkeypatch.setattr('sys.stdout', stream)
    assert main(['info']) == 0
    stream.flush()
    text, written = stream.buffer.getvalue().decode('cp1252'), load_checkpoint(ROOT / 'mnist_vae.pth')[1]
    card = written['metrics']['quality']
    for name, (nats, error) in card['nll'].items(): assert f'-log p(x|y), {name}: {nats:.1f} ± {error:.1f}' in text
    assert written['sha256'] in text


def on_a_terminal(*argv, columns=60):
    "What the command prints on a terminal of its own, output and errors together."
    controller, terminal = pty.openpty()
    env = os.environ | dict(PYTHONPATH=str(ROOT), TERM='xterm-256color', COLORTERM='truecolor', COLUMNS=str(columns))
    for name in ('NO_COLOR', 'CI'): env.pop(name, None)
    process = subprocess.Popen([sys.executable, '-m', 'mnist_vae', *argv], stdin=terminal, stdout=terminal,
                               stderr=terminal, env=env)
    os.close(terminal)
    told = b''
    while select.select([controller], [], [], 120)[0]:
        try: part = os.read(controller, 2**16)
        except OSError: break               # the other end is closed
        if not part: break
        told += part
    os.close(controller)
    assert process.wait(60) == 0, told
    return told.decode()


@pytest.mark.slow
def test_a_terminal_gets_colours_and_the_seed_that_draws_it_again(run, gen, tmp_path):
    told = on_a_terminal('generate', '7', '-n', '2')
    seed = int(re.search(r'--seed (\d+) draws these again', told)[1])
    lines = [line for line in told.split('\r\n') if '\x1b[38;2;' in line]
    assert len(lines) == 14
    upper = [[int(tone) for tone, marks in re.findall(r'\x1b\[38;2;(\d+);\d+;\d+;48;[\d;]+m(▀+)', line) for _ in marks]
             for line in lines]
    expected = to_bytes(gen.generate(7, n=2, seed=seed))
    assert (np.array(upper)[:, :28] == expected[0, ::2].numpy()).all()
    assert (np.array(upper)[:, 30:] == expected[1, ::2].numpy()).all()


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(tmp_path):
    "As in `mnist-vae generate 7 | head -1`, while much is written and when little is written at the end."
    reader, writer = os.pipe()
    os.close(reader)
    for n in '1', '4000':
        command = [sys.executable, '-m', 'mnist_vae', 'generate', '7', '-n', n]
        done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (1, ''), n
    os.close(writer)


def test_ctrl_c_is_one_line(run):
    with patch('mnist_vae.generator.DigitGenerator.draw', side_effect=KeyboardInterrupt):
        assert run('generate', 7, status=130).err == 'mnist-vae: stopped\n'


# --- labelled sets ---

def parquet(path, images, labels):
    "As the library `datasets` writes images with class names."
    import pyarrow as pa
    import pyarrow.parquet as pq
    rows = [dict(bytes=png(image), path=f'{i}.png') for i, image in enumerate(images)]
    features = dict(image=dict(_type='Image'), label=dict(names=[str(d) for d in range(10)], _type='ClassLabel'))
    table = pa.table(dict(image=rows, label=labels.tolist()))
    table = table.replace_schema_metadata({'huggingface': json.dumps(dict(info=dict(features=features)))})
    pq.write_table(table, path)


def test_score_measures_every_format_alike(run, small, tmp_path):
    images, labels = (t[:200] for t in small)
    grey = to_bytes(images).numpy()
    write_idx(tmp_path / 'idx', images, labels)
    np.savez(tmp_path / 'keras.npz', x_train=grey, y_train=labels.numpy().astype(np.uint8), x_test=grey[:5],
             y_test=labels[:5].numpy())
    parquet(tmp_path / 'digits.parquet', images, labels)
    for i, (image, label) in enumerate(zip(grey, labels.tolist())):
        (tmp_path / 'folders' / str(label)).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(tmp_path / 'folders' / str(label) / f'{i:03}.png')
    (tmp_path / 'folders' / 'Thumbs.db').write_bytes(b'')
    pair = sorted((tmp_path / 'idx').iterdir())
    sets = [tmp_path / 'idx', tmp_path / 'keras.npz', tmp_path / 'digits.parquet', tmp_path / 'folders', *pair]
    shown = run('score', *sets, '--json', '--data', tmp_path / 'no')
    told = json.loads(shown.out)
    *rows, real = told['rows'].values()
    assert len(rows) == 5 and rows[0]['consistency'] > .97 and 'of 200 training images' in told['real']
    for row in rows[1:]: assert row == pytest.approx(rows[0], rel=1e-6)
    assert real['fid'] > 0 and shown.err == f'{tmp_path / "folders"}: skipped: files of the system (1)\n'


def test_score_finds_wrong_labels(run, small, tmp_path):
    images, labels = (t[:200] for t in small)
    np.savez(tmp_path / 'wrong.npz', images=to_bytes(images).numpy(), labels=((labels + 1) % 10).numpy())
    told = json.loads(run('score', tmp_path / 'wrong.npz', '--json', '--data', tmp_path / 'no').out)
    assert next(iter(told['rows'].values()))['consistency'] < .05


def test_score_says_what_is_wrong_in_one_line(run, tmp_path):
    (tmp_path / 'damaged.npz').write_bytes(b'PK\3\4 and no more')
    np.savez(tmp_path / 'letters.npz', images=np.zeros((200, 28, 28), np.uint8), labels=np.arange(200) % 26)
    np.savez(tmp_path / 'large.npz', images=np.zeros((200, 32, 32, 3), np.uint8), labels=np.arange(200) % 10)
    np.savez(tmp_path / 'few.npz', images=np.zeros((20, 28, 28), np.uint8), labels=np.arange(20) % 10)
    (tmp_path / 'empty').mkdir()
    for name, expected in {'damaged.npz': 'not an NPZ file', 'letters.npz': 'these go from 0 to 25', 'none': 'no file',
                           'large.npz': '28×28 pixels of one channel', 'few.npz': 'at least 100 images',
                           'empty': 'there must be ten class folders'}.items():
        error = run('score', tmp_path / name, status=1).err
        assert expected in error and error.count('\n') == 1


# --- own data ---

TINY = '--recipe', 'plain', '--epochs', '2', '--components', '1', '--device', 'cpu'


class Measured(Exception): "Where the long work of `measure` would begin."


def n_images(path): return load_checkpoint(path)[1]['provenance']['n_images']


@pytest.mark.slow
def test_train_takes_another_set_under_the_names_of_mnist(run, small, tmp_path):
    "As Fashion-MNIST and KMNIST come: a test set of their own beside it."
    images, labels = small
    write_idx(tmp_path / 'FashionMNIST' / 'raw', images, labels.flip(0))
    write_idx(tmp_path / 'FashionMNIST' / 'raw', images[:50], labels[:50], 'test')
    told = run('train', '--data', tmp_path / 'FashionMNIST', '--out', tmp_path / 'fashion.pth', *TINY).out
    assert '600 training images' in told and '50 test images' in told and 'test images: −ELBO' in told
    assert n_images(tmp_path / 'fashion.pth') == 600
    with patch('mnist_vae.classifier.train_judges') as judges, patch('mnist_vae.metrics.measure', side_effect=Measured):
        arguments = 'measure', tmp_path / 'fashion.pth', '--data', tmp_path / 'FashionMNIST'
        with pytest.raises(Measured): main([str(word) for word in arguments])
    assert len(judges.call_args.args[0]) == 600, 'the judges learn from the set that was trained on'
    assert run('generate', 3, '--weights', tmp_path / 'fashion.pth').err == ''


def test_a_damaged_mnist_is_not_taken_for_another_set(run, small, tmp_path):
    "One file is official, the other has changed: what is trained on is MNIST or nothing."
    from mnist_vae import data
    images, labels = small
    write_idx(tmp_path, images, labels)

    def found(root, name):
        if 'labels' in name: return labels
        raise RuntimeError('its SHA-256 is wrong')
    with patch.object(data, '_find', found):
        assert 'SHA-256' in run('train', '--data', tmp_path, '--out', tmp_path / 'x.pth', *TINY, status=1).err


def test_the_images_of_mnist_are_read_once(run, small, tmp_path):
    from mnist_vae import data
    images, labels = small
    files = [*write_idx(tmp_path, images, labels), *write_idx(tmp_path, images[:50], labels[:50], 'test')]
    official = {path.stem: (data.read_idx(path).shape, hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest())
                for path in files}
    with patch.object(data, '_OFFICIAL', official), patch.object(data, '_read_official',
                                                                 wraps=data._read_official) as read:
        told = run('train', '--data', tmp_path, '--out', tmp_path / 'x.pth', *TINY).out
    assert 'training images' not in told, 'only of another set is it said what it is'
    names = [call.args[0] for call in read.call_args_list]
    assert sorted(name for name in names if 'images' in name) == ['t10k-images-idx3-ubyte', 'train-images-idx3-ubyte']


@pytest.mark.slow
def test_train_takes_pictures_as_computers_leave_them(run, tmp_path):
    "Real handwriting: the 8×8 digits that scikit-learn brings along, enlarged, dark on light."
    from sklearn.datasets import load_digits
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images[:300], digits.target)):
        (folder := tmp_path / 'mine' / str(label)).mkdir(parents=True, exist_ok=True)
        grey = PIL.Image.fromarray((255 - image * 15.9).astype(np.uint8))
        grey.resize((64, 64), PIL.Image.Resampling.BICUBIC).save(folder / f'{i}.{"JPG" if i % 2 else "png"}')
    for junk in '.DS_Store', '4/._0.png', '4/Thumbs.db', 'desktop.ini', '4/notes.txt':
        (tmp_path / 'mine' / junk).write_bytes(b'\0')
    for junk in '__MACOSX', '.ipynb_checkpoints', '4/.ipynb_checkpoints', '10': (tmp_path / 'mine' / junk).mkdir()
    out = tmp_path / 'mine.pth'
    told = run('train', '--pictures', tmp_path / 'mine', '--out', out, '--epochs', 2, '--device', 'cpu').out
    skipped = 'files of the system (7), empty folders (1), files that are no pictures (1)'
    assert f'300 training images; skipped: {skipped}' in told
    assert '300 images are few, so this is as with --components 1 --leave-out 0.1 --refine-epochs 0' in told
    assert 'training images: −ELBO' in told and n_images(out) == 300
    assert load_checkpoint(out)[1]['config']['refine_epochs'] == 0


# --- app and dashboard ---

@pytest.mark.slow
def test_app_starts_in_any_folder_with_its_own_settings(tmp_path):
    port = free_port()
    command = [sys.executable, '-m', 'mnist_vae', 'app', '--server.headless=true', '--server.address=127.0.0.1',
               f'--server.port={port}']
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    with visitors.Server(command=command, cwd=tmp_path, env=env, port=port) as server:
        page = visitors.urlopen(server.origin).read().decode()
    assert 'Handwritten digits' in page


def test_the_dashboard_gets_what_follows():
    with patch('mnist_vae.dashboard.serve') as serve: assert main(['dashboard', '--port', '8867', '--no-browser']) == 0
    serve.assert_called_once_with(['--port', '8867', '--no-browser'])


def test_an_installation_without_the_app_says_what_to_do(run, tmp_path, monkeypatch):
    monkeypatch.setattr('mnist_vae.__file__', str(tmp_path / 'mnist_vae' / '__init__.py'))
    error = run('app', status=1).err
    assert 'app.py is missing. Install the package anew with pip' in error and error.count('\n') == 1

