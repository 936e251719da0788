"""Self-training with the labels of 5 target pictures."""

_base_ = ['../airsim2camvid/self_training.py', '_labels.py']

labelled_target = dict(dataset=dict(indices=_base_.labelled_target.dataset.indices[:5]))
