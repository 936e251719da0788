"""The full method on built-in streets: a small network trained from scratch on a CPU."""

_base_ = '../cl_gta2city.py'

from cda_mmseg.datasets.worlds import use_small_vgg, use_world  # noqa: E402

use_world(_base_, 'data/worlds/gta2city', width=192, height=96)
use_small_vgg(_base_)
