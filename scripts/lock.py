"""Make requirements.txt from requirements.in: all that the app installs, in versions for Python 3.11 to 3.14.

    pip install uv
    python scripts/lock.py              # what is missing is added, what fits stays as it is
    python scripts/lock.py --upgrade    # everything as new as requirements.in allows
    python scripts/lock.py --check      # is there a wheel of everything, for each Python and platform?

On Linux, PyTorch from the plain index brings CUDA along, and its build for the CPU does not. Whatever belongs to CUDA
is pinned in requirements-gpu.txt, as a constraint: it says which version if it is installed, and installs nothing.

There are no hashes of files: with them pip would refuse the CPU build of PyTorch, whose files differ from those of the
plain index.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, LOCK, GPU = ROOT / 'requirements.in', ROOT / 'requirements.txt', ROOT / 'requirements-gpu.txt'
PYTHONS = '3.11', '3.12', '3.13', '3.14'
PLATFORMS = 'x86_64-manylinux_2_28', 'aarch64-manylinux_2_28', 'aarch64-apple-darwin', 'x86_64-pc-windows-msvc'
CUDA = re.compile(r'(nvidia|cuda)-|triton==')
HEADER = {
    LOCK: f'''# All that the app installs: made by `python scripts/lock.py` from {SOURCE.name}, not by hand.
# On Linux add `--extra-index-url https://download.pytorch.org/whl/cpu`, which saves two gigabytes of CUDA.
-c {GPU.name}
''',
    GPU: '# What PyTorch\'s build for GPUs adds on Linux: versions only, nothing here is installed by itself. '
         'Made by scripts/lock.py.\n',
}


def uv(*arguments) -> None:
    if not shutil.which('uv'): sys.exit('uv is missing: pip install uv')
    env = os.environ | {'MACOSX_DEPLOYMENT_TARGET': '14.0'}             # the oldest macOS that PyTorch has wheels for
    done = subprocess.run(['uv', 'pip', *map(str, arguments)], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode: sys.exit(done.stderr)


def pins(path: Path) -> list[str]:
    "The lines of a lock that name a package."
    return [line for line in path.read_text().splitlines() if '==' in line and not line.startswith(('#', ' '))]


def lock(upgrade: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / 'whole.txt'
        if not upgrade:
            whole.write_text('\n'.join(line for path in (LOCK, GPU) if path.exists() for line in pins(path)))
        options = [
            '--universal', '--python-version', PYTHONS[0], '--no-header', '--no-annotate', '--output-file', whole,
        ]
        uv('compile', SOURCE, *options, *(['--upgrade'] if upgrade else []))
        found = pins(whole)
    for path, cuda in ((LOCK, False), (GPU, True)):
        path.write_text(HEADER[path] + ''.join(f'{line}\n' for line in found if bool(CUDA.match(line)) == cuda))


def check() -> None:
    for python in PYTHONS:
        for platform in PLATFORMS:
            with tempfile.TemporaryDirectory() as target:
                uv(
                    'install', '--dry-run', '--only-binary', ':all:', '--no-deps', '--target', target,
                    '--python-version', python, '--python-platform', platform, '-r', LOCK,
                )
            print(f'Python {python}, {platform}: a wheel of everything')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--upgrade', action='store_true', help='everything as new as requirements.in allows')
    parser.add_argument('--check', action='store_true', help='look for wheels, change nothing')
    args = parser.parse_args()
    if args.check: check()
    else: lock(args.upgrade)
