"""The benchmarks run, write what the notebooks draw, and refuse odd arguments before they spend time."""
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parent.parent / 'benchmarks'


def run(script, *args, check=True):
    return subprocess.run(
        [sys.executable, FOLDER / script, *map(str, args)], capture_output=True, text=True, check=check, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize('script', ['training.py', 'generation.py', 'dataset.py'])
def test_odd_arguments(script, tmp_path):
    assert '--rounds' in run(script, '--help').stdout
    for args, error in [
        (('--rounds', '0'), "--rounds: must be a whole number above 0, not '0'"),
        (('--rounds', 'x'), "not 'x'"),
        (('--out', tmp_path / 'no' / 'x.json'), '--out: must be a file in a folder that exists'),
        (('--out', tmp_path), '--out: must be'),
    ]:
        out = run(script, *args, check=False)
        assert out.returncode == 2 and error in out.stderr, out.stderr


@pytest.mark.slow
@pytest.mark.alone
def test_generation_writes_what_its_chapter_draws(tmp_path):
    out = run('generation.py', '--shared', '--rounds', 1, '--images', 20_000, '--out', tmp_path / 'g.json').stdout
    figures, shipped = (json.loads(path.read_text()) for path in (tmp_path / 'g.json', FOLDER / 'generation.json'))
    assert figures.keys() == shipped.keys() and figures['seconds_an_image'].keys() == shipped['seconds_an_image'].keys()
    assert 'of products' in out and '20,000 images' in out
    assert (
        figures['million']['result'] == 20_000 * 28 * 28 * 4
        and figures['million']['peak'] > figures['million']['result']
    )
    times = {name: s['median'] for name, s in figures['seconds_an_image'].items()}
    assert times['ours'] < times['one at a time, single, N(0, I)']


@pytest.mark.slow
@pytest.mark.alone
def test_dataset_writes_what_its_chapter_draws(tmp_path):
    out = run('dataset.py', '--rounds', 1, '--images', 2000, '--out', tmp_path / 'd.json').stdout
    figures, shipped = (json.loads(path.read_text()) for path in (tmp_path / 'd.json', FOLDER / 'dataset.json'))
    assert figures.keys() == shipped.keys() and figures['parts'].keys() == shipped['parts'].keys()
    assert {name: row.keys() for name, row in figures['formats'].items()} == {
        name: row.keys() for name, row in shipped['formats'].items()}
    assert figures['parts']['png']['median'] < figures['parts']['PNG by Pillow']['median']
    assert 'times as long' in out and figures['peak'] < 2**30


def test_frontier_asks_for_the_lines_of_its_figure(tmp_path, monkeypatch):
    "The recipes that it trains make the lines of frontier.json, and networks are trained once for each KL weight."
    import torch
    monkeypatch.syspath_prepend(FOLDER)
    import frontier
    asked, trained = [], []

    def train(images, labels, progress, **hyper):
        trained.append(hyper)
        return len(trained) - 1

    def fit(images, labels, recipe, networks, **options):
        asked.append((networks, recipe.for_training()))
        return SimpleNamespace(model=recipe, prior=SimpleNamespace(truncated=lambda share: share))
    data = torch.zeros(20, 28, 28, dtype=torch.uint8), torch.arange(20) % 10
    for name, stand_in in dict(
        fit=fit,
        train=train,
        load_mnist=lambda split='train': data,
        train_judge=lambda *args, **options: None,
        quality=lambda *args: {},
        DigitGenerator=lambda model, prior: SimpleNamespace(sample=lambda labels, seed: None),
    ).items():
        monkeypatch.setattr(frontier, name, stand_in)
    frontier.main(tmp_path / 'frontier.json', (.05, .1, .2), 12, 5)
    made, kept = (json.loads(path.read_text()) for path in (tmp_path / 'frontier.json', FOLDER / 'frontier.json'))
    settings = {'name', 'leave_out', 'kl_weight', 'n_components', 'reader_weight', 'refine_epochs'}
    assert made == [{name: value for name, value in point.items() if name in settings} for point in kept]
    assert all(trained[networks] == hyper for networks, hyper in asked)
    assert sorted(hyper['kl_weight'] for hyper in trained) == [0.05, 0.1, 0.2] and {
        hyper['epochs'] for hyper in trained
    } == {12}
