"""Methods: one file each; a model takes any number of them."""

from cda_mmseg.models.adaptations.adaptation import Adaptation, Encoded, Log
from cda_mmseg.models.adaptations.class_sizes import ClassSizes
from cda_mmseg.models.adaptations.curriculum import Curriculum
from cda_mmseg.models.adaptations.domain_adversary import DomainConfusion, GradientReversal, OutputSpaceAdversary
from cda_mmseg.models.adaptations.feature_distance import FeatureDistance
from cda_mmseg.models.adaptations.image_adversary import ImageAdversary, find_adversary
from cda_mmseg.models.adaptations.self_training import SelfTraining
from cda_mmseg.models.adaptations.target_losses import MaxSquare, MinEnt

__all__ = [
    'Adaptation',
    'ClassSizes',
    'Curriculum',
    'DomainConfusion',
    'Encoded',
    'FeatureDistance',
    'GradientReversal',
    'ImageAdversary',
    'Log',
    'MaxSquare',
    'MinEnt',
    'OutputSpaceAdversary',
    'SelfTraining',
    'find_adversary',
]
