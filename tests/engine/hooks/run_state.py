"""What a run left behind, in a form that can be compared."""

from pathlib import Path

import torch

from cda_mmseg.utils.loading import load_checkpoint_file
from cda_mmseg.visualization.run_log import read_run_log


def checkpoints(work_dir):
    return sorted(path.name for path in Path(work_dir).glob('*.pth*'))


def log_of(work_dir):
    """Read what a run logged, de-duplicated by step; times are no result."""
    log = read_run_log(work_dir)
    return {
        (part, key): list(zip(series.steps.tolist(), series.values.tolist(), strict=True))
        for part, values in (('training', log.training), ('validation', log.validation))
        for key, series in values.items()
        if not key.endswith('time')
    }


def state_of(path):
    """Read all that a run consists of."""
    checkpoint = load_checkpoint_file(str(path))
    hub = checkpoint['message_hub']
    hub['log_scalars'] = {
        key: [array.tolist() for array in history.data]
        for key, history in hub['log_scalars'].items()
        if not key.endswith('time')
    }
    changing = (
        'cfg',
        'iter',
        'experiment_name',
        'eta',
        'last_ckpt',
        'best_ckpt',
        'superseded_checkpoints',
        'loop_stage',
    )
    hub['runtime_info'] = {key: value for key, value in hub['runtime_info'].items() if key not in changing}
    del checkpoint['meta']
    return checkpoint


def assert_identical(first, second, path='checkpoint'):
    """Compare two nested states bit for bit."""
    if isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), path
    elif isinstance(first, dict):
        assert list(first) == list(second), path
        for key in first:
            assert_identical(first[key], second[key], f'{path}.{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for index, (left, right) in enumerate(zip(first, second, strict=True)):
            assert_identical(left, right, f'{path}[{index}]')
    else:
        # scores of classes that do not occur are NaN
        assert first == second or (first != first and second != second), path
