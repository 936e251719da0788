import mmcv
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from mmseg.registry import MODELS
from torch.nn import functional as F

from cda_mmseg.visualization.panel import plot_panel
from cda_mmseg.visualization.predictions import TrainedModel, gather_panel

ADVERSARIAL = dict(
    type='AdversarialUDASegmentor',
    adaptations=dict(
        image_adversary=dict(
            type='ImageAdversary',
            generator=dict(type='ImageGenerator', base_channels=4, in_channels=[4, 8], in_index=[1, 0]),
            discriminator=dict(type='PatchGANDiscriminator', base_channels=4),
            loss_gan=dict(type='GANLoss'),
            generator_sharing='per_domain',
        )
    ),
)


@pytest.fixture
def save(make_config, tmp_path):
    """Return a function that saves a fresh network as a checkpoint, and returns it as it was saved."""

    def save_model(name, seed, **arguments):
        config = make_config(**arguments)
        init_default_scope('mmseg')
        torch.manual_seed(seed)
        model = MODELS.build(config.model)
        # Without a bias, no class wins everywhere.
        model.decode_head.conv_seg.weight.data.normal_()
        meta = dict(dataset_meta=config.val_dataloader.dataset.datasets[0].metainfo.to_dict())
        save_checkpoint(dict(state_dict=model.state_dict(), meta=meta), str(tmp_path / f'{name}.pth'))
        return TrainedModel(name, config, tmp_path / f'{name}.pth'), model.eval()

    return save_model


def normalize(path, preprocessor):
    """Do by hand what the test pipeline and the preprocessor do: resize as loaded, then RGB, then mean and std."""
    image = mmcv.imresize(mmcv.imread(path), (16, 8))[:, :, ::-1].astype(np.float32)
    image = (image - preprocessor['mean']) / preprocessor['std']
    return torch.tensor(image.transpose(2, 0, 1), dtype=torch.float32)[None]


def test_rows_hold_what_the_checkpoints_compute(save, data_root):
    plain, plain_model = save('plain', 0, type='EncoderDecoder')
    adapted, adapted_model = save('adapted', 1, **ADVERSARIAL)
    rows, meta = gather_panel([plain, adapted], dict(target=2, source=1))
    assert list(meta['classes']) == ['road', 'traffic light', 'sky']
    # Four images per domain: the first and the third of two, the first of one.
    paths = [data_root / 'target/img/0.png', data_root / 'target/img/2.png', data_root / 'source/img/0.png']
    assert [row.domain for row in rows] == ['target', 'target', 'source']
    for row, path in zip(rows, paths, strict=True):
        np.testing.assert_array_equal(row.image, mmcv.imread(path)[:, :, ::-1])
        label = mmcv.imread(str(path).replace('img', 'label'), 'unchanged')
        np.testing.assert_array_equal(row.ground_truth, label)
        inputs = normalize(path, adapted.config.model.data_preprocessor)
        with torch.no_grad():
            for name, model in dict(plain=plain_model, adapted=adapted_model).items():
                features = model.backbone(inputs)
                scores = F.interpolate(model.decode_head(features), (8, 16), mode='bilinear')
                expected = F.interpolate(scores, (16, 32), mode='bilinear').argmax(dim=1)[0]
                np.testing.assert_array_equal(row.predictions[name], expected)
            picture = adapted_model.generator.rebuild(row.domain, adapted_model.backbone(inputs), (8, 16))[0]
        # The network's order is RGB here, so the picture is, too.
        expected = (picture.permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(row.reconstruction - expected).max() <= 0.5 + 1e-3
    assert len(np.unique(rows[0].predictions['plain'])) > 1
    plot_panel(rows, meta['classes'], meta['palette'])


def test_two_models_of_one_name_are_refused(save):
    model, _ = save('plain', 0, type='EncoderDecoder')
    with pytest.raises(ValueError, match=r'each model under a name of its own, got plain, plain'):
        gather_panel([model, model], dict(target=1))


def test_a_network_in_bgr_is_shown_in_rgb(save):
    preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, size=(8, 16))
    adapted, model = save('adapted', 1, **ADVERSARIAL, data_preprocessor=preprocessor)
    rows, _ = gather_panel([adapted], dict(source=1))
    inputs = torch.tensor(mmcv.imresize(rows[0].image[:, :, ::-1], (16, 8)).transpose(2, 0, 1)) / 127.5 - 1
    with torch.no_grad():
        picture = model.generator.rebuild('source', model.backbone(inputs[None].float()), (8, 16))[0].flip(0)
    assert np.abs(rows[0].reconstruction - (picture.permute(1, 2, 0).numpy() + 1) * 127.5).max() <= 0.5 + 1e-3


def test_without_labels_or_generator_there_is_nothing_to_show(save):
    plain, _ = save('plain', 0, type='EncoderDecoder', target='bare')
    rows, _ = gather_panel([plain], dict(target=9))
    assert len(rows) == 4
    assert all(row.ground_truth is None and row.reconstruction is None for row in rows)


def test_what_is_not_there_is_refused(save):
    with pytest.raises(ValueError, match='at least one model'):
        gather_panel([], dict(target=1))
    plain, _ = save('plain', 0, type='EncoderDecoder')
    with pytest.raises(ValueError, match="no images of the domain 'night'"):
        gather_panel([plain], dict(night=1))
