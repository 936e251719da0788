"""Choosing without labels, on made-up scores and on a real run."""

import math
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from cda_mmseg.engine import UDARunner
from cda_mmseg.experiments import snapshot_choice
from cda_mmseg.experiments.snapshot_choice import SCORES, Snapshot, choice_table, rank_correlation


def test_rank_correlation_is_that_of_ranks():
    one, other = np.random.rand(2, 20)
    one[3:6] = one[3]
    ranks = [[(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values] for values in (one, other)]
    centred = [np.array(of) - np.mean(of) for of in ranks]
    expected = (centred[0] * centred[1]).sum() / math.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert math.isnan(rank_correlation(one, [2.0] * 20))


def rows(table: str) -> dict[str, list[str]]:
    return {line.split(' | ')[0][2:]: line.strip('| ').split(' | ')[1:] for line in table.splitlines() if '|' in line}


def made_up(labelled: bool = True) -> dict:
    """Two runs: a's mIoU falls while its entropy does, b's rises with the agreement."""
    values = {('a', 1): (0.5, 0.1, 30), ('a', 2): (0.1, 0.2, 10), ('b', 1): (0.4, 0.3, 20), ('b', 2): (0.3, 0.4, 40)}
    scored = {}
    for (run, iteration), (entropy, agreement, miou) in values.items():
        scores = {'entropy': entropy, 'ensemble agreement': agreement} | ({'target/mIoU': miou} if labelled else {})
        scored[Snapshot(run, iteration, Path())] = scores
    return scored


def test_regret_and_correlation():
    table = rows(choice_table(made_up()))
    # mIoU, rank correlation of all and of the last ones, regret, mean regret within a run
    assert table['entropy'] == ['low', 'a 2', '10.00', '-0.40', '-1.00', '30.00', '10.00']
    assert table['ensemble agreement'] == ['high', 'b 2', '40.00', '+0.40', '+1.00', '0.00', '10.00']
    assert table['last snapshot'][1:3] + table['last snapshot'][5:] == ['of each run', '25.00', '15.00', '10.00']


def test_without_labels_it_still_chooses():
    text = choice_table(made_up(labelled=False))
    assert rows(text)['entropy'] == ['low', 'a 2'] and 'mIoU' not in text.split('No score')[0]


def test_snapshots_of_a_real_run(smoke_config, tmp_path):
    config = smoke_config('source_only_gta2city')
    config.work_dir = str(tmp_path / 'run')
    config.default_hooks.checkpoint.update(interval=2, max_keep_ckpts=-1)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.optim_wrapper.encoder.optimizer.lr = 0.01
    UDARunner.from_cfg(config).train()
    snapshots = snapshot_choice.find_snapshots([tmp_path / 'run'])
    assert [str(one) for one in snapshots] == ['run 2', 'run 4']

    config = smoke_config('cl_gta2city')  # another method, the same network
    config.work_dir = str(tmp_path / 'choice')
    plain = Config(config.to_dict())
    snapshot_choice.collect_probabilities(config)
    lines = []
    scored = snapshot_choice.score_snapshots(UDARunner.from_cfg(config), snapshots, lines.append)
    assert len(lines) == 2 and lines[1].startswith('run 4: entropy ')
    assert set(scored[snapshots[0]]) == {*SCORES, 'target/mIoU'}
    assert scored[snapshots[0]] != scored[snapshots[1]]
    plain.load_from = str(snapshots[0].path)
    assert Runner.from_cfg(plain).test()['target/mIoU'] == scored[snapshots[0]]['target/mIoU']


def test_a_folder_without_checkpoints_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{tmp_path} holds no checkpoint'):
        snapshot_choice.find_snapshots([tmp_path])
