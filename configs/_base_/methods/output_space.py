"""Output space adaptation of the decode head (AdaptSegNet on one level)."""

source_loss = dict(type='SoftmaxCrossEntropyLoss')
adaptations = dict(
    output_space=dict(
        type='OutputSpaceAdversary',
        maps='softmax',
        weight=0.001,
        discriminator=dict(type='PatchGANDiscriminator'),
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        optimizers=dict(
            output_discriminator=dict(
                type='OptimWrapper',
                optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99), fused=True),
                param_scheduler=[dict(type='PolyLR', by_epoch=False, power=0.9, end=250000)],
            )
        ),
    )
)
