"""The look that app, dashboard and site share: the files that cannot import the palette repeat it, and may not drift
from it."""
import re
import sys

import pytest

from conftest import ROOT
from mnist_vae.look import BUTTON, DARK, LIGHT, TITLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

STREAMLIT = dict(
    backgroundColor='paper', secondaryBackgroundColor='sheet', textColor='ink', borderColor='line', linkColor='accent'
)


@pytest.mark.skipif(tomllib is None, reason='tomllib comes with Python 3.11')
@pytest.mark.parametrize('scheme, palette', [('light', LIGHT), ('dark', DARK)])
def test_theme_of_the_app_is_the_palette(scheme, palette):
    theme = tomllib.loads((ROOT / '.streamlit/config.toml').read_text(encoding='utf-8'))['theme'][scheme]
    assert theme == {name: palette[colour] for name, colour in STREAMLIT.items()} | {'primaryColor': BUTTON}


def blocks(css: str) -> list[dict[str, str]]:
    "The custom properties of each rule that sets `--paper`."
    return [
        dict(re.findall(r'--([\w-]+):\s*([^;]+);', rule)) for rule in re.findall(r'\{([^{}]*--paper:[^{}]*)\}', css)
    ]


def test_site_has_the_palette():
    light, *dark = blocks((ROOT / 'docs/assets/style.css').read_text(encoding='utf-8'))
    assert len(dark) == 2, 'one for the system that prefers dark, one for the button'
    assert dark[0] == dark[1]
    for found, palette in ((light, LIGHT), (dark[0], DARK)):
        shared = {name: colour for name, colour in palette.items() if name.replace('_', '-') in found}
        assert shared.keys() >= palette.keys() - {'edge'}
        assert {name: found[name.replace('_', '-')] for name in shared} == shared


def test_page_around_the_dashboard_has_the_palette():
    "Its style sheet is there before Python is."
    template = ROOT / 'share/jupyter/voila/templates/mnist-vae'
    light, *dark = blocks((template / 'page.css').read_text(encoding='utf-8'))
    for found, palette in ((light, LIGHT), *((rule, DARK) for rule in dark)):
        assert found == {name: palette[name] for name in ('paper', 'ink', 'faded', 'accent')}
    assert len(dark) == 2
    assert f"'title': '{TITLE}'" in (template / 'index.html.j2').read_text(encoding='utf-8')


def test_style_sheets_of_the_package_name_no_colour():
    "They use the palette's names, so that a page may be light or dark."
    for path in (ROOT / 'mnist_vae').glob('*.css'):
        assert not re.findall(r'#[0-9a-f]{3,8}\b|rgb\(|hsl\(', path.read_text(encoding='utf-8')), path.name
