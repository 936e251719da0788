"""What is laid over a config before it is read."""

import copy

from mmengine.config import Config

from cda_mmseg.engine import compose


def test_the_home_folder_is_written_out_wherever_it_stands(monkeypatch):
    monkeypatch.setenv('HOME', '/home/somebody')
    config = Config(
        dict(
            model=dict(),
            load_from='~/weights.pth',
            val_dataloader=dict(datasets=[dict(data_root='~/data'), '~/other', '~user/data', 'a~/b']),
        )
    )
    compose(config)
    assert config.load_from == '/home/somebody/weights.pth'
    assert config.val_dataloader.datasets == [
        dict(data_root='/home/somebody/data'),
        '/home/somebody/other',
        '~user/data',
        'a~/b',
    ]


def test_a_run_names_its_visualizer_unless_the_user_does():
    for name, left in (('visualizer', {}), ('mine', dict(name='mine'))):
        config = Config(dict(model=dict(), visualizer=dict(name=name)))
        compose(config)
        assert config.visualizer == left


def test_a_config_is_formatted_again_only_when_it_has_changed(monkeypatch):
    formatted = []
    plain = Config.pretty_text.fget
    monkeypatch.setattr(Config, 'pretty_text', property(lambda config: formatted.append(config) or plain(config)))
    config = Config(dict(model=dict(depth=1), loaders=[dict(batch_size=1)]))
    compose(config)
    assert config.pretty_text == plain(config)
    for copied in (config, copy.deepcopy(config), copy.copy(config)):
        assert 'depth' in copied.pretty_text and copied.pretty_text == plain(config)
    assert len(formatted) == 1
    config.model.depth = 23
    assert '23' in config.pretty_text
    config.loaders[0].batch_size = 77
    assert '77' in config.pretty_text and len(formatted) == 3
