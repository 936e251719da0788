"""Source pictures with the low frequencies of target pictures (FDA, one beta, no self-training)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
source_style = dict(type='FourierAdaptation', beta=0.01)
adaptations = dict()
