"""A file of tensors comes back as it was written; what a killed or failing writer leaves does no harm."""

import hashlib
import os
import struct
import subprocess
import sys
from collections import OrderedDict

import pytest
import torch

from conftest import ROOT
from mnist_vae.files import content_hash, read_safely, save_atomically


def same(a, b):
    "Whether two dictionaries of tensors and values are the same, bit for bit; the hash is no part of it."
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() - {'sha256'} == b.keys() - {'sha256'} and all(same(a[k], b[k]) for k in a.keys() - {'sha256'})
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_hash_of_a_known_content():
    "So that another version, or another language, can be held against it."
    text = b'{"a": {"dtype": "torch.float32", "shape": [2]}, "b": "x"}'
    numbers = struct.pack('<2f', 1, 2)
    assert (
        content_hash(dict(b='x', a=torch.tensor([1.0, 2.0]), sha256='-')) == hashlib.sha256(text + numbers).hexdigest()
    )


def test_state_of_training_is_kept_by_the_same_two(tmp_path):
    "Tensors on their own, in lists, without dimensions, without numbers; integers and generators' states."
    state = dict(
        t=torch.tensor(3.0),
        empty=torch.empty(0, 3),
        rows=[torch.arange(3), dict(x=torch.ones(2, 2).T)],
        flags=torch.tensor([True, False]),
        n=3,
        rng=torch.Generator().get_state(),
        half=torch.ones(2).half(),
        bytes=torch.arange(5, dtype=torch.uint8),
        none=None,
        scalar=torch.tensor(2),
    )
    save_atomically(state, tmp_path / 'state.pt')
    found = read_safely(tmp_path / 'state.pt')
    assert same(found, state) and found.keys() == state.keys() | {'sha256'}
    found['t'] += 1  # its own memory, which may be written to
    found['rows'][0][0] = 9
    with pytest.raises(ValueError, match='has 1,[0-9]{3} bytes|has .* bytes, more than 100'):
        read_safely(tmp_path / 'state.pt', max_bytes=100)
    with pytest.raises(ValueError, match='more than 100'):
        save_atomically(state, tmp_path / 'state.pt', max_bytes=100)
    for wrong in (
        dict(x=torch.ones(2).bfloat16()),
        dict(x=torch.ones(2).to_sparse()),
        dict(x=torch.ones(2, device='meta')),
        dict(x=[torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)]),
    ):
        with pytest.raises(ValueError, match=r"content\['x'\]"):
            save_atomically(wrong, tmp_path / 'state.pt')
    assert same(read_safely(tmp_path / 'state.pt'), state)


def test_shared_memory_is_no_bomb(tmp_path):
    "A thousand tensors in the memory of one would be a thousand times the file."
    t = torch.ones(10_000)
    torch.save({str(i): t[:] for i in range(1000)}, tmp_path / 'shared.pth')
    with pytest.raises(ValueError, match='overlap'):
        read_safely(tmp_path / 'shared.pth')


KILLED = '''import os, sys
from mnist_vae.files import save_atomically
replace = os.replace
def wait(*_):
    print('ready', flush=True)
    sys.stdin.read()
os.replace = wait
save_atomically(dict(a=1), sys.argv[1])'''


@pytest.mark.slow
def test_what_a_killed_writer_leaves_goes_with_the_next(tmp_path):
    "And a writer that is still at work keeps its temporary file."
    path = tmp_path / 'a.pth'
    writers = [
        subprocess.Popen(
            [sys.executable, '-c', KILLED, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == 'ready\n'
        (tmp_path / '.b.pth.0.part').touch()  # of another file
        assert len(list(tmp_path.iterdir())) == 3
        writers[0].kill()
        writers[0].wait()
        save_atomically(dict(a=2), path)
        assert len(list(tmp_path.iterdir())) == 3 and read_safely(path)['a'] == 2
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    save_atomically(dict(a=3), path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.b.pth.0.part', 'a.pth']


def test_small_writes_reach_the_disk_in_order(tmp_path, monkeypatch):
    "Flushed before it is moved, and the folder after: a power cut leaves the old file or the new one."
    calls = []

    def noted(name, function):
        return lambda *args: (calls.append(name), function(*args))

    for name in ('fsync', 'replace'):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    save_atomically(dict(a=1), tmp_path / 'a.pth')
    assert calls == ['fsync', 'replace', 'fsync']


def test_nesting_has_a_limit(tmp_path):
    def nested(depth): return [nested(depth - 1)] if depth else 1
    save_atomically(dict(x=nested(19)), tmp_path / 'deep.pt')
    assert read_safely(tmp_path / 'deep.pt')['x'] == nested(19)
    with pytest.raises(ValueError, match='nested more than 20 deep'):
        save_atomically(dict(x=nested(20)), tmp_path / 'x.pt')


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(ValueError, match='more than 100,000 values'):
        save_atomically(dict(text='x' * 2**21), tmp_path / 'x.pt')
    assert list(tmp_path.iterdir()) == []


def test_a_record_under_another_name_is_refused(tmp_path):
    "An archive says each name twice: before the record and in its table of contents."
    path = tmp_path / 'x.pt'
    torch.save(dict(x=torch.ones(3)), path)
    path.write_bytes(path.read_bytes().replace(b'/data.pkl', b'/date.pkl', 1))
    with pytest.raises(ValueError, match='data.pkl is not where the table of contents says'): read_safely(path)


class Filled:
    "An ordered dictionary that gets its content as an argument of a call."
    def __reduce__(self): return OrderedDict, ([('a', 1)],)


def test_a_dictionary_that_a_call_would_fill_is_refused(tmp_path):
    torch.save(dict(x=Filled()), tmp_path / 'x.pt')
    with pytest.raises(ValueError, match='calls collections OrderedDict'): read_safely(tmp_path / 'x.pt')
