"""Self-training on AirSim to CamVid, on a network that trains in minutes."""

_base_ = [
    '_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '_base_/datasets/airsim_to_camvid.py',  # source and target data
    '_base_/methods/self_training.py',  # teacher and mixed images
    '_base_/schedules/adam_poly_660.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader, target_dataloader = dict(batch_size=4), dict(batch_size=4)
