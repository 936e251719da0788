"""GAN with cross entropy on built-in streets that stand for SYNTHIA: a small network trained from scratch on a CPU."""

_base_ = '../gan_ce_synthia2city.py'

from cda_mmseg.datasets.worlds import use_small_vgg, use_world  # noqa: E402

use_world(_base_, 'data/worlds/synthia2city', width=192, height=96)
use_small_vgg(_base_)
