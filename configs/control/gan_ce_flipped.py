"""The positive control with E's adversarial labels flipped: nothing pulls the domains together."""

_base_ = 'gan_ce.py'

adaptations = dict(image_adversary=dict(encoder_labels='own'))
