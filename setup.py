"""Packaging. The facts stand in `settings.ini`, which nbdev reads too; the weights travel inside the wheel."""
from configparser import ConfigParser
from pathlib import Path
from shutil import copy2

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
WEIGHTS = 'mnist_vae.pth'

config = ConfigParser(delimiters=['='])
config.read(ROOT / 'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
extras = {name: cfg[f'{name}_requirements'].split() for name in ('train', 'dashboard', 'docs', 'dev')}
extras['dev'] += extras['train'] + extras['dashboard'] + extras['docs']


class build_with_weights(build_py):
    """Copy the weights beside the modules, so that a wheel works in an empty folder.

    An editable install needs no copy: the weights lie one folder up, where the generator looks next.
    """
    def run(self):
        super().run()
        if not self.editable_mode: copy2(ROOT / WEIGHTS, Path(self.build_lib) / 'mnist_vae' / WEIGHTS)


setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(),
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'],
    license='Apache-2.0', license_files=['LICENSE'],
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=find_packages(include=['mnist_vae', 'mnist_vae.*']), package_data={'mnist_vae': ['*.css', '*.js']},
    cmdclass={'build_py': build_with_weights},
    python_requires=f">={cfg['min_python']}", install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points={'console_scripts': cfg['console_scripts'].split(),
                  'nbdev': ['mnist_vae=mnist_vae._modidx:d']},
    classifiers=['Intended Audience :: Education', 'Intended Audience :: Developers', 'Natural Language :: English',
                 'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    zip_safe=False,
)
