"""The full method on AirSim to CamVid, on a network that trains in minutes."""

_base_ = [
    '_base_/models/fpn_efficientnet_lite0.py',  # network and its initial weights
    '_base_/datasets/airsim_to_camvid.py',  # source and target data
    '_base_/methods/gan_cl_clamped.py',  # players and losses; the paper's bare loss: gan_cl.py
    '_base_/schedules/adam_440.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

train_dataloader, target_dataloader = dict(batch_size=4), dict(batch_size=4)
adaptations = dict(image_adversary=dict(generator=dict(num_upsamplings=2)))  # its shallowest map has stride 4
