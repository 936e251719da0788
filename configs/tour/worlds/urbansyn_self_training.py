"""The demo's self-training on built-in streets in UrbanSyn's layout."""

_base_ = 'urbansyn_source_only.py'

# As in ../self_training.py, which names other data.
adaptations = dict(
    self_training=dict(
        type='SelfTraining',
        begin=1 / 3,
        momentum=0.98,
        threshold=0.9,
        jitter=dict(strength=0.25, probability=0.8, blur_probability=0.5),
    )
)
train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.05, min_pixels=60))
