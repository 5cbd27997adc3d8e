"""MNIST is read from any folder that holds it, to the same tensors; wrong files are refused, nothing is overwritten."""
import errno
import gzip
import hashlib
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import idx2numpy
import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

from mnist_vae import data
from mnist_vae.data import check_images, check_labels, load_mnist, read_idx
from mnist_vae.export import write_idx

TORCHVISION = Path('MNIST', 'raw')


# --- a small MNIST, and servers on this computer ---

def idx(array: np.ndarray) -> bytes:
    return struct.pack(f'>4B{array.ndim}I', 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


class Tiny:
    "A stand-in for MNIST: the same four names, 7 and 5 images, and servers only of this computer."
    def __init__(self):
        rng = np.random.default_rng(0)
        self.content = {}
        for part, n in (('train', 7), ('t10k', 5)):
            self.content[f'{part}-images-idx3-ubyte'] = idx(rng.integers(0, 256, (n, 28, 28), np.uint8))
            self.content[f'{part}-labels-idx1-ubyte'] = idx(rng.integers(0, 10, n, np.uint8))
        self.archives = {name: gzip.compress(content, mtime=0) for name, content in self.content.items()}

    def patch(self, monkeypatch, mirrors=('http://127.0.0.1:9/',)):
        official = {name: (data._idx_header(content, name)[1], hashlib.sha256(content).hexdigest())
                    for name, content in self.content.items()}
        resources = [(f'{name}.gz', hashlib.md5(archive).hexdigest()) for name, archive in self.archives.items()]
        monkeypatch.setattr(data, '_OFFICIAL', official)
        monkeypatch.setattr(MNIST, 'resources', resources)
        monkeypatch.setattr(MNIST, 'mirrors', list(mirrors))

    def write(self, folder, packed=False, unpacked=False, dots=False):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.content.items():
            file = folder / (name.replace('-idx', '.idx') if dots else name)
            if unpacked: file.write_bytes(content)
            if packed: file.with_name(f'{file.name}.gz').write_bytes(self.archives[name])

    def is_what(self, root, split='train'):
        part = 'train' if split == 'train' else 't10k'
        expected = (self.content[f'{part}-images-idx3-ubyte'][16:], self.content[f'{part}-labels-idx1-ubyte'][8:])
        images, labels = load_mnist(split, root)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        return (images.numpy().tobytes(), labels.byte().numpy().tobytes()) == expected


@pytest.fixture
def tiny(monkeypatch):
    tiny = Tiny()
    tiny.patch(monkeypatch)
    monkeypatch.delenv('MNIST_VAE_DATA', raising=False)
    return tiny


class Server:
    "Answers each connection with `answer(connection, path)`, in a thread of its own; `paths` is what it was asked for."
    def __init__(self, answer):
        self.answer, self.paths, self.over = answer, [], threading.Event()
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self.socket.getsockname()[1]}/'
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True: threading.Thread(target=self._serve, args=self.socket.accept()[:1], daemon=True).start()

    def _serve(self, connection):
        with connection, suppress(OSError):
            request = b''
            while b'\r\n\r\n' not in request:
                request += (received := connection.recv(4096))
                if not received or request[0] == 0x16: return    # gone, or the beginning of TLS
            self.paths.append(request.split()[1].decode().lstrip('/'))
            self.answer(connection, self.paths[-1])

    def close(self):
        self.over.set()
        self.socket.close()


@pytest.fixture
def serve():
    servers = []
    def start(answer):
        servers.append(Server(answer))
        return servers[-1]
    yield start
    for server in servers: server.close()


def header(length): return f'HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n'.encode()


def archives(tiny):
    "A server's answer: the archive that it is asked for."
    def answer(connection, path):
        archive = tiny.archives[path.removesuffix('.gz')]
        connection.sendall(header(len(archive)) + archive)
    return answer


def contents(folder) -> dict[str, bytes | str]:
    "All that is in a folder: the bytes of files, the kind of everything else."
    def content(path): return path.read_bytes() if path.is_file() else stat.filemode(path.lstat().st_mode)[0]
    return {str(path.relative_to(folder)): content(path) for path in sorted(Path(folder).rglob('*'))}


@contextmanager
def ordinary_user(tmp_path_factory):
    "Not root, who may write everywhere; but one who may look into pytest's temporary folders, as their owner may."
    'x'.encode('idna')  # loads what a connection needs, while Python's own files can be read
    if os.geteuid():
        yield
        return
    base = tmp_path_factory.getbasetemp()
    modes = {folder: folder.stat().st_mode for folder in (base, *base.parents)}
    closed = {folder: mode for folder, mode in modes.items() if not mode & 0o001}
    for folder in closed: folder.chmod(0o755)
    os.seteuid(65534)
    try: yield
    finally:
        os.seteuid(0)
        for folder, mode in closed.items(): folder.chmod(mode)


# --- folders of every kind ---

@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('inside', ['MNIST/raw', 'raw', '.'])
@pytest.mark.parametrize('kinds', ['packed', 'unpacked', 'packed unpacked', 'packed dots', 'unpacked dots'])
def test_every_layout_gives_the_same_tensors_and_stays_as_it_is(tiny, tmp_path, inside, kinds, split):
    tiny.write(tmp_path / inside, **dict.fromkeys(kinds.split(), True))
    before = contents(tmp_path)
    assert tiny.is_what(tmp_path, split) and tiny.is_what(str(tmp_path), split)
    assert contents(tmp_path) == before


def test_files_of_one_set_may_lie_in_different_places(tiny, tmp_path):
    tiny.write(tmp_path, packed=True)
    (tmp_path / 'train-images-idx3-ubyte.gz').unlink()
    (tmp_path / TORCHVISION).mkdir(parents=True)
    (tmp_path / TORCHVISION / 'train-images-idx3-ubyte').write_bytes(tiny.content['train-images-idx3-ubyte'])
    assert tiny.is_what(tmp_path)


@pytest.mark.parametrize('name', ['with spaces', 'Zahlen äöü ß', '数字', "quo'te", 'per%cent', 'link'])
def test_any_name_of_a_folder(tiny, tmp_path, name, serve):
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    if name == 'link':
        (tmp_path / 'target').mkdir()
        (tmp_path / name).symlink_to(tmp_path / 'target')
    assert tiny.is_what(tmp_path / name)            # downloaded
    MNIST.mirrors[:] = []
    assert tiny.is_what(tmp_path / name)            # and read


@pytest.mark.parametrize('root', ['~', '~/a folder'])
def test_home_folder_as_argument_and_in_the_environment(tiny, tmp_path, monkeypatch, root):
    monkeypatch.setenv('HOME', str(tmp_path))
    tiny.write(Path(root).expanduser(), packed=True)
    assert tiny.is_what(root) and tiny.is_what(Path(root))
    monkeypatch.setenv('MNIST_VAE_DATA', root)
    assert tiny.is_what(None)


def test_relative_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.write(tmp_path / 'here', unpacked=True)
    assert tiny.is_what('here')


def test_recompressed_archives_and_archives_that_a_browser_unpacked(tiny, tmp_path):
    for i, (name, content) in enumerate(tiny.content.items()):
        (tmp_path / f'{name}.gz').write_bytes(gzip.compress(content, 1) if i % 2 else content)
    assert tiny.is_what(tmp_path) and tiny.is_what(tmp_path, 'test')


def test_read_only_folder_is_read(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp('read-only')
    tiny.write(folder, packed=True)
    for path in (folder, *folder.iterdir()): path.chmod(path.stat().st_mode & ~0o222 | 0o555)
    with ordinary_user(tmp_path_factory): assert tiny.is_what(folder)
    folder.chmod(0o755)


@pytest.mark.parametrize('inside', ['', TORCHVISION], ids=['folder', 'torchvision'])
def test_read_only_folder_without_files_is_an_error_before_anything_is_fetched(tiny, tmp_path_factory, serve, inside):
    server = serve(archives(tiny))
    MNIST.mirrors[:] = [server.url]
    folder = tmp_path_factory.mktemp('read-only')
    folder.chmod(0o755)
    if inside: (folder / inside).mkdir(parents=True)
    before = contents(folder)
    (folder / inside).chmod(0o555)
    with ordinary_user(tmp_path_factory), pytest.raises(RuntimeError, match='writable.*MNIST_VAE_DATA') as caught:
        load_mnist(root=folder)
    (folder / inside).chmod(0o755)
    assert f'{folder} ' in str(caught.value) and 'Permission denied' in str(caught.value)
    assert server.paths == [] and contents(folder) == before


def test_a_file_instead_of_the_folder(tiny, tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(RuntimeError, match='MNIST_VAE_DATA'): load_mnist(root=tmp_path / 'file')
    assert contents(tmp_path) == {'file': b'mine'}


# --- files that are not MNIST's ---

IMAGES, LABELS = 'train-images-idx3-ubyte', 'train-labels-idx1-ubyte'


@cache
def faults():
    "What may lie where a file should be: its name, its content, and what the error says."
    tiny = Tiny()
    images = np.frombuffer(tiny.content[IMAGES][16:], np.uint8).reshape(-1, 28, 28)
    labels = np.frombuffer(tiny.content[LABELS][8:], np.uint8)
    flipped = bytearray(tiny.content[IMAGES])
    flipped[1000] ^= 1
    archive = tiny.archives[IMAGES]
    broken = bytearray(archive)
    broken[len(broken) // 2] ^= 1
    return dict(
        size=(IMAGES, idx(images[:, 1:]), r'holds uint8 \(7, 27, 28\)'),
        count=(IMAGES, idx(images[:-1]), r'holds uint8 \(6, 28, 28\)'),
        more=(IMAGES, idx(np.concatenate([images, images])), r'holds uint8 \(14, 28, 28\)'),
        flat=(IMAGES, idx(images.reshape(7, 784)), r'holds uint8 \(7, 784\)'),
        dtype=(LABELS, b'\0\0\x09' + tiny.content[LABELS][3:], r'holds int8 \(7,\)'),
        shifted=(LABELS, idx((labels + 1) % 10), 'holds other numbers'),
        order=(LABELS, idx(labels[::-1].copy()), 'holds other numbers'),
        swapped=(LABELS, tiny.content[IMAGES], r'holds uint8 \(7, 28, 28\)'),
        other_split=(LABELS, tiny.content['t10k-labels-idx1-ubyte'], r'holds uint8 \(5,\)'),
        flipped_bit=(IMAGES, bytes(flipped), 'holds other numbers'),
        empty=(IMAGES, b'', 'is not an IDX file'),
        half=(IMAGES, tiny.content[IMAGES][:3000], 'is cut off'),
        half_a_header=(IMAGES, tiny.content[IMAGES][:9], 'is cut off within its header'),
        trailing=(IMAGES, tiny.content[IMAGES] + b'\0', 'has bytes after the last'),
        web_page=(IMAGES, b'<!DOCTYPE html><title>Log in</title>', 'is not an IDX file'),
        half_an_archive=(f'{IMAGES}.gz', archive[:len(archive) // 2], 'is a damaged archive'),
        archive_without_its_sum=(f'{IMAGES}.gz', archive[:-4], 'is a damaged archive'),
        broken_archive=(f'{IMAGES}.gz', bytes(broken), 'is a damaged archive'),
        archive_and_more=(f'{IMAGES}.gz', archive + b'more', 'is a damaged archive'),
        empty_archive=(f'{IMAGES}.gz', b'', 'is not an IDX file'),
        archive_of_other_labels=(f'{LABELS}.gz', gzip.compress(idx((labels + 1) % 10)), 'holds other numbers'),
        bomb=(f'{IMAGES}.gz', gzip.compress(bytes(50_000_000)), 'is not an IDX file|holds'),
    )


@pytest.mark.parametrize('inside', [TORCHVISION, Path()], ids=['torchvision', 'root'])
@pytest.mark.parametrize('fault', faults())
def test_wrong_files_are_refused_and_kept_even_if_a_server_has_good_ones(tiny, tmp_path, serve, fault, inside):
    server = serve(archives(tiny))
    MNIST.mirrors[:] = [server.url]
    name, content, words = faults()[fault]
    folder = tmp_path / inside
    tiny.write(folder, unpacked=True)
    (folder / name.removesuffix('.gz')).unlink()
    (folder / name).write_bytes(content)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match=f'{name} {words}.*delete.*MNIST_VAE_DATA') as caught:
        load_mnist(root=tmp_path)
    assert str(folder / name) in str(caught.value)
    assert contents(tmp_path) == before and server.paths == []
    assert tiny.is_what(tmp_path, 'test')


@pytest.mark.parametrize('fault', faults())
def test_a_good_copy_is_read_where_another_is_wrong(tiny, tmp_path, fault):
    name, content, _ = faults()[fault]
    tiny.write(tmp_path, packed=True, unpacked=True)
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    assert tiny.is_what(tmp_path) and contents(tmp_path) == before


@pytest.mark.parametrize('kind', ['folder', 'full folder', 'pipe', 'broken link'])
@pytest.mark.parametrize('name', [IMAGES, f'{IMAGES}.gz'])
def test_no_file_at_all_by_the_name_of_one(tiny, tmp_path, serve, kind, name):
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    folder = tmp_path / TORCHVISION
    folder.mkdir(parents=True)
    if 'folder' in kind: (folder / name).mkdir()
    if kind == 'full folder': (folder / name / 'mine').write_text('mine')
    if kind == 'pipe': os.mkfifo(folder / name)
    if kind == 'broken link': (folder / name).symlink_to('nowhere')
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match=f'{name} is not a file.*MNIST_VAE_DATA'): load_mnist(root=tmp_path)
    assert contents(tmp_path) == before


def test_a_file_that_may_not_be_read(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp('secret')
    tiny.write(folder, unpacked=True)
    def forbidden(*_, **__): raise PermissionError(errno.EACCES, 'Permission denied')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('builtins.open', forbidden)
        with pytest.raises(RuntimeError, match=f'{IMAGES} cannot be read: Permission denied'): load_mnist(root=folder)


def test_old_torchvision_files_are_not_trusted(tiny, tmp_path):
    "torchvision still loads `MNIST/processed/training.pt`, of its first versions, and checks nothing."
    tiny.write(tmp_path / TORCHVISION, packed=True)
    (processed := tmp_path / 'MNIST' / 'processed').mkdir()
    for name in ('training.pt', 'test.pt'): torch.save((torch.zeros(3), torch.zeros(3)), processed / name)
    assert tiny.is_what(tmp_path)


# --- downloads ---

def test_download_fetches_all_four_once_and_keeps_them_as_torchvision_does(tiny, tmp_path, serve):
    server = serve(archives(tiny))
    MNIST.mirrors[:] = [server.url]
    assert tiny.is_what(tmp_path / 'new' / 'folder')
    assert sorted(server.paths) == sorted(f'{name}.gz' for name in tiny.archives)
    folder = tmp_path / 'new' / 'folder' / TORCHVISION
    assert contents(folder) == {f'{name}.gz': archive for name, archive in sorted(tiny.archives.items())}
    umask = os.umask(0)
    os.umask(umask)
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {0o666 & ~umask}, 'a shared folder is for others, too'
    server.close()
    assert tiny.is_what(tmp_path / 'new' / 'folder', 'test') and len(server.paths) == 4
    by_torchvision = MNIST(tmp_path / 'new' / 'folder', download=True)   # unpacks them beside the archives
    assert torch.equal(by_torchvision.data, load_mnist(root=tmp_path / 'new' / 'folder')[0])


def test_only_what_is_missing_is_downloaded(tiny, tmp_path, serve):
    server = serve(archives(tiny))
    MNIST.mirrors[:] = [server.url]
    tiny.write(tmp_path, packed=True)
    (tmp_path / f'{LABELS}.gz').unlink()
    (tmp_path / 't10k-labels-idx1-ubyte.gz').write_bytes(b'mine')
    before = contents(tmp_path)
    assert tiny.is_what(tmp_path) and server.paths == [f'{LABELS}.gz']
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


def test_the_limit_is_thirty_seconds(): assert data._TIMEOUT == 30


def send(connection, *pieces, until):
    "Send the pieces, then nothing more; the connection stays open, but not for ever, lest a test should hang."
    for piece in pieces: connection.sendall(piece)
    until.wait(60)


def drip(connection, content, until):
    "A byte every 50 ms: too few, but never silence for one call of `recv`."
    for byte in content:
        connection.sendall(bytes([byte]))
        if until.wait(.05): return


OK = b'HTTP/1.1 200 OK\r\n'
SILENT = dict(
    at_once=lambda connection, over: send(connection, until=over),
    in_its_header=lambda connection, over: send(connection, OK + b'Content-Le', until=over),
    after_its_header=lambda connection, over: send(connection, header(100_000), until=over),
    after_a_while=lambda connection, over: send(connection, header(100_000), bytes(40_000), until=over),
    dripping_header=lambda connection, over: drip(connection, OK + b'X: y\r\n' * 200, until=over),
    dripping=lambda connection, over: drip(connection, header(1000) + bytes(1000), until=over),
)


@pytest.mark.parametrize('silence', SILENT)
def test_a_silent_server_is_given_up(tiny, tmp_path, serve, monkeypatch, silence):
    monkeypatch.setattr(data, '_TIMEOUT', .3)
    server = serve(lambda connection, path: SILENT[silence](connection, server.over))
    MNIST.mirrors[:] = [server.url]
    with pytest.raises(RuntimeError, match='silent for 0.3 seconds.*MNIST_VAE_DATA') as caught:
        load_mnist(root=tmp_path)
    assert server.url in str(caught.value) and str(tmp_path) in str(caught.value)
    assert contents(tmp_path / TORCHVISION) == {} and len(server.paths) == 1


def lookup_hangs(monkeypatch, over):
    "Looking up a server's address has no timeout in Python."
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: over.wait(60))


def test_a_silent_name_server_is_given_up(tiny, tmp_path, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(data, '_TIMEOUT', .3)
    lookup_hangs(monkeypatch, over)
    with pytest.raises(RuntimeError, match='silent for 0.3 seconds'): load_mnist(root=tmp_path)
    over.set()


def no_such_file(connection, path):
    connection.sendall(b'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')


def web_page(connection, path): connection.sendall(header(22) + b'<html>Log in here</htm')
def half(connection, path): connection.sendall(header(100_000) + bytes(50_000))
def gibberish(connection, path): connection.sendall(b'hello\r\n\r\n')
def hang_up(connection, path): pass


def endless(connection, path):
    connection.sendall(OK + b'Connection: close\r\n\r\n')
    while True: connection.sendall(bytes(2**20))


BAD_SERVERS = {
    no_such_file: 'HTTP Error 404: Not Found',
    web_page: 'not the official file',
    half: 'not the official file|IncompleteRead',
    gibberish: 'hello',
    hang_up: 'closed connection|reset',
    endless: 'more than any file',
}


@pytest.mark.parametrize('answer, words', BAD_SERVERS.items(), ids=lambda x: getattr(x, '__name__', ''))
def test_bad_servers_are_named_and_leave_nothing(tiny, tmp_path, serve, answer, words):
    server = serve(answer)
    MNIST.mirrors[:] = [server.url]
    with pytest.raises(RuntimeError, match=f'could not be downloaded.*({words}).*{LABELS}.*MNIST_VAE_DATA') as caught:
        load_mnist(root=tmp_path)
    assert server.url in str(caught.value) and '\n' not in str(caught.value)
    assert contents(tmp_path / TORCHVISION) == {}


def silent(connection, over): SILENT['at_once'](connection, over)


@pytest.mark.parametrize('answer', [*BAD_SERVERS, silent], ids=lambda answer: answer.__name__)
def test_the_next_mirror_is_tried_and_a_bad_one_asked_only_once(tiny, tmp_path, serve, monkeypatch, answer):
    if answer is silent:
        monkeypatch.setattr(data, '_TIMEOUT', .5)
        bad = serve(lambda connection, path: answer(connection, bad.over))
    else: bad = serve(answer)
    good = serve(archives(tiny))
    MNIST.mirrors[:] = [bad.url, good.url]
    assert tiny.is_what(tmp_path)
    assert len(bad.paths) == 1 and len(good.paths) == 4


def test_a_mirror_whose_certificate_cannot_be_checked_is_asked_without_encryption(tiny, tmp_path, serve):
    "As on computers that have no certificates; what comes is checked by its sums all the same."
    server = serve(archives(tiny))
    MNIST.mirrors[:] = [server.url.replace('http:', 'https:')]      # it speaks plain HTTP only
    assert tiny.is_what(tmp_path) and len(server.paths) == 4


def test_files_that_appear_between_the_look_and_the_download(tiny, tmp_path, serve, monkeypatch):
    "Another process was faster; what is downloaded once more is the same."
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    download = data._download
    def late(*args):
        tiny.write(tmp_path / TORCHVISION, packed=True)
        return download(*args)
    monkeypatch.setattr(data, '_download', late)
    assert tiny.is_what(tmp_path)


def test_a_file_that_appears_during_the_download_stays(tiny, tmp_path, serve):
    "Somebody else's file takes the name between the look and the writing."
    def answer(connection, path):
        (tmp_path / TORCHVISION / path).write_bytes(b'mine')
        archives(tiny)(connection, path)
    MNIST.mirrors[:] = [serve(answer).url]
    assert tiny.is_what(tmp_path)
    assert set(contents(tmp_path / TORCHVISION).values()) == {b'mine'}


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(tiny, tmp_path, serve, monkeypatch):
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    def full(*_): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(RuntimeError, match='No space left on device.*MNIST_VAE_DATA'): load_mnist(root=tmp_path)
    assert contents(tmp_path / TORCHVISION) == {}


def test_interrupting_a_download_leaves_nothing(tiny, tmp_path, serve, monkeypatch):
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    def interrupt(*_): raise KeyboardInterrupt
    monkeypatch.setattr(os, 'fsync', interrupt)
    with pytest.raises(KeyboardInterrupt): load_mnist(root=tmp_path)
    assert contents(tmp_path / TORCHVISION) == {}


CHILD = '''
import sys
sys.path.insert(0, {tests!r})
import pytest
from test_data import Tiny
tiny = Tiny()
with pytest.MonkeyPatch.context() as patch:
    tiny.patch(patch, [{url!r}])
    assert tiny.is_what({root!r})
'''


def child(root, url):
    source = CHILD.format(tests=str(Path(__file__).parent), url=url, root=str(root))
    quiet = os.environ | {'TQDM_DISABLE': '1'}              # a bar that takes longer than a second is written to stderr
    return subprocess.Popen([sys.executable, '-c', source], stderr=subprocess.PIPE, text=True, env=quiet)


@pytest.mark.slow
def test_two_processes_download_at_the_same_time(tiny, tmp_path, serve):
    meet = threading.Barrier(2, timeout=120)
    def answer(connection, path):
        meet.wait()             # both have looked before either gets its file
        archives(tiny)(connection, path)
    url = serve(answer).url
    children = [child(tmp_path, url) for _ in range(2)]
    for process in children: assert process.communicate(timeout=240)[1] == '' and process.returncode == 0
    assert contents(tmp_path / TORCHVISION) == {f'{name}.gz': archive for name, archive in tiny.archives.items()}


@pytest.mark.slow
def test_a_download_that_is_killed_leaves_nothing_behind(tiny, tmp_path, serve):
    half_way, killed = threading.Event(), threading.Event()
    def answer(connection, path):
        if path != f'{LABELS}.gz': return archives(tiny)(connection, path)
        connection.sendall(header(len(tiny.archives[LABELS])) + tiny.archives[LABELS][:10])
        half_way.set()
        killed.wait(60)
    process = child(tmp_path, serve(answer).url)
    assert half_way.wait(120)
    process.kill()
    process.communicate()
    killed.set()
    assert contents(tmp_path / TORCHVISION) == {f'{IMAGES}.gz': tiny.archives[IMAGES]}
    MNIST.mirrors[:] = [serve(archives(tiny)).url]
    assert tiny.is_what(tmp_path)


# --- real MNIST, and other programs ---

def test_the_real_files_read_as_torchvision_reads_them(mnist, tmp_path):
    "Two other authorities agree with ours: torchvision's MD5 sums of the archives, and its reader."
    for name, md5 in MNIST.resources:
        path = data._copies(data.data_root(), name.removesuffix('.gz'))[-1]
        if path.suffix == '.gz': assert hashlib.md5(path.read_bytes()).hexdigest() == md5
        with open(path, 'rb') as file: (tmp_path / name.removesuffix('.gz')).write_bytes(data._unpacked(file, name))
    for split, part in (('train', 'train'), ('test', 't10k')):
        images, labels = load_mnist(split)
        assert torch.equal(images, read_image_file(tmp_path / f'{part}-images-idx3-ubyte'))
        assert torch.equal(labels, read_label_file(tmp_path / f'{part}-labels-idx1-ubyte'))
        assert torch.equal(images, read_idx(tmp_path / f'{part}-images-idx3-ubyte'))
        for a, b in zip(load_mnist(split, tmp_path), (images, labels)): assert torch.equal(a, b)


@pytest.mark.parametrize('dtype', ['uint8', 'int8', 'int16', 'int32', 'float32', 'float64'])
@pytest.mark.parametrize('shape', [(5,), (3, 4), (2, 3, 4), (2, 1, 3, 2, 2)], ids=str)
def test_idx_written_by_another_program(tmp_path, dtype, shape):
    array = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    if np.issubdtype(dtype, np.floating) and array.size: array.flat[:2] = np.nan, -np.inf
    path = tmp_path / 'file'
    with open(path, 'wb') as file: idx2numpy.convert_to_file(file, array)
    tensor = read_idx(path)
    assert tensor.dtype == getattr(torch, dtype) and tensor.shape == shape
    np.testing.assert_array_equal(tensor.numpy(), array)
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert torch.equal(read_idx(str(path)).nan_to_num(), tensor.nan_to_num())
    tensor += 1                                         # its memory is its own


def test_a_generated_set_in_the_same_format_is_read_but_is_not_mnist(tmp_path):
    "`write_idx` gives its files MNIST's names, so that other programs find them."
    images, labels = torch.arange(2 * 784).reshape(2, 28, 28) % 256 / 255, torch.tensor([3, 8])
    image_file, label_file = write_idx(tmp_path, images, labels)
    assert torch.equal(read_idx(image_file), (images * 255).round().byte())
    assert torch.equal(read_idx(label_file).long(), labels)
    with pytest.raises(RuntimeError, match=r'holds uint8 \(2, 28, 28\).*read_idx'): load_mnist(root=tmp_path)


def test_read_idx_names_what_cannot_be_read(tmp_path):
    for path, error in ((tmp_path / 'nothing', FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match=path.name): read_idx(path)


def test_no_header_gets_past_the_reader(tmp_path):
    "Any beginning of a file: refused with ValueError, or read to the shape that it says."
    rng, path, refused = np.random.default_rng(0), tmp_path / 'file', 0
    for _ in range(2000):
        magic = 0, 0, rng.choice([8, 9, 11, 12, 13, 14]), rng.integers(0, 6)
        content = bytearray(struct.pack('>4B3I', *magic, *rng.integers(0, 3, 3)))
        content += bytes(rng.integers(0, 40, dtype=int))
        for at in rng.integers(0, 16, rng.integers(0, 3)): content[at] = rng.choice([0, 1, 127, 128, 255])
        path.write_bytes(content)
        try: tensor = read_idx(path)
        except ValueError as e: refused += str(path) in str(e)
        else:
            start = 4 + 4 * content[3]
            assert tensor.shape == struct.unpack(f'>{content[3]}I', content[4:start])
            refused += 1
            assert tensor.numel() * tensor.element_size() == len(content) - start
    assert refused == 2000


# --- what counts as images and labels ---

def good(): return torch.zeros(3, 28, 28, dtype=torch.uint8), torch.tensor([0, 9, 5])


NOT_TENSORS = dict(none=None, text='035', path=Path('x'), numbers=[0, 9, 5], array=np.zeros((3, 28, 28), np.uint8))
NOT_IMAGES = NOT_TENSORS | dict(
    nan=torch.full((3, 28, 28), torch.nan), float16=good()[0].half(), bool=good()[0].bool(), int8=good()[0].char(),
    int64=good()[0].long(), scalar=torch.tensor(3, dtype=torch.uint8), one=good()[0][0], channel=good()[0][:, None],
    flat=good()[0].flatten(1), narrow=good()[0][:, 1:], empty=good()[0][:0],
    sparse=good()[0].to_sparse(), meta=good()[0].to('meta'),
    nested=torch.nested.nested_tensor([torch.zeros(28, 28)], layout=torch.jagged),
)
NOT_LABELS = NOT_TENSORS | dict(
    nan=torch.full((3,), torch.nan), float=good()[1].float(), bool=good()[1].bool(), uint8=good()[1].byte(),
    int32=good()[1].int(), scalar=torch.tensor(3), short=good()[1][:2], long=torch.zeros(4, dtype=torch.long),
    one_hot=torch.eye(3).long(), empty=good()[1][:0], sparse=good()[1].to_sparse(), meta=good()[1].to('meta'),
)
NOT_DIGITS = dict(negative=(0, -1, 5), ten=(0, 5, 10), huge=(0, 5, 2**62), smallest=(-2**63, 0, 0))


@pytest.mark.parametrize('kind', NOT_IMAGES)
def test_what_are_no_images(kind):
    with pytest.raises(ValueError, match=r'^images must be a uint8 tensor \(N, 28, 28\), N > 0, .*; got .+'):
        check_images(NOT_IMAGES[kind])


@pytest.mark.parametrize('kind', NOT_LABELS)
def test_what_are_no_labels(kind):
    with pytest.raises(ValueError, match=r'^labels must be an int64 tensor \(3,\), one for each image; got .+'):
        check_labels(NOT_LABELS[kind], 3)


@pytest.mark.parametrize('kind', NOT_DIGITS)
def test_what_are_no_digits(kind):
    with pytest.raises(ValueError, match=r'^labels must be digits from 0 to 9; labels\[\d\] is -?\d+$'):
        check_labels(torch.tensor(NOT_DIGITS[kind]), 3)


def test_any_layout_in_memory_is_fine():
    images, labels = good()
    for x in (images, images.transpose(1, 2), images[::2], images[:1].expand(3, 28, 28)): check_images(x)
    for y in (labels, labels.flip(0), torch.tensor(7).expand(3), torch.arange(6)[::2]): check_labels(y, 3)
