"""The demo's settings on worlds that they were never tried on, and on one without a gap; each world written before."""

__data = {
    world: [
        f'train_dataloader.dataset.data_root=data/worlds/{world}/gtav',
        f'target_dataloader.dataset.data_root=data/worlds/{world}/cityscapes',
        f'val_dataloader.dataset.datasets.0.data_root=data/worlds/{world}/cityscapes',
        f'val_dataloader.dataset.datasets.1.data_root=data/worlds/{world}/gtav',
    ]
    for world in ('no_gap', 'appearance')
}

seeds = [0, 1, 2]
arms = dict(
    no_gap_source_only=dict(config='../source_only.py', options=__data['no_gap']),
    no_gap_self_training=dict(
        config='../self_training.py', options=__data['no_gap'], branch_from=('no_gap_source_only', 200)
    ),
    appearance_source_only=dict(config='../source_only.py', options=__data['appearance']),
    appearance_self_training=dict(
        config='../self_training.py', options=__data['appearance'], branch_from=('appearance_source_only', 200)
    ),
    urbansyn_source_only=dict(config='urbansyn_source_only.py'),
    urbansyn_self_training=dict(config='urbansyn_self_training.py', branch_from=('urbansyn_source_only', 200)),
)
