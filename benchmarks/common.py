"""What the benchmarks share: a stopwatch, a name for the machine, arguments that are checked before hours are spent."""
import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch

clock = time.perf_counter                    # with --shared the processor's


def seconds(f) -> float:
    start = clock()
    f()
    return clock() - start


def take_turns(contestants: dict, rounds: int) -> dict[str, list[float]]:
    """What each of `contestants`, functions by name that return seconds, measured, in every round.

    They take turns, so that whatever else the computer does falls on all of them.
    """
    measured = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, f in contestants.items(): measured[name].append(f())
    return measured


def summary(measured: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {name: dict(median=statistics.median(s), fastest=min(s)) for name, s in measured.items()}


def machine() -> dict:
    "Processor, threads and versions; nothing that names the computer."
    cpu = platform.processor() or platform.machine()
    try:
        cpu = next(
            line.split(':')[1].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        )
    except (OSError, StopIteration):
        pass
    return dict(
        cpu=cpu, threads=torch.get_num_threads(), clock='wall' if clock is time.perf_counter else 'processor',
        torch=str(torch.__version__), python=platform.python_version(),
    )


def arguments(script: str, doc: str, **counts: int) -> argparse.Namespace:
    """`--out`, a file for the figures beside `script` unless told otherwise, and a whole number above 0 for each of
    `counts`."""

    def above_0(text: str) -> int:
        if not text.isdecimal() or not int(text):
            raise argparse.ArgumentTypeError(f'must be a whole number above 0, not {text!r}')
        return int(text)

    def file(text: str) -> Path:
        path = Path(text)
        if path.is_dir() or not path.resolve().parent.is_dir():
            raise argparse.ArgumentTypeError(f'must be a file in a folder that exists, not {text!r}')
        return path

    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in counts.items():
        parser.add_argument(f'--{name}', type=above_0, default=default, help=f'{default:,} unless told otherwise')
    parser.add_argument(
        '--out', type=file, default=Path(script).with_suffix('.json'),
        help='file for the figures, JSON; beside this script unless told otherwise',
    )
    parser.add_argument(
        '--shared', action='store_true',
        help='for a computer that is busy with other things: one thread, and its processor time',
    )
    args = parser.parse_args()
    if args.shared:
        global clock
        clock = time.process_time
        torch.set_num_threads(1)
    return args


def save(path: Path, figures: dict) -> None:
    path.write_text(json.dumps(machine() | figures, indent=1) + '\n')
    print(f'figures: {path}')
