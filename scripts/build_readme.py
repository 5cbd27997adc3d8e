"""Make README.md and its pictures from nbs/index.ipynb.

    python scripts/build_readme.py

nbconvert writes the Markdown; Quarto is not needed. The outputs are those that the notebook keeps: nothing is executed.
Code cells that say `#| echo: false` show their output only.
"""
import re
from pathlib import Path

import nbformat
from jinja2 import DictLoader
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 'README_files'
# nbconvert's own template calls every picture "png"; a screen reader deserves the alternative text of the output.
TEMPLATE = """{% extends 'markdown/index.md.j2' %}
{% block data_png -%}
![{{ output.metadata['image/png'].alt }}]({{ output.metadata.filenames['image/png'] }})
{%- endblock %}"""


def render() -> dict[str, bytes]:
    "The files that make up the README, by their path below the repository's root."
    notebook = nbformat.read(ROOT / 'nbs' / 'index.ipynb', as_version=4)
    notebook.metadata['language_info'] = {'name': 'python'}
    for cell in notebook.cells:
        if cell.cell_type == 'code' and 'echo: false' in cell.source:
            cell.metadata['transient'] = {'remove_source': True}
    exporter = MarkdownExporter(extra_loaders=[DictLoader({'readme.md.j2': TEMPLATE})], template_file='readme.md.j2')
    body, resources = exporter.from_notebook_node(notebook, resources={'output_files_dir': PICTURES})
    body = re.sub(r'\]\((\w+\.ipynb)\)', r'](nbs/\1)', body)       # links between notebooks, seen from the root
    body = re.sub(r'\n{3,}', '\n\n', body).strip() + '\n'
    return {'README.md': body.encode()} | {Path(name).as_posix(): data for name, data in resources['outputs'].items()}


if __name__ == '__main__':
    for name, data in render().items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_bytes(data)
        print(f'{name}: {len(data):,} bytes')
