"""Packaging. The facts stand in `settings.ini`, which nbdev reads too. The weights and the dashboard's page travel
inside the wheel."""
from configparser import ConfigParser
from pathlib import Path
from shutil import copy2, copytree

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.develop import develop

ROOT = Path(__file__).parent
WEIGHTS, JUDGE = 'mnist_vae.pth', 'mnist_vae_judge.pth'
TEMPLATE = 'share/jupyter/voila/templates/mnist-vae'

config = ConfigParser(delimiters=['='])
config.read(ROOT / 'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
extras = {name: cfg[f'{name}_requirements'].split() for name in ('train', 'app', 'sets', 'dashboard', 'docs', 'dev')}
extras['dev'] += extras['train'] + extras['sets'] + extras['dashboard'] + extras['docs']


class build_with_weights(build_py):
    """Copy what the modules read beside them, so that a wheel works in an empty folder: the weights, the judge, the
    notebook and the settings of the dashboard, the app.

    An editable install needs no copy: they lie one folder up, where generator, dashboard and command look next.
    """
    def run(self):
        super().run()
        if self.editable_mode: return
        self.copy_app()
        (notebook,) = (ROOT / 'nbs').glob('*_dashboard.ipynb')
        for source, name in (
            (ROOT / WEIGHTS, WEIGHTS),
            (ROOT / JUDGE, JUDGE),
            (notebook, 'dashboard.ipynb'),
            (ROOT / 'voila.json', 'voila.json'),
        ):
            copy2(source, Path(self.build_lib) / 'mnist_vae' / name)

    def copy_app(self):
        "What `mnist-vae app` starts; Streamlit looks for its settings beside the script."
        target = Path(self.build_lib) / 'mnist_vae' / 'app_files'
        for folder in ('web', '.streamlit'): copytree(ROOT / folder, target / folder, dirs_exist_ok=True)
        copy2(ROOT / 'app.py', target)


class develop_with_data(develop):
    "An editable install as older versions of pip make it: it forgets data files."
    def run(self):
        super().run()
        self.run_command('install_data')


class WithData(Distribution):
    "An editable install as newer versions make it: it asks for data files by a name that setuptools does not have."
    has_data = Distribution.has_data_files


setup(
    distclass=WithData,
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    keywords=cfg['keywords'].split(),
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['mnist_vae', 'mnist_vae.*']),
    package_data={'mnist_vae': ['*.css', '*.js']},
    data_files=[
        (TEMPLATE, sorted(str(path.relative_to(ROOT)) for path in (ROOT / TEMPLATE).iterdir()))
    ],  # where Voilà looks
    cmdclass={'build_py': build_with_weights, 'develop': develop_with_data},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': ['mnist_vae=mnist_vae._modidx:d']},
    classifiers=[
        'Intended Audience :: Education', 'Intended Audience :: Developers', 'Natural Language :: English',
        'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    zip_safe=False,
)
