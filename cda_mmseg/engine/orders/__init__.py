"""Orders in which training samples are drawn, each a pure function of (seed, global position)."""

from cda_mmseg.engine.orders.permutation_order import PermutationOrder
from cda_mmseg.engine.orders.rare_class_order import RareClassOrder
from cda_mmseg.engine.orders.sample_order import SampleOrder
from cda_mmseg.engine.orders.shares_order import SharesOrder, build_order

__all__ = ['PermutationOrder', 'RareClassOrder', 'SampleOrder', 'SharesOrder', 'build_order']
