"""web/generator.js draws Python's bytes in Node, Chromium and Firefox, has right types, and makes a package.

`python benchmarks/same_bytes.py` compares far more images.
"""
import json
import re
import shutil
import subprocess
import tarfile

import pytest

import same_bytes
from conftest import CI, ROOT

ENGINES = list(same_bytes.ENGINES)
MODULES = 'generator', 'layers', 'picture', 'random', 'reader', 'weights'
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def plan(tmp_path_factory):
    "A small plan, a folder with what the engines need, and what they should draw."
    folder, calls = tmp_path_factory.mktemp('same'), same_bytes.plan(1)
    return calls, folder, same_bytes.prepare(folder, calls)


@pytest.mark.parametrize('engine', ENGINES)
def test_same_bytes(plan, engine):
    if not same_bytes.found(engine):
        assert not CI, f'CI must install {engine}'
        pytest.skip(f'{engine} is not on the PATH')
    calls, folder, expected = plan
    counts = same_bytes.count(calls, expected, same_bytes.draw(engine, folder))
    for name, (n, n_equal, _) in ((name, row.values()) for name, row in counts.items()): assert n == n_equal, name
    assert counts['probabilities']['probabilities'] == 100 and counts['readPicture']['bytes'] == 6 * 784
    assert counts['generate']['bytes'] == 480 * 784


def test_a_wrong_byte_is_counted(plan):
    calls, _, expected = plan
    drawn = same_bytes.np.concatenate([part.view('u1') for part in expected])
    drawn[0] ^= 3
    far = expected[[name for name, _ in calls].index('probabilities')].copy()
    far[0] += 2e-5
    moved = [far if name == 'probabilities' else part for (name, _), part in zip(calls, expected)]
    counts = same_bytes.count(calls, moved, drawn)
    assert counts['generate']['bytes'] - counts['generate']['equal'] == 1 and counts['generate']['largest'] in (1, 3)
    assert counts['probabilities']['equal'] < 100
    with pytest.raises(ValueError, match='bytes, not'): same_bytes.count(calls, expected, drawn[1:])


def test_all_engines_and_twenty_thousand_images_were_compared():
    "The figures that the benchmark keeps, and that its chapter shows."
    figures = json.loads((ROOT / 'benchmarks/same_bytes.json').read_text())
    assert figures['images'] >= 20_000 and figures['seeds'] >= 10 and list(figures['engines']) == ENGINES
    for counts in figures['engines'].values():
        assert counts['generate']['bytes'] == counts['generate']['equal'] == figures['images'] * 784
        for name, (n, n_equal, largest) in ((name, row.values()) for name, row in counts.items()):
            assert n_equal >= .9999 * n and largest <= 1, name
        assert counts['probabilities']['largest'] <= 1e-5 and counts['readPicture']['bytes'] >= 40 * 784


def npm(folder, *args: str) -> subprocess.CompletedProcess:
    if not shutil.which('npm'):
        assert not CI, 'CI must install npm'
        pytest.skip('npm is not on the PATH')
    return subprocess.run(['npm', *args], cwd=folder, capture_output=True, text=True)


def test_types():
    "TypeScript checks what the comments of all modules say of their types."
    run = npm(ROOT / 'web', 'run', '--silent', 'check')
    assert run.returncode == 0, run.stdout + run.stderr


def test_package(tmp_path):
    "What `npm pack` makes draws digits where it is installed, and has types."
    shutil.copytree(ROOT / 'web', tmp_path / 'web')
    shutil.copy(ROOT / 'LICENSE', tmp_path)
    run = npm(tmp_path / 'web', 'pack', '--silent', '--pack-destination', str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    (archive,) = tmp_path.glob('*.tgz')
    with tarfile.open(archive) as tar: tar.extractall(tmp_path, filter='data')
    package = tmp_path / 'package'
    names = {str(path.relative_to(package)) for path in package.rglob('*') if path.is_file()}
    assert names == {
        'package.json', 'README.md', 'LICENSE', *(f'{name}.js' for name in MODULES),
        *(f'types/{name}.d.ts' for name in MODULES),
    }
    assert 'seed?: number' in (tmp_path / 'package/types/generator.d.ts').read_text()
    about = json.loads((tmp_path / 'package/package.json').read_text())
    version = re.search(r'^version = (.+)$', (ROOT / 'settings.ini').read_text(), re.M)[1]
    assert about['version'] == version and 'private' not in about and 'dependencies' not in about


def test_example_of_the_package(plan, tmp_path):
    "The program in the package's README runs as it stands there."
    readme = (ROOT / 'web/README.md').read_text()
    (program,) = re.findall(r'```js\n(.*?)```', readme, re.S)
    package = tmp_path / 'node_modules/mnist-digit-generator'
    package.mkdir(parents=True)
    for name in ('package.json', *(f'{name}.js' for name in MODULES)): shutil.copy(ROOT / 'web' / name, package)
    for name in ('weights.bin', 'encoder.bin'): shutil.copy(plan[1] / name, tmp_path)
    (tmp_path / 'example.mjs').write_text(program)
    run = subprocess.run(['node', 'example.mjs'], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0] == '3920', 'five images'
    assert run.stdout.split()[-1] == '7', 'what it reads'
