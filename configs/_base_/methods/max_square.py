"""Maximum squares with image-wise weights; start it from a network that was trained on the source alone."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    max_square=dict(
        type='MaxSquare',
        weight=0.1 / 19,  # the README's .1, whose code divides by the number of classes
        ratio=0.2,
    )
)
