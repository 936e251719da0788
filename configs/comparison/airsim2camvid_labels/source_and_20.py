"""The source and 20 labelled target pictures."""

_base_ = ['../airsim2camvid/source_only.py', '_labels.py']

labelled_target = dict(dataset=dict(indices=_base_.labelled_target.dataset.indices[:20]))
