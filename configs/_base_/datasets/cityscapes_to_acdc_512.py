"""Cityscapes with labels to ACDC's fog, night, rain and snow without, half size, crops of 512×512 (DAFormer)."""

_base_ = 'cityscapes_to_dark_zurich_512.py'

# ACDC names its files as Dark Zurich does, so that mmseg's class for the latter reads both.
__acdc = dict(type='DarkZurichDataset', data_root='data/acdc')
__conditions = ('fog', 'night', 'rain', 'snow')

target_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(
                **__acdc,
                data_prefix=dict(img_path=f'rgb_anon/{condition}/train'),  # labels are there, and never opened
                pipeline=_base_.target_dataloader.dataset.pipeline,
            )
            for condition in __conditions
        ],
    ),
)
# All conditions count together, as in ACDC's benchmark; tag them target_fog, … to score each.
val_dataloader = dict(
    dataset=dict(
        datasets=[
            *(
                dict(
                    **__acdc,
                    data_prefix=dict(img_path=f'rgb_anon/{condition}/val', seg_map_path=f'gt/{condition}/val'),
                    test_mode=True,
                    pipeline=_base_.val_dataloader.dataset.datasets[0].pipeline,
                )
                for condition in __conditions
            ),
            _base_.val_dataloader.dataset.datasets[1],
        ],
    ),
)
test_dataloader = val_dataloader
