"""Adversarial entropy minimisation of both heads (ADVENT)."""

_base_ = 'output_space_two_levels.py'

adaptations = dict(output_space=dict(maps='self_information'), output_space_aux=dict(maps='self_information'))
