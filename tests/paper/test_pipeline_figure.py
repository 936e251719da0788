"""Fig. 2, against the model that it is drawn from."""

import mmcv
import numpy as np
import pytest
import torch
from mmseg.registry import DATASETS, MODELS
from torch.nn import functional as F

from cda_mmseg.models.adaptations import find_adversary
from cda_mmseg.paper.pipeline_figure import plot_pipeline
from cda_mmseg.paper.pipeline_views import gather_pipeline


def test_views_are_what_the_players_make_of_the_images(smoke_config, tmp_path):
    config = smoke_config('cl_gta2city')
    config.model.decode_head.zero_init = False
    model = MODELS.build(config.model)
    model.init_weights()
    model.eval()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'model.pth')
    views = gather_pipeline(config, tmp_path / 'model.pth')

    assert views.networks == dict(
        encoder='VGG, FCN8sHead', generator='ImageGenerator', discriminator='2 × PatchGANDiscriminator'
    )
    counted = {
        'encoder': [*model.backbone.parameters(), *model.decode_head.parameters()],
        'generator': find_adversary(model).generator.parameters(),
        'discriminator': find_adversary(model).discriminator.parameters(),
    }
    assert views.parameters == {name: sum(p.numel() for p in group) for name, group in counted.items()}
    assert views.embedding == [(16, 4, 8), (32, 2, 4), (16, 1, 2)]
    assert views.loss == 'Conservative Loss'

    target, source = DATASETS.build(config.val_dataloader.dataset).datasets
    for domain, part in (('source', source), ('target', target)):
        item, seen = part[0], views.domains[domain]
        picture = mmcv.imread(item['data_samples'].img_path, channel_order='rgb')
        assert picture.shape == seen.image.shape
        np.testing.assert_array_equal(seen.image, picture)
        batch = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
        with torch.no_grad():
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            fake = find_adversary(model).generator.networks['both'](model.backbone(inputs), tuple(inputs.shape[2:]))
            scores = model.decode_head(model.backbone(inputs))
            real = find_adversary(model).discriminator.networks[domain](fake)[0, 0].sigmoid()
        rebuilt = ((fake[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
        np.testing.assert_allclose(seen.reconstruction, rebuilt, atol=1)
        np.testing.assert_allclose(seen.judgement, real.numpy(), rtol=1e-5)
        classes = F.interpolate(scores, inputs.shape[2:], mode='bilinear').argmax(1)[0].numpy()
        np.testing.assert_array_equal(seen.prediction, np.array(part.metainfo['palette'], dtype=np.uint8)[classes])
        assert (seen.labels is None) == (domain == 'target')

    axes = plot_pipeline(views).axes[0]
    shown = [image.get_array() for image in axes.images]
    wanted = []
    for domain in ('source', 'target'):
        seen = views.domains[domain]
        labels = [] if seen.labels is None else [seen.labels]
        wanted += [seen.image, seen.prediction, *labels, seen.reconstruction, seen.judgement]
    assert len(shown) == len(wanted) == 9
    for picture, array in zip(wanted, shown, strict=True):
        np.testing.assert_array_equal(picture, array)
    texts = '\n'.join(text.get_text() for text in axes.texts)
    for part in (
        'source image',
        'target image',
        'Conservative Loss',
        '16 × 4 × 8',
        'the other domain',
        'VGG\nFCN8sHead',
    ):
        assert part in texts


def test_a_model_without_a_generator_is_refused(smoke_config):
    with pytest.raises(TypeError, match='UDASegmentor has no generator'):
        gather_pipeline(smoke_config('source_only_gta2city'))
