"""How a tool ends that cannot do what it was asked to: one line for errors that explain themselves."""

import linecache
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from mmengine.logging import MMLogger

from cda_mmseg.datasets.transforms.image_files import READING_ERRORS
from cda_mmseg.utils.arguments import UsageError

WRONG_ARGUMENTS = 2
EXPLAINING_PACKAGES = ('cda_mmseg', 'mmengine', 'mmcv', 'mmseg')
_FROM_A_WORKER = ' in DataLoader worker process '


@contextmanager
def explained_errors() -> Iterator[None]:
    """End the tool with one message on stderr, without traceback, where an error says what is wrong.

    Such are errors that this package or OpenMMLab's raise on purpose, and the system's about a file. All others are
    faults of the program and keep their traceback. Where a log file is open it gets the traceback of either.

    Raises:
        SystemExit: In place of an error that explains itself, with exit code 2 for a ``UsageError``, else 1.
    """
    try:
        yield
    except Exception as error:
        _write_to_log_file(error)
        if not _explains_itself(error):
            raise
        # ValueError and its like say nothing that the message does not
        is_plain = type(error).__module__ == 'builtins' or isinstance(error, UsageError)
        name = '' if is_plain else f'{type(error).__name__}: '
        print(f'{Path(sys.argv[0]).name}: {name}{_message(error)}', file=sys.stderr, flush=True)
        sys.exit(WRONG_ARGUMENTS if isinstance(error, UsageError) else 1)


def _explains_itself(error: Exception) -> bool:
    if isinstance(error, OSError) and error.filename is not None:
        return True
    if _FROM_A_WORKER in str(error):
        return isinstance(error, READING_ERRORS)
    last = traceback.extract_tb(error.__traceback__)[-1]
    raised = linecache.getline(last.filename, last.lineno).strip().startswith('raise ')
    folders = (os.path.dirname(find_spec(name).origin) + os.sep for name in EXPLAINING_PACKAGES)
    return raised and last.filename.startswith(tuple(folders))


def _message(error: Exception) -> str:
    """Write an error as it was raised; those of workers carry their traceback in their text."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if _FROM_A_WORKER in text:
        text = text.rpartition(f'\n{type(error).__name__}: ')[2].strip()
    return '\n'.join([text, *getattr(error, '__notes__', ())])


def _write_to_log_file(error: Exception) -> None:
    logger = MMLogger.get_current_instance()
    record = logger.makeRecord(
        logger.name,
        logging.ERROR,
        __file__,
        0,
        'The run ends with an error.\n%s',
        (''.join(traceback.format_exception(error)),),
        None,
    )
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            with suppress(OSError):  # its folder may be gone; the error itself is what counts
                handler.handle(record)
