"""GAN + CE for the first half of the run, then the cubic that is 0 at 1/e (paper: Eq. 5, Table 6, Loss₂)."""

_base_ = 'gan_ce.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='CubicLoss', intersection=0.36787944117144233),  # λ₂ is the loss's default
    warm_fraction=0.5,
)
