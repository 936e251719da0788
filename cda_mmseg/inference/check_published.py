"""Check a published folder in a process of its own, in which what the receiver may lack cannot be imported.

    python -P check_published.py FOLDER EXPECTED BLOCKED ...

It is run as a file, not as a module of this package, because the package itself may be blocked.
"""

import importlib.abc
import sys
from pathlib import Path

BYTES_PER_FILE, BYTES_PER_TENSOR = 64 * 1024, 512


class Blocker(importlib.abc.MetaPathFinder):
    """Refuse to import modules of these names, and what is in them."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Refuse, or leave the module to other finders."""
        if any(name == blocked or name.startswith(f'{blocked}.') for blocked in self.names):
            raise ModuleNotFoundError(f'{name} is not there in this check')


def check(folder: Path, expected_file: Path) -> None:
    """Build the folder's config, load both files of weights, and predict.

    Raises:
        AssertionError: If anything is missing, left over or other than it was.
    """
    import torch
    from mmengine.config import Config
    from mmseg.apis import inference_model, init_model
    from safetensors.torch import load_file

    expected = torch.load(expected_file, weights_only=True)
    (pickled,) = folder.glob('model-*.pth')
    content = torch.load(pickled, weights_only=True)
    assert set(content) == {'meta', 'state_dict'}, f'{pickled.name} holds {sorted(content)}'
    weights = content['state_dict']
    tensors = load_file(folder / 'model.safetensors')
    assert set(tensors) == set(weights), 'the two files of weights have other names'
    values = sum(value.nbytes for value in weights.values())
    bound = values + BYTES_PER_FILE + BYTES_PER_TENSOR * len(weights)
    for file in (pickled, folder / 'model.safetensors'):
        assert file.stat().st_size <= bound, f'{file.name} has {file.stat().st_size} bytes, more than {bound}'
    for state in (tensors, weights):
        model = init_model(Config.fromfile(folder / 'config.py'), None, 'cpu')
        model.load_state_dict(state)
        for picture, (scores, ids) in expected.items():
            sample = inference_model(model, picture)
            assert torch.equal(sample.seg_logits.data, scores), f'the scores of {picture} are others'
            assert torch.equal(sample.pred_sem_seg.data, ids), f'the classes of {picture} are others'


if __name__ == '__main__':
    sys.meta_path.insert(0, Blocker(sys.argv[3:]))
    try:
        check(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception as error:
        sys.exit(f'{type(error).__name__}: {" ".join(str(error).split())}')
