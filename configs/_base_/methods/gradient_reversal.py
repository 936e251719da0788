"""Gradient reversal on the last map that the decode head reads."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    gradient_reversal=dict(
        type='GradientReversal',
        weight=0.1,
        discriminator=dict(type='FeatureDiscriminator', channels=(1024, 512), dropout=0.5),
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        optimizers=dict(
            feature_discriminator=dict(
                type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True)
            )
        ),
    )
)
