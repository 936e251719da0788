"""Self-training whose source loss turns into the Conservative Loss half-way; pseudo labels keep cross entropy."""

_base_ = 'self_training.py'

source_loss = dict(
    _delete_=True,
    type='WarmStartLoss',
    warm=dict(type='SoftmaxCrossEntropyLoss'),
    main=dict(type='ConservativeLoss', base=2.718281828459045, loss_weight=5.0),
    warm_fraction=0.5,
)
