"""Read raw labels as they were downloaded and map their ids to training classes."""

import io
from collections.abc import Mapping

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from PIL import Image

from ..label_ids import ID_MAPS, IGNORE
from ..png import SIGNATURE, check_png, size_of
from .image_files import TURNED, check_pixels, read_file, refuse_turned

UNKNOWN = 254  # marks, inside the lookup table, ids that the scheme does not define
MAX_LISTED_IDS = 8


@TRANSFORMS.register_module()
class LoadLabelIds(BaseTransform):
    """Load the raw label PNGs of GTAV, SYNTHIA and Cityscapes without converting the data set first.

    Does what mmseg's ``LoadAnnotations`` does, but reads the ids where each data set keeps them and maps them to
    training classes through a lookup table. Ids that the scheme defines and that are no training class become 255; an
    id that the scheme does not define is an error.

    All checksums of a file are compared, which Pillow and so mmseg's loader leave out.

    ``encoding``:

    * ``'index'``: 8 bits per pixel, palette or grey. The palette *index* is the id (GTAV, Cityscapes ``_labelIds``).
    * ``'red16'``: 16-bit RGB with the id in the red channel (SYNTHIA; green holds the instance).

    Some GTAV labels differ from their image by a few rows. The label is then fitted to the image, which stays as it
    is: what is too much at the bottom and on the right is cut off, what is missing there is filled with 255. A
    difference of more than ``max_size_difference`` pixels is an error. The size compared with is that of the image
    *file* (``ori_shape``), so this transform may stand before or, for evaluation at full resolution, after a resize.

    Required keys: ``seg_map_path``, ``seg_fields``; ``ori_shape`` if an image was loaded; ``label_map`` and
    ``reduce_zero_label`` as set by mmseg's data sets. Added keys: ``gt_seg_map`` (H, W) uint8; ``seg_fields`` is
    extended.

    Args:
        encoding (str): ``'index'`` or ``'red16'``.
        id_map (str | Mapping[int, int]): ``'cityscapes'`` (GTAV too), ``'synthia'``, ``'urbansyn'``, ``'train_ids'``
            (converted Cityscapes, ``*_labelTrainIds.png``), or a mapping from every id that may occur to a training
            class in 0..253 or to 255.
        max_size_difference (int): Largest difference in rows or columns that is fitted silently, in pixels.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Raises:
        ValueError: When an argument is invalid, or, while loading, when a label has another encoding than ``encoding``,
            is damaged, holds an undefined id or does not fit its image. The message names the file.
    """

    def __init__(
        self,
        encoding: str = 'index',
        id_map: str | Mapping[int, int] = 'cityscapes',
        max_size_difference: int = 16,
        backend_args: dict | None = None,
    ) -> None:
        if encoding not in ('index', 'red16'):
            raise ValueError(f"LoadLabelIds: encoding must be 'index' or 'red16', got {encoding!r}")
        if max_size_difference < 0:
            raise ValueError(f'LoadLabelIds: max_size_difference must be at least 0, got {max_size_difference}')
        self.encoding = encoding
        self.id_map = id_map
        self.max_size_difference = max_size_difference
        self.backend_args = backend_args
        self.table = _lookup_table(id_map, size=256 if encoding == 'index' else 65536)

    def transform(self, results: dict) -> dict:
        """Load one label map."""
        path = results['seg_map_path']
        if results.get('reduce_zero_label'):
            raise ValueError(
                f'{path}: LoadLabelIds maps ids itself; set reduce_zero_label=False on the data set and write the '
                f'wanted classes into id_map'
            )
        ids = self.raw_ids(path)
        labels = cv2.LUT(ids, self.table) if ids.dtype == np.uint8 else np.take(self.table, ids)
        if (labels == UNKNOWN).any():
            unknown = np.unique(ids[labels == UNKNOWN])
            listed = ', '.join(map(str, unknown[:MAX_LISTED_IDS])) + (', …' if len(unknown) > MAX_LISTED_IDS else '')
            scheme = f"'{self.id_map}'" if isinstance(self.id_map, str) else 'given'
            raise ValueError(
                f'{path}: label ids {listed} are not defined by the {scheme} id_map; is this a label file of another '
                f'data set, or already converted to trainIds?'
            )
        if results.get('label_map') is not None:  # the data set was asked for a subset of the classes
            labels = cv2.LUT(labels, _class_table(results['label_map']))
        if TURNED in results:
            refuse_turned(results)
        if 'ori_shape' in results:
            labels = _fit(labels, results['ori_shape'][:2], self.max_size_difference, path)
        results['gt_seg_map'] = labels
        results['seg_fields'].append('gt_seg_map')
        return results

    def raw_ids(self, path: str) -> np.ndarray:
        """Read the ids (H, W) of a label file before they are mapped."""
        return read_label_ids(path, self.encoding, self.backend_args)

    def __repr__(self) -> str:
        id_map = self.id_map if isinstance(self.id_map, str) else dict(self.id_map)
        return (
            f'{type(self).__name__}(encoding={self.encoding!r}, id_map={id_map!r}, '
            f'max_size_difference={self.max_size_difference}, backend_args={self.backend_args})'
        )


def read_label_ids(path: str, encoding: str, backend_args: dict | None = None) -> np.ndarray:
    """Read the raw ids of one label PNG.

    Args:
        encoding (str): ``'index'`` or ``'red16'``, see :class:`LoadLabelIds`.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Returns:
        np.ndarray: Ids (H, W), uint8 for ``'index'`` and uint16 for ``'red16'``.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: When it is empty, truncated, no PNG or encoded otherwise.
    """
    data = read_file(path, backend_args)
    check_label(path, data, encoding)
    if encoding == 'index':
        # Pillow, because OpenCV turns palette indices into colours.
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.array(image)
        except (OSError, SyntaxError) as error:
            raise ValueError(f'{path}: damaged label file ({error}); fetch it again') from error
    # OpenCV, because Pillow cuts 16-bit colours down to 8 bits. Its channel order is BGR: red is the last one.
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f'{path}: damaged label file ({error}); fetch it again') from error
    if pixels is None:
        raise ValueError(f'{path}: damaged label file (OpenCV cannot decode it); fetch it again')
    return pixels[:, :, -1]


def check_label(path: str, data: bytes, encoding: str, also: bytes = b'') -> None:
    """Compare the checksums of a label PNG, and what its header says with what the encoding needs.

    Args:
        path (str): Name of the file, for errors.
        data (bytes): Its content.
        encoding (str): ``'index'`` or ``'red16'``, see :class:`LoadLabelIds`.
        also (bytes): Depth and colour type, as a PNG's header holds them, that are right too.

    Raises:
        ValueError: If it is empty, damaged, no PNG or encoded otherwise.
    """
    if not data:
        raise ValueError(f'{path}: empty label file (0 bytes); fetch it again')
    if not data.startswith(SIGNATURE) or len(data) < 26:
        raise ValueError(f'{path}: not a PNG file, or cut off in its header; label ids are read from PNGs only')
    check_png(path, data)
    check_pixels(path, size_of(data))
    bits, color_type = data[24], data[25]
    if also == data[24:26]:
        return
    kind = {0: 'grey', 2: 'RGB', 3: 'palette', 4: 'grey with alpha', 6: 'RGBA'}.get(color_type, 'unknown')
    found = f'{path}: {bits}-bit {kind} PNG, but encoding={encoding!r} '
    if encoding == 'red16':
        if (bits, color_type) != (16, 2):
            hint = ' Use encoding="index" for GTAV and Cityscapes labels.' if color_type in (0, 3) else ''
            raise ValueError(f'{found}needs 16-bit RGB with the id in the red channel (SYNTHIA GT/LABELS).{hint}')
    elif (bits, color_type) == (16, 2):
        raise ValueError(
            f"{found}needs 8 bits per pixel; for SYNTHIA labels use LoadLabelIds(encoding='red16', id_map='synthia')"
        )
    elif color_type in (2, 4, 6):
        raise ValueError(
            f'{found}needs the id itself, as palette index or grey value: this is a coloured visualisation. Use the '
            f"data set's indexed labels (Cityscapes: *_gtFine_labelIds.png; GTAV: the PNGs of labels/, not re-saved)"
        )
    elif bits != 8 and not (color_type == 3 and bits < 8):
        raise ValueError(f'{found}needs 8 bits per pixel (is this an instance or depth map?)')


def _lookup_table(id_map: str | Mapping[int, int], size: int) -> np.ndarray:
    """Turn an id map into a table of ``size`` uint8 entries."""
    if isinstance(id_map, str):
        if id_map not in ID_MAPS:
            raise ValueError(f'LoadLabelIds: id_map must be one of {sorted(ID_MAPS)} or a mapping, got {id_map!r}')
        id_map = ID_MAPS[id_map]
    if not id_map:
        raise ValueError('LoadLabelIds: id_map is empty; list every id that may occur, with 255 for those to ignore')
    table = np.full(size, UNKNOWN, np.uint8)
    for label_id, train_id in id_map.items():
        if not isinstance(label_id, int) or not 0 <= label_id < size:
            raise ValueError(f'LoadLabelIds: id_map has the key {label_id!r}; ids are integers in 0..{size - 1}')
        if not isinstance(train_id, int) or not (0 <= train_id < UNKNOWN or train_id == IGNORE):
            raise ValueError(f'LoadLabelIds: id_map[{label_id}] = {train_id!r}; training classes are 0..253, or 255')
        table[label_id] = train_id
    return table


def _class_table(label_map: Mapping[int, int]) -> np.ndarray:
    """Turn mmseg's map of a class subset into a lookup table; classes that it does not name stay."""
    table = np.arange(256, dtype=np.uint8)
    for old, new in label_map.items():
        table[old] = new
    return table


def _fit(labels: np.ndarray, shape: tuple[int, int], max_difference: int, path: str) -> np.ndarray:
    """Cut the labels (H, W) to ``shape``, or fill them up with 255, at the bottom and on the right."""
    if labels.shape == tuple(shape):
        return labels
    rows, columns = shape[0] - labels.shape[0], shape[1] - labels.shape[1]
    if max(abs(rows), abs(columns)) > max_difference:
        raise ValueError(
            f'{path}: the label is {labels.shape[1]}×{labels.shape[0]} but its image {shape[1]}×{shape[0]} (width × '
            f'height); at most {max_difference} pixels of difference are fitted (max_size_difference)'
        )
    labels = labels[: shape[0], : shape[1]]
    return cv2.copyMakeBorder(labels, 0, max(rows, 0), 0, max(columns, 0), cv2.BORDER_CONSTANT, value=IGNORE)
