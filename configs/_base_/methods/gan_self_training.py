"""The paper's players and self-training in one model: GAN + CE throughout, a teacher after the warm start."""

_base_ = 'gan_ce.py'

adaptations = dict(
    self_training=dict(
        type='SelfTraining',
        begin=1 / 3,
        momentum=0.99,
        threshold=0.9,
        jitter=dict(strength=0.25, probability=0.8, blur_probability=0.5),
    )
)
