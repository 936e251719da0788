"""The Conservative Loss with cross entropy below 1/e."""

_base_ = '../airsim2camvid/cl.py'

source_loss = dict(main=dict(below='ce'))
