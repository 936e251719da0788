"""GAN + CE for the first half of the run, then the softmax focal loss with α = 5 (paper: Fig. 5, Table 6, FL)."""

_base_ = 'gan_ce.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='SoftmaxFocalLoss', alpha=5.0, gamma=2.0),
    warm_fraction=0.5,
)
