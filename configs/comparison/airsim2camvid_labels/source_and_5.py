"""The source and 5 labelled target pictures."""

_base_ = ['../airsim2camvid/source_only.py', '_labels.py']

labelled_target = dict(dataset=dict(indices=_base_.labelled_target.dataset.indices[:5]))
