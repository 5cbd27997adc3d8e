"""What a visitor of the dashboard costs: memory, and the time until the page is there.

    python benchmarks/dashboard.py           # Linux, with the extra `dashboard`

Serves the page as README says and asks for it: two visitors are met by a process started ahead, a third in a row waits
for his. VmRSS counts what processes share for each of them; Pss divides it among them, so that the Pss of all add up to
what is used.
"""
import argparse
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

from ports import free_port

ROOT = Path(__file__).resolve().parent.parent


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def megabytes(pid: int) -> tuple[float, float]:
    "VmRSS and Pss of a process."
    table = dict(re.findall(r'^(Rss|Pss):\s+(\d+) kB', Path(f'/proc/{pid}/smaps_rollup').read_text(), re.M))
    return int(table['Rss']) / 1024, int(table['Pss']) / 1024


def rest(server: int) -> None:
    "Wait until the server's children are done with what they do: no processor time for two seconds."
    ticks = lambda: [Path(f'/proc/{pid}/stat').read_text().rsplit(')')[-1].split()[11:13] for pid in children(server)]
    before = None
    while (now := ticks()) != before:
        before = now
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--visitors', type=int, default=3)
    visitors = parser.parse_args().visitors
    port = free_port()
    with tempfile.NamedTemporaryFile('r') as log:
        command = [sys.executable, '-m', 'voila', 'nbs/30_dashboard.ipynb', '--no-browser', f'--port={port}']
        server = subprocess.Popen(command, cwd=ROOT, stdout=open(log.name, 'w'), stderr=subprocess.STDOUT)
        try:
            start = time.perf_counter()
            while 'filled with' not in Path(log.name).read_text():
                assert server.poll() is None, Path(log.name).read_text()
                time.sleep(.1)
            rest(server.pid)
            print(f'{"pool ready after":24} {time.perf_counter() - start:6.1f} s (PyTorch {version("torch")})')
            for i in range(visitors):
                start = time.perf_counter()
                urlopen(f'http://127.0.0.1:{port}/', timeout=600).read()
                print(f'page of visitor {i + 1:<8} {time.perf_counter() - start:6.2f} s')
            rest(server.pid)
            kernels = children(server.pid)
            for name, pids in (('server', [server.pid]), ('process of a visitor', kernels)):
                rss, pss = (sum(values) / len(pids) for values in zip(*map(megabytes, pids)))
                print(f'{name:24} {rss:6.0f} MB VmRSS, {pss:4.0f} MB Pss, mean of {len(pids)}')
        finally:
            server.terminate()
            server.wait(30)


if __name__ == '__main__': main()
