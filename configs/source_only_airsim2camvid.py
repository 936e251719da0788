"""The baseline without adaptation on AirSim to CamVid."""

_base_ = [
    '_base_/models/fcn8s_hed_vgg16.py',  # network and its initial weights
    '_base_/datasets/airsim_to_camvid.py',  # source and target data
    '_base_/methods/source_only.py',  # the baseline
    '_base_/schedules/adam_600.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]
