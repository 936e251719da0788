"""DAFormer's training: a slow teacher from the first iteration, mixed images, features close to ImageNet's."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    self_training=dict(
        type='SelfTraining',
        momentum=0.999,
        threshold=0.968,
        jitter=dict(strength=0.2, probability=0.8, blur_probability=0.5),
        ignored_rows=(15, 120),  # of 512: Cityscapes' rectified upper border and the bonnet
    ),
    feature_distance=dict(type='FeatureDistance', weight=0.005, min_share=0.75),
)
