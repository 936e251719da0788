from mmseg.datasets import CityscapesDataset

from cda_mmseg.datasets.label_ids import CITYSCAPES_IDS, SYNTHIA_IDS
from cda_mmseg.datasets.worlds import encodings
from cda_mmseg.datasets.worlds.scene import Label


def test_gtav_palette_shows_train_classes_in_cityscapes_colours():
    assert len(encodings.GTAV_PALETTE) == 35
    for label_id, train_id in CITYSCAPES_IDS.items():
        if train_id != 255:
            assert list(encodings.GTAV_PALETTE[label_id]) == CityscapesDataset.METAINFO['palette'][train_id]


def test_both_schemes_say_the_same_of_every_label():
    assert set(encodings.SYNTHIA_IDS) == set(Label)
    for label, number in encodings.SYNTHIA_IDS.items():
        assert SYNTHIA_IDS[number] == CITYSCAPES_IDS[label]


def test_all_train_classes_can_be_drawn():
    assert {CITYSCAPES_IDS[label] for label in Label} == {*range(19), 255}


def test_file_names_do_not_collide(tmp_path):
    for layout in (encodings.GTAV, encodings.SYNTHIA, encodings.CITYSCAPES):
        for split in layout.splits:
            paths = [layout.paths(tmp_path, split, index) for index in range(200)]
            assert len({path for path, _ in paths}) == 200
            unlabeled = (layout.folder, split) == ('cityscapes', 'train')
            assert {label is None for _, label in paths} == {unlabeled}
