"""Run the programs of the how-to on large data sets, as their readers would, with a small set on this computer.

    python scripts/launchers.py dask ray     # each needs its library: pip install dask distributed ray

Each program starts the shards of one set by processes of its library. The set must be, to the byte, the one that a
single process writes.
"""
import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOW_TO = ROOT / 'docs/how-to/make-a-large-data-set.md'
SMALLER = {
    'n=60_000': 'n=60, shard=10',
    'Client()': "Client(n_workers=1, threads_per_worker=2, host='127.0.0.1', dashboard_address=None)",
    'ray.init()': "ray.init(num_cpus=1, include_dashboard=False, _node_ip_address='127.0.0.1')",
}
ALONE = "from mnist_vae.shards import write_dataset; write_dataset('digits', 60, format='parquet', shard=10)"


def program(launcher: str, folder: Path) -> str:
    "The how-to's program for a launcher, which writes a small set to `folder`."
    blocks = re.findall(r'^```python\n(.*?)^```', HOW_TO.read_text(encoding='utf-8'), re.M | re.S)
    code, = (block for block in blocks if block.startswith((f'import {launcher}', f'from {launcher}')))
    for old, new in SMALLER.items(): code = code.replace(old, new)
    return re.sub(rf"'[^']*{launcher}_digits'", repr(str(folder)), code)


def files(folder: Path) -> dict[str, str]:
    "Hash of each file below a folder."
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob('*') if path.is_file()}


def run(code: str, folder: Path) -> None:
    "Run a program in an empty folder, quietly, on one thread; CalledProcessError if it fails."
    (folder / 'program.py').write_text(code)
    quiet = dict(RAY_USAGE_STATS_ENABLED='0', PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    subprocess.run([sys.executable, 'program.py'], cwd=folder, env=os.environ | quiet, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('launchers', nargs='+', choices=['dask', 'ray'])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run(ALONE, folder)
        for launcher in parser.parse_args().launchers:
            run(program(launcher, folder / launcher), folder)
            if files(folder / launcher) != files(folder / 'digits'): sys.exit(f'{launcher}: the files differ')
            print(f"{launcher}: the {len(files(folder / 'digits'))} files of a single process, byte for byte")


if __name__ == '__main__': main()
