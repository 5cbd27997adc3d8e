"""What CONTRIBUTING promises: its commands exist, commits export, a change is seen in the running app."""
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import TimeoutError

from conftest import ROOT
from mnist_vae.look import TITLE
from ports import free_port

sys.path.insert(0, str(ROOT / 'benchmarks'))
import visitors

GUIDE = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```sh\n(.*?)^```', GUIDE, re.M | re.S)
FOREIGN = {'git', 'sed', 'rm', 'cd', '.', 'python3', 'uv', 'jupyter'}     # of the system, or of the reader's choice
NOTEBOOKS = '04_loss', '27_look', 'index'
VENV = Path(sys.executable).parent


def settings():
    config = ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']


def commands() -> list[list[str]]:
    "Every command that CONTRIBUTING names, as words: those of its blocks, and those in the text."
    inline = re.findall(r'`((?:pytest|python|ruff|mkdocs|mnist-vae|nbdev|jupyter|pip) [^`]*)`', GUIDE)
    lines = [line for block in BLOCKS for line in block.splitlines()] + inline
    words = [shlex.split(part, comments=True) for line in lines for part in line.split('&&')]
    return [[word for word in command if word != '&'] for command in words if command]


def test_commands_of_the_guide_exist():
    found = commands()
    assert len(found) > 20
    for program, *args in found:
        assert program in FOREIGN or (VENV / program).exists(), f'{program}: no such command'
        for path in (arg for arg in args if re.fullmatch(r'[\w./-]+\.(py|ipynb|pth)', arg)):
            assert (ROOT / path).exists(), f'{program} {path}: no such file'


def test_options_of_the_guide_exist():
    "`-k` of pytest is left out: what it selects is counted below."
    help_of = {'mnist-vae': [['train', '--help'], ['measure', '--help']], 'streamlit': [['run', '--help']]}
    for program, calls in help_of.items():
        texts = [subprocess.run([VENV / program, *call], capture_output=True, text=True, check=True).stdout
                 for call in calls]
        options = [word.partition('=')[0] for command in commands() if command[0] == program for word in command]
        assert [name for name in options if name.startswith('--') and name not in ''.join(texts)] == []


def test_the_first_change_of_the_guide_changes_a_text(tmp_path):
    "What `sed` looks for stands in the chapter, and the package's text changes by it."
    sed, = (command for command in commands() if command[0] == 'sed')
    old, new = sed[2].split('/')[1:3]
    assert old == TITLE and new not in (ROOT / 'nbs/27_look.ipynb').read_text()


def test_paths_of_the_guide_exist():
    named = re.findall(r'`((?:nbs|mnist_vae|web|docs|scripts|benchmarks|tests|\.streamlit)/[^`\s]*)`', GUIDE)
    assert len(named) > 8
    assert [name for name in named if not any(ROOT.glob(name.rstrip('/')))] == []


def test_version_and_names_are_those_of_the_settings():
    config = settings()
    versions = re.findall(r'^## \[(\d+\.\d+\.\d+)\]', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    assert versions[0] == config['version'] and versions == sorted(versions, reverse=True)
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert (citation['version'], citation['title']) == (config['version'], config['lib_name'])
    assert citation['repository-code'] == config['git_url'] and citation['authors'] == [{'name': config['author']}]
    assert {'cff-version', 'message', 'title', 'authors'} <= citation.keys(), 'what the format asks for'
    assert 'doi' not in citation


def test_changelog_has_the_form():
    text = (ROOT / 'CHANGELOG.md').read_text()
    kinds = set(re.findall(r'^### (.+)', text, re.M))
    assert kinds <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'}
    assert re.findall(r'^## \[(.+?)\]', text, re.M) == re.findall(r'^\[(.+?)\]: https://', text, re.M)


def test_links_of_the_papers_lead_somewhere():
    for name in ('CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md'):
        targets = re.findall(r'\]\((?!https?:|#)([^)#]+)', (ROOT / name).read_text())
        assert [target for target in targets if not (ROOT / target).exists()] == [], name


# --- the hook ---

@pytest.fixture
def clone(tmp_path, monkeypatch):
    "A repository of what nbdev needs, with the hook switched on; README comes of one small notebook."
    repo = tmp_path / 'clone'
    for folder in ('mnist_vae', '.githooks', 'scripts', 'README_files'):
        shutil.copytree(ROOT / folder, repo / folder, ignore=shutil.ignore_patterns('__pycache__'))
    (repo / 'nbs').mkdir()
    for name in ('settings.ini', 'README.md', '.gitignore', *(f'nbs/{stem}.ipynb' for stem in NOTEBOOKS)):
        shutil.copy(ROOT / name, repo / name)
    monkeypatch.setenv('PATH', f'{VENV}:{os.environ["PATH"]}')
    for variable in ('GIT_DIR', 'GIT_INDEX_FILE', 'GIT_WORK_TREE'): monkeypatch.delenv(variable, raising=False)
    git(repo, 'init', '-q')
    for name, value in (('user.name', 'A'), ('user.email', 'a@example.org'), ('core.hooksPath', '.githooks')):
        git(repo, 'config', name, value)
    git(repo, 'add', '-A')
    git(repo, 'commit', '-qm', 'all', '--no-verify')
    return repo


def git(repo, *args, check=True) -> subprocess.CompletedProcess:
    return subprocess.run(['git', *args], cwd=repo, check=check, capture_output=True, text=True)


def edit(repo, name='27_look', old=TITLE, new='My digits'):
    "Change a notebook as an editor would that also leaves behind what does not belong into git."
    path = repo / f'nbs/{name}.ipynb'
    notebook = json.loads(path.read_text())
    for cell in notebook['cells']:
        cell['source'] = ''.join(cell['source']).replace(old, new).splitlines(keepends=True)
        if cell['cell_type'] == 'code': cell['execution_count'] = 7
    path.write_text(json.dumps(notebook))


@pytest.mark.slow
def test_a_commit_cleans_and_exports(clone):
    edit(clone)
    git(clone, 'add', 'nbs/27_look.ipynb')
    git(clone, 'commit', '-qm', 'title')
    assert git(clone, 'status', '--porcelain').stdout == ''
    changed = git(clone, 'show', '--stat=200', '--format=').stdout
    assert 'nbs/27_look.ipynb' in changed and 'mnist_vae/look.py' in changed
    assert "TITLE = 'My digits'" in git(clone, 'show', 'HEAD:mnist_vae/look.py').stdout
    assert '"execution_count": 7' not in git(clone, 'show', 'HEAD:nbs/27_look.ipynb').stdout


def test_a_commit_of_a_part_is_refused_with_the_cure(clone):
    edit(clone)
    git(clone, 'add', 'nbs/27_look.ipynb')
    edit(clone, '04_loss', 'import', 'import ')
    refused = git(clone, 'commit', '-qm', 'part', check=False)
    assert refused.returncode == 1 and 'nbs/04_loss.ipynb' in refused.stderr and 'git add' in refused.stderr
    assert git(clone, 'log', '--oneline').stdout.count('\n') == 1


def test_a_commit_without_notebooks_waits_for_nothing(clone, monkeypatch):
    "Not even nbdev is needed."
    monkeypatch.setenv('PATH', '/usr/bin:/bin')
    ini = clone / 'settings.ini'
    ini.write_text(ini.read_text() + '\n')
    git(clone, 'commit', '-qam', 'settings')
    edit(clone)
    refused = git(clone, 'commit', '-qam', 'title', check=False)
    assert refused.returncode == 1 and 'Activate the environment' in refused.stderr


# --- the app, while somebody works on it ---

def test_a_change_of_the_package_is_seen_in_the_running_app(app_python, browser, tmp_path):
    "With the options of CONTRIBUTING, and without a click."
    command, = (command for command in commands() if command[0] == 'streamlit')
    source = tmp_path / 'source'
    for folder in ('mnist_vae', 'web', '.streamlit'): shutil.copytree(ROOT / folder, source / folder)
    for name in ('app.py', 'mnist_vae.pth'): shutil.copy(ROOT / name, source)
    port = free_port()
    command = [app_python, '-m', *command, '--server.headless=true', f'--server.port={port}']
    env = os.environ | {'PYTHONPATH': str(source)}
    with visitors.Server(command=command, cwd=source, env=env, port=port) as server:
        page = browser.new_page()
        page.goto(server.origin)
        page.get_by_role('heading', name=TITLE).wait_for(timeout=120_000)
        page.locator('[data-testid=stApp][data-test-script-state=notRunning] img').first.wait_for(timeout=120_000)
        module = source / 'mnist_vae/look.py'
        before = module.read_text()
        for i in range(20):         # the watcher begins a moment after the run, and sees what changes from then on
            module.write_text(before.replace(TITLE, f'My digits, version {i}'))
            try: return page.get_by_role('heading', name=f'My digits, version {i}').wait_for(timeout=10_000)
            except TimeoutError: pass
        pytest.fail('the page has not changed')
