"""The paper's full method: GAN + CE for the first half of the run, then the Conservative Loss (FCN8s+GAN+CL)."""

_base_ = 'gan_ce.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='ConservativeLoss', base=2.718281828459045, loss_weight=5.0),
    warm_fraction=0.5,
)
