"""Output space adaptation of decode head and auxiliary head (AdaptSegNet)."""

_base_ = 'output_space.py'

adaptations = dict(
    output_space_aux=dict(
        type='OutputSpaceAdversary',
        maps='softmax',
        head='aux',
        weight=0.0002,
        player='aux_output_discriminator',
        discriminator=dict(type='PatchGANDiscriminator'),
        loss_gan=dict(type='GANLoss', gan_type='vanilla'),
        optimizers=dict(
            aux_output_discriminator=dict(
                type='OptimWrapper',
                optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99), fused=True),
                param_scheduler=[dict(type='PolyLR', by_epoch=False, power=0.9, end=250000)],
            )
        ),
    )
)
