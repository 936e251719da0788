"""The paper's model under its own name."""

from mmseg.registry import MODELS

from cda_mmseg.models.adaptations.image_adversary import ImageAdversary, find_adversary
from cda_mmseg.models.players import DiscriminatorPlayer, GeneratorPlayer
from cda_mmseg.models.segmentors.uda_segmentor import UDASegmentor


@MODELS.register_module()
class AdversarialUDASegmentor(UDASegmentor):
    """A :class:`UDASegmentor` with an ``ImageAdversary`` (paper §3.4), whose players it shows as its own."""

    @property
    def adversary(self) -> ImageAdversary:
        """ImageAdversary: The paper's adaptation.

        Raises:
            TypeError: If the model has none.
        """
        adversary = find_adversary(self)
        if adversary is None:
            raise TypeError("An AdversarialUDASegmentor needs an adaptation of type='ImageAdversary'.")
        return adversary

    @property
    def generator(self) -> GeneratorPlayer:
        """GeneratorPlayer: G."""
        return self.adversary.generator

    @property
    def discriminator(self) -> DiscriminatorPlayer:
        """DiscriminatorPlayer: D."""
        return self.adversary.discriminator
