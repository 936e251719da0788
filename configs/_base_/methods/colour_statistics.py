"""Source pictures with the colour statistics of target pictures."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
source_style = dict(type='ColourStatistics')
adaptations = dict()
