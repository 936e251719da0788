"""The same of the mean, its gradient reversed below."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(level='batch', gradient='reversed'))
