"""GAN + CE for the first half of the run, then the cubic in two pieces (paper: Eq. 6, Table 6, Loss₃)."""

_base_ = 'gan_ce.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='PiecewiseCubicLoss'),  # α and β are the loss's defaults
    warm_fraction=0.5,
)
