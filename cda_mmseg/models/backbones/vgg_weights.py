"""Fitting foreign VGG weights to our VGG."""

from collections.abc import Mapping

from torch import Tensor

from cda_mmseg.models.backbones.weight_files import check_weights

# torchvision's fully connected layers and our convolutions of the same weights.
_CLASSIFIER_NAMES = {'classifier.0.': 'fc.fc6.', 'classifier.3.': 'fc.fc7.'}


def convert_vgg_weights(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], num_layers: int
) -> tuple[dict[str, Tensor], list[str]]:
    """Convert VGG weights of torchvision's format to those of :class:`VGG`.

    Feature layers have the same names in both. The fully connected layers ``classifier.0`` and ``classifier.3`` become
    the convolutions fc6, ``(fc_channels, C, 7, 7)``, and fc7, ``(fc_channels, fc_channels, 1, 1)``; they are taken as
    they are or not at all. The bias of a convolution in front of BatchNorm is folded into the running mean, because
    ours has none there. Weights that :class:`VGG` itself saved pass unchanged.

    Args:
        weights (Mapping[str, Tensor]): State dict of a weight file.
        wanted (Mapping[str, Tensor]): State dict of the VGG to be filled.
        num_layers (int): Number of layers in its ``features``; layers of the file from there on are not looked at.

    Returns:
        tuple[dict[str, Tensor], list[str]]: The converted weights, and the fc keys that the file cannot fill.

    Raises:
        ValueError: If the feature layers of the file are not those of ``wanted``; names the first differences.
    """
    available = dict(weights)
    for theirs, ours in _CLASSIFIER_NAMES.items():
        for kind in ('weight', 'bias'):
            if theirs + kind in available:
                available[ours + kind] = available.pop(theirs + kind)

    for key in [key for key in available if key.startswith('features.') and key.endswith('.bias')]:
        layer = int(key.split('.')[1])
        mean = f'features.{layer + 1}.running_mean'
        if key not in wanted and mean in wanted and mean in available:
            available[mean] = available[mean] - available.pop(key)

    features = {key: value for key, value in wanted.items() if key.startswith('features.')}
    surplus = [
        key
        for key in available
        if key.startswith('features.') and key not in wanted and int(key.split('.')[1]) < num_layers
    ]
    check_weights(available, features, surplus)

    fc_keys = [key for key in wanted if key.startswith('fc.') and not key.endswith('num_batches_tracked')]
    for key in fc_keys:
        if key in available and available[key].dim() == 2 and available[key].numel() == wanted[key].numel():
            available[key] = available[key].reshape(wanted[key].shape)
    fits = all(key in available and available[key].shape == wanted[key].shape for key in fc_keys)
    left = [] if fits else fc_keys
    return {key: value for key, value in available.items() if key in wanted and key not in left}, left
