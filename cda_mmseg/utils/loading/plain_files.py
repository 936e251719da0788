"""Read data files that a config names, such as class weights, without running what they carry."""

import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml
from mmengine.fileio import PickleHandler, YamlHandler
from mmengine.fileio.handlers.registry_utils import file_handlers
from mmseg.datasets.transforms import loading
from mmseg.utils.io import datafrombytes

from cda_mmseg.utils.loading.errors import UntrustedCheckpointError

# as protocols 0 to 5 name containers, texts and the arrays of NumPy 1 and 2
_PLAIN_GLOBALS = {
    *((module, name) for module in ('builtins', '__builtin__') for name in ('bytearray', 'complex', 'set')),
    *((f'numpy.{core}.multiarray', name) for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
    *((f'numpy.{core}.numeric', '_frombuffer') for core in ('core', '_core')),
    *(('numpy', 'ndarray'), ('numpy', 'dtype'), ('_codecs', 'encode'), ('collections', 'OrderedDict')),
}


class _PlainUnpickler(pickle.Unpickler):
    """Rebuild containers, texts, numbers and arrays of NumPy, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PLAIN_GLOBALS:
            raise UntrustedCheckpointError(
                f'A pickle that the config names carries code ({module}.{name}); it was refused and none of it ran. '
                'Give the numbers as .json or .npy.'
            )
        return super().find_class(module, name)


class _PlainPickleHandler(PickleHandler):
    def load_from_fileobj(self, file: io.BytesIO) -> Any:
        return _PlainUnpickler(file).load()


class _PlainYamlLoader(yaml.SafeLoader):
    """Take what configs of mmengine hold besides plain YAML: tuples."""


_PlainYamlLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
)


class _PlainYamlHandler(YamlHandler):
    def load_from_fileobj(self, file: io.StringIO) -> Any:
        try:
            return super().load_from_fileobj(file, Loader=_PlainYamlLoader)
        except yaml.constructor.ConstructorError as error:
            raise UntrustedCheckpointError(
                f'A YAML file that the config names carries code ({error.problem}); it was refused and none of it ran. '
                'Leave out tags such as !!python/object.'
            ) from error


def _plain_data_from_bytes(content: bytes, backend: str = 'numpy') -> Any:
    """Stand in for mmseg's reader of medical images, which unpickles on ``decode_backend='pickle'``."""
    return _PlainUnpickler(io.BytesIO(content)).load() if backend == 'pickle' else datafrombytes(content, backend)


def install_file_handlers(trusted: bool) -> None:
    """Let mmengine and mmseg read the pickles and YAML files of this process as data, or as programs if trusted."""
    pickles, texts = (PickleHandler, YamlHandler) if trusted else (_PlainPickleHandler, _PlainYamlHandler)
    file_handlers.update({'pkl': pickles(), 'pickle': pickles(), 'yaml': texts(), 'yml': texts()})
    loading.datafrombytes = datafrombytes if trusted else _plain_data_from_bytes


@contextmanager
def plain_files() -> Iterator[None]:
    """Read files as data as long as this is in force, whatever the process does otherwise."""
    former, former_reader = dict(file_handlers), loading.datafrombytes
    install_file_handlers(trusted=False)
    try:
        yield
    finally:
        file_handlers.update(former)
        loading.datafrombytes = former_reader
