"""Control: label smoothing."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(_delete_=True, type='SoftmaxCrossEntropyLoss', label_smoothing=0.1))
