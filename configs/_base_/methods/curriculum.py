"""Estimated label distributions of pictures and landmark superpixels (curriculum adaptation).

The target's pipeline needs LoadSuperpixels behind LoadImage.
"""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    curriculum=dict(
        type='Curriculum',
        distribution_weight=0.1,
        superpixel_weight=0.1,
        sharpness=6.0,
        pictures=500,
        landmark_share=0.3,
    )
)
