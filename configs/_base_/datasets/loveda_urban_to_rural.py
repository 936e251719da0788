"""LoveDA, land cover from above: urban scenes with labels to rural ones without, in crops of 512×512."""

_base_ = 'loveda_rural_to_urban.py'

train_dataloader = dict(
    dataset=dict(data_prefix=dict(img_path='Train/Urban/images_png', seg_map_path='Train/Urban/masks_png'))
)
target_dataloader = dict(dataset=dict(data_prefix=dict(img_path='Train/Rural/images_png')))
val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(val, data_prefix=other.data_prefix)
            for val, other in zip(
                _base_.val_dataloader.dataset.datasets, _base_.val_dataloader.dataset.datasets[::-1], strict=True
            )
        ]
    )
)
test_dataloader = val_dataloader
