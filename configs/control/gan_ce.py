"""GAN with cross entropy on the built-in pair whose domains differ in appearance only: a positive control."""

_base_ = '../gan_ce_gta2city.py'

from cda_mmseg.datasets.worlds import use_small_vgg, use_world  # noqa: E402

use_world(_base_, 'data/worlds/appearance', width=192, height=96)
use_small_vgg(_base_)

adaptations = dict(
    image_adversary=dict(
        encoder_adversarial_weight=0.03,
        optimizers=dict(
            generator=dict(optimizer=dict(lr=1e-3, betas=(0.5, 0.999))),
            discriminator=dict(optimizer=dict(lr=1e-3, betas=(0.5, 0.999))),
        ),
    )
)
