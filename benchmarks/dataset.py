"""How fast data sets are written: each format, and the share of model, encoding and disk in its time.

    python benchmarks/dataset.py

Drawing and encoding are measured by themselves, in memory, in turns. Whole sets are written to a temporary folder in
two sizes, the given number of images and a tenth of it. The slope between the two is the time per image without what
happens once, and ten million images are that slope times their number. Disk is what remains: writing, hashing and
joining. The baseline is a Parquet table whose pictures Pillow encodes.
"""
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import PIL.Image
import torch

from common import arguments, machine, save, seconds, summary, take_turns
from mnist_vae import formats
from mnist_vae.dataset import draw_bytes, labels_in_turn
from mnist_vae.generator import DigitGenerator
from mnist_vae.shards import SHARD, write_dataset

PEAK = '''import sys
from pathlib import Path
from mnist_vae.shards import write_dataset
write_dataset(sys.argv[1], int(sys.argv[2]), format=sys.argv[3])
try: print(next(line.split()[1] for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line))
except OSError: print(0)                     # not Linux
'''
TEN_MILLION = 10_000_000
FEW = SHARD // 10       # images that Pillow encodes in its turn


def by_pillow(images) -> list[bytes]:
    contents = []
    for image in images:
        PIL.Image.fromarray(image).save(out := io.BytesIO(), 'PNG')
        contents.append(out.getvalue())
    return contents


def parquet_by_pillow(images, labels) -> bytes:
    with patch.object(formats, 'pngs', by_pillow): return formats.parquet(images, labels)


def npz(images, labels) -> None:
    arrays = dict(x_train=images, y_train=labels.astype('uint8'))
    formats.write_npz(io.BytesIO(), [(name, a.shape, '|u1', [a.tobytes()]) for name, a in arrays.items()])


def in_memory(rounds: int) -> dict[str, dict[str, float]]:
    "Seconds per image of drawing and of each encoding."
    gen, y = DigitGenerator.load(), labels_in_turn(0, SHARD)
    images, labels = draw_bytes(gen, y, torch.Generator().manual_seed(0)).numpy(), y.numpy()
    return summary(take_turns({
        'model': lambda: seconds(lambda: draw_bytes(gen, y, torch.Generator().manual_seed(0))) / SHARD,
        'idx': lambda: seconds(lambda: (images.tobytes(), labels.tobytes())) / SHARD,
        'npz': lambda: seconds(lambda: npz(images, labels)) / SHARD,
        'png': lambda: seconds(lambda: formats.pngs(images)) / SHARD,
        'parquet': lambda: seconds(lambda: formats.parquet(images, labels)) / SHARD,
        'webdataset': lambda: seconds(lambda: formats.webdataset(images, labels)) / SHARD,
        'PNG by Pillow': lambda: seconds(lambda: by_pillow(images[:FEW])) / FEW,
        'Parquet by Pillow': lambda: seconds(lambda: parquet_by_pillow(images[:FEW], labels[:FEW])) / FEW,
    }, rounds))


def written(format: str, n: int) -> tuple[float, int]:
    "Seconds that a set takes, and its bytes."
    with tempfile.TemporaryDirectory() as folder:
        took = seconds(lambda: write_dataset(Path(folder) / 'set', n, format=format))
        return took, sum(path.stat().st_size for path in Path(folder).rglob('*') if path.is_file())


def peak(format: str, n: int) -> int:
    """Bytes of memory that a process takes in which a set is written.

    `getrusage` would count what the process that started it took.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-c', PEAK, folder, str(n), format]
        return 1024 * int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    args = arguments(__file__, __doc__, rounds=5, images=1_000_000)
    parts = in_memory(args.rounds)
    model = parts['model']['median']
    few, rows = max(args.images // 10, 1), {}
    print(f"{'':12}{'µs per image':>13}{'model':>8}{'encoding':>9}{'disk':>7}{'images/s':>10}{'bytes':>7}"
          f"{'10 million':>12}")
    for format in formats.FORMATS:
        (fewer, _), (all_, size) = written(format, few), written(format, args.images)
        slope = (all_ - fewer) / max(args.images - few, 1)
        encoding = parts[format]['median']
        rows[format] = dict(seconds=all_, seconds_of_a_tenth=fewer, slope=slope, model=model, encoding=encoding,
                            disk=max(slope - model - encoding, 0), bytes=size / args.images,
                            ten_million=slope * TEN_MILLION)
        row = rows[format]
        print(f"{format:12}{slope * 1e6:13.1f}{model / slope:8.0%}{encoding / slope:9.0%}{row['disk'] / slope:7.0%}"
              f"{1 / slope:10,.0f}{row['bytes']:7.0f}{row['ten_million'] / 60:8.1f} min", flush=True)
    ours, theirs = parts['png']['median'], parts['PNG by Pillow']['median']
    print(f'a PNG file: {ours * 1e6:.1f} µs, by Pillow {theirs * 1e6:.1f} µs, {theirs / ours:.1f} times as long')
    ours, theirs = (model + parts[name]['median'] for name in ('parquet', 'Parquet by Pillow'))
    print(f'drawing and Parquet: {ours * 1e6:.1f} µs, by Pillow {theirs * 1e6:.1f} µs, {theirs / ours:.1f} times as '
          'long')
    memory = peak('parquet', few)
    print(f'memory of a process that writes {few:,} images to Parquet: {memory / 1e6:,.0f} MB')
    print('{images:,} images; parts: medians of {rounds} rounds; {cpu}, {threads} threads, {clock} time, '
          'PyTorch {torch}.'.format(rounds=args.rounds, images=args.images, **machine()))
    save(args.out, dict(rounds=args.rounds, images=args.images, formats=rows, parts=parts, peak=memory))


if __name__ == '__main__': main()
