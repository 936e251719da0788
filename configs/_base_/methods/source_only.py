"""No adaptation: cross entropy on the source alone (paper: NoAdapt, FCN8s+CE)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict()
