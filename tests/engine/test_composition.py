"""What is laid over a config before it is read."""

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
