"""Entropy minimisation of decode head and auxiliary head (MinEnt); minent_aux=None where there is one head."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    minent=dict(type='MinEnt', weight=0.001),
    minent_aux=dict(type='MinEnt', head='aux', weight=0.0002),
)
