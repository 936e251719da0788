"""Control: five times cross entropy."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(_delete_=True, type='SoftmaxCrossEntropyLoss', loss_weight=5.0))
