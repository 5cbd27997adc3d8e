"""The pages of the site that are made, not written: hooks of mkdocs, named in mkdocs.yml.

    mkdocs build --strict        # the site, in _docs/
    mkdocs serve                 # the site while you write, at http://127.0.0.1:8000

Start page and chapters come from the notebooks in nbs/, whichever are there, with the outputs that they keep: nothing
is executed. The reference comes from the docstrings, the page of the command from its own help. Formulas become MathML
here, so that no script draws them.
"""
import base64
import contextlib
import html
import io
import json
import os
import re
import unicodedata
from configparser import ConfigParser
from pathlib import Path
from unittest.mock import patch

import nbformat
from latex2mathml.converter import convert
from markdown.extensions.toc import slugify
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {'image/png': 'png', 'image/jpeg': 'jpg', 'image/gif': 'gif', 'image/svg+xml': 'svg'}


def notebooks() -> list[Path]:
    "The chapters in the order of their file names; the start page is none."
    return [
        path for path in sorted((ROOT / 'nbs').glob('*.ipynb')) if path.stem != 'index' and path.stem[0] not in '._'
    ]


def settings() -> dict[str, str]:
    config = ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return dict(config['DEFAULT'])


def module_of(notebook) -> str | None:
    "The module that a notebook exports, `prior` say, or None."
    found = re.search(r'^#\|\s*default_exp\s+([\w.]+)', '\n'.join(cell.source for cell in notebook.cells), re.M)
    return found and found[1]


def opening_of(notebook) -> tuple[str, str]:
    """Title and summary of a notebook: `# title`, and below it `> summary` or nothing. ValueError if it does not begin
    so."""
    first = next((cell.source for cell in notebook.cells if cell.cell_type == 'markdown'), '')
    found = re.match(r'# +(.+?) *$(?:\n+> (.+))?', first, re.M)
    if not found:
        raise ValueError(f'the first text of a notebook must begin with "# " and its title, not {first[:60]!r}')
    return found[1], found[2] or ''


def to_site_links(text: str, up: str) -> str:
    """Links of a notebook, seen from its page, which is `up` away from the site's root.

    Other notebooks are pages here, and a heading's anchor is mkdocs's, not Jupyter's; any other file of the repository
    is shown where it lives. A picture from elsewhere, a badge say, becomes its words: a page asks nobody but its own
    server.
    """
    text = re.sub(r'!\[([^\]]*)\]\(https?://[^)]*\)', r'\1', text)
    def link(found):
        target, anchor = found[1], found[2] or ''
        section = '#' + slugify(anchor[1:].replace('-', ' '), '-') if anchor else ''
        if re.match(r'\w+:|/', target): return found[0]
        if not target: return f']({section})'
        if not target.endswith('.ipynb'):
            return f"]({settings()['git_url']}/blob/main/{os.path.normpath(f'nbs/{target}')}{anchor})"
        stem = Path(target).stem
        return f"]({up}{'index' if stem == 'index' else f'chapters/{stem}'}.md{section})"
    return re.sub(r'\]\(([^)\s#]*)(#[^)\s]*)?\)', link, text)


def fence(text: str, language: str) -> str:
    ticks = '`' * max(3, 1 + max(map(len, re.findall('`+', text)), default=0))
    return f'{ticks}{language}\n{text}\n{ticks}'


def show(output, alt: str, folder: str, name: str) -> tuple[str, dict[str, bytes]]:
    """One output of a cell as Markdown, and the files that belong to it. A widget cannot be shown without a kernel, and
    is left out."""
    plain = lambda text: (
        fence(re.sub(r'\x1b\[[\d;]*m', '', text).strip('\n'), '{ .text .output }') if text.strip() else ''
    )
    if output.output_type == 'stream': return plain(output.text), {}
    data = output.data
    if kind := next((kind for kind in PICTURES if kind in data), None):
        content = data[kind].encode() if kind == 'image/svg+xml' else base64.b64decode(data[kind])
        alt = output.metadata.get(kind, {}).get('alt') or alt
        file = f'{name}.{PICTURES[kind]}'
        return f'![{alt}]({folder}{file})', {file: content}
    if 'text/markdown' in data: return data['text/markdown'], {}
    if 'text/html' in data:
        safe = re.sub(r'<(script|style)\b.*?</\1>', '', data['text/html'], flags=re.S | re.I)
        return '<div class="output">' + re.sub(
            r'\n\s*\n', '\n', safe
        ) + '</div>', {}  # Markdown would end it at an empty line
    if 'application/vnd.jupyter.widget-view+json' in data: return '', {}
    return plain(data.get('text/plain', '')), {}


def page(path: Path, up: str = '../') -> tuple[str, dict[str, bytes]]:
    "A notebook as Markdown, and its pictures by file name; they lie in a folder of the notebook's name."
    notebook, parts, pictures, heading = nbformat.read(path, as_version=4), [], {}, ''
    for cell in notebook.cells:
        directives = set(re.findall(r'^#\|\s*(.+?)\s*$', cell.source, re.M))
        if 'hide' in directives: continue
        if cell.cell_type == 'markdown':
            parts.append(to_site_links(cell.source, up))
            if found := re.findall(r'^#+\s+(.+)$', cell.source, re.M): heading = found[-1].strip().replace('`', '')
        if cell.cell_type != 'code': continue
        source = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n')
        if source and 'echo: false' not in directives: parts.append(fence(source, 'python'))
        for i, output in enumerate(cell.outputs):
            text, files = show(
                output, f'What the code above draws, in the section “{heading}”', f'{path.stem}/', f'{cell.id}-{i}'
            )
            parts.append(text)
            pictures |= files
    return '\n\n'.join(filter(None, parts)) + '\n', pictures


def chapter(path: Path) -> tuple[str, dict[str, bytes]]:
    "A chapter's page: the notebook, and below its title where it comes from and what it exports."
    text, pictures = page(path)
    notebook, git_url = nbformat.read(path, as_version=4), settings()['git_url']
    links = [f'[the notebook]({git_url}/blob/main/nbs/{path.name})']
    if module := module_of(notebook): links.append(f'the module [`mnist_vae.{module}`](../reference/{module}.md)')
    title, summary = opening_of(notebook)
    opening = re.match(r'# .*(\n+> .+)?' if summary else '# .*', text[text.index(f'# {title}'):])[0]
    head = '---\n' + json.dumps({'description': summary}) + '\n---\n\n' if summary else ''  # JSON is YAML
    return head + text.replace(
        opening, f"{opening}\n\nThis chapter is {' and '.join(links)}.\n{{ .source }}", 1
    ), pictures


def modules() -> list[str]:
    "The package's modules in the order of the chapters."
    return [module for path in notebooks() if (module := module_of(nbformat.read(path, as_version=4)))]


def reference(module: str) -> str:
    "The page of a module: mkdocstrings fills it in."
    return f'---\ntitle: {module}\n---\n\n# `mnist_vae.{module}`\n\n::: mnist_vae.{module}\n'


def help_of(*command: str) -> str:
    "What `mnist-vae COMMAND --help` prints, 96 characters wide and without colours."
    from mnist_vae.cli import main
    with (
        patch.dict(os.environ, COLUMNS='96', TERMINAL_WIDTH='96', NO_COLOR='1', TERM='dumb'),
        contextlib.redirect_stdout(io.StringIO()) as out,
    ):
        main([*command, '--help'])
    lines = [line.rstrip() for line in out.getvalue().strip('\n').splitlines()]
    return '\n'.join(lines).strip('\n')


def command_page() -> str:
    "The command's page, from its own help."
    from mnist_vae.cli import app
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    parts = ['---\ntitle: mnist-vae\n---\n\n# The command `mnist-vae`', fence(help_of(), 'text')]
    for name in names: parts += [f'## `mnist-vae {name}`', fence(help_of(name), 'text')]
    return '\n\n'.join(parts) + '\n'


def on_config(config):
    "Name, address and the order of the pages."
    facts = settings()
    config.site_name, config.site_author, config.site_description = (
        'MNIST digit generator', facts['author'], facts['description'],
    )
    config.site_url, config.copyright = (
        facts['doc_host'] + facts['doc_baseurl'] + '/', f"{facts['copyright']}. Apache License 2.0.",
    )
    config.extra['git_url'] = facts['git_url']
    config.nav = [
        {'Start': 'index.md'},
        {
            'Chapters': [
                {opening_of(nbformat.read(path, as_version=4))[0]: f'chapters/{path.stem}.md'} for path in notebooks()
            ]
        },
        {'How to': [f'how-to/{path.name}' for path in sorted((ROOT / 'docs/how-to').glob('*.md'))]},
        {
            'Reference': [{'mnist-vae': 'reference/mnist-vae.md'}]
            + [{module: f'reference/{module}.md'} for module in modules()]
        },
    ]
    return config


def on_files(files, config):
    "Add the pages that are made, their pictures, and the style sheet of the plots in them."
    made = {'reference/mnist-vae.md': command_page()} | {
        f'reference/{module}.md': reference(module) for module in modules()
    }
    start, pictures = page(ROOT / 'nbs/index.ipynb', up='')
    made |= {'index.md': '---\nhide: [navigation]\n---\n\n' + start} | {
        f'index/{name}': data for name, data in pictures.items()
    }
    for path in notebooks():
        text, pictures = chapter(path)
        made |= {f'chapters/{path.stem}.md': text} | {
            f'chapters/{path.stem}/{name}': data for name, data in pictures.items()
        }
    made['assets/look.css'] = (ROOT / 'mnist_vae/look.css').read_text(encoding='utf-8')
    for name, content in made.items(): files.append(File.generated(config, name, content=content))
    return files


# Browsers know no mathvariant but "normal": the letters of other alphabets are characters of their own.
# Unicode's names of these alphabets:
ALPHABETS = {
    'double-struck': 'DOUBLE-STRUCK',
    'script': 'SCRIPT',
    'bold': 'BOLD',
    'bold-italic': 'BOLD ITALIC',
    'fraktur': 'FRAKTUR',
}


def of_alphabet(alphabet: str, char: str) -> str:
    "The letter or figure `char` in a mathematical alphabet, `char` itself if it has none there."
    name = re.sub('LATIN |GREEK |LETTER ', '', unicodedata.name(char, ''))
    for full in (f'MATHEMATICAL {alphabet} {name}', f'{alphabet} {name}'):          # ℝ, ℒ and some others are older
        try: return unicodedata.lookup(full)
        except KeyError: pass
    return char


def space_function(found) -> str:
    """A named function, log say, as TeX sets it: a thin space from a factor before it, and from what it is taken of
    unless that is in brackets."""
    before, name, after = found.groups()
    if before.startswith(('<msub', '<msup', '<munder')):
        return found[0]  # with an index it is an operator, and has spaces
    thin = '<mspace width="0.167em"/>'
    return (
        before
        + (thin if re.match('</m(?!o>|row>)', before) else '')
        + f'<mi>{name}</mi>'
        + (thin if re.match('<m(?!o[ >]|space)', after) else '')
    )


def to_mathml(found) -> str:
    "A formula, as pymdownx.arithmatex leaves it, as MathML. ValueError for a command that the converter does not know."
    opening, latex = found[1], html.unescape(found[2])
    mathml = convert(latex, display='block' if opening == '[' else 'inline')
    if unknown := re.findall(r'\\[a-zA-Z]+', mathml): raise ValueError(f'no MathML for {unknown} in {latex}')
    mathml = mathml.replace('<mi>&#x0007E;</mi>', '<mo>&#x0223C;</mo>')  # \sim is a relation, with room around it
    mathml = re.sub(
        r'<(mi|mn) mathvariant="([a-z-]+)">(.*?)</\1>',
        lambda m: (
            m[0]
            if m[2] not in ALPHABETS
            else f"<{m[1]}>{''.join(of_alphabet(ALPHABETS[m[2]], char) for char in html.unescape(m[3]))}</{m[1]}>"
        ),
        mathml,
    )
    mathml = re.sub(r'(<[^>]+>)<m[io]>([A-Za-z]{2,})</m[io]>(?=(<[^>]+>))', space_function, mathml)
    return f'<div class="math">{mathml}</div>' if opening == '[' else mathml


def on_page_content(text, page, config, files):
    "Formulas, drawn by the browser itself; tables in a box that scrolls where they are wider than the page."
    text = re.sub(r'<table\b.*?</table>', r'<div class="table">\g<0></div>', text, flags=re.S)
    text = re.sub(r'<th( [^>]*)?></th>', r'<td\1></td>', text)  # the corner of a table heads nothing
    return re.sub(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', to_mathml, text, flags=re.S)
