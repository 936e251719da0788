"""Build and install cda_mmseg, with its configs, their index and its tools where OpenMMLab's `mim` looks for them."""

import os
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_CONTENTS = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Put configs, their index and tools into ``cda_mmseg/.mim``: copies in a wheel, links in an editable install."""

    def run(self) -> None:
        """Build the package, then its ``.mim`` folder."""
        super().run()
        mim = (ROOT if self.editable_mode else Path(self.build_lib)) / 'cda_mmseg' / '.mim'
        # What an earlier build left may hold files that have been deleted since.
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for name in MIM_CONTENTS:
            if self.editable_mode:
                (mim / name).symlink_to(os.path.relpath(ROOT / name, mim))
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, mim)
            else:
                shutil.copytree(ROOT / name, mim / name, ignore=shutil.ignore_patterns('__pycache__', '*.py[cod]'))


def read_requirements(name: str) -> list[str]:
    """Read one of the files in ``requirements/``, without its comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith('#')]


setup(
    name='cda_mmseg',
    version=runpy.run_path(str(ROOT / 'cda_mmseg' / 'version.py'))['__version__'],
    description='Unsupervised domain adaptation for MMSegmentation 1.x: adversarial players and the Conservative Loss',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords=['semantic segmentation', 'unsupervised domain adaptation', 'mmsegmentation', 'conservative loss'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    python_requires='>=3.11',
    packages=find_packages(include=['cda_mmseg', 'cda_mmseg.*']),
    cmdclass={'build_py': BuildWithMim},
    install_requires=read_requirements('runtime'),
    extras_require={
        name: read_requirements(name)
        for name in (
            *('backbones', 'cluster', 'efficientnet', 'onnx', 'publish', 'superpixels', 'tensorboard', 'tsne'),
            *('test', 'lint'),
        )
    },
    zip_safe=False,
)
