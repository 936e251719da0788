"""The paper's players and the Conservative Loss with cross entropy below 1/e."""

_base_ = '../airsim2camvid/gan_cl.py'

source_loss = dict(main=dict(below='ce'))
