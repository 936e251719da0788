"""Segmentation losses from class scores that are already there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mmengine.structures import PixelData
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from cda_mmseg.models.players import EncoderPlayer


def check_heads(player: EncoderPlayer) -> None:
    """Refuse heads whose loss is not ``loss_by_feat(forward(x))``, or that have one score map for many classes.

    Raises:
        ValueError: If a head has one score map for other than two classes, which mmseg lets pass.
        TypeError: If a head computes its loss in another way (cascade, mask-classification and SAN heads).
    """
    for prefix, head in player.heads.items():
        if not isinstance(head, BaseDecodeHead) or type(head).loss is not BaseDecodeHead.loss:
            raise TypeError(
                f'The {prefix} head {type(head).__name__} does not compute its loss as loss_by_feat(forward(x)): '
                "adaptation needs a head that inherits BaseDecodeHead's loss (FCNHead, ASPPHead, SegformerHead, ...)."
            )
        if head.out_channels == 1 and head.num_classes != 2:
            raise ValueError(
                f'The {prefix} head has out_channels=1, one score map, which tells two classes apart, but '
                f'num_classes={head.num_classes}. Leave out_channels out, or set num_classes=2.'
            )


def head_losses(
    head: BaseDecodeHead,
    scores: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    with_accuracy: bool = False,
    loss: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Compute a head's training losses.

    Does what ``BaseDecodeHead.loss_by_feat`` does, but leaves out the pixel accuracy on request, because it costs more
    than the loss. Heads with a ``loss_by_feat`` of their own are asked themselves.

    Args:
        scores (Tensor): Its output, (N, num_classes, h, w) for heads of the common kind.
        labels (Tensor): Labels (N, H, W), int64.
        weight (Tensor | None): Weight of each pixel's loss, (N, H, W). It does not enter the divisor of the mean.
        with_accuracy (bool): Whether ``acc_seg`` is computed where it can be left out.
        loss (nn.Module | None): What takes the place of the head's own ``loss_decode``.

    Returns:
        dict[str, Tensor]: Loss terms, and perhaps ``acc_seg`` and the share of pixels that a loss clamped.

    Raises:
        TypeError: If pixels are weighted and the head's own loss has no place for that.
    """
    with _replaced_loss(head, loss), _weighted(head, weight):
        terms = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
        # of one score map mmseg's accuracy takes class 0 for predicted everywhere
        if (with_accuracy and head.out_channels > 1) or type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
            samples = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
            losses = head.loss_by_feat(scores, samples)
        else:
            losses = _losses_alone(head, terms, scores, labels[:, None])
    shares = [share for share in (getattr(term, 'clamped_share', None) for term in terms) if share is not None]
    return {**losses, 'clamped_share': shares[0]} if shares else losses


def _losses_alone(head: BaseDecodeHead, terms: Iterable[nn.Module], scores: Tensor, label: Tensor) -> dict[str, Tensor]:
    scores = resize(scores, size=label.shape[2:], mode='bilinear', align_corners=head.align_corners)
    weight = head.sampler.sample(scores, label) if head.sampler is not None else None
    label = label.squeeze(1)
    losses: dict[str, Tensor] = {}
    for term in terms:
        value = term(scores, label, weight=weight, ignore_index=head.ignore_index)
        losses[term.loss_name] = losses[term.loss_name] + value if term.loss_name in losses else value
    return losses


@contextmanager
def _replaced_loss(head: BaseDecodeHead, loss: nn.Module | None) -> Iterator[None]:
    own = head.loss_decode
    head.loss_decode = own if loss is None else loss
    try:
        yield
    finally:
        head.loss_decode = own


class _WeightSampler:
    """Hand a head's loss the pixels' weights, where mmseg asks for those of hard pixels."""

    def __init__(self, weight: Tensor, sampler: nn.Module | None) -> None:
        self.weight = weight
        self.sampler = sampler
        self.asked = False

    def sample(self, scores: Tensor, label: Tensor) -> Tensor:
        """Return the weights (N, H, W), times those of the head's own sampler."""
        self.asked = True
        return self.weight if self.sampler is None else self.weight * self.sampler.sample(scores, label)


@contextmanager
def _weighted(head: BaseDecodeHead, weight: Tensor | None) -> Iterator[None]:
    """Let a head's ``loss_by_feat``, which has no argument for weights, weigh its pixels."""
    if weight is None:
        yield
        return
    own = head.sampler
    # A plain attribute, as mmseg has it: a registered child could not be replaced by what is no module.
    sampler = _WeightSampler(weight, own)
    head._modules.pop('sampler', None)
    head.sampler = sampler
    try:
        yield
    finally:
        del head.sampler
        head.sampler = own
    if not sampler.asked:
        raise TypeError(
            f"{type(head).__name__} has a loss of its own, which cannot weigh pixels: use a head with BaseDecodeHead's "
            'loss_by_feat, or leave out the adaptation that weighs them.'
        )
