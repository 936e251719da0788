"""A hook that writes down which global positions were trained in which iteration; runs load it as a custom import."""

import json
import os
from pathlib import Path

from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from cda_mmseg.engine import PositionedDataset


class NamedPositions(PositionedDataset):
    """Let each sample say at which position it was read."""

    def __getitem__(self, position: int) -> dict:
        sample = super().__getitem__(position)
        sample['data_samples'].set_metainfo(dict(position=position))
        return sample


@HOOKS.register_module()
class PositionLog(Hook):
    def before_train(self, runner):
        self.session = f'{runner.timestamp}_{get_dist_info()[1]}_{runner.iter}'
        for loader in runner.train_loop.loaders.values():
            loader.dataset.__class__ = NamedPositions

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        rank, world_size = get_dist_info()
        positions = {
            domain: [sample.metainfo['position'] for sample in batch['data_samples']]
            for domain, batch in data_batch.items()
        }
        line = dict(session=self.session, iteration=runner.iter, rank=rank, world_size=world_size, pid=os.getpid())
        with open(Path(runner.work_dir, f'positions.{rank}.jsonl'), 'a') as file:
            file.write(json.dumps(line | positions) + '\n')
