"""The baseline on the built-in pair whose domains differ in appearance only."""

_base_ = '../source_only_gta2city.py'

from cda_mmseg.datasets.worlds import use_small_vgg, use_world  # noqa: E402

use_world(_base_, 'data/worlds/appearance', width=192, height=96)
use_small_vgg(_base_)
