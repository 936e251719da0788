"""Refuse to train from a prepared copy as if it were something that it is not."""

from collections.abc import Mapping

from torch.utils.data import Dataset

from .record import plain, read_record
from .steps import IMAGE_LOADERS, LABEL_LOADERS, RESIZE

COMMAND = 'python tools/prepare_data.py'


def check_prepared_copy(dataset: Dataset, config: Mapping, key: str) -> None:
    """Compare how training wants to read its data with how a prepared copy was made; other data pass.

    Args:
        dataset (Dataset): The data set.
        key (str): Where it stands in the run's config, for errors.

    Raises:
        ValueError: If the copy is not complete, was made for images of another size or other bits, or its labels for
            other classes.
    """
    root = config.get('data_root')
    record = read_record(root) if root else None
    if record is None:
        return
    remedy = f'Prepare another copy ({COMMAND}), or set {key}.data_root={record["source"]}.'
    if not record['complete']:
        raise ValueError(
            f'{key}.data_root={root} is a prepared copy that was never finished. Start {COMMAND} with the same '
            f'arguments again, it goes on; or set {key}.data_root={record["source"]}.'
        )
    pipeline = config.get('pipeline', ())
    wanted, made = _step(pipeline, (RESIZE,)), _step(record['steps'], (RESIZE,))
    if wanted != made:
        raise ValueError(
            f'{key}.data_root={root} was prepared for {_describe(made)}, but {key}.pipeline asks for '
            f'{_describe(wanted)}. {remedy}'
        )
    wanted, made = (_step(steps, IMAGE_LOADERS) or {} for steps in (pipeline, record['steps']))
    if wanted.get('bits') != made.get('bits'):
        raise ValueError(
            f'{key}.data_root={root} was prepared for images of bits={made.get("bits")}, but {key}.pipeline asks for '
            f'bits={wanted.get("bits")}, which 8 bits of a copy cannot give. {remedy}'
        )
    wanted, made = _step(pipeline, LABEL_LOADERS), _step(record['steps'], LABEL_LOADERS)
    if wanted is not None and wanted != made:
        raise ValueError(
            f'{key}.data_root={root} was prepared for labels read by {_describe(made)}, but {key}.pipeline reads them '
            f'by {_describe(wanted)}. {remedy}'
        )
    if wanted is not None and class_subset(dataset) != record['class_subset']:
        raise ValueError(f'{key}.data_root={root} was prepared for labels of other classes than training has. {remedy}')


def class_subset(dataset: Dataset) -> object:
    """Tell how a data set renumbers labels, in JSON's types.

    Args:
        dataset (Dataset): An mmseg data set.

    Returns:
        object: Its ``label_map`` and ``reduce_zero_label``.
    """
    return plain([dataset.metainfo.get('label_map'), dataset.metainfo.get('reduce_zero_label')])


def _step(steps: object, kinds: tuple[str, ...]) -> dict | None:
    """Find the first step of one of these kinds."""
    return next((plain(dict(step)) for step in steps if step['type'] in kinds), None)


def _describe(step: dict | None) -> str:
    """Write a step as a config has it."""
    if step is None:
        return 'none of this kind (the size of the files)'
    values = ', '.join(f'{name}={value!r}' for name, value in step.items() if name != 'type')
    return f'{step["type"]}({values})'
