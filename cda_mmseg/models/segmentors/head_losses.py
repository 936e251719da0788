"""Segmentation losses from class scores that are already there."""

from collections.abc import Iterable

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from torch import Tensor, nn

from cda_mmseg.models.players import EncoderPlayer


def check_heads(player: EncoderPlayer) -> None:
    """Refuse heads whose loss is not ``loss_by_feat(forward(x))``.

    Args:
        player (EncoderPlayer): The encoder.

    Raises:
        TypeError: If a head computes its loss in another way (cascade, mask-classification and SAN heads).
    """
    for prefix, head in player.heads.items():
        if not isinstance(head, BaseDecodeHead) or type(head).loss is not BaseDecodeHead.loss:
            raise TypeError(
                f'The {prefix} head {type(head).__name__} does not compute its loss as loss_by_feat(forward(x)): '
                "adaptation needs a head that inherits BaseDecodeHead's loss (FCNHead, ASPPHead, SegformerHead, ...)."
            )


def head_losses(head: BaseDecodeHead, scores: Tensor, data_samples: list, with_accuracy: bool) -> dict[str, Tensor]:
    """Compute a head's training losses.

    Does what ``BaseDecodeHead.loss_by_feat`` does, but leaves out the pixel accuracy on request, because it costs more
    than the loss. Heads with a ``loss_by_feat`` of their own are asked themselves.

    Args:
        head (BaseDecodeHead): The head.
        scores (Tensor): Its output, (N, num_classes, h, w) for heads of the common kind.
        data_samples (list[SegDataSample]): Labels (1, H, W) of the batch.
        with_accuracy (bool): Whether ``acc_seg`` is computed where it can be left out.

    Returns:
        dict[str, Tensor]: Loss terms, and perhaps ``acc_seg`` and the share of pixels that a loss clamped.
    """
    terms = head.loss_decode if isinstance(head.loss_decode, nn.ModuleList) else [head.loss_decode]
    if with_accuracy or type(head).loss_by_feat is not BaseDecodeHead.loss_by_feat:
        losses = head.loss_by_feat(scores, data_samples)
    else:
        losses = _losses_alone(head, terms, scores, data_samples)
    shares = [share for share in (getattr(term, 'clamped_share', None) for term in terms) if share is not None]
    return {**losses, 'clamped_share': shares[0]} if shares else losses


def _losses_alone(
    head: BaseDecodeHead, terms: Iterable[nn.Module], scores: Tensor, data_samples: list
) -> dict[str, Tensor]:
    label = head._stack_batch_gt(data_samples)
    scores = resize(scores, size=label.shape[2:], mode='bilinear', align_corners=head.align_corners)
    weight = head.sampler.sample(scores, label) if head.sampler is not None else None
    label = label.squeeze(1)
    losses: dict[str, Tensor] = {}
    for term in terms:
        value = term(scores, label, weight=weight, ignore_index=head.ignore_index)
        losses[term.loss_name] = losses[term.loss_name] + value if term.loss_name in losses else value
    return losses
