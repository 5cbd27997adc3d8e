"""What is deployed: the Dockerfile, step by step in a clean folder (no Docker needed), DigitalOcean's files, versions,
load."""
import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import CI, ROOT
from dockerfile import sent_to_the_build

sys.path.insert(0, str(ROOT / 'benchmarks'))
sys.modules.pop('app', None)  # the app itself, if a test has imported it
import app as bench
import visitors


@pytest.fixture(scope='module')
def server(image):
    port = visitors.free_port()
    env = image.env | {'PORT': str(port)}                                        # as a platform sets it
    with bench.Server(command=image.command, cwd=image.folder, env=env, port=port) as server: yield server


def test_image_holds_the_app_and_nothing_else(image):
    files = {
        str(path.relative_to(image.folder))
        for path in image.folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    modules = {file for file in sent_to_the_build() if file.startswith('mnist_vae/')}
    page = {file for file in sent_to_the_build() if file.startswith('web/')}
    assert {'web/pad.html', 'web/pad.css', 'web/pad.js', 'web/map.html', 'web/map.css', 'web/map.js'} <= page
    assert (
        files
        == {'app.py', 'mnist_vae.pth', 'requirements.txt', 'requirements-gpu.txt', '.streamlit/config.toml'}
        | modules
        | page
    )
    assert image.user not in ('root', '0')


@pytest.fixture(scope='module')
def twenty_visitors(image, server):
    """What twenty visitors saw who came at once and did four things each; and that the app writes nothing, as its
    folder belongs to root in the image."""
    before = {path: path.stat().st_mtime_ns for path in image.folder.rglob('*')}
    found = asyncio.run(bench.load(server, visitors=20, acts=4))
    assert {path: path.stat().st_mtime_ns for path in image.folder.rglob('*')} == before and not image.home.exists()
    return found


@pytest.mark.alone
def test_every_visitor_gets_their_own_pictures(twenty_visitors):
    assert twenty_visitors['errors'] == [] and twenty_visitors['wrong'] == 0
    assert twenty_visitors['clicks'] == 20 + 40  # each came in, and clicked in two of the four rounds


@pytest.mark.alone
def test_twenty_visitors_fit_the_smallest_instance(twenty_visitors):
    if not CI and torch.version.cuda:
        pytest.skip(
            "the running PyTorch is built for GPUs, which takes more memory than the image's; "
            'CI=true makes an environment'
        )
    assert twenty_visitors['peak'] <= bench.MEMORY, f'{twenty_visitors["peak"]:.0f} MB'


@pytest.mark.alone
def test_nobody_waits_longer_than_the_queue_is(twenty_visitors):
    broken = [limit for limit in bench.broken_limits(twenty_visitors, 20) if 'MB' not in limit]
    assert broken == [], sorted(twenty_visitors['waits'])[-5:]


def healthy(image, port) -> bool:
    return (
        subprocess.run(
            ['sh', '-c', image.healthcheck], env=image.env | {'PORT': str(port)}, cwd=image.folder, capture_output=True
        ).returncode
        == 0
    )


def test_health_check_tells_a_live_server_from_a_dead_one(image, server):
    assert healthy(image, server.port) and not healthy(image, visitors.free_port())


def test_server_ends_when_asked(image):
    port = visitors.free_port()
    with bench.Server(
        command=image.command, cwd=image.folder, env=image.env | {'PORT': str(port)}, port=port
    ) as server:
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
    variables = {env['key']: env['value'] for env in service['envs']}
    assert variables['STREAMLIT_SERVER_ALLOWED_HOSTS'] == '${APP_DOMAIN}', 'the app answers to its own name alone'


def pins(*names) -> list[Requirement]:
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(('#', '-'))]


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13', '3.14'])
@pytest.mark.parametrize('platform', ['linux', 'darwin', 'win32'])
def test_lock_names_one_version_of_everything_asked_for(python, platform):
    "For each Python; whether there are wheels, `python scripts/lock.py --check` asks the index."
    where = {
        'python_version': python,
        'python_full_version': f'{python}.0',
        'sys_platform': platform,
        'platform_machine': 'x86_64',
    }
    found = {}
    for pin in pins('requirements.txt'):
        if pin.marker and not pin.marker.evaluate(where): continue
        (version,) = pin.specifier
        assert version.operator == '==' and found.setdefault(pin.name, version.version) == version.version, pin
    for wanted in pins('requirements.in'): assert wanted.specifier.contains(found[wanted.name]), wanted
    assert not any(name.startswith('nvidia') for name in found), 'CUDA is pinned where it installs nothing'


def test_lock_names_all_that_is_installed(app_python):
    if not CI: pytest.skip('the running environment has more than the app needs; CI=true makes one of requirements.txt')
    freeze = subprocess.run(
        [app_python, '-m', 'pip', 'freeze', '--all'], check=True, capture_output=True, text=True
    ).stdout
    known = {
        (canonicalize_name(pin.name), next(iter(pin.specifier)).version)
        for pin in pins('requirements.txt', 'requirements-gpu.txt')
    }
    installed = {
        (canonicalize_name(line.partition('==')[0]), line.partition('==')[2].partition('+')[0])
        for line in freeze.splitlines()
    }
    assert {(name, version) for name, version in installed if name != 'pip'} <= known


def test_actions_are_pinned_and_updated():
    for path in (ROOT / '.github' / 'workflows').iterdir():
        for used in re.findall(r'uses: *(.+)', path.read_text()):
            assert re.fullmatch(r'[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+', used), f'{path.name}: {used}'
    dependabot = yaml.safe_load((ROOT / '.github' / 'dependabot.yml').read_text())
    assert {update['package-ecosystem'] for update in dependabot['updates']} == {'pip', 'github-actions', 'docker'}


@pytest.mark.parametrize('tab', ['Handwriting', 'Number', 'Explore', 'How+it+works', 'Quality'])
def test_no_tab_brings_a_library_for_tables(server, tab):
    "Streamlit imports pandas to look at many a value: 70 MB that nothing here needs."
    async def look():
        visitor = bench.Visitor(server, 3)
        visitor.query = f'tab={tab}'
        await asyncio.wait_for(visitor.open(), bench.TIMEOUT)
        await visitor.close()
        return visitor
    visitor = asyncio.run(look())
    assert not visitor.errors and f'tab={tab}' in visitor.query
    assert 'torch' in (libraries := Path(f'/proc/{server.process.pid}/maps').read_text()) and 'pandas' not in libraries


def test_errors_go_to_the_log_not_to_the_page(tmp_path, image):
    shutil.copytree(ROOT / '.streamlit', tmp_path / '.streamlit')
    (tmp_path / 'app.py').write_text("raise RuntimeError('the password is swordfish')\n")
    port = visitors.free_port()
    async def look(server):
        visitor = bench.Visitor(server, 3)
        await asyncio.wait_for(visitor.open(), bench.TIMEOUT)
        await visitor.close()
        return ''.join(visitor.errors)
    with bench.Server(command=image.command, cwd=tmp_path, env=image.env | {'PORT': str(port)}, port=port) as server:
        page = asyncio.run(look(server))
        assert 'swordfish' in server.output()
    assert 'exception' in page and 'swordfish' not in page and 'Traceback' not in page and str(tmp_path) not in page
