"""What several tests need: the checkout, real MNIST, the browser, and the environment that serves the app."""
import os
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CI = os.environ.get('CI') == 'true'  # there, nothing that CI can provide may be skipped


@cache
def why_no_mnist() -> str:
    "Empty if the real MNIST can be loaded (it may be downloaded for it), else the reason why it cannot."
    from mnist_vae.data import load_mnist
    try: load_mnist()
    except RuntimeError as e: return str(e)
    return ''


def free_port() -> int:
    "A port of this machine that nobody listens on."
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@pytest.fixture
def mnist():
    "Skip the test, with the reason, where real MNIST cannot be had; in CI let it fail."
    if not CI and (reason := why_no_mnist()): pytest.skip(reason)


@pytest.fixture(scope='session')
def chromium() -> str:
    "Path of a Chromium or Chrome."
    found = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not found:
        assert not CI, 'CI must install Chromium'
        pytest.skip('neither chromium nor google-chrome is on the PATH')
    return found


@pytest.fixture(scope='module')
def browser(chromium):
    "A headless browser, by Playwright; of one module, because nothing else may run an event loop beside it."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=['--no-sandbox', '--disable-gpu', '--disable-background-networking'])
        yield browser
        browser.close()


@pytest.fixture(scope='session')
def app_python(tmp_path_factory) -> str:
    "The Python that serves the app: in CI of an environment made of requirements.txt alone, elsewhere the running one."
    if not CI: return sys.executable
    env = tmp_path_factory.mktemp('app') / 'env'
    subprocess.run([sys.executable, '-m', 'venv', env], check=True)
    python = str(env / 'bin' / 'python')
    subprocess.run([python, '-m', 'pip', 'install', '-q', '-r', ROOT / 'requirements.txt'], check=True)
    return python
