"""The JavaScript of web/, by Node's own test runner."""
import json
import re
import shutil
import struct
import subprocess
import zlib

import pytest
import torch

from conftest import CI, ROOT
from mnist_vae.web import MAGIC, pack, page_files


@pytest.mark.slow
def test_javascript():
    node = shutil.which('node')
    if not node:
        assert not CI, 'CI must install Node'
        pytest.skip('node is not on the PATH')
    run = subprocess.run(
        [node, '--test', '--test-reporter=tap', *sorted(map(str, (ROOT / 'tests' / 'web').glob('*.test.js')))],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert run.returncode == 0, run.stdout
    assert re.search('^# pass [1-9]', run.stdout, re.M), 'no test was found'


@pytest.mark.parametrize('name', ['pad', 'map'])
def test_nothing_from_outside_becomes_html(name):
    assert not any(
        word in (ROOT / 'web' / f'{name}.js').read_text()
        for word in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'eval(')
    )


def test_what_is_packed_says_where_each_tensor_begins():
    tensors = dict(a=torch.tensor([[1.0, 2.0], [3.0, 4.0]]), b=torch.tensor([0.5, 0.25], dtype=torch.float64))
    made = pack(tensors, part='drawing')
    letters, check_sum, n_header = struct.unpack_from('<8s2I', made)
    assert letters == MAGIC and check_sum == zlib.crc32(made[12:])
    header, numbers = json.loads(made[16 : 16 + n_header]), made[16 + n_header :]
    assert header['part'] == 'drawing'
    for name, kind in (('a', 'f'), ('b', 'd')):
        entry, expected = header['tensors'][name], tensors[name]
        assert entry['shape'] == list(expected.shape) and not entry['offset'] % 8
        found = struct.unpack_from(f'<{expected.numel()}{kind}', numbers, entry['offset'])
        assert list(found) == expected.flatten().tolist()


def test_page_names_what_is_kept_offline():
    files = page_files()
    kept = json.loads(files['kept.js'].decode().removeprefix('self.KEPT = ').rstrip(';\n'))
    assert kept['later'] == ['encoder.bin']
    assert {*kept['files'], *kept['later']} == {'./', *files.keys() - {'index.html', 'service-worker.js', 'kept.js'}}
    assert '$' not in files['index.html'].decode()
    assert files['weights.bin'][:8] == MAGIC and len(files['weights.bin']) <= 4.2e6
