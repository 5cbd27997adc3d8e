"""The benchmarks run, write what the notebooks draw, and refuse odd arguments before they spend time."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / 'benchmarks'


def run(script, *args, check=True):
    return subprocess.run([sys.executable, FOLDER / script, *map(str, args)], capture_output=True, text=True, check=check, timeout=300)


@pytest.mark.parametrize('script', ['training.py', 'generation.py'])
def test_odd_arguments(script, tmp_path):
    assert '--rounds' in run(script, '--help').stdout
    for args, error in [(('--rounds', '0'), "--rounds: must be a whole number above 0, not '0'"), (('--rounds', 'x'), "not 'x'"),
                        (('--out', tmp_path / 'no' / 'x.json'), '--out: must be a file in a folder that exists'), (('--out', tmp_path), '--out: must be')]:
        out = run(script, *args, check=False)
        assert out.returncode == 2 and error in out.stderr, out.stderr


def test_generation_writes_what_its_chapter_draws(tmp_path):
    out = run('generation.py', '--shared', '--rounds', 1, '--images', 20_000, '--out', tmp_path / 'g.json').stdout
    figures, shipped = (json.loads(path.read_text()) for path in (tmp_path / 'g.json', FOLDER / 'generation.json'))
    assert figures.keys() == shipped.keys() and figures['seconds_an_image'].keys() == shipped['seconds_an_image'].keys()
    assert 'of products' in out and '20,000 images' in out
    assert figures['million']['result'] == 20_000 * 28 * 28 * 4 and figures['million']['peak'] > figures['million']['result']
    times = {name: s['median'] for name, s in figures['seconds_an_image'].items()}
    assert times['ours'] < times['one at a time, single, N(0, I)']
