"""The full method with the Conservative Loss clamped at 3, which is ours: the paper's bare form is gan_cl.py."""

_base_ = 'gan_cl.py'

source_loss = dict(main=dict(clamp=3.0))  # None is the paper's; what it costs: docs/conservative_loss.md
