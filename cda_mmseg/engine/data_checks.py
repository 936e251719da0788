"""What the training data must satisfy before the first step."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress

from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import DATASETS
from torch import nn
from torch.utils.data import Dataset

from cda_mmseg.datasets.listing import check_listing
from cda_mmseg.datasets.pipelines import check_packed, check_stock_loaders, domain_of, domains_of, single_data_sets
from cda_mmseg.datasets.preparation import check_prepared_copy
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS
from cda_mmseg.engine.label_checks import check_labels_as_read, one_opencv_thread
from cda_mmseg.evaluation.domain_iou import DomainIoUMetric
from cda_mmseg.utils.randomness import seeded_sample


def build_training_set(config: dict, key: str, skips_damaged: bool = False) -> Dataset:
    """Build a data set and list its files, with one clear error where there are none.

    Args:
        config (dict): The data set's config.
        key (str): Where it stands in the run's config, for errors.
        skips_damaged (bool): Whether training goes on without files that cannot be read.

    Returns:
        Dataset: The data set, fully initialised.

    Raises:
        OSError: If a folder is missing or may not be read.
        ValueError: If no image is found, images would be left out, or they are a prepared copy that does not fit the
            config.
    """
    with explained_listing(config, key):
        check_listing(config, key, skips_damaged)
        dataset = DATASETS.build(config)
        dataset.full_init()
    check_prepared_copy(dataset, config, key)
    return dataset


@contextmanager
def explained_listing(config: Mapping, key: str) -> Iterator[None]:
    """Let errors from listing a data set's files say what to do about them.

    Args:
        config (Mapping): The data set's config.
        key (str): Where it stands in the run's config.

    Raises:
        OSError: In place of one about a folder.
        ValueError: In place of NumPy's where there are no images.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise type(error)(
            f'{key} cannot read {error.filename} ({error.strerror}). Check its data_root, data_prefix and permissions.'
        ) from error
    except ValueError as error:
        # mmengine joins the serialised entries of a data set, and NumPy joins no empty list.
        if 'at least one array to concatenate' not in str(error):
            raise
        raise ValueError(
            f'{key} finds no images: data_root={config.get("data_root")!r}, data_prefix={config.get("data_prefix")}. '
            'Check both, and img_suffix.'
        ) from error


def check_classes(dataset: Dataset, model: nn.Module, key: str) -> None:
    """Compare the classes of the labels with those that the heads score and that their losses weigh.

    A loss would say so itself, but only once it is in force, which may be half a run later.

    Args:
        dataset (Dataset): Labelled data; ``metainfo['classes']`` names its classes.
        model (nn.Module): The segmentor.
        key (str): Where the data set stands in the run's config, for errors.

    Raises:
        ValueError: If the numbers differ.
    """
    classes = dataset.metainfo.get('classes')
    if classes is None:
        return
    for name, head in _heads(model):
        if head.num_classes != len(classes):
            raise ValueError(
                f'model.{name}.num_classes is {head.num_classes}, but {key} has {len(classes)} classes: '
                f'{", ".join(classes)}. Set num_classes={len(classes)}, or metainfo.classes of the data set.'
            )
        for loss in head.modules():
            weights = getattr(loss, 'class_weight', None)
            if isinstance(weights, Sized) and len(weights) != len(classes):
                raise ValueError(
                    f'model.{name}.loss_decode: {type(loss).__name__}.class_weight holds {len(weights)} weights, but '
                    f'{key} has {len(classes)} classes: {", ".join(classes)}.'
                )


def _unwrapped(model: nn.Module) -> nn.Module:
    while hasattr(model, 'module'):  # distributed, or augmenting at test time
        model = model.module
    return model


def _heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Walk over the decode heads and auxiliary heads of a segmentor, which may be wrapped."""
    model = _unwrapped(model)
    for name in ('decode_head', 'auxiliary_head'):
        head = getattr(model, name, None)
        if isinstance(head, nn.ModuleList):
            yield from ((f'{name}.{number}', part) for number, part in enumerate(head))
        elif head is not None:
            yield name, head


def check_class_order(trained: Dataset, scored: Dataset, key: str) -> None:
    """Refuse validation data that has other classes than training, or another order: scores go by number.

    Args:
        trained (Dataset): The labelled training data.
        scored (Dataset): The validation data.
        key (str): Where the latter stands in the run's config, for errors.

    Raises:
        ValueError: If both name classes, and not the same ones.
    """
    learnt, asked = (list(data.metainfo.get('classes') or ()) for data in (trained, scored))
    if learnt and asked and learnt != asked:
        what = 'them in the order' if sorted(learnt) == sorted(asked) else 'the classes'
        raise ValueError(
            f'{key} has the classes {", ".join(asked)}, but training has {what} {", ".join(learnt)}. '
            'Give both the same metainfo.classes.'
        )


def check_scored_data(dataset: Dataset, model: nn.Module, key: str) -> None:
    """Find before a run what would stop its first validation, or score it wrongly, and let it check its files.

    Args:
        dataset (Dataset): The data that is scored; the checks of its files stay with it.
        model (nn.Module): The segmentor.
        key (str): Where the data set stands in the run's config, for errors.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If classes, labels or channels are not what the model or the pipeline takes them for.
    """
    check_stock_loaders(dataset)
    check_classes(dataset, model, key)
    if is_main_process():
        check_labels_as_read(dataset, key, is_training=False)
        _check_channels(dataset, model, key)


def _check_channels(dataset: Dataset, model: nn.Module, key: str) -> None:
    """Look at the first image of each data set; what cannot be read says so when it is scored."""
    check = getattr(_unwrapped(model), 'check_channels', None)
    channels: dict[str, int] = {}
    for place, single in single_data_sets(dataset, key) if check else ():
        with suppress(IndexError, *READING_ERRORS), seeded_sample(0), one_opencv_thread():
            sample = single[0]
            check_packed(sample, place)
            inputs = sample['inputs']
            first = inputs[0] if isinstance(inputs, list) else inputs
            channels[place] = first.shape[0]
    for place, found in channels.items():
        check(found, place)


def check_metrics(metrics: Sequence[BaseMetric], dataset: Dataset, key: str) -> None:
    """Refuse a metric that would count pixels of several domains together, or write two predictions to one file.

    Args:
        metrics (Sequence[BaseMetric]): What scores the data.
        dataset (Dataset): The data that is scored.
        key (str): Where the metrics stand in the run's config, for errors.

    Raises:
        ValueError: If mmseg's ``IoUMetric`` scores more than one domain, ours gets samples that name none, or two
            images of one domain have one name.
    """
    domains = sorted(domains_of(dataset))
    pooling = [one for one in metrics if isinstance(one, IoUMetric) and not isinstance(one, DomainIoUMetric)]
    if len(domains) > 1 and pooling:
        named = ', '.join(domain or 'one without TagDomain' for domain in domains)
        raise ValueError(
            f'{key}: IoUMetric would give one score for the pixels of all domains ({named}). Use '
            "dict(type='DomainIoUMetric'), which scores each, or data of one domain."
        )
    if any(isinstance(one, DomainIoUMetric) for one in metrics) and is_main_process():
        _check_tags(dataset, f'{key.replace("evaluator", "dataloader")}.dataset')
    for metric in metrics:
        if isinstance(metric, DomainIoUMetric) and metric.output_dir is not None:
            for _, single in single_data_sets(dataset, ''):
                for index in range(len(single)):
                    metric.prediction_file(domain_of(single), single.get_data_info(index)['img_path'])


def _check_tags(dataset: Dataset, key: str) -> None:
    """Look at the first sample of each data set, whose metric wants to know its domain."""
    for place, single in single_data_sets(dataset, key):
        samples: list = []
        with suppress(IndexError, *READING_ERRORS), seeded_sample(0), one_opencv_thread():
            found = single[0]['data_samples']
            samples = found if isinstance(found, list) else [found]
        if not all('domain' in sample.metainfo for sample in samples):
            raise ValueError(
                f"{place}: its samples do not say their domain. Its pipeline needs dict(type='TagDomain', domain=...) "
                "before PackSegInputs, and 'domain' among the meta_keys of that."
            )


def check_domains_differ(source: Dataset, other: Dataset, key: str) -> None:
    """Refuse images that are all images of the source: they would add nothing to it.

    A target that holds labelled source images *among others* is left alone, as semi-supervised training has it.

    Args:
        source (Dataset): The data of ``train_dataloader``.
        other (Dataset): Data that should not be the same.
        key (str): Where the latter stands in the run's config, for errors.

    Raises:
        ValueError: If no image of the other data lies outside the source.
    """
    images = _image_paths(other)
    if images and images <= _image_paths(source):
        raise ValueError(
            f'The target is the source: all {len(images)} images of {key}, such as {min(images)}, are images of '
            'train_dataloader.dataset too. Check their data_root.'
        )


def check_unseen(labelled: Dataset, scored: Dataset, key: str) -> None:
    """Refuse to score a target by images whose labels are trained on.

    Args:
        labelled (Dataset): All labelled training data.
        scored (Dataset): The validation data.
        key (str): Where the latter stands in the run's config, for errors.

    Raises:
        ValueError: If a validation image of a target is among the labelled training images.
    """
    trained = _image_paths(labelled)
    for place, single in single_data_sets(scored, key):
        seen = trained & _image_paths(single)
        if seen and domain_of(single).startswith('target'):
            raise ValueError(
                f'{place}: {len(seen)} of {len(single)} images, such as {min(seen)}, are trained on with their labels, '
                'so the scores of the target would be those of known answers. Take them out of the training data '
                '(labelled_target.dataset, train_dataloader.dataset), or validate with others.'
            )


def _image_paths(dataset: Dataset) -> set[str]:
    """List a data set's images with links in their folders resolved; data sets of another kind have none."""
    get_data_info = getattr(dataset, 'get_data_info', None)
    if get_data_info is None:
        return set()
    resolved = functools.cache(os.path.realpath)
    paths = (get_data_info(index).get('img_path') for index in range(len(dataset)))
    return {os.path.join(resolved(os.path.dirname(path)), os.path.basename(path)) for path in paths if path}
