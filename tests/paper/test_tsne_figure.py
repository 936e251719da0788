"""The features and distances of Fig. 4, against plain forwards and populations with a known distance."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from mmseg.registry import DATASETS, MODELS

from cda_mmseg.paper.class_features import ClassFeatures, gather_class_features
from cda_mmseg.paper.domain_distance import class_distances, proxy_a_distance
from cda_mmseg.paper.tsne_figure import plot_tsne
from cda_mmseg.visualization.figures import COLORS

CLASSES = ('road', 'sky', 'car', 'person', 'bus')


def make_features(shift, images=20, seed=0, labeled=True):
    """Four classes far apart; the target's lie ``shift`` standard deviations from the source's."""
    rng = np.random.default_rng(seed)
    rows = [(index, target, image + 100 * target) for target in (0, 1) for image in range(images) for index in range(4)]
    class_index, is_target, image = (np.array(column) for column in zip(*rows, strict=True))
    centres = 20 * np.eye(5)[class_index]
    features = centres + rng.normal(size=(len(rows), 5)) + shift * is_target[:, None] * np.ones(5) / np.sqrt(5)
    return ClassFeatures(
        CLASSES, features, class_index, is_target.astype(bool), image, dict(source=True, target=labeled)
    )


def test_distance_of_equal_and_of_separate_domains():
    near, far = make_features(0.0, images=60), make_features(12.0, images=60)
    assert proxy_a_distance(near.features, near.is_target, near.image) < 0.5
    assert proxy_a_distance(far.features, far.is_target, far.image) == pytest.approx(2.0, abs=0.02)
    distances = class_distances(far)
    assert list(distances) == ['road', 'sky', 'car', 'person']
    assert all(value == pytest.approx(2.0, abs=0.1) for value in distances.values())


def test_vectors_of_one_image_cannot_give_its_domain_away():
    """Every image has a place of its own: a classifier that has seen it knows its domain, one that has not, cannot."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(40), 10)
    features = rng.normal(size=(40, 30))[image] + 0.01 * rng.normal(size=(400, 30))
    is_target = image >= 20
    assert proxy_a_distance(features, is_target, image) < 1.0
    assert proxy_a_distance(features, is_target, np.arange(400)) > 1.8


def test_too_few_images_have_no_distance():
    few = make_features(1.0, images=4)
    assert np.isnan(proxy_a_distance(few.features, few.is_target, few.image))


def test_frequent_classes_occur_in_both_domains():
    features = make_features(0.0)
    # 'bus' only in the source; 'sky' in fewer target images than the others.
    kept = ~((features.class_index == 1) & features.is_target & (features.image > 105))
    fewer = ClassFeatures(
        CLASSES, features.features[kept], features.class_index[kept], features.is_target[kept], features.image[kept], {}
    )
    assert fewer.frequent_classes(4) == ['road', 'car', 'person', 'sky']
    with pytest.raises(ValueError, match='only 4 classes occur in both domains, 5 are asked for'):
        fewer.frequent_classes(5)
    with pytest.raises(ValueError, match=r"\['tree'\] are none of the classes road, sky"):
        fewer.select(['road', 'tree'])
    assert set(fewer.select(['car', 'road']).class_index) == {0, 2}


def test_points_have_the_colour_of_their_class_and_the_marker_of_their_domain():
    before, after = make_features(12.0, images=8), make_features(0.0, images=8, seed=1, labeled=False)
    figure = plot_tsne({'before': before, 'after': after})
    panels = figure.axes
    assert [panel.get_title().splitlines()[0] for panel in panels] == ['before', 'after']
    wanted = f'proxy A-distance {proxy_a_distance(before.features, before.is_target, before.image):.2f}'
    assert panels[0].get_title().splitlines()[1].startswith(wanted)
    clouds = {cloud.get_label(): cloud for cloud in panels[0].collections}
    assert sorted(clouds) == sorted(f'{d} {c}' for d in ('source', 'target') for c in CLASSES[:4])
    assert all(len(cloud.get_offsets()) == 8 for cloud in clouds.values())
    assert [to_hex(clouds[f'target {name}'].get_facecolor()[0]).upper() for name in CLASSES[:4]] == list(COLORS[:4])
    assert [to_hex(clouds[f'source {name}'].get_edgecolor()[0]).upper() for name in CLASSES[:4]] == list(COLORS[:4])
    assert len(clouds['source road'].get_facecolor()) == 0
    # Classes that are far apart stay so in the plane.
    positions = {name: np.mean(cloud.get_offsets(), axis=0) for name, cloud in clouds.items()}
    gap = np.linalg.norm(positions['source road'] - positions['source sky'])
    spread = np.std(clouds['source road'].get_offsets(), axis=0).max()
    assert gap > 2 * spread
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [*CLASSES[:4], 'source', 'target']


def test_models_of_other_classes_are_not_compared():
    features = make_features(0.0)
    with pytest.raises(ValueError, match='all models must show the same classes'):
        plot_tsne({'before': features, 'after': features.select(['road'])})


def test_vectors_are_mean_scores_of_labelled_pixels(smoke_config, tmp_path):
    config = smoke_config('source_only_gta2city')
    config.model.decode_head.zero_init = False
    torch.manual_seed(2)
    model = MODELS.build(config.model)
    model.init_weights()
    model.eval()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    features = gather_class_features(config, tmp_path / 'model.pth', images=3, seed=4)

    target, source = DATASETS.build(config.val_dataloader.dataset).datasets
    wanted = []
    for part in (source, target):
        for index in np.random.default_rng(4).permutation(len(part))[:3]:
            item = part[int(index)]
            batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
            with torch.no_grad():
                inputs = model.data_preprocessor(batch, training=False)['inputs']
                scores = model.decode_head(model.backbone(inputs))[0].double().numpy()
            label = item['data_samples'].gt_sem_seg.data[0].numpy()
            rows, columns = (
                ((np.arange(size) + 0.5) * whole / size).astype(int)
                for size, whole in zip(scores.shape[1:], label.shape, strict=True)
            )
            label = label[np.ix_(rows, columns)]
            for name in range(19):
                if (label == name).sum() >= 4:
                    wanted.append((part is target, name, scores[:, label == name].mean(1)))
    assert len(wanted) > 6
    assert features.is_target.tolist() == [row[0] for row in wanted]
    assert features.class_index.tolist() == [row[1] for row in wanted]
    np.testing.assert_allclose(features.features, [row[2] for row in wanted], rtol=1e-5)
    assert features.labeled == dict(source=True, target=True)
    assert len(set(features.image[features.is_target])) <= 3
    assert not set(features.image[features.is_target]) & set(features.image[~features.is_target])


def test_without_labels_the_prediction_tells_the_classes(smoke_config, tmp_path):
    config = smoke_config('source_only_gta2city')
    config.model.decode_head.zero_init = False
    model = MODELS.build(config.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    for part in config.val_dataloader.dataset.datasets:
        part.pipeline = [step for step in part.pipeline if step.type != 'LoadLabelIds']
    features = gather_class_features(config, tmp_path / 'model.pth', images=2)
    assert features.labeled == dict(source=False, target=False)
    assert (features.features.argmax(axis=1) == features.class_index).mean() > 0.5
