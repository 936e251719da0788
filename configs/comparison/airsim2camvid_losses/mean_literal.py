"""The Conservative Loss of the batch's mean cross entropy."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(level='batch'))
