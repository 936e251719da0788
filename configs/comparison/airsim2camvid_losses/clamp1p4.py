"""The Conservative Loss, clamped at 1.4."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(clamp=1.4))
