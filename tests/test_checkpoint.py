"""Whatever is wrong with a file of weights, it is refused by name, or it draws the very same pictures."""

import json
import os
import pickle
import random
import resource
import shutil
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import Counter, OrderedDict
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from conftest import ROOT
from mnist_vae import files
from mnist_vae.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, upgrade_checkpoint
from mnist_vae.classifier import Classifier
from mnist_vae.files import content_hash
from mnist_vae.generator import default_weights
from mnist_vae.model import VAE
from mnist_vae.prior import ClassPrior
from test_files import same

pytestmark = pytest.mark.filterwarnings('ignore:Sparse CSR tensor support')
N_DAMAGED = int(os.environ.get('MNIST_VAE_DAMAGED_FILES', 200))  # of each format


def small_prior(K=2, D=3):
    return ClassPrior(
        torch.full((10, K), 1 / K),
        torch.randn(10, K, D),
        torch.eye(D).repeat(10, K, 1, 1),
        torch.full((10,), -torch.inf),
    )


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    "A checkpoint of format 2."
    path = tmp_path_factory.mktemp('good') / 'good.pth'
    save_checkpoint(
        path,
        VAE(3),
        small_prior(),
        dict(recipe='plain', lr=1e-3),
        dict(history=[dict(epoch=1, loss=2.5)]),
        dict(seed=0),
        reader=dict(Classifier(2).state_dict()),
    )
    return path


def refusal(path):
    "What `load_checkpoint` says about a file, in one line that names it and the cure."
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert (
        str(path) in message
        and 'mnist-vae train' in message
        and '\n' not in message
        and len(message) < 500 + len(str(path))
    )
    return message


def rewrite(path, good, change):
    "Write what `change` makes of a good file's content to `path` as PyTorch does, with a hash that fits if it can."
    content = change(torch.load(good, weights_only=True))
    if isinstance(content, dict) and 'sha256' in content:
        try:
            content['sha256'] = content_hash(content)
        except Exception:
            pass
    torch.save(content, path)


# --- a good file ---


def test_what_is_saved_is_what_is_loaded(good):
    model, content = load_checkpoint(good)
    assert list(content) == [
        'format_version',
        'config',
        'state_dict',
        'prior',
        'reader',
        'metrics',
        'provenance',
        'sha256',
    ]
    assert same(torch.load(good, weights_only=True), content) and content['format_version'] == 2
    assert content['config'] == dict(
        n_pixels=784, n_classes=10, hidden=[512, 256], latent_dim=3, recipe='plain', lr=1e-3
    )
    assert content['sha256'] == content_hash(content) and not model.training and model.latent_dim == 3
    assert all(p.requires_grad and p.device.type == 'cpu' for p in model.parameters())
    assert same(dict(model.state_dict()), content['state_dict'])
    assert oct(good.stat().st_mode & 0o777) == oct(0o666 & ~umask()) and [p.name for p in good.parent.iterdir()] == [
        'good.pth'
    ]


def umask():
    old = os.umask(0)
    os.umask(old)
    return old


def test_same_content_is_the_same_file(good, tmp_path):
    model, content = load_checkpoint(good)
    for name in ('a.pth', 'b.pth'):
        save_checkpoint(
            tmp_path / name,
            model,
            content['prior'],
            content['config'],
            content['metrics'],
            content['provenance'],
            content['reader'],
        )
    assert (tmp_path / 'a.pth').read_bytes() == (tmp_path / 'b.pth').read_bytes() == good.read_bytes()


def test_hash_is_over_every_tensor_and_every_setting(good):
    _, content = load_checkpoint(good)
    known = {content['sha256']}
    for key in content.keys() - {'sha256'}:
        for changed in variations(content[key]):
            digest = content_hash(content | {key: changed})
            assert digest not in known, key
            known.add(digest)
    assert len(known) > 30


def variations(value):
    "The same with one leaf changed, for every leaf."
    if isinstance(value, dict):
        for key in value:
            yield from (value | {key: changed} for changed in variations(value[key]))
    elif isinstance(value, list):
        for i in range(len(value)):
            yield from ([*value[:i], changed, *value[i + 1 :]] for changed in variations(value[i]))
    elif isinstance(value, torch.Tensor):
        changed = value.clone()
        changed.view(-1)[-1] += 1 if value.flatten()[-1].isfinite() else torch.inf
        yield from (changed, value[None]) if value.isfinite().all() else (value[None],)
    else:
        yield [value]


def test_format_1_is_read_and_upgraded(good, tmp_path):
    old = tmp_path / 'old.pth'
    rewrite(
        old,
        good,
        lambda c: (
            {k: v for k, v in c.items() if k not in ('reader', 'sha256')}
            | dict(format_version=1, config=c['config'] | dict(drop=0.0, pair=(1, 2)))
        ),
    )
    _, before = load_checkpoint(old)
    assert before['format_version'] == 1 and before['reader'] is None and before['config']['pair'] == [1, 2]
    upgrade_checkpoint(old)
    _, after = load_checkpoint(old)
    assert (
        after['format_version'] == 2
        and after['sha256']
        and 'drop' not in after['config']
        and before['config'].pop('drop') == 0
    )
    for key in ('config', 'state_dict', 'prior', 'reader', 'metrics', 'provenance'):
        assert same(before[key], after[key]), key
    rewrite(old, good, lambda c: c | dict(config=c['config'] | dict(drop=0.1)))
    upgrade_checkpoint(old)
    assert load_checkpoint(old)[1]['config']['drop'] == 0.1  # it had an effect: it is kept


# --- damaged files ---


def damage(content, rng):
    "The bytes of a file after an accident of some kind, and the name of the kind."
    size = len(content)
    at = rng.choice(
        [rng.randrange(size), rng.randrange(min(size, 4096)), size - 1 - rng.randrange(min(size, 4096))]
    )  # anywhere, or where the structure is
    n = rng.choice([1, rng.randrange(1, 64), rng.randrange(1, 65_536)])
    kind = rng.choice(['flip', 'block', 'cut', 'insertion', 'deletion'])
    if kind == 'flip':
        return kind, content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == 'block':
        return kind, content[:at] + rng.choice([bytes(n), rng.randbytes(n)])[: size - at] + content[at + n :]
    if kind == 'cut':
        return kind, content[:at]
    if kind == 'insertion':
        return kind, content[:at] + rng.randbytes(n) + content[at:]
    return kind, content[:at] + content[at + n :]


@pytest.mark.parametrize('version', [1, 2])
def test_damaged_file_is_refused_or_draws_the_same(good, tmp_path, version):
    intact, path = tmp_path / 'intact.pth', tmp_path / 'damaged.pth'
    rewrite(
        intact,
        good,
        lambda c: (
            c
            if version == 2
            else {k: v for k, v in c.items() if k not in ('reader', 'sha256')} | dict(format_version=1)
        ),
    )
    content, (_, expected) = intact.read_bytes(), load_checkpoint(intact)
    rng, counts = random.Random(version), Counter()
    for i in range(N_DAMAGED):
        kind, damaged = damage(content, rng)
        path.write_bytes(damaged)
        try:
            _, found = load_checkpoint(path)
        except CheckpointError as e:
            assert str(path) in str(e)
            counts[kind, 'refused'] += 1
        else:
            assert same(found, expected), f'file {i}, {kind}: another content was loaded'
            counts[kind, 'same'] += 1
    print(f'format {version}:', dict(sorted(counts.items())))
    assert sum(n for (_, what), n in counts.items() if what == 'refused') > 0.8 * N_DAMAGED


def test_changed_and_packed_again(good, tmp_path):
    "A tool that writes the archive anew makes its check sums right again: only the hash notices."
    path = tmp_path / 'changed.pth'
    content = torch.load(good, weights_only=True)
    content['state_dict']['decoder.layers.4.bias'][0] += 1
    torch.save(content, path)
    assert 'hash' in refusal(path)
    rewrite(path, good, lambda c: {k: v for k, v in c.items() if k != 'sha256'})
    assert "lacks ['sha256']" in refusal(path)


# --- intact files with nonsense in them ---


def with_weight(name, change):
    return lambda c: c | dict(state_dict=c['state_dict'] | {name: change(c['state_dict'][name])})


def with_prior(**changes):
    return lambda c: c | dict(prior=c['prior'] | {name: change(c['prior'][name]) for name, change in changes.items()})


def with_config(**changes):
    return lambda c: c | dict(config=c['config'] | changes)


def poke(value, *index):
    "A change of one number of a tensor."

    def change(t):
        t = t.clone()
        t[index or (0,) * t.dim()] = value
        return t

    return change


W = 'decoder.layers.4.weight'
with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    quantised = torch.quantize_per_tensor(torch.zeros(784, 512), 0.1, 0, torch.qint8)
    nested_tensor = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
CONTENT = {  # name: a change of a good file's content, and what is said about it
    'NaN weight': (with_weight(W, poke(torch.nan)), W),
    'infinite weight': (with_weight(W, poke(torch.inf, 783, 511)), W),
    'infinite bias': (with_weight('encoder.mu.bias', poke(-torch.inf)), 'encoder.mu.bias'),
    'float16': (with_weight(W, torch.Tensor.half), W),
    'float64': (with_weight(W, torch.Tensor.double), W),
    'integers': (with_weight(W, torch.Tensor.int), W),
    'complex': (with_weight(W, lambda t: t.to(torch.complex64)), W),
    'bfloat16': (with_weight(W, torch.Tensor.bfloat16), 'BFloat16Storage'),
    'quantised': (with_weight(W, lambda t: quantised), 'values and dense tensors'),
    'sparse': (with_weight(W, lambda t: t.to_sparse()), 'values and dense tensors'),
    'sparse rows': (with_weight(W, lambda t: t.to_sparse_csr()), 'values and dense tensors'),
    'nested tensor': (with_weight(W, lambda t: nested_tensor), 'values and dense tensors'),
    'meta': (with_weight(W, lambda t: t.to('meta')), 'values and dense tensors'),
    'expanded': (with_weight(W, lambda t: torch.zeros(1).expand(784, 512)), 'more numbers than the file'),
    'expanded to a terabyte': (
        with_weight(W, lambda t: torch.zeros(1).expand(2**20, 2**18)),
        'more numbers than the file',
    ),
    'gradient': (with_weight(W, lambda t: t.requires_grad_()), 'gradient'),
    'parameter': (with_weight(W, nn.Parameter), 'values and dense tensors'),
    'transposed': (with_weight(W, lambda t: t.T), W),
    'scalar': (with_weight('decoder.layers.4.bias', lambda t: t[0]), 'decoder.layers.4.bias'),
    'dictionary for a tensor': (with_weight(W, lambda t: dict(weight=t)), W),
    'list for a tensor': (with_weight('encoder.mu.bias', lambda t: t.tolist()), 'encoder.mu.bias'),
    'one weight too many': (
        with_weight(W, lambda t: t) and (lambda c: c | dict(state_dict=c['state_dict'] | dict(more=torch.ones(1)))),
        "['more']",
    ),
    'no weights': (lambda c: c | dict(state_dict={}), 'lacks'),
    'nested weights': (lambda c: c | dict(state_dict=dict(model=c['state_dict'])), 'lacks'),
    'weights alone': (lambda c: c['state_dict'], 'not a checkpoint'),
    'list': (lambda c: [1, 2], 'list'),
    'tensor alone': (lambda c: torch.ones(3), 'Tensor'),
    'key too many': (lambda c: c | dict(more=1), "['more']"),
    'integer key': (lambda c: c | {3: 1}, 'texts'),
    'negative mixture': (with_prior(weights=lambda t: torch.stack([t[:, 0] - 1, t[:, 1] + 1], 1)), 'negative'),
    'rows of .9': (with_prior(weights=lambda t: 0.9 * t), 'sum to 1'),
    'NaN mixture': (with_prior(weights=poke(torch.nan)), 'weights'),
    'upper factors': (with_prior(scale_tril=poke(0.1, 4, 1, 0, 2)), 'lower triangular'),
    'diagonal of 0': (with_prior(scale_tril=poke(0.0, 9, 1, 2, 2)), 'positive diagonal'),
    'negative diagonal': (with_prior(scale_tril=poke(-1.0, 9, 0, 0, 0)), 'positive diagonal'),
    'infinite factor': (with_prior(scale_tril=poke(torch.inf, 2, 0, 2, 1)), 'scale_tril'),
    'NaN means': (with_prior(means=poke(torch.nan)), 'means'),
    'NaN threshold': (with_prior(threshold=poke(torch.nan, 9)), 'threshold'),
    'threshold of infinity': (with_prior(threshold=poke(torch.inf)), 'threshold'),
    'float64 prior': (with_prior(weights=torch.Tensor.double), "prior['weights']"),
    'prior of half the digits': (
        with_prior(**dict.fromkeys(('weights', 'means', 'scale_tril', 'threshold'), lambda t: t[:5])),
        'shapes',
    ),
    'prior without Gaussians': (
        with_prior(weights=lambda t: t[:, :0], means=lambda t: t[:, :0], scale_tril=lambda t: t[:, :0]),
        'shapes',
    ),
    'prior of other latents': (
        with_prior(means=lambda t: t[..., :2], scale_tril=lambda t: t[..., :2, :2]),
        '2 latents',
    ),
    'no prior': (lambda c: c | dict(prior=None), 'prior'),
    'half a prior': (lambda c: c | dict(prior=dict(means=c['prior']['means'])), 'lacks'),
    'reader of text': (lambda c: c | dict(reader=dict(w='?')), "reader['w']"),
    'reader as list': (lambda c: c | dict(reader=[1]), 'reader'),
    'NaN reader': (lambda c: c | dict(reader=dict(w=torch.tensor([0.0, torch.nan]))), "reader['w']"),
    'reader of other layers': (lambda c: c | dict(reader=dict(w=torch.ones(2))), 'the reader has other layers'),
    'float64 reader': (lambda c: c | dict(reader=dict(w=torch.ones(2).double())), "reader['w']"),
    'other sizes': (with_config(hidden=[400, 200]), "config['hidden']"),
    'other pixels': (with_config(n_pixels=1024), "config['n_pixels']"),
    'absurd latent_dim': (with_config(latent_dim=10**9), 'latent_dim'),
    'negative latent_dim': (with_config(latent_dim=-1), 'latent_dim'),
    'other latent_dim': (with_config(latent_dim=4), 'state_dict'),
    'latent_dim as float': (with_config(latent_dim=3.0), 'latent_dim'),
    'latent_dim as bool': (with_config(latent_dim=True), 'latent_dim'),
    'latent_dim as text': (with_config(latent_dim='3'), 'latent_dim'),
    'no latent_dim': (
        lambda c: c | dict(config={k: v for k, v in c['config'].items() if k != 'latent_dim'}),
        'latent_dim',
    ),
    'config as list': (lambda c: c | dict(config=[1]), 'config'),
    'metrics as text': (lambda c: c | dict(metrics='good'), 'metrics'),
    'provenance as None': (lambda c: c | dict(provenance=None), 'provenance'),
    **{
        f'format_version {v!r}': (lambda c, v=v: c | dict(format_version=v), 'format version')
        for v in (True, 2.0, '2', 3, 0, -1, None, [2])
    },
    **{
        f'no {key}': (lambda c, key=key: {k: v for k, v in c.items() if k != key}, 'checkpoint')
        for key in ('format_version', 'config', 'state_dict', 'prior', 'reader', 'metrics', 'provenance', 'sha256')
    },
}


@pytest.mark.parametrize('name', CONTENT)
def test_nonsense_is_refused_by_name(good, tmp_path, name):
    change, words = CONTENT[name]
    rewrite(tmp_path / 'nonsense.pth', good, change)
    assert words in refusal(tmp_path / 'nonsense.pth')


@pytest.mark.parametrize(
    'change',
    [lambda c: c | dict(state_dict=OrderedDict(c['state_dict'])), lambda c: c | dict(reader=None)],
    ids=['ordered', 'no reader'],
)
def test_harmless_variants_are_read(good, tmp_path, change):
    rewrite(tmp_path / 'variant.pth', good, change)
    assert same(
        load_checkpoint(good)[1] | dict(reader=None), load_checkpoint(tmp_path / 'variant.pth')[1] | dict(reader=None)
    )


# --- files that are something else, and files that are bombs ---


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def archive(path, pickled, method=zipfile.ZIP_STORED, **records):
    "An archive as PyTorch's, with a pickle of one's own."
    with zipfile.ZipFile(path, 'w', method) as f:
        f.writestr('archive/data.pkl', pickled)
        f.writestr('archive/byteorder', 'little')
        for name, content in records.items():
            f.writestr(f'archive/data/{name}', content)


def text(s):
    return b'X' + struct.pack('<I', len(s)) + s.encode()


def laughs(n):
    "A list of ten references to a list of ten references to …, n deep."
    return (
        b'\x80\x02]q\x00'
        + b''.join(b'](' + b'h' + bytes([i]) + (b'h' + bytes([i])) * 9 + b'eq' + bytes([i + 1]) for i in range(n))
        + b'.'
    )


def storage(kind, n, key='0'):
    return (
        b'('
        + text('storage')
        + b'ctorch\n'
        + kind
        + b'\n'
        + text(key)
        + text('cpu')
        + b'J'
        + struct.pack('<i', n)
        + b'tQ'
    )


def rebuilt(n, size, stride, offset=0):
    "A pickle of one tensor, whose storage is said to have `n` numbers."
    ints = lambda values: b'(' + b''.join(b'\x8a\x08' + struct.pack('<q', v) for v in values) + b't'
    return (
        b'\x80\x02}'
        + text('x')
        + b'ctorch._utils\n_rebuild_tensor_v2\n('
        + storage(b'FloatStorage', n)
        + b'J'
        + struct.pack('<i', offset)
        + ints(size)
        + ints(stride)
        + b'\x89ccollections\nOrderedDict\n)RtRs.'
    )


PICKLES = {  # name: a pickle that no file of tensors has, or that would cost memory or time
    'nothing': b'',
    'no stop': b'\x80\x02}',
    'two results': b'\x80\x02}}.',
    'pop of nothing': b'\x80\x02s.',
    'mark of nothing': b'\x80\x02u.',
    'odd items': b'\x80\x02}(' + text('a') + b'u.',
    'append to a dictionary': b'\x80\x02}K\x01a.',
    'item of a list': b'\x80\x02]' + text('a') + b'K\x01s.',
    'deep lists': b'\x80\x02' + b']' * 100_000 + b'a' * 99_999 + b'.',
    'deep tuples': b'\x80\x02)' + b'\x85' * 300_000 + b'.',
    'deep key': b'\x80\x02})' + b'\x85' * 300_000 + b'K\x01s.',
    'list in itself': b'\x80\x02}' + text('a') + b']q\x00h\x00as.',
    'laughs': laughs(20),
    'a million values': b'\x80\x02}' + text('a') + b'](' + b'K\x01' * 500_000 + b'es.',
    'huge int': b'\x80\x02}' + text('a') + b'\x8b' + struct.pack('<i', 500_000) + b'\x7f' * 500_000 + b's.',
    'long int': b'\x80\x02}' + text('a') + b'\x8a\xff' + b'\x7f' * 255 + b's.',
    'int of a million figures': b'\x80\x02}' + text('a') + b'I' + b'9' * 1_000_000 + b'\ns.',
    'long of a million figures': b'\x80\x02}' + text('a') + b'L' + b'9' * 1_000_000 + b'L\ns.',
    'int of claimed length': b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'.',
    'text of claimed length': b'\x80\x02X' + struct.pack('<I', 2**32 - 1) + b'.',
    'text of an exabyte': b'\x80\x04\x8d' + struct.pack('<Q', 2**60) + b'.',
    'bytes of an exabyte': b'\x80\x05\x96' + struct.pack('<Q', 2**60) + b'.',
    'memo of four billion': b'\x80\x02}r' + struct.pack('<I', 2**32 - 1) + b'.',
    'memo of nothing': b'\x80\x02h\x07.',
    'long text': b'\x80\x02' + text('a' * 2**21) + b'.',
    'a terabyte of bytes': b'\x80\x02cbuiltins\nbytearray\n\x8a\x06' + (2**40).to_bytes(6, 'little') + b'\x85R.',
    'call of a type': b'\x80\x02ctorch\nFloatStorage\nK\x01\x85R.',
    'call of a number': b'\x80\x02K\x01)R.',
    'dictionary of pairs': b'\x80\x02ccollections\nOrderedDict\n]\x85R.',
    'type alone': b'\x80\x02}' + text('a') + b'ctorch\nFloatStorage\ns.',
    'storage alone': b'\x80\x02}' + text('a') + storage(b'FloatStorage', 4) + b's.',
    'storage too long': rebuilt(2**30, [4], [1]),
    'storage too short': rebuilt(3, [3], [1]),
    'negative storage': rebuilt(-1, [1], [1]),
    'size beyond': rebuilt(4, [5], [1]),
    'stride beyond': rebuilt(4, [2], [4]),
    'offset beyond': rebuilt(4, [2], [1], 3),
    'negative offset': rebuilt(4, [2], [1], -1),
    'negative stride': rebuilt(4, [2], [-1]),
    'negative size': rebuilt(4, [-2, -2], [1, 1]),
    'enormous size': rebuilt(4, [2**62, 2**62], [1, 1]),
    'enormous empty': rebuilt(4, [0, 2**62], [1, 1]),
    'nine dimensions': rebuilt(4, [1] * 100, [1] * 100),
    'one stride': rebuilt(4, [2, 2], [1]),
    'other storage': b'\x80\x02' + storage(b'FloatStorage', 4, 'nowhere') + b'.',
    'persistent number': b'\x80\x02K\x01Q.',
    'half a storage': b'\x80\x02' + text('storage') + b'\x85Q.',
}


def write_others(folder):
    "Files of other programs, and none at all; the name says what each is."
    make = lambda name: folder / name
    for name, pickled in PICKLES.items():
        archive(make(name), pickled, **{'0': bytes(16)})
    for name, size in (('empty', 0), ('zeros', 2**20)):
        make(name).write_bytes(bytes(size))
    make('text').write_text('weights')
    make('folder').mkdir()
    os.mkfifo(make('pipe'))
    make('sparse').write_bytes(default_weights().read_bytes()[:4096])
    os.truncate(make('sparse'), 10 * 2**30)
    for kind in ('pickle', 'archive'):
        evil = Evil(folder / 'executed')
        make(f'code in a {kind}').write_bytes(pickle.dumps(evil)) if kind == 'pickle' else torch.save(
            dict(a=evil), make(f'code in a {kind}')
        )
    torch.save(dict(a=torch.ones(2)), make('old format'), _use_new_zipfile_serialization=False)
    make('numpy pickle').write_bytes(pickle.dumps(np.eye(3)))
    np.save(make('numpy.npy'), np.eye(3))
    np.savez(make('numpy.npz'), a=np.eye(3))
    torch.save(dict(a=np.eye(3)), make('numpy in an archive'))
    torch.save(VAE(2), make('whole model'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), make('torchscript'))
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    make('safetensors').write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
    with zipfile.ZipFile(make('deflated'), 'w', zipfile.ZIP_DEFLATED) as f:
        with f.open('archive/data.pkl', 'w') as record:
            for _ in range(32):
                record.write(bytes(2**23))
    with zipfile.ZipFile(make('many records'), 'w') as f:
        for i in range(20_000):
            f.writestr(f'archive/data/{i}', b'')
    with zipfile.ZipFile(make('no pickle'), 'w') as f:
        f.writestr('archive/data/0', b'')
    with zipfile.ZipFile(make('elsewhere'), 'w') as f:
        for name in ('../data.pkl', '/etc/data.pkl', '../../x/data.pkl'):
            f.writestr(name, b'\x80\x02}.')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with zipfile.ZipFile(make('twice'), 'w') as f:
            for _ in range(2):
                f.writestr('archive/data.pkl', b'\x80\x02}.')
    make('overlapping').write_bytes(overlapping())
    make('claims').write_bytes(struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 65535, 65535, 2**32 - 1, 0, 0))
    archive(make('big-endian nonsense'), b'\x80\x02}.')
    make('big-endian nonsense').write_bytes(make('big-endian nonsense').read_bytes().replace(b'little', b'middle'))
    return sorted(path for path in folder.iterdir())


def overlapping():
    "An archive of 5,000 records that all are the same million zeros."
    import zlib

    zeros = bytes(2**20)
    entry = lambda i: (
        struct.pack(
            '<4s6H3I5H2I', b'PK\1\2', 0, 0, 0, 0, 0, 0, zlib.crc32(zeros), len(zeros), len(zeros), 1, i, 0, 0, 0, 0, 0
        )
        + b'a'
        + bytes(i)
    )
    local = (
        struct.pack('<4s5H3I2H', b'PK\3\4', 0, 0, 0, 0, 0, zlib.crc32(zeros), len(zeros), len(zeros), 1, 0)
        + b'a'
        + zeros
    )
    table = b''.join(entry(0).replace(b'a', chr(0x61 + i % 20).encode()) for i in range(20)) * 250
    return local + table + struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 5000, 5000, len(table), len(local), 0)


WATCHED = '''import json, resource, sys, time
from mnist_vae.checkpoint import CheckpointError, load_checkpoint
load_checkpoint(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
baseline, told = peak(), {}
for path in sys.argv[2:]:
    start = time.process_time()
    try: load_checkpoint(path); message = 'LOADED'
    except CheckpointError as e: message = str(e)
    told[path] = message, time.process_time() - start, peak() - baseline
print(json.dumps(told))'''


def watched(paths):
    "What a process of its own says about each file: the message, seconds of work, MB above those for good weights."
    limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    run = subprocess.run(
        [sys.executable, '-c', WATCHED, default_weights(), *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.fixture(scope='module')
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp('others')
    return folder, watched([*write_others(folder), '/dev/zero', '/dev/null'])


def test_other_files_are_refused(others):
    folder, told = others
    assert len(told) > 70
    for path, (message, _, _) in told.items():
        assert message != 'LOADED' and path in message and 'mnist-vae train' in message and '\n' not in message, (
            path,
            message,
        )
        assert len(message) < 500 + len(path), path
    assert not (folder / 'executed').exists(), 'code in a file was run'
    says = lambda name: told[str(folder / name)][0]
    assert 'is a folder' in says('folder') and 'not a file' in says('pipe') and 'not a file' in told['/dev/zero'][0]
    assert (
        'more than 67,108,864' in says('sparse')
        and 'compressed' in says('deflated')
        and 'overlap' in says('overlapping')
    )
    assert 'torch.nn' in says('torchscript') or '__torch__' in says('torchscript')
    assert (
        'posix.mkdir' in says('code in a archive')
        and 'numpy' in says('numpy in an archive')
        and 'nested' in says('deep lists')
    )


@pytest.mark.slow
def test_no_file_costs_memory(others):
    "At most 200 MB above a process that has loaded good weights."
    _, told = others
    costly = {path: megabytes for path, (_, _, megabytes) in told.items() if megabytes > 200}
    assert costly == {}
    print(f'slowest {max(told.values(), key=lambda t: t[1])}, most memory {max(m for _, _, m in told.values()):.0f} MB')


def test_missing_file_is_missing(tmp_path):
    for path in (tmp_path / 'none.pth', tmp_path / 'none' / 'none.pth'):
        with pytest.raises(FileNotFoundError, match='there are no weights at .*none.pth.*mnist-vae train'):
            load_checkpoint(path)
    os.symlink(tmp_path / 'none.pth', tmp_path / 'link.pth')
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / 'link.pth')


@pytest.mark.parametrize('path', ['a\0b', 'x' * 5000], ids=['NUL', 'long'])
def test_impossible_name(path):
    with pytest.raises(CheckpointError, match='mnist-vae train'):
        load_checkpoint(path)


def test_unreadable_file(good, monkeypatch, tmp_path):
    path = shutil.copy(good, tmp_path / 'mine.pth')

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    with monkeypatch.context() as m:  # a superuser may read everything
        m.setattr(files, 'open', refuse, raising=False)
        assert 'cannot be read: Permission denied' in refusal(path)
    if os.geteuid():
        path.chmod(0)
        assert 'Permission denied' in refusal(path)


def test_file_below_a_file(good):
    assert 'cannot be read: Not a directory' in refusal(good / 'x.pth')


# --- saving ---


def save(path, model=None, **settings):
    save_checkpoint(path, VAE(3) if model is None else model, small_prior(), **settings)


@pytest.fixture
def kept(good, tmp_path):
    "A file that is there already, and afterwards must be there as it was, with nothing beside it."
    path = tmp_path / 'folder' / 'kept.pth'
    path.parent.mkdir()
    shutil.copy(good, path)
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ['kept.pth']


def test_values_become_plain(tmp_path):
    class Sub(str):
        pass

    given = dict(
        a=np.float32(0.5),
        b=np.int64(2),
        c=np.bool_(True),
        d=np.array(7),
        e=np.eye(2, dtype=np.int8),
        f=Path('x') / 'y',
        g=(1, 2.0),
        h=torch.Size([3]),
        i=torch.float32,
        j=torch.device('cpu'),
        k=datetime(2026, 1, 2, 3, tzinfo=timezone.utc),
        l=torch.tensor(3),
        m=torch.tensor([1.0, 2.0], requires_grad=True),
        n=np.datetime64('2026-01-02T00:00:00.000000001'),
        o=Sub('s'),
        p=np.str_('t'),
        q=torch.__version__,
        r=OrderedDict(z=None),
        s=float('nan'),
        t=np.dtype('int8'),
        u=datetime(2026, 1, 2).date(),
        v=-(2**63),
    )
    expected = dict(
        a=0.5,
        b=2,
        c=True,
        d=7,
        e=[[1, 0], [0, 1]],
        f=str(Path('x/y')),
        g=[1, 2.0],
        h=[3],
        i='float32',
        j='cpu',
        k='2026-01-02T03:00:00+00:00',
        l=3,
        m=[1.0, 2.0],
        n='2026-01-02T00:00:00.000000001',
        o='s',
        p='t',
        q=str(torch.__version__),
        r=dict(z=None),
        t='int8',
        u='2026-01-02',
        v=-(2**63),
    )
    path = tmp_path / 'plain.pth'
    save(path, config=given, metrics=given, provenance=given)
    found = load_checkpoint(path)[1]
    for name in ('config', 'metrics', 'provenance'):
        values = {key: found[name][key] for key in given}
        assert str(values.pop('s')) == 'nan' and same(values, expected), name


@pytest.mark.parametrize(
    'value',
    [
        1j,
        {1},
        b'x',
        object(),
        print,
        2**63,
        -(2**63) - 1,
        10**5000,
        {3: 1},
        np.array([1j]),
        torch.ones(2).to_sparse(),
        torch.ones(2, device='meta'),
        np.zeros(200_000),
        [0] * 200_000,
        range(3),
        VAE,
        random.Random(0),
    ],
    ids=lambda v: type(v).__name__,
)
@pytest.mark.parametrize('name', ['config', 'metrics', 'provenance'])
def test_value_that_cannot_be_plain_is_refused_by_name(kept, name, value):
    with pytest.raises(ValueError, match=rf"^{name}\['a'\]\[1\]") as caught:
        save(kept, **{name: dict(a=[0, value])})
    assert len(str(caught.value)) < 250


def test_endless_value_is_refused(kept):
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"^config\['a'\]\[0\].*nested more than 20 deep"):
        save(kept, config=dict(a=endless))


@pytest.mark.parametrize(
    'settings',
    [
        dict(config=[1]),
        dict(metrics='good'),
        dict(provenance=3),
        dict(reader=[torch.ones(1)]),
        dict(reader=dict(w=torch.ones(1).double())),
        dict(config=dict(latent_dim=0)),
        dict(config=dict(hidden=[1, 2])),
    ],
    ids=str,
)
def test_settings_of_another_kind(kept, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        save(kept, **settings)


def test_wrapped_models_are_unwrapped(tmp_path, good):
    model, _ = load_checkpoint(good)
    for wrapped in (
        nn.DataParallel(model),
        torch.compile(model),
        torch.compile(nn.DataParallel(model)),
        torch.optim.swa_utils.AveragedModel(model),
    ):
        save(tmp_path / 'wrapped.pth', wrapped)
        assert same(dict(load_checkpoint(tmp_path / 'wrapped.pth')[0].state_dict()), dict(model.state_dict()))


def tied(model):
    model.decoder.layers[4].weight.data = model.encoder.hidden[0].weight.data.T
    return model


def test_weights_in_shared_or_transposed_memory(tmp_path):
    "As while training, where all weights are slices of one tensor: the file has each once, with nothing around it."
    model = tied(VAE(3))
    save(tmp_path / 'a.pth', model)
    again, _ = load_checkpoint(tmp_path / 'a.pth')
    assert same(dict(again.state_dict()), dict(model.state_dict())) and all(
        p.is_contiguous() for p in again.parameters()
    )
    assert len({p.untyped_storage().data_ptr() for p in again.parameters()}) == 14
    huge = torch.zeros(10**7)
    huge[:10] = -torch.inf
    prior = small_prior()
    save_checkpoint(tmp_path / 'b.pth', model, vars(prior) | dict(threshold=huge[:10]))
    assert (tmp_path / 'b.pth').stat().st_size < 5e6


def changed(change):
    model = VAE(3)
    change(model)
    return model


@pytest.mark.parametrize(
    'model, words',
    [
        (None, 'model must be a VAE'),
        ('weights', 'model must be a VAE'),
        (VAE(3).encoder, 'not Encoder'),
        (nn.Linear(2, 2), 'not Linear'),
        (VAE(3).state_dict(), 'model must be a VAE'),
        (nn.DataParallel(nn.Linear(2, 2)), 'not DataParallel'),
        (VAE(3).double(), 'float64'),
        (VAE(3).half(), 'float16'),
        (VAE(3).to('meta'), 'without numbers'),
        (changed(lambda m: setattr(m, 'latent_dim', 4)), 'encoder.mu'),
        (changed(lambda m: setattr(m, 'more', nn.Linear(1, 1))), 'more.bias'),
        (changed(lambda m: setattr(m.decoder, 'layers', nn.Identity())), 'lacks'),
        (changed(lambda m: m.encoder.mu.bias.data.fill_(torch.nan)), 'encoder.mu.bias'),
        (changed(lambda m: nn.utils.parametrizations.weight_norm(m.encoder.mu)), 'encoder.mu'),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,     # the same in each process
)
def test_what_is_no_vae_is_refused(kept, model, words):
    with pytest.raises(ValueError, match=words):
        save_checkpoint(kept, model, small_prior())


@pytest.mark.parametrize(
    'prior',
    [
        None,
        {},
        [1],
        dict(means=torch.zeros(10, 2, 3)),
        vars(small_prior(D=4)),
        vars(small_prior()) | dict(more=torch.ones(1)),
        vars(small_prior()) | dict(weights=torch.ones(10, 2)),
        vars(small_prior()) | dict(means=np.zeros((10, 2, 3))),
        {k: t.double() for k, t in vars(small_prior()).items()},
        vars(small_prior()) | dict(means=torch.zeros(10, 2, 3).to_sparse()),
    ],
    ids=range(10),
)
def test_what_is_no_prior_is_refused(kept, prior):
    with pytest.raises(ValueError, match='prior'):
        save_checkpoint(kept, VAE(3), prior)


def test_more_than_can_be_read_is_not_written(kept):
    with pytest.raises(ValueError, match='more than 67,108,864'):
        save(kept, reader=dict(Classifier(600).state_dict()))
    with pytest.raises(ValueError, match='more than 100,000 values'):
        save(kept, metrics=dict(a=[[0] * 60_000] * 2))


# --- a disk that will not ---


def test_folder_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match='^there is no folder .*none: make it'):
        save(tmp_path / 'none' / 'a.pth')
    assert list(tmp_path.iterdir()) == []


def test_target_is_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match='is a folder: name a file in it$'):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_target_is_no_file(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', '/dev/null'):
        with pytest.raises(OSError, match='is not a file: name another$'):
            save(path)
    assert not Path('/dev/null').is_file() and [p.name for p in tmp_path.iterdir()] == ['pipe']


def test_target_is_read_only(kept):
    kept.chmod(0o444)
    with pytest.raises(PermissionError, match='kept.pth is read-only: make it writable, or name another file$'):
        save(kept)
    assert kept.stat().st_mode & 0o777 == 0o444


def test_folder_is_read_only(kept, monkeypatch):
    allowed = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path) != kept.parent.resolve() and allowed(path, mode))
    with pytest.raises(PermissionError, match='folder that you may not write to'):
        save(kept)


def test_link_stays_a_link(good, tmp_path):
    shutil.copy(good, tmp_path / 'real.pth')
    (tmp_path / 'link.pth').symlink_to('real.pth')
    save(tmp_path / 'link.pth')
    assert (tmp_path / 'link.pth').is_symlink() and (tmp_path / 'real.pth').read_bytes() != good.read_bytes()


def test_permissions_stay(good, tmp_path):
    path = Path(shutil.copy(good, tmp_path / 'mine.pth'))
    path.chmod(0o640)
    save(path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    'error', [OSError(28, 'No space left on device'), OSError(5, 'Input/output error')], ids=['full', 'broken']
)
def test_write_fails_half_way(kept, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match=f'^{kept} could not be written, and stays as it was: {error.strerror}$'):
        save(kept)


@pytest.mark.slow
def test_disk_is_really_full(kept):
    "A limit on the size of files, as a full disk, stops the write after the first megabyte."
    program = (
        'import resource, sys; from mnist_vae.checkpoint import *; m, c = load_checkpoint(sys.argv[1]); '
        'resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20)); save_checkpoint(sys.argv[1], m, c["prior"])'
    )
    run = subprocess.run([sys.executable, '-c', program, kept], cwd=ROOT, capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == f'OSError: {kept} could not be written, and stays as it was: File too large'


def test_disk_gives_back_other_bytes(kept, monkeypatch):
    read = Path.read_bytes
    monkeypatch.setattr(Path, 'read_bytes', lambda path: read(path)[:-1] if path.suffix == '.part' else read(path))
    with pytest.raises(OSError, match='gives back other bytes'):
        save(kept)


def test_stopped_by_the_user(kept, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', stop)
    with pytest.raises(KeyboardInterrupt):
        save(kept)


def test_new_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(OSError, match='No space left'):
        save(tmp_path / 'new.pth')
    assert list(tmp_path.iterdir()) == []
