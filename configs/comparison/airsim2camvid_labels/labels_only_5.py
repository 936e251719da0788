"""5 labelled target pictures alone, from ImageNet's weights."""

_base_ = ['../airsim2camvid/oracle.py', '_labels.py']

train_dataloader = dict(dataset=dict(indices=_base_.labelled_target.dataset.indices[:5]))
labelled_target = None
