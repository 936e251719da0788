"""Point a stock config at a built-in world."""

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
