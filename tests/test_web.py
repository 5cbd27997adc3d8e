"""The JavaScript of web/, by Node's own test runner."""
import re
import shutil
import subprocess

import pytest

from conftest import CI, ROOT


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
