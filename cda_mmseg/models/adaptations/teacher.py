"""A teacher: an average of the segmentation network over the steps of a run."""

import copy

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn

from cda_mmseg.models.players import EncoderPlayer


class Teacher(nn.Module):
    """Average a segmentation network exponentially, and predict with the average (Tarvainen and Valpola 2017).

    It is always in evaluation mode: no dropout, no drop-path, BatchNorm with its running statistics.

    Args:
        student (EncoderPlayer): The network to average.
    """

    def __init__(self, student: EncoderPlayer) -> None:
        super().__init__()
        self.network = copy.deepcopy(student).requires_grad_(False).eval()
        self.register_buffer('has_begun', torch.zeros((), dtype=torch.bool))
        self._is_known_to_have_begun = False

    def train(self, mode: bool = True) -> 'Teacher':
        """Stay in evaluation mode."""
        return super().train(False)

    def follow(self, student: EncoderPlayer, momentum: float) -> None:
        """Move towards the student by 1 - momentum; at the first call become its copy.

        Statistics of BatchNorm, which differ between processes, are averaged over them: the teachers stay alike.
        """
        # The flag is read from the device once per process, not once per step.
        if not (self._is_known_to_have_begun or bool(self.has_begun)):
            momentum = 0.0
            self.has_begun.fill_(True)
        self._is_known_to_have_begun = True
        with torch.no_grad():
            torch._foreach_lerp_(list(self.network.parameters()), list(student.parameters()), 1 - momentum)
            pairs = list(zip(self.network.buffers(), student.buffers(), strict=True))
            statistics = [(own, other.clone()) for own, other in pairs if own.is_floating_point()]
            all_reduce_params([other for _, other in statistics], op='mean')  # as one message
            for own, other in statistics:
                own.lerp_(other, 1 - momentum)
            for own, other in pairs:
                if not own.is_floating_point():
                    own.copy_(other)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (N, C, H, W) of normalised images (N, 3, H, W)."""
        metas = [dict(img_shape=tuple(images.shape[2:]))] * len(images)
        return self.network.decode_head.predict(self.network.embed(images), metas, None)
