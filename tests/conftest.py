"""What several tests need: the checkout, MNIST, the browser, the image of the app; and how tests run side by side."""
import os
import pickle
import shutil
import sys
from functools import cache
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')       # before torch: tests run side by side, each on a core of its own

import pytest
from filelock import FileLock

import dockerfile

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / 'benchmarks'))           # last, since it has an `app` of its own
CI = os.environ.get('CI') == 'true'  # there, nothing that CI can provide may be skipped
WORKER = 'PYTEST_XDIST_WORKER' in os.environ        # one of several processes that run the tests side by side


@cache
def why_no_mnist() -> str:
    "Empty if the real MNIST can be loaded (it may be downloaded for it), else the reason why it cannot."
    from mnist_vae.data import load_mnist
    try: load_mnist()
    except RuntimeError as e: return str(e)
    return ''


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
        options = ['--no-sandbox', '--disable-gpu', '--disable-background-networking']
        browser = p.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope='session')
def shared_folder(tmp_path_factory) -> Path:
    "A folder that all processes of one run of the tests share."
    own = tmp_path_factory.getbasetemp()
    return own.parent if WORKER else own


@pytest.fixture(scope='session')
def image(shared_folder) -> dockerfile.Image:
    "What `docker build` makes, once for all processes: the first that asks builds it, the others wait."
    kept = shared_folder / 'image.pickle'
    with FileLock(shared_folder / 'image.lock'):
        if not kept.exists():
            (folder := shared_folder / 'image').mkdir()
            kept.write_bytes(pickle.dumps(dockerfile.build(folder, fresh=CI)))
    return pickle.loads(kept.read_bytes())


@pytest.fixture(scope='session')
def app_python(request) -> str:
    "The Python that serves the app: in CI that of the image, with requirements.txt alone; elsewhere the running one."
    return str(request.getfixturevalue('image').python) if CI else sys.executable


# --- which tests are slow, and which run side by side ---

SLOW_FIXTURES = {'app_python', 'browser', 'image', 'server', 'site', 'small_run', 'twenty_visitors'}


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    "Unless -n says otherwise, tests of several files run in as many processes as there are cores, at most four."
    option = config.option
    if WORKER or not config.pluginmanager.hasplugin('xdist') or option.usepdb: return
    one_file = len(config.args) == 1 and Path(config.args[0].partition('::')[0]).is_file()
    if option.numprocesses is None and not one_file: option.numprocesses = min(os.cpu_count(), 4)
    if option.dist == 'no': option.dist = 'loadscope'
    option.loadscopereorder = False                 # the order is that of pytest_collection_modifyitems


def together(nodeid: str) -> str:
    "What runs in one process: the tests of a file, since they share fixtures, but each notebook by itself."
    return nodeid if '::test_notebook_runs[' in nodeid else nodeid.partition('::')[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "By `together`. The groups of xdist 3.8, --dist=loadgroup, are lost in pytest 9.2, where an item's id is fixed."
    if config.option.dist != 'loadscope': return None
    from xdist.scheduler import LoadScopeScheduling
    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid): return together(nodeid)
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """Mark what needs a browser or a server as slow.

    Notebooks come first, so that no long one is left for the end; files in which something is measured come last, when
    there is little that would have to wait for it.
    """
    measured = {item.path for item in items if item.get_closest_marker('alone')}
    for item in items:
        if SLOW_FIXTURES & set(item.fixturenames): item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: 0 if together(item.nodeid) == item.nodeid else 2 if item.path in measured else 1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    "While a test marked `alone` runs, tests of other processes wait, and it waits for those that run."
    if not WORKER: return (yield)
    import fcntl
    folder = item.config._tmp_path_factory.getbasetemp().parent
    alone = item.get_closest_marker('alone')
    with open(folder / 'gate', 'w') as gate, open(folder / 'room', 'w') as room:
        fcntl.flock(gate, fcntl.LOCK_EX)            # held by whoever waits to be alone, so that nobody slips in before
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
