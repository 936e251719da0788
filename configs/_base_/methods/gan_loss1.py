"""GAN + CE for the first half of the run, then the cubic that is 0 at 1/2 (paper: Eq. 4, Table 6, Loss₁)."""

_base_ = 'gan_ce.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='CubicLoss', intersection=0.5),  # λ₁ is the loss's default
    warm_fraction=0.5,
)
