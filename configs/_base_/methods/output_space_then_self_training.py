"""AdaptSegNet on two levels for the first third, then self-training: the alignment takes the place of a warm start."""

_base_ = 'output_space_two_levels.py'

adaptations = dict(
    output_space=dict(end=1 / 3),
    output_space_aux=dict(end=1 / 3),
    self_training=dict(
        type='SelfTraining',
        begin=1 / 3,
        momentum=0.99,
        threshold=0.9,
        jitter=dict(strength=0.25, probability=0.8, blur_probability=0.5),
    ),
)
