"""What the server lets in and sends along, what a person sees before the app is there, and what somebody rude can do to
others."""
import asyncio
import os
import re
import socket
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conftest import CI, ROOT
from mnist_vae.look import DESCRIPTION, INTRODUCTION, TITLE

sys.path.insert(0, str(ROOT / 'benchmarks'))
import hostile
import visitors


@pytest.fixture(scope='module')
def world():
    "A proxy to the world that counts who wants to go there, and answers nobody."
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope='module')
def server(app_python, world):
    proxy = f'http://127.0.0.1:{world.getsockname()[1]}'
    proxies = {name: proxy for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')} | {
        'no_proxy': '127.0.0.1,localhost'
    }
    env = (
        os.environ
        | visitors.image_environment()
        | proxies
        | {'STREAMLIT_SERVER_ALLOWED_HOSTS': '127.0.0.1 localhost digits.example.org'}
    )
    with visitors.Server(app_python, env=env) as server: yield server


def answer(server, path='/', method='GET', host=None, **headers) -> tuple[int, dict[str, str], str]:
    "Status, headers and body. The connection is our own: libraries mend what is sent here on purpose."
    lines = [
        f'{method} {path} HTTP/1.1', f'Host: {host or f"127.0.0.1:{server.port}"}', 'Connection: close',
        *(f'{n}: {v}' for n, v in headers.items()),
    ]
    with socket.create_connection(('127.0.0.1', server.port), timeout=visitors.TIMEOUT) as connection:
        connection.sendall('\r\n'.join([*lines, '', '']).encode())
        got = b''
        while piece := connection.recv(65536): got += piece
    head, _, body = got.partition(b'\r\n\r\n')
    first, *rest = head.decode('latin-1').split('\r\n')
    return (
        int(first.split()[1]), {n.lower(): v for n, v in (line.split(': ', 1) for line in rest)},
        body.decode('latin-1'),
    )


@pytest.mark.parametrize(
    'path',
    [
        '/_stcore/upload_file/x/y', '/_stcore/upload%5Ffile/x/y', '//_stcore/upload_file/x/y',
        '/_stcore/upload_file/x/y/',
    ],
)
@pytest.mark.parametrize('method', ['PUT', 'POST', 'DELETE', 'OPTIONS', 'GET'])
def test_nothing_can_be_uploaded(server, path, method):
    assert answer(server, path, method)[0] in (404, 405)


@pytest.mark.parametrize(
    'path',
    [
        '/_stcore/metrics', '/_stcore/metrics/', '/_stcore/script-health-check', '/_stcore/agent/openapi.json',
        '/_stcore/bidi-components/x/y', '/component/x/y', '/auth/login', '/oauth2callback', '/app/static/x',
        '/other-page',
    ],
)
def test_what_the_app_does_not_use_is_closed(server, path):
    assert answer(server, path)[0] == 404


def test_no_other_site_may_steer_the_page(server):
    status, _, body = answer(server, '/_stcore/host-config')
    assert status == 200 and '"allowedOrigins":[]' in body


def test_every_answer_has_the_headers_and_none_the_servers_name(server):
    static = re.search(r'src="\.(/static/js/[^"]+)"', answer(server)[2])[1]
    for path in (
        '/', static, '/favicon.png', '/preview.png', '/_stcore/health', '/_stcore/host-config',
        '/media/' + 32 * '0' + '.png', '/_stcore/metrics',
    ):
        headers = answer(server, path)[1]
        policy = headers['content-security-policy']
        assert "frame-ancestors 'none'" in policy and "'unsafe-eval'" not in policy and 'http' not in policy, path
        assert headers['x-content-type-options'] == 'nosniff' and headers['referrer-policy'] == 'no-referrer', path
        assert 'server' not in headers and 'x-powered-by' not in headers, path


@pytest.mark.parametrize(
    'host, status',
    [
        ('localhost', 200), ('digits.example.org', 200), ('DIGITS.example.org:443', 200), ('evil.example', 403),
        ('digits.example.org.evil.example', 403), ('10.0.0.7:8501', 403), ('', 403),
    ],
)
def test_only_allowed_names_are_answered(server, host, status):
    got, _, body = answer(server, host=host or ' ')
    assert got == status and (status == 200 or 'STREAMLIT_SERVER_ALLOWED_HOSTS' in body)
    assert answer(server, '/_stcore/health', host=host or ' ')[0] == 200, (
        'health checks come by whatever address they have'
    )


def test_other_sites_cannot_talk_to_the_app_and_nobody_outside_is_asked(server, world):
    async def attempt(origin, host=None):
        headers = {'Host': host} if host else {}
        async with connect(
            f'ws://127.0.0.1:{server.port}/_stcore/stream', origin=origin, proxy=None, additional_headers=headers
        ):
            pass

    asyncio.run(attempt(server.origin))
    asyncio.run(attempt('https://digits.example.org'))  # a proxy that keeps its name to itself
    for origin in (
        'https://evil.example', f'http://localhost.evil.example:{server.port}', 'null', 'http://localhost:3000',
        'http://10.0.0.7',
    ):
        with pytest.raises(InvalidStatus, match='403'): asyncio.run(attempt(origin))
        assert answer(server, Origin=origin)[0] == 403
    with pytest.raises(BlockingIOError): world.accept()


def test_no_message_clears_what_others_use(server):
    "Clearing the cache would make the server read its weights again, and forget the pictures that others look at."
    async def scene():
        other, rude = visitors.Visitor(server, 3), visitors.Visitor(server, 4)
        _, pictures = await other.open()
        await rude.open()
        before = server.bytes_read()
        for kind in ('clear_cache', 'set_run_on_save', 'load_git_info'):
            await rude.socket.send(BackMsg(**{kind: True}).SerializeToString())
        five = other.five((await other.run())[1])
        rude.five((await rude.click())[1])
        await asyncio.gather(other.close(), rude.close())
        return other.five(pictures) == five, server.bytes_read() - before, other.errors + rude.errors
    same, read, errors = asyncio.run(asyncio.wait_for(scene(), visitors.TIMEOUT))
    assert same and errors == []
    assert read < (ROOT / 'mnist_vae.pth').stat().st_size / 2, 'the weights were read again'


@pytest.mark.alone
def test_others_go_on_while_somebody_attacks(server):
    "python benchmarks/hostile.py does a thousand of each."
    before = server.memory('VmHWM')
    rows = asyncio.run(hostile.siege(server, 100))
    broken = [f"{row['name']}: {limit}" for row in rows for limit in hostile.broken_limits(row) if 'MB' not in limit]
    assert broken == []
    assert rows[-1]['peak'] - before < 150, 'MB that the attacks cost'
    if CI or not torch.version.cuda: assert rows[-1]['peak'] < hostile.MEMORY


def test_a_shared_link_shows_what_it_is(server, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f'{server.origin}/?digit=4&seed=7')
    tags = {
        tag.get_attribute('property') or tag.get_attribute('name'): tag.get_attribute('content')
        for tag in page.locator('meta[content]').all()
    }
    assert tags['og:title'] == page.title() == TITLE and tags['og:description'] == tags['description'] == DESCRIPTION
    assert (
        tags['og:image'] == f'{server.origin}/preview.png'
        and page.request.get(tags['og:image']).headers['content-type'] == 'image/png'
    )
    assert 'href="https://evil' not in answer(server, **{'X-Forwarded-Proto': 'https://evil'})[2]
    assert (
        'content="https://digits.example.org/"'
        in answer(server, host='digits.example.org', **{'X-Forwarded-Proto': 'https'})[2]
    )
    expect(page.get_by_text(INTRODUCTION)).to_be_visible()
    assert (
        '<noscript><p>The app needs JavaScript.' in answer(server)[2]
    )  # Chromium shows it, except when a test turns scripts off
    page.context.close()


@pytest.mark.parametrize('scheme, width', [('light', 1200), ('dark', 375)])
def test_there_is_something_to_read_until_the_scripts_have_arrived(server, browser, scheme, width):
    context = browser.new_context(color_scheme=scheme, viewport=dict(width=width, height=800))
    page, held, hold = context.new_page(), [], True
    page.route('**/static/js/*', lambda route: held.append(route) if hold else route.continue_())
    page.goto(server.origin, wait_until='commit')
    expect(page.get_by_role('heading', name=TITLE)).to_be_visible()
    expect(page.get_by_role('status')).to_contain_text('loading')
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    hold = False
    for route in held: route.continue_()
    expect(page.get_by_role('button', name=visitors.BUTTON)).to_be_visible(timeout=60_000)
    expect(page.locator('.front')).to_have_count(0)
    context.close()


def test_the_browser_finds_nothing_that_the_policy_forbids(server, browser):
    "On every tab, with the pad, the map and a download."
    page = browser.new_page(accept_downloads=True)
    said = []

    def hear(kind: str, text: str, url: str) -> None:
        "All but a picture that came too late: the server forgets it once a later run has replaced it."
        if '/media/' not in text + url: said.append(f'{kind} {text} {url}')

    page.on('console', lambda m: hear(m.type, m.text, m.location['url']) if m.type == 'error' else None)
    page.on('response', lambda r: hear('response', str(r.status), r.url) if r.status >= 400 else None)

    def settle():
        "Wait for the run and its pictures, each of which must be there."
        app = page.locator('[data-testid=stApp]')
        expect(app).to_have_attribute('data-test-script-state', 'notRunning', timeout=60_000)
        page.wait_for_function('() => [...document.images].every(image => image.complete && image.naturalWidth)')

    page.goto(server.origin)
    expect(page.get_by_role('tab', name='Quality')).to_be_visible(timeout=60_000)
    for name in page.get_by_role('tab').all_inner_texts():
        page.get_by_role('tab', name=name).click()
        expect(page.get_by_role('tabpanel', name=name)).to_be_visible()
        settle()
        for canvas in page.locator('canvas:visible').all():
            canvas.click(position=dict(x=60, y=60))
            settle()
    page.get_by_role('tab', name='Generate').click()
    with page.expect_download() as download: page.get_by_role('button', name='ZIP').click()
    assert download.value.suggested_filename.endswith('.zip')
    page.close()
    assert said == []


@contextmanager
def started(app_python, tmp_path, *options, **env):
    "`streamlit run app.py`, with a browser that only writes down which address it was to open."
    seen = tmp_path / 'opened'
    (tmp_path / 'browser').write_text(f'#!/bin/sh\necho "$@" >> {seen}\n')
    (tmp_path / 'browser').chmod(0o755)
    port = visitors.free_port()
    command = [app_python, '-m', 'streamlit', 'run', 'app.py', f'--server.port={port}', *options]
    env = os.environ | {'BROWSER': str(tmp_path / 'browser'), 'DISPLAY': ':99'} | env
    with visitors.Server(command=command, env=env, port=port) as server: yield server, seen


def test_it_opens_the_browser_for_a_person(app_python, tmp_path):
    with started(app_python, tmp_path) as (server, seen):
        deadline = time.monotonic() + visitors.TIMEOUT
        while not seen.exists() or not seen.read_text():
            assert time.monotonic() < deadline
            time.sleep(.05)
        assert seen.read_text().split() == [f'http://localhost:{server.port}']
        assert f'http://localhost:{server.port}' in server.output()


def test_it_opens_no_browser_where_there_is_no_screen(app_python, tmp_path):
    with started(app_python, tmp_path, '--server.headless=true') as (server, seen):
        assert answer(server)[0] == 200
        while 'torch' not in Path(f'/proc/{server.process.pid}/maps').read_text():
            time.sleep(0.05)  # imported after the browser would be opened
        assert not seen.exists()
