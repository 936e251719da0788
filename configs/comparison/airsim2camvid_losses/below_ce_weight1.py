"""The Conservative Loss with cross entropy below 1/e, weight 1."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(below='ce', loss_weight=1.0))
