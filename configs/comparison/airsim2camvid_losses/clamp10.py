"""The Conservative Loss, clamped at 10."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(clamp=10.0))
