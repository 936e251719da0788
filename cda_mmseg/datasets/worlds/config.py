"""Point a stock config at a built-in world, and give it a network that a CPU trains from scratch."""

from mmengine.config import ConfigDict


def use_world(config: ConfigDict, root: str, width: int, height: int) -> None:
    """Change the data roots and sizes of a stock config, and nothing else.

    Written for the first lines of a config that inherits a stock leaf: ``use_world(_base_, 'data/worlds/gta2city', 256,
    128)``. Data set types, pipelines and hooks stay those that read the real downloads.

    Args:
        config (ConfigDict): The config to change.
        root (str): The world's folder; it takes the place of ``data`` in the data roots.
        width (int): Width in pixels of training crops and of evaluated images.
        height (int): Height in pixels of training crops.
    """
    pipelines = [config.train_pipeline, config.test_pipeline]
    for loader in (config[f'{name}_dataloader'] for name in ('train', 'target', 'val', 'test')):
        pipelines.append(loader.dataset.get('pipeline', []))
        for dataset in loader.dataset.get('datasets', [loader.dataset]):
            dataset.data_root = root + dataset.data_root.removeprefix('data')
            pipelines.append(dataset.pipeline)
    for step in (step for pipeline in pipelines for step in pipeline):
        if step.type == 'Resize':
            step.scale = (width, width)
        elif step.type == 'RandomCrop':
            step.crop_size = (height, width)
    config.data_preprocessor.size = config.model.data_preprocessor.size = (height, width)


def use_small_vgg(config: ConfigDict) -> None:
    """Give a stock config on VGG16 a narrow VGG11 with group norm, small players, and a schedule for them.

    What the children in ``configs/demo`` and ``configs/control`` have in common; written below :func:`use_world`.

    Args:
        config (ConfigDict): The config to change.
    """
    config.model.backbone.update(
        depth=11, base_channels=16, fc_channels=128, norm_cfg=dict(type='GN', num_groups=8), init_cfg=None
    )
    config.model.decode_head.update(in_channels=[64, 128, 128], zero_init=False)
    config.train_dataloader.batch_size = 4
    if 'image_adversary' in config.adaptations:
        config.adaptations.image_adversary.generator.update(base_channels=8, max_channels=64)
        config.adaptations.image_adversary.discriminator.update(base_channels=16, num_layers=4)
        config.target_dataloader.batch_size = 4
    config.train_cfg.update(max_iters=700, val_interval=175)
    config.optim_wrapper.encoder.optimizer.lr = 1e-3
    config.param_scheduler.encoder = [dict(type='MultiStepLR', by_epoch=False, milestones=[350], gamma=0.1)]
