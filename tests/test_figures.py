"""Figures in the text are those that the cards, the benchmarks and the notebooks' own outputs hold."""
import json
import shutil
import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / 'scripts'))
import figures as script  # noqa: E402


class Stand:
    "Figures of one's own, in the place of the measured ones."

    KNOWN = dict(ours=dict(recall=.91234, right=.9985), printed={'a, b, 0': '7', 'a, b, 1': '99.4%'})

    def __getitem__(self, name): return self.KNOWN[name]


STAND = Stand()


@pytest.mark.parametrize('old, new', [
    ('recall 0.9<!--{ours[recall]:.3f}-->, and', 'recall 0.912<!--{ours[recall]:.3f}-->, and'),
    ('**1%<!--{ours[right]:.2%}-->**', '**99.85%<!--{ours[right]:.2%}-->**'),
    ('of −1,234.5<!--{ours[recall]:.0f}-->.', 'of 1<!--{ours[recall]:.0f}-->.'),
    ('| 3<!--{printed[a, b, 0]}--> | 4% |', '| 7<!--{printed[a, b, 0]}--> | 4% |'),
    ('4%<!--{printed[a, b, 1]}-->', '99.4%<!--{printed[a, b, 1]}-->'),
    ('no figure, <!-- a remark --> 5', 'no figure, <!-- a remark --> 5'),
])
def test_only_the_figure_before_a_comment_changes(old, new):
    assert script.brought_up_to_date(old, STAND) == new == script.brought_up_to_date(new, STAND)


@pytest.mark.parametrize('text, said', [
    ('0.9<!--{ours[recal]:.3f}-->', r'\{ours\[recal\]:.3f\}.*KeyError'),
    ('0.9<!--{theirs[recall]}-->', 'theirs'),
    ('0.9<!--{ours[recall]:.3q}-->', 'ValueError'),
    ('0.9<!--{printed[a, b][0]}-->', 'TypeError|KeyError'),
    ('0.9 <!--{ours[recall]:.3f}-->', 'no figure stands before it'),
    ('many<!--{ours[recall]:.3f}-->', 'no figure stands before it'),
])
def test_a_comment_that_cannot_be_understood_is_named(text, said):
    with pytest.raises(ValueError, match=said): script.brought_up_to_date(text, STAND)


def test_a_cell_is_found_by_chapter_and_id(tmp_path):
    cell = dict(cell_type='code', id='count', execution_count=None, metadata={}, source='',
                outputs=[dict(output_type='stream', name='stdout', text=['right 99.41% of 1,000\n', 'slant −0.96\n'])])
    (tmp_path / 'nbs').mkdir()
    notebook = dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)
    (tmp_path / 'nbs' / '07_hands.ipynb').write_text(json.dumps(notebook))
    printed = script.Figures(tmp_path).printed
    assert [printed[f'hands, count, {i}'] for i in range(3)] == ['99.41%', '1,000', '−0.96']
    with pytest.raises(IndexError): printed['hands, count, 3']


def test_no_figure_is_stale():
    assert [path.name for path in script.update()] == [], 'run scripts/figures.py, then scripts/build_readme.py'


def test_another_card_changes_the_text(tmp_path):
    "The check above could not fail if the text did not follow the files."
    for name in ('nbs', 'docs', 'benchmarks'): shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / 'mnist_vae.pth', tmp_path)
    path = tmp_path / 'benchmarks' / 'frontier.json'
    points = json.loads(path.read_text(encoding='utf-8'))
    for point in points: point['recall'] = .1234
    path.write_text(json.dumps(points), encoding='utf-8')
    stale = script.update(tmp_path)
    assert {'09_prior.ipynb', '19_metrics.ipynb'} <= {path.name for path in stale}
    assert all('0.12<!--{frontier[' in text for text in stale.values())
