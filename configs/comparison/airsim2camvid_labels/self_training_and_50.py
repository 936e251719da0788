"""Self-training with the labels of 50 target pictures."""

_base_ = ['../airsim2camvid/self_training.py', '_labels.py']
