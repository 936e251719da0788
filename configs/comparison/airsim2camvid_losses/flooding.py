"""Control: flooding at ln e = 1 nat, the mean's switch."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(_delete_=True, type='FloodingLoss', flood=1.0))
