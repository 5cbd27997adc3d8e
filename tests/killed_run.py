"""A run of `fit` that is killed again and again: `python killed_run.py FOLDER SEED`. Started by test_resume.py.

The parent only imports and forks: each child starts where nothing was computed yet, and spares the imports.
"""
import json
import os
import random
import select
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

import torch
import tqdm.auto  # noqa: F401

import mnist_vae.training
from mnist_vae.recipe import Recipe, fit
from mnist_vae.training import load_state, save_state

RECIPE = Recipe(epochs=2, batch_size=100, kl_weight=.1, cosine=True, ema=.9, draws=2, n_components=2,
                refine_epochs=2, refine_leave_out=.03, refine_ema=.9, reading_epochs=2, reading_drawn=2)
STAGES = {'', 'networks', 'priors', 'reader', 'refinement', 'reading'}     # '': before anything was kept


def result(made) -> dict:
    "All of a run that must not depend on its interruptions."
    history = [{name: value for name, value in row.items() if name != 'seconds'} for row in made.history]
    return dict(model=made.model.state_dict(), prior=asdict(made.prior), history=history, refined=made.refine_history,
                reader=made.reader.state_dict())


def child(folder: Path, out: Path, state: Path, pipe: int, dies_at: int | None) -> None:
    "A run. It writes a byte to `pipe` for each state it has kept, and dies while it writes number `dies_at`."
    places = []

    def save_and_tell(kept, path):
        if len(places) == dies_at: os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # half way
        save_state(kept, path)
        places.append(kept['place'])
        os.write(pipe, b'.')

    mnist_vae.training.save_state = save_and_tell
    torch.set_num_threads(1)
    made = fit(*torch.load(folder / 'data.pt'), RECIPE, seed=3, device='cpu', resume=state, progress=False)
    torch.save(result(made), out)
    out.with_suffix('.json').write_text(json.dumps(places))


def start(folder: Path, out: Path, state: Path, dies_at: int | None = None) -> tuple[int, int]:
    "A child: its process number, and the end of its pipe to read from."
    read, write = os.pipe()
    if pid := os.fork():
        os.close(write)
        return pid, read
    status = 1
    try:
        child(folder, out, state, write, dies_at)
        status = 0
    except BaseException: traceback.print_exc()
    finally: os._exit(status)


def finish(pid: int, pipe: int) -> int:
    "Wait for a child: 0 if it came to its end, 9 if it was killed."
    os.close(pipe)
    return abs(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def bytes_before(pipe: int, n: int | None, seconds: float | None) -> int:
    "How many states a child has kept when it has kept `n` of them or ended, or when the time is over."
    seen = 0
    while (n is None or seen < n) and select.select([pipe], [], [], seconds)[0]:
        if not os.read(pipe, 1): break
        seen += 1
    return seen


def place(state: Path) -> str: return load_state(state)['place'] if state.exists() else ''


def stages(kills: list[dict]) -> set[str]: return {kill['place'].partition(',')[0] for kill in kills}


def main(folder: Path, seed: int, least: int = 20) -> None:
    state, rng, kills, runs = folder / 'run.state', random.Random(seed), [], 0
    pid, pipe = start(folder, folder / 'undisturbed.pt', folder / 'other.state')
    bytes_before(pipe, None, None)
    assert finish(pid, pipe) == 0
    places = ['', *json.loads((folder / 'undisturbed.json').read_text())]
    while len(kills) < least or state.exists() or stages(kills) != STAGES:
        n, in_write = rng.choice((0, 0, 1, 1, 2)), rng.random() < .3
        pid, pipe = start(folder, folder / f'killed{runs}.pt', state, n if in_write else None)
        before, seen = places.index(place(state)), bytes_before(pipe, n, None)
        if in_write: bytes_before(pipe, None, None)                  # until it kills itself
        else:
            seen += bytes_before(pipe, None, rng.uniform(0, .15))
            os.kill(pid, signal.SIGKILL)
        if finish(pid, pipe) == 0:
            runs += 1
            state.unlink()
            continue
        after = places.index(place(state))
        kills.append(dict(place=places[after], lost=before + seen - after, in_write=in_write))
    print(json.dumps(dict(kills=kills, runs=runs, places=places, left=sorted(p.name for p in folder.iterdir()))))


if __name__ == '__main__': main(Path(sys.argv[1]), int(sys.argv[2]))
