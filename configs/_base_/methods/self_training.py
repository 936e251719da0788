"""An averaged teacher and mixed images after a supervised warm start (DACS with DAFormer's teacher)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    self_training=dict(
        type='SelfTraining',
        begin=1 / 3,  # from the first iteration a small network collapses
        momentum=0.99,
        threshold=0.9,
        jitter=dict(strength=0.25, probability=0.8, blur_probability=0.5),
    )
)
