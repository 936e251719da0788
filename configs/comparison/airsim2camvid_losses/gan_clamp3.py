"""The paper's players and the Conservative Loss, clamped at 3."""

_base_ = '../airsim2camvid/gan_cl.py'

source_loss = dict(main=dict(clamp=3.0))
