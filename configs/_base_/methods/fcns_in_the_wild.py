"""Domain confusion of the last map, and limits on the classes' sizes (FCNs in the Wild)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    domain_confusion=dict(
        type='DomainConfusion',
        weight=0.1,
        discriminator=dict(type='FeatureDiscriminator', channels=(1024, 512), dropout=0.5),
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        optimizers=dict(
            feature_discriminator=dict(
                type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True)
            )
        ),
    ),
    class_sizes=dict(type='ClassSizes', weight=0.1, slack=2.0, presence=0.1, big_class_factor=0.1),
)
