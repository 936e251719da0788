"""A pair whose domains differ in appearance only: there alignment must win, and must not with flipped labels.

Without such a control a wrongly wired method would look like a weak one.
"""

import statistics

import pytest

from cda_mmseg.datasets.worlds import write_world
from tests.campaigns.training import train

SEEDS = (0, 1, 2)


@pytest.mark.campaign
def test_alignment_wins_where_only_the_appearance_differs(tmp_path):
    """GAN + CE against source-only on the last snapshot: more than twice the pooled standard deviation, three seeds."""
    write_world(tmp_path / 'data' / 'worlds' / 'appearance', pair='appearance', workers=2)
    scores = {
        config: [
            train(f'control/{config}', tmp_path / f'{config}_{seed}', tmp_path, '--seed', str(seed))
            .last('target/mIoU')
            .value
            for seed in SEEDS
        ]
        for config in ('source_only', 'gan_ce', 'gan_ce_flipped')
    }
    print(scores)
    means = {config: statistics.mean(values) for config, values in scores.items()}

    def pooled(one: str, other: str) -> float:
        return statistics.mean([statistics.variance(scores[one]), statistics.variance(scores[other])]) ** 0.5

    assert means['gan_ce'] - means['source_only'] > 2 * pooled('gan_ce', 'source_only')
    assert means['gan_ce_flipped'] - means['source_only'] <= 2 * pooled('gan_ce_flipped', 'source_only')
