"""What is deployed: the Dockerfile, step by step in a clean folder (no Docker needed), DigitalOcean's files, load and abuse."""
import asyncio
import fnmatch
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import torch
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from conftest import CI, ROOT

spec = importlib.util.spec_from_file_location('benchmarks_app', ROOT / 'benchmarks' / 'app.py')
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

MEMORY = 512  # MB, of DigitalOcean's smallest instance


def instructions() -> list[tuple[str, str]]:
    "The Dockerfile as (instruction, its argument), comments left out and long lines joined."
    text = re.sub(r'^\s*#.*\n', '', (ROOT / 'Dockerfile').read_text(), flags=re.M).replace('\\\n', ' ')
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def sent_to_the_build() -> set[str]:
    "Files that git knows and .dockerignore lets through. Its last rule that fits decides; a rule that fits a folder fits all in it."
    rules = [line for line in (ROOT / '.dockerignore').read_text().splitlines() if line and not line.startswith('#')]
    def kept(file):
        names = [file, *map(str, Path(file).parents)]
        return [rule.startswith('!') for rule in rules if any(fnmatch.fnmatch(name, rule.removeprefix('!')) for name in names)][-1]
    known = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT, check=True, capture_output=True, text=True)
    return {file for file in known.stdout.splitlines() if kept(file)}


def build(tmp: Path) -> SimpleNamespace:
    """What `docker build` makes: a folder, variables, and the commands that it will run.

    `python` is that of a fresh environment in CI. Elsewhere it is the running one, and the two steps that install PyTorch and
    look at its build are left out: that environment is not the test's to change.
    """
    bin, image = tmp / 'bin', SimpleNamespace(folder=tmp, home=tmp / 'nonexistent', user='root')   # nobody has no home
    bin.mkdir()
    python = sys.executable
    if CI:
        subprocess.run([sys.executable, '-m', 'venv', tmp / 'env'], check=True)
        python = tmp / 'env' / 'bin' / 'python'
    (bin / 'python').write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (bin / 'python').chmod(0o755)
    image.env = {'PATH': f'{bin}:/usr/bin:/bin', 'HOME': str(image.home), 'LANG': 'C.UTF-8'}
    files = sent_to_the_build()
    for instruction, argument in instructions():
        match instruction, argument.split():
            case 'FROM', [name]: assert name.startswith('python:') and name.endswith('-slim')
            case 'ENV', pairs: image.env.update(pair.split('=') for pair in pairs)
            case 'ARG', [pair]:
                name, value = pair.split('=')
                image.env[name] = os.environ.get(name, value)                    # docker build --build-arg
            case 'WORKDIR', [path]:
                image.folder = image.folder / path.strip('/')
                image.folder.mkdir()
            case 'COPY', [*sources, target]:
                for source in sources:
                    found = [file for file in files if file == source or file.startswith(f'{source}/')]
                    assert found, f'COPY {source}: .dockerignore keeps it out'
                    for file in found:                                           # of a folder its content, of a file itself
                        to = image.folder / target / (Path(file).relative_to(source) if (ROOT / source).is_dir() else Path(file).name)
                        to.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(ROOT / file, to)
            case 'RUN', words:
                env = image.env
                if 'torch' in argument or 'pip' in words:
                    if not CI: continue
                    # The index in the Dockerfile may be out of reach; where pip finds packages otherwise is this machine's business.
                    env = env | {'PIP_RETRIES': '0'} | {name: value for name, value in os.environ.items() if name.startswith('PIP_') or name == 'HOME'}
                subprocess.run(['sh', '-c', argument], cwd=image.folder, env=env, check=True)
            case 'USER', [name]: image.user = name
            case 'EXPOSE', [port]: assert port == image.env['PORT']
            case 'HEALTHCHECK', _: image.healthcheck = argument.split('CMD ', 1)[1]
            case 'CMD', _: image.command = json.loads(argument)
            case _: pytest.fail(f'{instruction} is new: teach this test to replay it')
    return image


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    tmp = tmp_path_factory.mktemp('image')
    yield build(tmp)
    shutil.rmtree(tmp / 'env', ignore_errors=True)                               # PyTorch again


@pytest.fixture(scope='module')
def server(image):
    port = bench.free_port()
    env = image.env | {'PORT': str(port)}                                        # as a platform sets it
    with bench.Server(command=image.command, cwd=image.folder, env=env, port=port) as server: yield server


async def visited(server, act):
    "What `act` returns for a visitor who has just come in."
    visitor = bench.Visitor(server, 3)
    try:
        await asyncio.wait_for(visitor.open(), bench.TIMEOUT)
        return await asyncio.wait_for(act(visitor), bench.TIMEOUT)
    finally: await visitor.close()


def test_image_holds_the_app_and_nothing_else(image):
    files = {str(path.relative_to(image.folder)) for path in image.folder.rglob('*') if path.is_file() and '__pycache__' not in path.parts}
    modules = {file for file in sent_to_the_build() if file.startswith('mnist_vae/')}
    page = {file for file in sent_to_the_build() if file.startswith('web/')}
    assert {'web/pad.html', 'web/pad.css', 'web/pad.js', 'web/map.html', 'web/map.css', 'web/map.js'} <= page
    assert files == {'app.py', 'mnist_vae.pth', 'requirements.txt', '.streamlit/config.toml'} | modules | page
    assert image.user not in ('root', '0')


@pytest.fixture(scope='module')
def twenty_visitors(image, server):
    "What twenty visitors saw who came at once and clicked twice; and that the app writes nothing, as its folder belongs to root in the image."
    before = {path: path.stat().st_mtime_ns for path in image.folder.rglob('*')}
    found = asyncio.run(bench.load(server, visitors=20, clicks=2))
    assert {path: path.stat().st_mtime_ns for path in image.folder.rglob('*')} == before and not image.home.exists()
    return found


def test_every_visitor_gets_their_own_pictures(twenty_visitors):
    assert twenty_visitors['errors'] == [] and twenty_visitors['wrong'] == 0
    assert twenty_visitors['replies'] == twenty_visitors['seeds'] == 60


def test_twenty_visitors_fit_the_smallest_instance(twenty_visitors):
    if not CI and torch.version.cuda: pytest.skip("the running PyTorch is built for GPUs, which takes more memory than the image's; CI=true makes an environment")
    assert twenty_visitors['peak'] <= MEMORY, f'{twenty_visitors["peak"]:.0f} MB'


def healthy(image, port) -> bool:
    return subprocess.run(['sh', '-c', image.healthcheck], env=image.env | {'PORT': str(port)}, cwd=image.folder, capture_output=True).returncode == 0


def test_health_check_tells_a_live_server_from_a_dead_one(image, server):
    assert healthy(image, server.port) and not healthy(image, bench.free_port())


def test_server_ends_when_asked(image):
    port = bench.free_port()
    with bench.Server(command=image.command, cwd=image.folder, env=image.env | {'PORT': str(port)}, port=port) as server:
        assert server.stop() in (0, -15), 'the signal reaches it: it is not the child of a shell'


def test_digitalocean_is_told_what_the_image_does(image):
    app, template = (yaml.safe_load((ROOT / '.do' / name).read_text()) for name in ('app.yaml', 'deploy.template.yaml'))
    (service,), (from_button,) = app['services'], template['spec']['services']
    assert service.pop('github')['deploy_on_push'] is True
    assert from_button.pop('git')['repo_clone_url'].endswith('/mnist-generator.git')
    assert service == from_button
    assert service['dockerfile_path'] == 'Dockerfile' and str(service['http_port']) == image.env['PORT']
    for check in ('health_check', 'liveness_health_check'): assert service[check]['http_path'] in image.healthcheck
    assert (service['instance_count'], service['instance_size_slug']) == (1, 'apps-s-1vcpu-0.5gb')


def test_other_sites_cannot_talk_to_the_app(server):
    async def attempt(origin):
        async with connect(f'ws://127.0.0.1:{server.port}/_stcore/stream', origin=origin, proxy=None, subprotocols=['streamlit']): pass
    asyncio.run(attempt(server.origin))
    for origin in ('https://evil.example', f'http://localhost.evil.example:{server.port}', 'null'):
        with pytest.raises(InvalidStatus, match='403'): asyncio.run(attempt(origin))


def test_uploads_need_the_token_and_have_a_limit(server):
    async def upload(visitor):
        "Status of an upload of so many bytes, with the session's token or another."
        def put(n, token):
            body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + bytes(n) + b'\r\n--x--\r\n'
            request = Request(f'{server.origin}/_stcore/upload_file/{visitor.session_id}/a', body, method='PUT',
                              headers={'Content-Type': 'multipart/form-data; boundary=x', 'Cookie': visitor.cookie, 'X-Xsrftoken': token})
            try: return urlopen(request, timeout=20).status
            except HTTPError as e: return e.code
            except URLError as e:
                if isinstance(e.reason, (BrokenPipeError, ConnectionResetError)): return 413         # it hangs up before all is sent, and the answer may be lost
                raise
        cases = (1000, visitor.token), (1000, 'another'), (3_000_000, visitor.token), (1000, visitor.token)
        return [await asyncio.to_thread(put, *case) for case in cases]
    assert asyncio.run(visited(server, upload)) == [204, 403, 413, 204]


@pytest.mark.parametrize('tab', ['Handwriting', 'Number', 'Explore', 'How+it+works', 'Quality'])
def test_no_tab_brings_a_library_for_tables(server, tab):
    "Streamlit imports pandas to look at many a value: 70 MB that nothing here needs."
    async def look():
        visitor = bench.Visitor(server, 3)
        visitor.query = f'tab={tab}'
        with pytest.raises(RuntimeError, match='0 pictures'): await asyncio.wait_for(visitor.open(), bench.TIMEOUT)     # those of the first tab
        await visitor.close()
        return visitor
    visitor = asyncio.run(look())
    assert not visitor.errors and f'tab={tab}' in visitor.query
    assert 'torch' in (libraries := Path(f'/proc/{server.process.pid}/maps').read_text()) and 'pandas' not in libraries


def test_a_flood_of_bytes_closes_its_own_connection_only(server):
    async def flood(visitor):
        with pytest.raises(ConnectionClosed):
            await visitor.socket.send(bytes(5_000_000))
            while True: await visitor.socket.recv()
        return await visited(server, lambda other: other.click())
    seconds, (digit, seed, pictures) = asyncio.run(visited(server, flood))
    assert len(pictures) == bench.N


def test_errors_go_to_the_log_not_to_the_page(tmp_path, image):
    shutil.copytree(ROOT / '.streamlit', tmp_path / '.streamlit')
    (tmp_path / 'app.py').write_text("raise RuntimeError('the password is swordfish')\n")
    port = bench.free_port()
    async def look(server):
        visitor = bench.Visitor(server, 3)
        with pytest.raises(RuntimeError, match='0 pictures'): await asyncio.wait_for(visitor.open(), bench.TIMEOUT)
        await visitor.close()
        return ''.join(visitor.errors)
    with bench.Server(command=image.command, cwd=tmp_path, env=image.env | {'PORT': str(port)}, port=port) as server:
        page = asyncio.run(look(server))
        assert 'swordfish' in server.output()
    assert 'exception' in page and 'swordfish' not in page and 'Traceback' not in page and str(tmp_path) not in page
