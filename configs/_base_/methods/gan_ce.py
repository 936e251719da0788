"""Encoder, generator and discriminators in alternation, cross entropy on the source (paper: FCN8s+GAN+CE)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    image_adversary=dict(
        type='ImageAdversary',
        generator=dict(type='ImageGenerator', noise_std=0.1),
        generator_sharing='shared',
        discriminator=dict(type='PatchGANDiscriminator'),
        discriminator_sharing='per_domain',
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        encoder_adversarial_weight=0.001,
        generator_adversarial_weight=0.1,
        reconstruction_weight=1.0,
        optimizers=dict(
            generator=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True)),
            discriminator=dict(
                type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999), fused=True)
            ),
        ),
    )
)
