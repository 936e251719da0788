"""Find the images and labels of a folder whose naming nobody has told."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cda_mmseg.datasets.listing import PICTURES, walk


@dataclass(frozen=True)
class Folder:
    """Images, and their labels if there are any.

    Attributes:
        images (str): Folder of the images.
        image_suffix (str): What their names end in.
        names (list[str]): The names below the folder, without suffix.
        labels (str | None): Folder of the labels.
        label_suffix (str): What their names end in.
    """

    images: str
    image_suffix: str
    names: list[str]
    labels: str | None = None
    label_suffix: str = ''

    def info(self, name: str) -> dict:
        """Describe a pair as mmseg's data sets do."""
        info = dict(img_path=os.path.join(self.images, name + self.image_suffix), label_map=None)
        if self.labels:
            info |= dict(seg_map_path=os.path.join(self.labels, name + self.label_suffix), reduce_zero_label=False)
        return info


def find_files(images: str, labels: str | None = None, kinds: Sequence[str] = ()) -> Folder:
    """Find out what the names of images and labels end in, and pair them.

    Args:
        images (str): Folder of the images, with folders below.
        labels (str, optional): Folder of the labels, with the same folders below.
        kinds (Sequence[str]): Where an image has several labels, what the names of those wanted hold.

    Raises:
        ValueError: If there are no images, images of several kinds, files without a counterpart, or a link to a
            folder that it lies in.
        NotADirectoryError: If a folder is missing.
    """
    images = os.path.abspath(images)
    pictures = _pictures(images)
    endings = Counter(os.path.splitext(name)[1] for name in pictures)
    if len(endings) > 1:
        found = ', '.join(f'{number} *{ending}' for ending, number in endings.most_common())
        raise ValueError(f'{images} holds images of several kinds: {found}. Give all the same ending.')
    if labels is None:
        ending = next(iter(endings))
        return Folder(images, ending, sorted(name.removesuffix(ending) for name in pictures))
    labels = os.path.abspath(labels)
    marked = _pictures(labels)
    if images == labels:
        raise ValueError(f'{images} is given for both images and labels; put labels into a folder of their own.')
    image_suffix, label_suffix = _suffixes(pictures, marked, kinds)
    names = {name.removesuffix(image_suffix) for name in pictures}
    labelled = {name.removesuffix(label_suffix) for name in marked if name.endswith(label_suffix)}
    for alone, what, folder, suffix in (
        (names - labelled, 'images have no label', labels, label_suffix),
        (labelled - names, 'labels have no image', images, image_suffix),
    ):
        if alone:
            total = len(names if what.startswith('images') else labelled)
            first = os.path.join(folder, min(alone) + suffix)
            raise ValueError(f'{len(alone)} of {total} {what}: there is no {first}. Add them, or remove the others.')
    return Folder(images, image_suffix, sorted(names), labels, label_suffix)


def _pictures(folder: str) -> list[str]:
    """List the pictures below a folder."""
    if not os.path.isdir(folder):
        raise NotADirectoryError(f'There is no folder {folder}.')
    found = walk(folder, True, folder)
    paths = sorted(path for path, kind in found if not kind and os.path.splitext(path)[1].lower() in PICTURES)
    if not paths:
        raise ValueError(f'{folder} holds no pictures ({", ".join(sorted(PICTURES))}).')
    return paths


def _suffixes(images: Sequence[str], labels: Sequence[str], kinds: Sequence[str]) -> tuple[str, str]:
    """Find the endings under which most images and labels have the same names; of several labels the first kind."""
    common = os.path.commonprefix([name[::-1] for name in images])[::-1]  # noqa: RUF071 characters are meant
    common = common.rpartition('/')[2]
    found: Counter = Counter()
    for image_suffix in (common[start:] for start in range(len(common)) if common[start] in '._-'):
        names = {name.removesuffix(image_suffix) for name in images}
        for label in labels:
            start = label.rfind('/') + 1
            cuts = [at for at in range(start, len(label)) if label[at] in '._-' and label[:at] in names]
            found.update((image_suffix, label[at:]) for at in cuts)
    best = sorted(found, key=lambda pair: (-found[pair], [kind in pair[1] for kind in (*kinds, '')].index(True), pair))
    return best[0] if best else (os.path.splitext(images[0])[1], os.path.splitext(labels[0])[1])
