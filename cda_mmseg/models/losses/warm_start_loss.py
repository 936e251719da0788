"""The warm start of Zhu et al., ECCV 2018, Section 4.2: another loss first, then the main one."""

import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from torch import Tensor, nn

from cda_mmseg.models.losses.checks import check_number
from cda_mmseg.models.losses.conservative_loss import ConservativeLoss
from cda_mmseg.models.losses.divisor import mean_divisor
from cda_mmseg.utils.progress import TrainingProgress, iteration_at


@MODELS.register_module()
class WarmStartLoss(nn.Module):
    """Use one segmentation loss for the first part of training and another one for the rest.

    Which one is in force is a pure function of the iteration, so that a resumed run needs no further state. Something
    has to tell the loss the iteration: this project's segmentors call :meth:`set_progress` before each step.

    mmseg's CrossEntropyLoss may be either loss. Where its mean is over labelled pixels (``avg_non_ignore=True``, or
    with ``class_weight``) it is given the divisor over all processes, which also spares it a host synchronisation.

    Args:
        warm (dict): Config of the first loss, such as a cross entropy.
        main (dict): Config of the loss that follows, such as :class:`ConservativeLoss`.
        warm_fraction (float): Share of the iterations that use ``warm``, in [0, 1]. Defaults to 0.5.
        loss_name (str): Name in the log, one for both losses: under a name that is no longer used mmengine would go on
            logging the last value of the first one to the end of the run.

    Raises:
        ValueError: If ``warm_fraction`` is out of its range.
    """

    def __init__(self, warm: dict, main: dict, warm_fraction: float = 0.5, loss_name: str = 'loss_seg') -> None:
        super().__init__()
        self.warm_fraction = check_number('WarmStartLoss', 'warm_fraction', warm_fraction, at_least=0, at_most=1)
        self.warm: nn.Module = MODELS.build(warm)
        self.main: nn.Module = MODELS.build(main)
        if self.warm_fraction > 0 and isinstance(self.main, ConservativeLoss):
            self.main.may_start_cold = False
        self.loss_name = loss_name
        self._is_warm: bool | None = None

    def set_progress(self, progress: 'TrainingProgress') -> None:
        """Choose the loss of the step about to be taken.

        ``warm`` is in force while ``iteration < warm_fraction * max_iters``.

        Args:
            progress (TrainingProgress): Where the training run stands.
        """
        self._is_warm = progress.iteration < self.warm_iterations(progress.max_iters)

    def warm_iterations(self, max_iters: int) -> int:
        """Return how many iterations of a run of this length use ``warm``."""
        # Without the small number .55 * 100 = 55.000000000000007 would give 56.
        return iteration_at(self.warm_fraction, max_iters)

    @property
    def in_force(self) -> nn.Module:
        """The loss in force.

        Raises:
            RuntimeError: If nobody has called :meth:`set_progress`.
        """
        if self._is_warm is None:
            raise RuntimeError(
                'WarmStartLoss does not know the iteration: call set_progress(TrainingProgress(...)) before each step. '
                'The segmentors of cda_mmseg do; a plain EncoderDecoder does not and cannot train with this loss.'
            )
        return self.warm if self._is_warm else self.main

    @property
    def clamped_share(self) -> Tensor | None:
        """Share of pixels that the loss in force clamped in its last forward pass; None if it clamps nothing."""
        return getattr(self.in_force, 'clamped_share', None)

    def forward(
        self,
        cls_score: Tensor,
        label: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Compute the loss in force."""
        loss = self.in_force
        options = {'avg_factor': avg_factor, 'reduction_override': reduction_override}
        if avg_factor is None and (reduction_override or getattr(loss, 'reduction', None)) == 'mean':
            options['avg_factor'] = _shared_divisor(loss, cls_score, label, ignore_index)
        # mmseg's heads pass weight and ignore_index to every loss; not every loss knows the rest.
        options = {key: value for key, value in options.items() if value is not None}
        return loss(cls_score, label, weight=weight, ignore_index=ignore_index, **options)


def _shared_divisor(loss: nn.Module, cls_score: Tensor, label: Tensor, ignore_index: int) -> Tensor | None:
    """Return the divisor over all processes for mmseg's softmax cross entropy over labelled pixels, else None."""
    if not isinstance(loss, CrossEntropyLoss) or loss.use_sigmoid or loss.use_mask:
        return None
    if not loss.avg_non_ignore and loss.class_weight is None:
        return None
    dtype = torch.promote_types(cls_score.dtype, torch.float32)
    class_weight = None if loss.class_weight is None else cls_score.new_tensor(loss.class_weight, dtype=dtype)
    ignored = label == ignore_index
    return mean_divisor(label.masked_fill(ignored, 0), ignored, class_weight, dtype)
