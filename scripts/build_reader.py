"""Train the reader of mnist_vae.pth anew, as the recipe `sharp` does after its other stages, and put it into the file.

    python scripts/build_reader.py          # about six minutes on one core

Everything else in the file stays, to the bit. The same machine makes the same reader.
"""
import time

from mnist_vae.checkpoint import load_checkpoint, save_checkpoint
from mnist_vae.data import load_mnist
from mnist_vae.generator import default_weights
from mnist_vae.reader import train_reader
from mnist_vae.recipe import RECIPES


def main() -> None:
    path, recipe, start = default_weights(), RECIPES['sharp'], time.perf_counter()
    model, kept = load_checkpoint(path)
    reader = train_reader(*load_mnist(), **recipe.for_reading(), seed=kept['config']['seed'], device='cpu')
    config = kept['config'] | dict(reading_epochs=recipe.reading_epochs, reading_drawn=recipe.reading_drawn)
    seconds = kept['metrics'].get('seconds', {}) | dict(reading=time.perf_counter() - start)
    save_checkpoint(path, model, kept['prior'], config, kept['metrics'] | dict(seconds=seconds), kept['provenance'],
                    dict(reader.state_dict()))
    print(f'{path.name}: {path.stat().st_size:,} bytes')


if __name__ == '__main__': main()
