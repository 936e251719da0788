"""Sample order and augmentation as a pure function of (seed, global position).

The *global position* counts the samples that all processes of a run have taken from one data set since its beginning.
Two processes with batch size 1 therefore see what one process with batch size 2 sees, resuming needs one number per
data set, and it costs the same at every iteration.
"""

from collections.abc import Iterator

from mmengine.dist import get_dist_info
from mmengine.logging import MMLogger
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Dataset, Sampler

from cda_mmseg.datasets.pipelines import check_packed, check_stock_loaders
from cda_mmseg.datasets.transforms.image_files import READING_ERRORS, raise_named
from cda_mmseg.datasets.transforms.load_superpixels import superpixels_of
from cda_mmseg.engine.orders import PermutationOrder, SampleOrder
from cda_mmseg.utils.arguments import lists_arguments
from cda_mmseg.utils.randomness import seeded_sample, stable_hash


class PositionedDataset(Dataset):
    """Read a data set by global position, with the sample's augmentation seeded by that position.

    Args:
        dataset (Dataset): The data set to read, with ``metainfo`` as mmengine's data sets have it.
        seed (int): Seed of order and augmentation.
        order (SampleOrder | None): Order of the samples; by default every sample once per epoch.
        on_error (str): 'raise' stops at a damaged file; 'skip' takes the next sample of the order's next epoch in its
            place and notes the damaged one in the metainfo ``skipped`` of the sample that stands in.

    Raises:
        ValueError: If ``on_error`` is neither, or the data set is empty.
    """

    MAX_SUBSTITUTES = 20

    def __init__(self, dataset: Dataset, seed: int, on_error: str = 'raise', order: SampleOrder | None = None) -> None:
        if on_error not in ('raise', 'skip'):
            raise ValueError(f"train_cfg.on_error must be 'raise' or 'skip', got {on_error!r}.")
        check_stock_loaders(dataset)
        self.dataset = dataset
        self.seed = seed
        self.on_error = on_error
        self.order = order or PermutationOrder(dataset, seed)

    @property
    def metainfo(self) -> dict:
        """dict: The wrapped data set's classes and palette."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: int) -> dict:
        skipped: list[str] = []
        # A substitute lies a whole number of epochs ahead of its position: it, too, is a function of the position.
        for attempt in range(self.MAX_SUBSTITUTES):
            index = self.order.index(position + attempt * len(self))
            try:
                sample = self._draw(index, position)
            except READING_ERRORS as error:
                if self.on_error == 'raise':
                    raise_named(error, self._name(index), 'training')
                skipped.append(f'{self._name(index)}: {error}')
                continue
            if skipped:
                sample['data_samples'].set_metainfo(dict(skipped=skipped))
            return sample
        raise ValueError(
            f'{self.MAX_SUBSTITUTES} samples in a row could not be read, the last one: {skipped[-1]}. '
            'Repair or remove the files.'
        )

    def _draw(self, index: int, position: int) -> dict:
        """Augment a sample, and again with other seeds while the order does not accept it."""
        for draw in range(self.order.max_draws):
            seeds = (position, draw) if draw else (position,)
            with seeded_sample(stable_hash(self.seed, 'augmentation', *seeds)):
                sample = self.dataset[index]
            check_labels(sample, self.dataset)
            if self.order.accepts(sample, position):
                break
        return sample

    def _name(self, index: int) -> str:
        get_data_info = getattr(self.dataset, 'get_data_info', None)
        return str(get_data_info(index).get('img_path', index)) if get_data_info else f'sample {index}'


def check_labels(sample: dict, dataset: Dataset) -> None:
    """Refuse labels beyond the classes of their data set; on a GPU a loss would end the process without a name.

    Args:
        sample (dict): A sample as ``PackSegInputs`` gives it; one without labels, or with superpixels in their place,
            passes.
        dataset (Dataset): Its data set, with ``metainfo['classes']`` and, by default 255, ``ignore_index``.

    Raises:
        ValueError: If a label is neither a class nor the ignored one.
    """
    check_packed(sample, 'training data')
    classes = dataset.metainfo.get('classes')
    if classes is None or 'gt_sem_seg' not in sample['data_samples'] or superpixels_of(dataset) is not None:
        return
    labels = sample['data_samples'].gt_sem_seg.data
    known = labels.masked_fill(labels == getattr(dataset, 'ignore_index', 255), 0)
    for label in (known.min().item(), known.max().item()):
        if not 0 <= label < len(classes):
            raise ValueError(
                f'{sample["data_samples"].metainfo.get("seg_map_path", "The label")} holds the class {label}, but the '
                f'data set has the classes 0 to {len(classes) - 1}. Check the id_map of LoadLabelIds and the labels.'
            )


@DATA_SAMPLERS.register_module()
class PositionSampler(Sampler):
    """Yield this process's global positions, endlessly: ``start + local * world_size + rank``.

    Args:
        dataset (PositionedDataset): The data set, wrapped by the training loop.
        seed (int | None): Seed of the run. The order itself belongs to the data set; it is accepted because mmengine's
            runner passes it to every sampler.
        start (int): Samples consumed before this process begins; the training loop sets it when it resumes.

    Raises:
        TypeError: If the data set is not wrapped, that is, if another loop than ``UDATrainLoop`` builds the loader; for
            an argument that is not taken, with those that are.
    """

    @lists_arguments
    def __init__(self, dataset: PositionedDataset, seed: int | None = None, start: int = 0) -> None:
        if not isinstance(dataset, PositionedDataset):
            raise TypeError(
                "PositionSampler orders training data of train_cfg.type='UDATrainLoop' alone, for a UDASegmentor; "
                f"for a {type(dataset).__name__} in another loop use mmengine's InfiniteSampler or DefaultSampler."
            )
        self.dataset = dataset
        self.start = start
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[int]:
        position = self.start + self.rank
        while True:
            yield position
            position += self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, as mmengine's ``InfiniteSampler`` does: the order is one of positions, which know their epoch."""

    def __len__(self) -> int:
        """Return the number of samples of one epoch; the sampler itself never ends."""
        return len(self.dataset)


def report_skipped(data_samples: list) -> list[str]:
    """Log the damaged files that samples of a batch stand in for.

    Args:
        data_samples (list[SegDataSample]): The samples of a batch.

    Returns:
        list[str]: 'path: reason' for each skipped file.
    """
    skipped = [entry for sample in data_samples for entry in sample.metainfo.get('skipped', [])]
    for entry in skipped:
        MMLogger.get_current_instance().warning(f'Skipped a damaged sample: {entry}')
    return skipped
