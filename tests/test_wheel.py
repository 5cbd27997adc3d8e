"""A wheel, really built and installed, draws digits in an empty folder."""
import shutil
import subprocess
import sys
from zipfile import ZipFile

from conftest import ROOT
from mnist_vae.generator import DigitGenerator


def test_wheel_brings_its_weights(tmp_path, app_python):
    source = tmp_path / 'source'  # a copy: building leaves folders behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns('.*', 'build', 'dist', 'venv', '*.egg-info', '_proc'))
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob('mnist_vae-*.whl')

    names = ZipFile(wheel).namelist()
    for name in ('look.css', 'dashboard.css', 'dashboard.js', 'dashboard.ipynb', 'voila.json'):
        assert f'mnist_vae/{name}' in names
    template = [name for name in names if '.data/data/share/jupyter/voila/templates/mnist-vae/' in name]
    assert {name.rpartition('/')[2] for name in template} == {'conf.json', 'index.html.j2', 'page.css'}, (
        'where Voilà looks for templates'
    )

    # An environment of its own, which sees the app's PyTorch and NumPy but not this checkout: pip accepts them as the
    # requirements of the wheel, and nothing is downloaded twice.
    env, empty = tmp_path / 'env', tmp_path / 'empty'
    empty.mkdir()
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', env], check=True)
    python = env / 'bin' / 'python'
    site = lambda python: subprocess.run([python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
                                         capture_output=True, text=True, check=True).stdout.strip()
    with open(f'{site(python)}/borrowed.pth', 'w') as f: f.write(site(app_python))
    subprocess.run([sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-index', wheel], check=True)

    program = '''import mnist_vae.generator as g
images = g.DigitGenerator.load().generate(7, seed=0)
print(g.__file__, g.default_weights(), tuple(images.shape), images.numpy().tobytes().hex(), sep="\\n")'''
    out = subprocess.run(
        [python, '-c', program], cwd=empty, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert all(path.startswith(str(env)) for path in out[:2]), out
    # The same seed, the same images: here in another build of PyTorch, when the app has its own environment.
    assert out[2:] == ['(5, 28, 28)', DigitGenerator.load().generate(7, seed=0).numpy().tobytes().hex()]
    usage = subprocess.run(
        [env / 'bin' / 'mnist-vae', 'train', '--help'], cwd=empty, capture_output=True, text=True, check=True
    )
    assert '--epochs' in usage.stdout
