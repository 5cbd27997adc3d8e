"""The Dockerfile, replayed step by step in a folder, without Docker."""
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Image:
    "What `docker build` makes: a folder, variables, and the commands that it will run."
    folder: Path
    home: Path
    python: Path                        # of a fresh environment, or the running one
    user: str = 'root'
    env: dict[str, str] = field(default_factory=dict)
    healthcheck: str = ''
    command: list[str] = field(default_factory=list)


def instructions() -> list[tuple[str, str]]:
    "The Dockerfile as (instruction, its argument), comments left out and long lines joined."
    text = re.sub(r'^\s*#.*\n', '', (ROOT / 'Dockerfile').read_text(), flags=re.M).replace('\\\n', ' ')
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def sent_to_the_build() -> set[str]:
    """Files that git knows and .dockerignore lets through.

    Its last rule that fits decides; a rule that fits a folder fits all in it.
    """
    rules = [line for line in (ROOT / '.dockerignore').read_text().splitlines() if line and not line.startswith('#')]

    def kept(file):
        names = [file, *map(str, Path(file).parents)]
        fits = [rule for rule in rules if any(fnmatch.fnmatch(name, rule.removeprefix('!')) for name in names)]
        return fits[-1].startswith('!')
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard']
    known = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {file for file in known.stdout.splitlines() if kept(file)}


def copy(sources: list[str], target: Path) -> None:
    "COPY: of a folder its content, of a file itself."
    files = sent_to_the_build()
    for source in sources:
        found = [file for file in files if file == source or file.startswith(f'{source}/')]
        assert found, f'COPY {source}: .dockerignore keeps it out'
        for file in found:
            to = target / (Path(file).relative_to(source) if (ROOT / source).is_dir() else Path(file).name)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, to)


def run(command: str, image: Image, fresh: bool) -> None:
    "RUN. Unless the environment is fresh, what would change it, or looks at its PyTorch, is left out."
    env = image.env
    if 'torch' in command or 'pip' in command.split():
        if not fresh: return
        # The index in the Dockerfile may be out of reach; where else pip finds packages, the machine says.
        pip = {name: value for name, value in os.environ.items() if name.startswith('PIP_') or name == 'HOME'}
        env = env | {'PIP_RETRIES': '0'} | pip
    subprocess.run(['sh', '-c', command], cwd=image.folder, env=env, check=True)


def build(tmp: Path, fresh: bool) -> Image:
    """What `docker build` makes, in the folder `tmp`.

    `fresh`: in an environment of its own. Otherwise Python is the running one, which is not the tests' to change.
    """
    image = Image(tmp, home=tmp / 'nonexistent', python=Path(sys.executable))       # nobody has no home
    if fresh:
        subprocess.run([sys.executable, '-m', 'venv', tmp / 'env'], check=True)
        image.python = tmp / 'env' / 'bin' / 'python'
    (bin := tmp / 'bin').mkdir()
    (bin / 'python').write_text(f'#!/bin/sh\nexec {image.python} "$@"\n')
    (bin / 'python').chmod(0o755)
    image.env = {'PATH': f'{bin}:/usr/bin:/bin', 'HOME': str(image.home), 'LANG': 'C.UTF-8'}
    for instruction, argument in instructions():
        match instruction, argument.split():
            case 'FROM', [name]: assert re.fullmatch(r'python:3\.\d+-slim@sha256:[0-9a-f]{64}', name)
            case 'ENV', pairs: image.env.update(pair.split('=') for pair in pairs)
            case 'ARG', [pair]:
                name, value = pair.split('=')
                image.env[name] = os.environ.get(name, value)                       # docker build --build-arg
            case 'WORKDIR', [path]:
                image.folder = image.folder / path.strip('/')
                image.folder.mkdir()
            case 'COPY', [*sources, target]: copy(sources, image.folder / target)
            case 'RUN', _: run(argument, image, fresh)
            case 'USER', [name]: image.user = name
            case 'EXPOSE', [port]: assert port == image.env['PORT']
            case 'HEALTHCHECK', _: image.healthcheck = argument.split('CMD ', 1)[1]
            case 'CMD', _: image.command = json.loads(argument)
            case _: raise NotImplementedError(f'{instruction} is new: teach this module to replay it')
    return image
