"""The site: built strictly, whole, its links lead somewhere, its how-tos work, and a browser shows it without a word
from outside."""
import contextlib
import functools
import http.server
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import nbformat
import PIL.Image
import pytest
import torch
import yaml

from conftest import ROOT
from mnist_vae.generator import DigitGenerator

NOTEBOOKS = sorted(path.stem for path in (ROOT / 'nbs').glob('*.ipynb') if path.stem != 'index')
EXTRA = '99_extra'


def extra_notebook():
    "A chapter with everything that the others may not have."
    v4, png = (
        nbformat.v4, 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg==',
    )

    def code(source, *outputs): return v4.new_code_cell(source, outputs=list(outputs))

    def shows(**data):
        return v4.new_output('display_data', {kind.replace('_', '/'): content for kind, content in data.items()})

    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell(
                '# A chapter from nowhere\n\n> It is not in any list.\n\n[![Open it](https://example.org/badge.svg)](https://example.org/here)'
            ),
            code(
                "#| eval: false\nraise SystemExit('it was executed')",
                v4.new_output('stream', name='stdout', text='the output \x1b[31mthat was kept'),
            ),
            code('#| hide\nnobody_sees_this = 1', v4.new_output('stream', name='stdout', text='nor this')),
            code('#| echo: false\nnor_this_code = 2', shows(text_plain='but its output')),
            code(
                "'picture'",
                v4.new_output(
                    'display_data', {'image/png': png, 'text/plain': '<Figure>'},
                    metadata={'image/png': {'alt': 'A dot'}},
                ),
            ),
            code(
                "'table'",
                shows(
                    text_html='<table><tr><td>a cell of a table</td></tr></table>\n\n<script>alert(1)</script>',
                    text_plain='plain',
                ),
            ),
            code(
                'widget',
                v4.new_output(
                    'display_data', {'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'VBox(children=())'}
                ),
            ),
            code("'```'", shows(text_markdown='and *this* too')),
            v4.new_markdown_cell(
                '## Links\n\n[up](01_data.ipynb), [to a section](04_loss.ipynb#The-KL-term), [start](index.ipynb), '
                '[the app](../app.py), [here](#Links).'
            ),
        ]
    )


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    "The site of a copy of the sources that has one notebook more, by the command that the workflow runs."
    source = tmp_path_factory.mktemp('site')
    for name in ('docs', 'nbs', 'mnist_vae', 'scripts'):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for name in ('mkdocs.yml', 'settings.ini'): shutil.copy(ROOT / name, source)
    nbformat.write(extra_notebook(), source / 'nbs' / f'{EXTRA}.ipynb')
    built = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict'], cwd=source, text=True, capture_output=True,
        env=os.environ | dict(PYTHONPATH=str(source)),
    )
    assert built.returncode == 0, built.stderr
    return source / '_docs'


class Page(HTMLParser):
    "The text, the addresses and the anchors of a page."
    def __init__(self, path):
        super().__init__()
        self.links, self.loads, self.ids, self.texts, self.inside = [], [], set(), [], []
        self.feed(path.read_text(encoding='utf-8'))
        self.text = ' '.join(' '.join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        if tag == 'a' and 'href' in attrs: self.links.append(attrs['href'])
        if tag == 'link' and attrs['rel'] != 'canonical': self.loads.append(attrs['href'])
        if 'src' in attrs: self.loads.append(attrs['src'])
        if tag in ('script', 'style'): self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside[-1:] == [tag]: self.inside.pop()

    def handle_data(self, data):
        if not self.inside: self.texts.append(data)


def test_internal_links_lead_somewhere(site):
    pages = {path: Page(path) for path in site.rglob('*.html')}
    assert len(pages) > 2 * len(NOTEBOOKS)
    broken = []
    base = re.search('<link rel="canonical" href="https://[^/"]*(/[^"]*)">', (site / 'index.html').read_text())[
        1
    ]  # 404.html links from there
    for path, page in pages.items():
        for address in page.links + page.loads:
            target, anchor = urldefrag(address)
            if urlsplit(target).scheme: continue
            there = (
                (
                    site / target.removeprefix(base) if target.startswith('/') else path.parent / unquote(target)
                ).resolve()
                if target
                else path
            )
            if there.is_dir(): there /= 'index.html'
            if not there.is_file() or anchor and anchor not in pages[there].ids:
                broken.append((path.relative_to(site).as_posix(), address))
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site):
    for path in site.rglob('*.html'):
        assert [address for address in Page(path).loads if urlsplit(address).netloc] == [], path
    for path in site.rglob('*.css'):
        assert re.findall(r'url\(["\']?(?:https?:)?//|@import', path.read_text()) == [], path


def test_start_page_is_the_readme(site):
    readme, page = (ROOT / 'README.md').read_text(encoding='utf-8'), Page(site / 'index.html')
    prose = [
        line
        for line in re.sub(r'```.*?```|<!--.*?-->', '', readme, flags=re.S).splitlines()
        if line and not re.match(r'[#>|!\s]|\[!', line)
    ]
    plain = [
        re.sub(r'\[(.*?)\]\(.*?\)|\*\*|`|\*', r'\1', re.sub(r'^- ', '', line)) for line in prose if '$' not in line
    ]
    assert len(plain) > 10
    def squeezed(text): return re.sub(r'\W', '', text)
    assert [line for line in plain if squeezed(line) not in squeezed(page.text)] == []
    for picture in (ROOT / 'README_files').iterdir():
        assert picture.read_bytes() in [path.read_bytes() for path in (site / 'index').iterdir()], (
            f'{picture.name} is not on the start page'
        )


def test_chapters_are_the_notebooks_in_order(site):
    page = (site / f'chapters/{EXTRA}/index.html').read_text(encoding='utf-8')
    listed = re.findall(
        r'<li><a href="([^"]*)"[^>]*>([^<]*)</a>', re.search(r'<nav aria-label="Chapters">.*?</nav>', page, re.S)[0]
    )
    assert [Path(address).name if address != './' else EXTRA for address, _ in listed] == [*NOTEBOOKS, EXTRA]
    headings = [
        next(
            line[2:]
            for line in nbformat.read(ROOT / f'nbs/{stem}.ipynb', 4).cells[0].source.splitlines()
            if line.startswith('# ')
        )
        for stem in NOTEBOOKS
    ]
    assert [title for _, title in listed] == [*headings, 'A chapter from nowhere']


def test_chapter_shows_outputs_that_were_kept_and_hides_what_is_hidden(site):
    page = Page(site / f'chapters/{EXTRA}/index.html')
    for shown in (
        'raise SystemExit', 'the output that was kept', 'but its output', 'a cell of a table', 'and this too',
        'It is not in any list.',
    ):
        assert shown in page.text
    for hidden in ('nobody_sees_this', 'nor this', 'nor_this_code', 'alert(1)', '#|', '<Figure>', 'VBox'):
        assert hidden not in page.text
    raw = (site / f'chapters/{EXTRA}/index.html').read_text()
    assert 'alert(1)' not in raw and 'alt="A dot"' in raw
    assert {'../01_data/', '../04_loss/#the-kl-term', '../../', '#links', 'https://example.org/here'} <= set(page.links)
    assert any(link.endswith('/blob/main/app.py') for link in page.links)


@pytest.mark.parametrize('stem', NOTEBOOKS)
def test_chapter_is_the_whole_notebook(site, stem):
    page = Page(site / f'chapters/{stem}/index.html')
    assert not re.search(r'#\|\s*\w', page.text)
    seen = re.sub(r'\s', '', page.text)
    for cell in nbformat.read(ROOT / f'nbs/{stem}.ipynb', 4).cells:
        directives = re.findall(r'^#\|\s*(.+?)\s*$', cell.source, re.M)
        if cell.cell_type != 'code' or 'hide' in directives: continue
        if 'echo: false' not in directives: assert re.sub(r'^#\|.*|\s', '', cell.source, flags=re.M) in seen, cell.id
        for output in cell.outputs:
            if output.output_type == 'stream': assert re.sub(r'\s', '', output.text) in seen, cell.id
    pictures = sum(
        any(kind.startswith('image/') for kind in output.get('data', {}))
        for cell in nbformat.read(ROOT / f'nbs/{stem}.ipynb', 4).cells
        if '#| hide' not in cell.source
        for output in cell.get('outputs', [])
    )
    assert sum(not address.startswith(('..', 'data:')) for address in page.loads) == pictures


def test_reference_has_every_public_name(site):
    modules = sorted(path.stem for path in (ROOT / 'mnist_vae').glob('*.py') if path.stem[0] != '_')
    assert modules == sorted(path.name for path in (site / 'reference').iterdir() if path.name != 'mnist-vae')
    for module in modules:
        page, imported = Page(site / f'reference/{module}/index.html'), importlib.import_module(f'mnist_vae.{module}')
        for name in imported.__all__:
            thing = getattr(imported, name)
            if not callable(thing) and not re.search(rf'^{name} =', Path(imported.__file__).read_text(), re.M):
                continue  # one of a pair of constants
            assert f'mnist_vae.{module}.{name}' in page.ids
            if callable(thing) and thing.__doc__:
                assert re.sub(r'[\W_]', '', thing.__doc__.splitlines()[0]) in re.sub(r'[\W_]', '', page.text), name


def test_command_page_is_the_commands_own_help(site, monkeypatch):
    from mnist_vae.cli import app, main
    page = re.sub(r'\s', '', Page(site / 'reference/mnist-vae/index.html').text)
    for name, value in dict(COLUMNS='96', TERMINAL_WIDTH='96', NO_COLOR='1', TERM='dumb').items():
        monkeypatch.setenv(name, value)
    for command in ([], *([each.name or each.callback.__name__] for each in app.registered_commands)):
        with contextlib.redirect_stdout(io.StringIO()) as out: assert main([*command, '--help']) == 0
        assert len(out.getvalue()) > 200 and re.sub(r'\s', '', out.getvalue()) in page


def mathml(latex, opening='('):
    sys.path.insert(0, str(ROOT / 'scripts'))
    from site_pages import on_page_content
    closing = {'(': ')', '[': ']'}[opening]
    return on_page_content(f'<span class="arithmatex">\\{opening}{latex}\\{closing}</span>', None, None, None)


def test_formulas_are_mathml():
    assert (
        '<mi>𝔼</mi>' in mathml(r'\mathbb E')
        and '<mi>𝒩</mi>' in mathml(r'\mathcal N')
        and '<mi>ℝ</mi>' in mathml(r'\mathbb R')
        and '𝝁' in mathml(r'\boldsymbol\mu')
    )
    thin = '<mspace width="0.167em"/>'
    assert f'<mi>log</mi>{thin}<mi>p</mi>' in mathml(r'\log p')
    assert f'</msub>{thin}<mi>log</mi>{thin}<mover' in mathml(r'x_i \log \hat x')
    assert '<mi>log</mi><mo' in mathml(r'\log(x)') and '<mo>KL' not in mathml(r'\operatorname{KL}\big(q)')
    assert 'display="block"' in mathml('a &lt; b', '[') and '&#x0003C;' in mathml('a &lt; b', '[')
    assert '<mo>&#x0223C;</mo>' in mathml(r'z \sim p')
    with pytest.raises(ValueError, match='nosuchthing'): mathml(r'\nosuchthing x')


# --- the how-tos ---

def blocks(name, language):
    return re.findall(
        rf'^```{language}\n(.*?)^```', (ROOT / f'docs/how-to/{name}.md').read_text(encoding='utf-8'), re.M | re.S
    )


def follow(name, folder, **changes):
    "Run the Python of a how-to in `folder`, with some values changed, as a reader would who copies block after block."
    code = '\n'.join(blocks(name, 'python'))
    for old, new in changes.items():
        assert code.count(f'{old} = ') == 1
        code = re.sub(rf'^{old} = .*$', f'{old} = {new}', code, flags=re.M)
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=folder, capture_output=True, text=True,
        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_how_to_use_as_a_data_set(tmp_path, mnist):
    out = follow('use-as-a-data-set', tmp_path)
    assert 'Dataset Digits' in out and '3 - three' in out
    batches = [line for line in out.splitlines() if 'torch.Size([128, 1, 28, 28])' in line]
    assert [line.split()[0] for line in batches] == ['0', '0', '1', '1']       # test_dataset.py: none repeats another
    assert '(2000, 28, 28) uint8' in out
    assert float(re.search(r'reads (.*)% of', out)[1]) > 80
    assert {path.name for path in (tmp_path / 'like_mnist').iterdir()} == {
        'train-images-idx3-ubyte.gz',
        'train-labels-idx1-ubyte.gz',
    }


@pytest.mark.slow
def test_how_to_train_on_your_own_digits(tmp_path, mnist):
    gen = DigitGenerator.load()
    for digit in range(10):  # photographs: dark on greyish paper, larger, somewhere in the picture
        (folder := tmp_path / f'my_digits/{digit}').mkdir(parents=True)
        (folder / '.DS_Store').write_bytes(b'no picture')
        for i, image in enumerate(gen.generate(digit, 40, seed=digit)):
            paper = PIL.Image.new('L', (200, 160), 235)
            ink = PIL.Image.fromarray((235 - 200 * image).byte().numpy()).resize((112, 112))
            paper.paste(ink, (10 + i, 5 + i))
            paper.save(folder / f'{i:02}.png')
    follow('train-on-your-own-digits', tmp_path, STEPS=500, READING_EPOCHS=0)
    mine, labels = DigitGenerator.load(tmp_path / 'mine.pth'), torch.arange(10).repeat(10)
    read = torch.tensor([gen.read(image) for image in mine.sample(labels, seed=1)])
    assert (read == labels).float().mean() > .5, 'the shipped model reads what the new one draws'
    assert (tmp_path / 'generated.png').exists() and (tmp_path / 'mine.png').exists()


def test_photographs_are_read_as_digits_that_look_like_mnists(tmp_path):
    "MNIST's own images, taken for photographs, come back as they were: their scale and centre are already right."
    from mnist_vae.sets import read_labelled
    gen = DigitGenerator.load()
    images = gen.sample(torch.arange(10), seed=3)
    for digit, image in enumerate(images):
        (tmp_path / str(digit)).mkdir()
        PIL.Image.fromarray((255 - 255 * image).byte().numpy()).resize((280, 280), PIL.Image.Resampling.NEAREST).save(
            tmp_path / str(digit) / 'photo.png'
        )
    found = read_labelled(tmp_path)
    for image, again in zip(images, found.images, strict=True):
        assert again.shape == (28, 28) and again.dtype == torch.uint8 and again.max() > 200
        rows, columns = (again > 96).any(1).nonzero(), (again > 96).any(0).nonzero()
        assert max(rows.max() - rows.min(), columns.max() - columns.min()) in (18, 19, 20)
        assert gen.read(again) == gen.read(image)


# --- the workflows ---

@pytest.mark.parametrize('name', ['tests', 'site'])
def test_workflow_runs_the_command_of_the_project(name):
    workflow = yaml.safe_load((ROOT / f'.github/workflows/{name}.yml').read_text())
    steps = [step for job in workflow['jobs'].values() for step in job['steps']]
    commands = '\n'.join(step.get('run', '') for step in steps)
    assert all(re.fullmatch(r'[\w-]+/[\w-]+@[0-9a-f]{40}', step['uses']) for step in steps if 'uses' in step)
    if name == 'tests':
        assert re.search(r"^pip install .*pytest$", (ROOT / 'README.md').read_text(), re.M)[0] in commands
    else:
        assert 'mkdocs build --strict' in commands
        folder = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['site_dir']
        play = commands.index(f'mnist-vae web {folder}/play')
        assert play > commands.index('mkdocs build'), 'which empties the folder'
        upload = next(step for step in steps if 'upload-pages-artifact' in step.get('uses', ''))
        assert upload['with']['path'] == yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['site_dir']


# --- in a browser ---

@pytest.fixture(scope='module')
def address(site):
    "The site, served as a web server would."
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()


@pytest.mark.parametrize('scheme, width', [('light', 1360), ('dark', 1360), ('light', 375), ('dark', 375)])
def test_pages_fit_can_be_read_and_ask_nobody(browser, address, scheme, width):
    from axe_playwright_python.sync_playwright import Axe
    context = browser.new_context(color_scheme=scheme, viewport=dict(width=width, height=812))
    page, problems = context.new_page(), []
    page.on('console', lambda message: problems.append(message.text))
    page.on('pageerror', lambda error: problems.append(str(error)))
    page.on('request', lambda request: request.url.startswith((address, 'data:')) or problems.append(request.url))
    for path in (
        '', 'chapters/04_loss/', f'chapters/{EXTRA}/', 'reference/generator/', 'reference/mnist-vae/',
        'how-to/train-on-your-own-digits/',
    ):
        page.goto(address + path)
        assert page.evaluate('document.documentElement.scrollWidth') <= width, f'{path} scrolls sideways'
        assert page.evaluate(
            "[...document.images].every(image => image.complete && image.naturalWidth && image.alt !== null)"
        )
        if (scheme, width) in (('light', 1360), ('dark', 375)):
            violations = Axe().run(page).response['violations']
            assert [(rule['id'], [node['html'][:120] for node in rule['nodes'][:3]]) for rule in violations] == [], path
        if folder := os.environ.get('SCREENSHOTS'):
            page.screenshot(
                path=f"{folder}/site-{path.strip('/').replace('/', '-') or 'start'}-{scheme}-{width}.png",
                full_page=True,
            )
    assert problems == []
    context.close()


def test_every_page_fits_a_phone(browser, address, site):
    page = browser.new_page(viewport=dict(width=375, height=812))
    for path in sorted(site.rglob('index.html')):
        page.goto(address + path.relative_to(site).as_posix())
        assert page.evaluate('document.documentElement.scrollWidth') <= 375, path
    page.close()


def test_formulas_are_drawn(browser, address):
    page = browser.new_page()
    page.goto(address + 'chapters/04_loss/')
    page.evaluate('document.fonts.ready')
    assert page.evaluate("document.fonts.check('16px \"STIX Two Math subset\"')")
    formulas = page.locator('main math')
    assert formulas.count() >= 10 and page.locator('main mjx-container, main merror').count() == 0
    box = lambda selector: page.locator(selector).first.bounding_box()
    upper, lower = box('main mfrac > :nth-child(1)'), box('main mfrac > :nth-child(2)')
    assert upper['y'] + upper['height'] <= lower['y'] + 1, 'a fraction stands on two floors'
    base, index = box('main .math msub > :nth-child(1)'), box('main .math msub > :nth-child(2)')
    assert index['x'] >= base['x'] + base['width'] - 1 and index['y'] + index['height'] > base['y'] + base['height']
    assert box('main .math munder munder')['width'] > 100, 'the brace is as wide as what it embraces'
    page.close()


def test_search_theme_and_menu_by_keyboard(browser, address):
    page = browser.new_page(viewport=dict(width=375, height=812), color_scheme='light')
    page.goto(address + 'chapters/04_loss/')
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.className') == 'skip'
    page.keyboard.press('Enter')
    assert page.evaluate('document.activeElement.id') == 'content'
    summary = page.locator('details.menu summary')
    assert not page.locator('details.menu a').first.is_visible()
    summary.focus()
    page.keyboard.press('Enter')
    assert page.locator('details.menu a[aria-current=page]').is_visible()

    page.get_by_role('button', name='Dark').focus()
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.keyboard.press('Enter')
    assert (
        page.evaluate(paper) != before
        and page.get_by_role('button', name='Dark').get_attribute('aria-pressed') == 'true'
    )
    page.reload()
    assert page.evaluate(paper) != before, 'the choice lasts'

    page.keyboard.press('/')
    page.keyboard.type('handwriting')
    page.locator('#mkdocs-search-results a').first.wait_for()
    page.keyboard.press('Escape')
    assert not page.locator('dialog').is_visible()
    page.keyboard.press('/')
    page.locator('dialog input:focus').wait_for()
    page.keyboard.type('restyle')
    page.locator('#mkdocs-search-results a[href*=generator]').first.wait_for()
    page.keyboard.press('Enter')
    page.wait_for_url(lambda url: '04_loss' not in url)
    page.close()
