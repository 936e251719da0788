"""The step of configs/cl_gta2city.py on random images: ours, the naive one, and what no order of updates can avoid."""

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

import cda_mmseg.registration  # noqa: F401  registers the networks
from benchmarks.naive_step import NaiveStep
from cda_mmseg.engine.composition import read_config
from cda_mmseg.models.players import DOMAINS
from cda_mmseg.models.segmentors.step import frozen
from cda_mmseg.utils.progress import TrainingProgress

CONFIG = Path(__file__).resolve().parents[1] / 'configs' / 'cl_gta2city.py'
PLAYERS = ('encoder', 'generator', 'discriminator')


def street_config(fc_channels: int, size: tuple[int, int], path: Path = CONFIG) -> Config:
    """Read the config, without pretrained weights.

    Args:
        fc_channels (int): Channels of VGG's fc6 and fc7.
        size (tuple[int, int]): Width and height of the images.
        path (Path): The config.

    Returns:
        Config: The config.
    """
    config = read_config(path)
    config.model.type = 'AdversarialUDASegmentor'  # shows its players to the naive step
    config.model.backbone.init_cfg = None
    if config.model.backbone.type == 'VGG':
        config.model.backbone.fc_channels = fc_channels
        config.model.decode_head.in_channels = [*config.model.decode_head.in_channels[:-1], fc_channels]
    config.model.data_preprocessor.size = (size[1], size[0])
    return config


def random_batch(config: Config, batch_size: int, device: str, seed: int = 0) -> dict:
    """Draw images and labels as the loaders give them.

    Args:
        config (Config): Says the size.
        batch_size (int): Images per domain.
        device (str): Where they lie.
        seed (int): Seed.

    Returns:
        dict: ``dict(source=..., target=...)``.
    """
    generator = torch.Generator().manual_seed(seed)
    size = tuple(config.model.data_preprocessor.size)
    classes = config.model.decode_head.num_classes
    batch = {}
    for domain in DOMAINS:
        samples = [SegDataSample(metainfo=dict(img_shape=size, img_path='random')) for _ in range(batch_size)]
        for sample in samples:
            label = torch.randint(0, classes, (1, *size), generator=generator)
            label[:, : size[0] // 12] = 255
            sample.gt_sem_seg = PixelData(data=label.to(device))
        images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for _ in range(batch_size)]
        batch[domain] = dict(inputs=[image.to(device) for image in images], data_samples=samples)
    return batch


def build_model(config: Config, device: str) -> nn.Module:
    """Build the model with the same weights each time."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(config.model)).to(device).train()


def our_step(
    config: Config,
    changes: dict,
    fused: bool,
    batch_size: int = 1,
    device: str = 'cpu',
    mixed_precision: str | None = None,
) -> Callable[[], None]:
    """Make our training step.

    Args:
        config (Config): The config.
        changes (dict): What is laid over the config's ``model.execution``.
        fused (bool): Whether the optimizers are PyTorch's fused ones, or those that the naive step uses.
        batch_size (int): Images per domain.
        device (str): 'cpu' or a GPU.
        mixed_precision (str | None): 'bfloat16' or 'float16'.

    Returns:
        Callable: One step.
    """
    config = copy.deepcopy(config)
    config.model.execution.update(changes)
    for name in PLAYERS:
        if name in config.optim_wrapper:
            config.optim_wrapper[name].optimizer.fused = fused
            if mixed_precision:
                config.optim_wrapper[name].update(type='AutocastOptimWrapper', dtype=mixed_precision)
    model = build_model(config, device)
    optimizers = build_optim_wrapper(model, config.optim_wrapper)
    batch = random_batch(config, batch_size, device)

    def step() -> None:
        # The first half of the run: cross entropy, as the naive step has it.
        model.set_progress(TrainingProgress(0, 100, 0, 0))
        model.train_step(batch, optimizers)

    return step


def naive_step(config: Config, batch_size: int = 1, device: str = 'cpu') -> Callable[[], None]:
    """Make the naive step with PyTorch's stock Adam.

    Args:
        config (Config): The config.
        batch_size (int): Images per domain.
        device (str): 'cpu' or a GPU.

    Returns:
        Callable: One step.
    """
    model = build_model(config, device)
    parameters = {name: list(model.player(name).parameters()) for name in PLAYERS}
    preprocessor, adversary = model.data_preprocessor, config.model.adaptations.image_adversary
    step = NaiveStep(
        model,
        {name: torch.optim.Adam(values, lr=1e-5) for name, values in parameters.items()},
        lambda scores, labels: F.cross_entropy(scores, labels, ignore_index=255),
        preprocessor.mean,
        preprocessor.std,
        encoder_weight=adversary.encoder_adversarial_weight,
        generator_weight=adversary.generator_adversarial_weight,
        reconstruction_weight=adversary.reconstruction_weight,
    )
    batch = random_batch(config, batch_size, device)
    images = {
        domain: (torch.stack(data['inputs'])[:, [2, 1, 0]].float() - preprocessor.mean) / preprocessor.std
        for domain, data in batch.items()
    }
    labels = torch.cat([sample.gt_sem_seg.data for sample in batch['source']['data_samples']])
    return lambda: step(0, images, labels)


def floor_step(config: Config, batch_domains: bool, batch_size: int = 1, device: str = 'cpu') -> Callable[[], None]:
    """Make what no order of the updates can avoid: 3e + 5g + 10d per domain, and one fused optimizer step each.

    Random tensors of the true shapes take the place of what one pass hands to the next; nothing else is computed: no
    loss, no upsampled scores, no seeds, no checks, no log.

    Args:
        config (Config): The config.
        batch_domains (bool): Whether both domains are one batch, wherever one network sees both.
        batch_size (int): Images per domain.
        device (str): 'cpu' or a GPU.

    Returns:
        Callable: One step.
    """
    model = build_model(config, device)
    height, width = config.model.data_preprocessor.size
    optimizers = [torch.optim.Adam(model.player(name).parameters(), lr=1e-5, fused=True) for name in PLAYERS]
    batches = [2 * batch_size] if batch_domains else [batch_size, batch_size]
    images = [torch.randn(size, 3, height, width, device=device) for size in batches]
    with torch.no_grad():
        features = [model.encoder.embed(image) for image in images]
    gradients_of_e = [[torch.randn_like(level) for level in maps] for maps in features]
    play = adversary_passes(model, features, batch_size, (height, width))

    def embed() -> None:
        for index, image in enumerate(images):
            outputs, gradients = model.encoder.embed(image), list(gradients_of_e[index])
            if index == 0:
                scores = model.encoder.score([level[:batch_size] for level in outputs])
                outputs = [*outputs, *scores]
                gradients += [torch.ones_like(score) for score in scores]
            torch.autograd.backward(outputs, gradients)

    def step() -> None:
        play()
        embed()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return step


def adversary_passes(
    model: nn.Module, features: list[list[Tensor]], batch_size: int, size: tuple[int, int]
) -> Callable[[], None]:
    """Make the passes of G and D that no order of the updates can avoid: 5g + 10d per domain.

    Args:
        model (nn.Module): The segmentor.
        features (list[list[Tensor]]): What E makes of each batch: of both domains, or of one each.
        batch_size (int): Images per domain.
        size (tuple[int, int]): Height and width of the images.

    Returns:
        Callable: The passes, on random tensors.
    """
    generator, judges = model.generator.networks['both'], model.discriminator.networks
    features = [[torch.randn_like(level) for level in maps] for maps in features]
    gradients = [torch.randn(len(maps[0]), 3, *size, device=maps[0].device) for maps in features]
    pictures = torch.rand(batch_size, 3, *size, device=gradients[0].device)
    real_and_rebuilt = [torch.cat([pictures, pictures])] if len(features) == 1 else [pictures, pictures]

    def rebuild(is_frozen: bool) -> None:
        for maps, gradient in zip(features, gradients, strict=True):
            maps = [level.detach().requires_grad_(is_frozen) for level in maps]
            generator(maps, size).backward(gradient)

    def judge(is_frozen: bool) -> None:
        for network in judges.values():
            for batch in [pictures] if is_frozen else real_and_rebuilt:
                answer = network(batch.detach().requires_grad_(is_frozen))
                answer.backward(torch.ones_like(answer))

    def play() -> None:
        judge(is_frozen=False)
        rebuild(is_frozen=False)
        with frozen(model.discriminator):
            judge(is_frozen=True)
            judge(is_frozen=True)
        with frozen(model.generator):
            rebuild(is_frozen=True)

    return play
