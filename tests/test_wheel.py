"""A wheel, really built and installed, draws digits in an empty folder."""
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from conftest import ROOT
from mnist_vae.generator import DigitGenerator

NOT_COPIED = '.[!s]*', 'build', 'dist', 'venv', '*.egg-info', '_proc'       # .streamlit is copied


def packages_of(python) -> list[str]:
    "The folders from which a Python imports what was installed."
    program = 'import sys; print(*(path for path in sys.path if path.endswith("-packages")), sep="\\n")'
    run = subprocess.run([python, '-c', program], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def test_wheel_brings_its_weights(tmp_path, app_python):
    source = tmp_path / 'source'  # a copy: building leaves folders behind
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NOT_COPIED))
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', tmp_path, source],
        check=True,
    )
    (wheel,) = tmp_path.glob('mnist_vae-*.whl')

    names = ZipFile(wheel).namelist()
    for name in (
        'look.css', 'dashboard.css', 'dashboard.js', 'dashboard.ipynb', 'voila.json', '__main__.py',
        'mnist_vae_judge.pth', 'app_files/app.py',
        'app_files/web/pad.js', 'app_files/web/index.html', 'app_files/web/generator.js',
        'app_files/web/story/seven-1.png', 'app_files/.streamlit/config.toml',
    ):
        assert f'mnist_vae/{name}' in names
    template = [name for name in names if '.data/data/share/jupyter/voila/templates/mnist-vae/' in name]
    assert {name.rpartition('/')[2] for name in template} == {'conf.json', 'index.html.j2', 'page.css'}, (
        'where Voilà looks for templates'
    )

    # An environment of its own, which sees the app's PyTorch and NumPy, and this one's Typer, but not this checkout:
    # pip accepts them as the requirements of the wheel, and nothing is downloaded twice.
    env, empty = tmp_path / 'env', tmp_path / 'empty'
    empty.mkdir()
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', env], check=True)
    python = env / 'bin' / 'python'
    (Path(packages_of(python)[0]) / 'borrowed.pth').write_text(
        '\n'.join(dict.fromkeys(packages_of(app_python) + packages_of(sys.executable)))
    )
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
    command = env / 'bin' / 'mnist-vae'
    drawn = subprocess.run([command, 'write', '7'], cwd=empty, capture_output=True, text=True, check=True)
    assert len(drawn.stdout.splitlines()) == 14 and drawn.stderr == ''
    program = 'from mnist_vae.cli import _app_file; print(_app_file())'
    run = subprocess.run([python, '-c', program], cwd=empty, capture_output=True, text=True, check=True)
    found = run.stdout.strip()
    assert found.startswith(str(env)) and Path(found).with_name('web').is_dir()
