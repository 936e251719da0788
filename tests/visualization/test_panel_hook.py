import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from cda_mmseg.visualization.contact_sheet import WIDTH
from cda_mmseg.visualization.panel_hook import DomainPanelHook, heat_map
from tests.visualization.conftest import ADVERSARIAL, PALETTE

TEACHER = dict(type='UDASegmentor', adaptations=dict(self_training=dict(type='SelfTraining')))


@pytest.fixture
def validate(make_config, tmp_path):
    """Return a function that validates a fresh network with the hook; gives runner, hook's rows and PNG."""

    def run(hook, target='target', **model):
        init_default_scope('mmseg')
        config = make_config(target, **{'type': 'UDASegmentor', **model})
        config.merge_from_dict(
            dict(
                work_dir=str(tmp_path),
                val_cfg=dict(type='ValLoop'),
                val_evaluator=dict(type='DomainIoUMetric'),
                visualizer=dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]),
                experiment_name=tmp_path.name,
            )
        )
        config.custom_hooks = [dict(type='DomainPanelHook', **hook)]
        runner = Runner.from_cfg(config)
        for adaptation in runner.model.adaptations.values():
            if hasattr(adaptation, 'teacher'):
                adaptation.teacher.has_begun.fill_(True)
        rows = {}
        (own,) = [one for one in runner.hooks if isinstance(one, DomainPanelHook)]
        original = own.after_val_epoch
        own.after_val_epoch = lambda *arguments, **keywords: (rows.update(own._rows), original(*arguments, **keywords))
        runner.val_loop.run()
        (panel,) = tmp_path.glob('*/vis_data/vis_image/*.png')
        return rows, panel

    return run


def titles(row):
    return row[0].split(': ')[1].split(' | ')


def test_pictures_of_both_domains_under_one_tag(validate, data_root):
    rows, panel = validate(dict(pictures=2), **ADVERSARIAL)
    assert panel.name == 'panel_0.png'
    assert [row[0].split(':')[0] for domain in ('target', 'source') for row in rows[domain]] == [
        *('target 0.png', 'target 1.png', 'source 0.png', 'source 1.png')
    ]
    assert titles(rows['target'][0]) == ['input', 'reconstruction', 'prediction', 'truth', 'p_t, line at 0.37']
    shown = dict(zip(titles(rows['source'][1]), rows['source'][1][1], strict=True))
    image = cv2.imread(str(data_root / 'source/img/1.png'))
    np.testing.assert_array_equal(shown['input'], cv2.resize(image, (16, 8))[..., ::-1])
    label = np.array(Image.open(data_root / 'source/label/1.png'))
    np.testing.assert_array_equal(shown['truth'], np.array(PALETTE)[label])
    assert Image.open(panel).size[0] == 6 + 5 * (WIDTH + 6)


def test_a_target_without_labels_has_pseudo_labels_and_confidence(validate):
    rows, _ = validate(dict(names=['3.png', '2.png'], tag='some'), target='bare', **TEACHER)
    assert [row[0].split(':')[0] for row in rows['target']] == ['target 2.png', 'target 3.png']
    assert titles(rows['target'][0]) == [
        *('input', 'pseudo labels', 'prediction', 'probability of the predicted class, line at 0.37')
    ]
    # A teacher that has just begun is the student, at the size of the network's input.
    shown = dict(zip(titles(rows['target'][0]), rows['target'][0][1], strict=True))
    assert shown['pseudo labels'].shape == (8, 16, 3) and shown['prediction'].shape == (16, 32, 3)
    assert (shown['prediction'][1::2, 1::2] == shown['pseudo labels']).all(axis=-1).mean() > 0.6
    assert titles(rows['source'][0]) == ['input', 'prediction', 'truth', 'p_t, line at 0.37']


def test_a_name_that_no_picture_has_is_named(validate, tmp_path):
    rows, _ = validate(dict(names=['3.png', 'typo.png']))
    assert [row[0].split(':')[0] for row in rows['target']] == ['target 3.png']
    (log,) = tmp_path.glob('*/*.log')
    assert log.read_text().count('DomainPanelHook.names: typo.png is none of the pictures') == 1
    with pytest.raises(ValueError, match=r"names must be a list, such as \['3.png'\]"):
        DomainPanelHook(names='3.png')


def test_the_line_is_where_the_loss_lets_go():
    p_t = torch.linspace(0.1, 0.9, 9).repeat(9, 1)  # columns
    truth = np.zeros((9, 9), int)
    truth[0] = 255
    painted = heat_map(torch.stack([p_t, 1 - p_t]).numpy(), truth, 0.45)
    white = (painted == 255).all(axis=-1)
    assert white[2:-1, 4].all() and not white[:, :4].any() and not white[2:-1, 5:].any()
    assert (painted[0] == 0).all()
    assert painted[5, 0].sum() < painted[5, 3].sum() < painted[5, 8].sum()
    likeliest = heat_map(torch.stack([p_t, 1 - p_t]).numpy(), None, 0.45)
    np.testing.assert_array_equal(likeliest[5, 0], likeliest[5, 8])


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match='pictures must be at least 1'):
        DomainPanelHook(pictures=0)
