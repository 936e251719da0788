"""The upper bound of AirSim to CamVid: trained on labels of the target, which adaptation never sees."""

_base_ = [
    '_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '_base_/datasets/airsim_to_camvid.py',  # validation data
    '_base_/methods/source_only.py',  # no adaptation
    '_base_/schedules/adam_440.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root='data/airsim2camvid',
        data_prefix=dict(img_path='camvid/leftImg8bit/train', seg_map_path='oracle/gtFine/train'),
    ),
)
