"""Make README.md and its pictures from nbs/index.ipynb.

    python scripts/build_readme.py

nbdev processes the notebook as it would for a site, nbconvert writes the Markdown; Quarto is not needed. The outputs
are those that the notebook keeps: nothing is executed.
"""
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jinja2 import DictLoader
from nbconvert import MarkdownExporter
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent
PICTURES = 'README_files'
# nbconvert's own template calls every picture "png"; a screen reader deserves the alternative text of the output.
TEMPLATE = """{% extends 'markdown/index.md.j2' %}
{% block data_png %}![{{ output.metadata['image/png'].alt }}]({{ output.metadata.filenames['image/png'] }}){% endblock %}"""


def render() -> dict[str, bytes]:
    "The files that make up the README, by their path below the repository's root."
    index = proc_nbs(skip_file_re='^(?!index)', n_workers=0) / 'index.ipynb'
    notebook = nbformat.read(index, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == 'code' and 'echo: false' in cell.source: cell.transient = {'remove_source': True}
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
