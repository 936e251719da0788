"""Count what a step computes and keeps: passes, FLOP and bytes of each player, in the naive order and in ours.

    python -m benchmarks.counts [--config configs/cl_gta2city.py] [--fc-channels 4096] [--size 1024 512]

Passes are counted in real steps of a small copy of the networks; FLOP and bytes at the full size on tensors without
data. One multiplication with its addition is two FLOP; only convolutions are counted.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_backward_flop, conv_flop

from benchmarks.street_step import CONFIG, build_model, naive_step, our_step, street_config
from cda_mmseg.models.backbones.large_kernel_conv import LargeKernelConv2d

DOMAINS = 2
KINDS = ('forward', 'to_weights', 'to_inputs', 'to_both')
# A gradient costs what a forward pass does, and one of the weights needs those of the inputs of all layers but one.
PASSES_OF_KIND = {'forward': 1, 'to_weights': 2, 'to_inputs': 1, 'to_both': 2}
# Per domain and step. Backward passes: to_weights of a network whose input is data or detached, to_inputs of a frozen
# network, to_both of a network that is not frozen where something before it is differentiated too.
PASSES = {
    'naive': {
        'encoder': {'forward': 3, 'to_weights': 2},
        'generator': {'forward': 3, 'to_both': 2},
        'discriminator': {'forward': 4, 'to_weights': 2, 'to_both': 2},
    },
    'ours': {
        'encoder': {'forward': 1, 'to_weights': 1},
        'generator': {'forward': 2, 'to_weights': 1, 'to_inputs': 1},
        'discriminator': {'forward': 4, 'to_weights': 2, 'to_inputs': 2},
    },
}
# Per step: the source alone is scored.
PASSES_OF_HEAD = {'forward': 1, 'to_both': 1}

# Dense peaks in TFLOP/s and bandwidth in TB/s, from the vendor's data sheets.
GPUS = {
    'H100 SXM': {'TF32': 494.7, 'bf16': 989.4, 'bandwidth': 3.35},
    'A100 SXM 80 GB': {'TF32': 156.0, 'bf16': 312.0, 'bandwidth': 2.04},
}
REACHED_PEAK, REACHED_BANDWIDTH = 0.4, 0.7
# Fused Adam reads weight, gradient and both moments, and writes all but the gradient, four bytes each.
BYTES_OF_ADAM = 28
# What is kept is written once and read by the next layer; its gradient is written and read, and it is read again.
VISITS_OF_ACTIVATIONS = 5


def network_names(model: nn.Module) -> dict[nn.Module, str]:
    """Name the networks of a segmentor by their players; the head on its own, because it sees one domain.

    Args:
        model (nn.Module): An ``AdversarialUDASegmentor``.

    Returns:
        dict[nn.Module, str]: 'encoder', 'head', 'generator' or 'discriminator' by network.
    """
    return {
        model.backbone: 'encoder',
        model.decode_head: 'head',
        **dict.fromkeys(model.generator.networks.values(), 'generator'),
        **dict.fromkeys(model.discriminator.networks.values(), 'discriminator'),
    }


@contextmanager
def built_segmentors() -> Iterator[list[nn.Module]]:
    """Collect the segmentors that are built meanwhile, for steps that do not show theirs.

    Yields:
        list[nn.Module]: The segmentors.
    """
    built: list[nn.Module] = []

    def remember(module: nn.Module, name: str, _: nn.Module | None) -> None:
        if name == 'adaptations' and hasattr(module, 'backbone'):
            built.append(module)

    handle = register_module_module_registration_hook(remember)
    try:
        yield built
    finally:
        handle.remove()


@dataclass
class LayerCalls:
    """Calls of one convolution, and the images that went through it.

    Attributes:
        calls (dict[str, int]): By 'forward', 'weights' and 'inputs', the gradients.
        images (dict[str, int]): The same in images.
    """

    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    images: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, kind: str, images: int) -> None:
        self.calls[kind] += 1
        self.images[kind] += images


class ConvolutionCounter(TorchDispatchMode):
    """Count the convolutions of networks, forward and backward.

    Args:
        networks (Mapping[nn.Module, str]): Names by network.

    Attributes:
        flop (dict[str, int]): By name.
        layers (dict[nn.Module, dict[int, LayerCalls]]): By network and weight.
    """

    def __init__(self, networks: Mapping[nn.Module, str]) -> None:
        super().__init__()
        self.networks = networks
        self.owners = {_storage(parameter): network for network in networks for parameter in network.parameters()}
        self.flop: dict[str, int] = defaultdict(int)
        self.layers: dict[nn.Module, dict[int, LayerCalls]] = {network: defaultdict(LayerCalls) for network in networks}

    def __torch_dispatch__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is torch.ops.aten.convolution.default:
            images, weight = args[:2]
            self._layer(weight).add('forward', len(images))
            self.flop[self._name(weight)] += conv_flop(*args, **kwargs, out_val=result)
        elif func is torch.ops.aten.convolution_backward.default:
            images, weight, (to_inputs, to_weights, _) = args[1], args[2], args[-1]
            if to_inputs:
                self._layer(weight).add('inputs', len(images))
            if to_weights:
                self._layer(weight).add('weights', len(images))
            self.flop[self._name(weight)] += conv_backward_flop(*args, **kwargs, out_val=result)
        return result

    def _name(self, weight: Tensor) -> str:
        return self.networks[self.owners[_storage(weight)]]

    def _layer(self, weight: Tensor) -> LayerCalls:
        storage = _storage(weight)
        return self.layers[self.owners[storage]][storage]

    def passes(self, name: str) -> float:
        """Return the passes of a player per domain: forward, to the weights and to the inputs count one each.

        Args:
            name (str): The player.

        Returns:
            float: Passes of whole images through its networks.
        """
        # A first layer computes no gradient of the images; the busiest layer stands for its network.
        totals = [
            max(sum(layer.images.values()) for layer in layers.values())
            for network, layers in self.layers.items()
            if self.networks[network] == name
        ]
        return sum(totals) / DOMAINS

    def calls(self, name: str, kind: str) -> int:
        """Return how often the weights of a player's first network are run through.

        Args:
            name (str): The player.
            kind (str): 'forward', 'weights' or 'inputs'.

        Returns:
            int: Calls per step.
        """
        network = next(network for network in self.layers if self.networks[network] == name)
        return max(layer.calls[kind] for layer in self.layers[network].values())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def count_step(make_step: Callable[[], Callable[[], None]]) -> ConvolutionCounter:
    """Count what a step computes.

    Args:
        make_step (Callable): Builds a segmentor and returns its step.

    Returns:
        ConvolutionCounter: What the second step computed.
    """
    with built_segmentors() as built:
        step = make_step()
    # The first step of our segmentors checks things that the others do not.
    step()
    counter = ConvolutionCounter(network_names(built[0]))
    # convolutions are counted, also where this CPU would gather them into a matrix product
    with counter, patch.object(LargeKernelConv2d, 'may_gather', False):
        step()
    return counter


def small_config() -> Config:
    """Return the config with the same layers, but few channels.

    Returns:
        Config: For steps of a moment.
    """
    config = street_config(16, (96, 64))
    config.model.backbone.base_channels = 4
    config.model.decode_head.in_channels = [16, 32, 16]
    adversary = config.model.adaptations.image_adversary
    adversary.generator.update(base_channels=4, max_channels=16)
    adversary.discriminator.update(base_channels=4)
    return config


def count_small_steps() -> dict[str, ConvolutionCounter]:
    """Count the naive step and ours on small networks.

    Returns:
        dict[str, ConvolutionCounter]: 'naive'; 'ours' as shipped; 'separate', ours with one batch per domain.
    """
    config = small_config()
    return {
        'naive': count_step(lambda: naive_step(config)),
        'ours': count_step(lambda: our_step(config, {}, fused=False)),
        'separate': count_step(lambda: our_step(config, dict(batch_domains=False), fused=False)),
    }


@dataclass(frozen=True)
class NetworkCount:
    """What one pass of one image through a network takes.

    Attributes:
        flop (dict[str, int]): By kind of pass.
        kept (int): Bytes of activations kept for the backward pass.
        weights (int): Number of weights, of all networks of the player.
    """

    flop: dict[str, int]
    kept: int
    weights: int


def count_network(
    run: Callable[[list[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor], networks: Sequence[nn.Module]
) -> NetworkCount:
    """Count the passes of a network.

    Args:
        run (Callable): The forward pass of the first network.
        inputs (Sequence[Tensor]): What it reads.
        networks (Sequence[nn.Module]): The player's networks.

    Returns:
        NetworkCount: FLOP and bytes.
    """
    parameters = list(networks[0].parameters())
    flop = {}
    for kind in KINDS:
        leaves = [tensor.detach().requires_grad_(kind in ('to_inputs', 'to_both')) for tensor in inputs]
        for parameter in parameters:
            parameter.requires_grad_(kind != 'to_inputs')
        with FlopCounterMode(display=False) as counter:
            outputs = run(leaves)
            forward = counter.get_total_flops()
            if kind != 'forward':
                torch.autograd.backward(outputs, [torch.empty_like(output) for output in outputs])
        flop[kind] = counter.get_total_flops() - (forward if kind != 'forward' else 0)
        for parameter in parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
    weights = sum(parameter.numel() for network in networks for parameter in network.parameters())
    return NetworkCount(flop, kept_bytes(run, inputs, parameters), weights)


def kept_bytes(
    run: Callable[[list[Tensor]], Sequence[Tensor]], inputs: Sequence[Tensor], parameters: Sequence[Tensor]
) -> int:
    """Return the bytes that autograd keeps of a forward pass, without weights and inputs.

    Args:
        run (Callable): The forward pass.
        inputs (Sequence[Tensor]): What it reads.
        parameters (Sequence[Tensor]): The weights.

    Returns:
        int: Bytes; what several layers keep counts once.
    """
    others = {_storage(tensor) for tensor in (*inputs, *parameters)}
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = run(list(inputs))
    del outputs
    return sum(storage.nbytes() for key, storage in kept.items() if key not in others)


def count_players(config: Config, device: str = 'meta') -> dict[str, NetworkCount]:
    """Count the passes of all networks.

    Args:
        config (Config): The config.
        device (str): 'meta' computes nothing.

    Returns:
        dict[str, NetworkCount]: By 'encoder', 'head', 'generator' and 'discriminator'.
    """
    model = build_model(config, device)
    size = tuple(config.model.data_preprocessor.size)
    images = torch.empty(1, 3, *size, device=device)
    with torch.no_grad():
        features = list(model.backbone(images))
    generators, judges = list(model.generator.networks.values()), list(model.discriminator.networks.values())
    return {
        'encoder': count_network(lambda inputs: model.backbone(*inputs), [images], [model.backbone]),
        'head': count_network(lambda maps: [model.decode_head.forward(maps)], features, [model.decode_head]),
        'generator': count_network(lambda maps: [generators[0](maps, size)], features, generators),
        'discriminator': count_network(lambda inputs: [judges[0](*inputs)], [images], judges),
    }


def step_flop(order: str, players: Mapping[str, NetworkCount]) -> dict[str, int]:
    """Compute the FLOP of a step from those of its passes.

    Args:
        order (str): 'naive' or 'ours'.
        players (Mapping[str, NetworkCount]): Of :func:`count_players`.

    Returns:
        dict[str, int]: By network.
    """
    flop = {
        name: DOMAINS * sum(count * players[name].flop[kind] for kind, count in passes.items())
        for name, passes in PASSES[order].items()
    }
    return flop | {'head': sum(count * players['head'].flop[kind] for kind, count in PASSES_OF_HEAD.items())}


def format_players(players: Mapping[str, NetworkCount]) -> str:
    """Write FLOP and bytes of one image's passes, and of the weights, as a Markdown table.

    Args:
        players (Mapping[str, NetworkCount]): Of :func:`count_players`.

    Returns:
        str: The table.
    """
    lines = [
        '| network | weights (M) | forward (GFLOP) | to weights | to inputs, frozen | to both | activations kept (MiB) '
        '| weights (MiB) | gradients | Adam |',
        '|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
    ]
    for name, player in players.items():
        flop = player.flop
        mebibytes = 4 * player.weights / 2**20
        lines.append(
            f'| {name} | {player.weights / 1e6:.2f} | {flop["forward"] / 1e9:.1f} | {flop["to_weights"] / 1e9:.1f} '
            f'| {flop["to_inputs"] / 1e9:.1f} | {flop["to_both"] / 1e9:.1f} | {player.kept / 2**20:.0f} '
            f'| {mebibytes:.0f} | {mebibytes:.0f} | {2 * mebibytes:.0f} |'
        )
    return '\n'.join(lines)


def format_steps(players: Mapping[str, NetworkCount], counted: Mapping[str, ConvolutionCounter]) -> str:
    """Write passes and FLOP of both orders as a Markdown table.

    Args:
        players (Mapping[str, NetworkCount]): Of :func:`count_players`.
        counted (Mapping[str, ConvolutionCounter]): Of :func:`count_small_steps`.

    Returns:
        str: The table.
    """
    naive, ours = step_flop('naive', players), step_flop('ours', players)
    lines = [
        '| network | passes per domain, naive | ours | GFLOP per step, naive | ours | ratio |',
        '|---|---:|---:|---:|---:|---:|',
    ]
    for name in players:
        passes = ['source only'] * 2
        if name != 'head':
            passes = [f'{counted[order].passes(name):g}' for order in ('naive', 'ours')]
        lines.append(
            f'| {name} | {" | ".join(passes)} | {naive[name] / 1e9:.0f} | {ours[name] / 1e9:.0f} '
            f'| {ours[name] / naive[name]:.2f} |'
        )
    total, total_ours = sum(naive.values()), sum(ours.values())
    lines.append(f'| all | | | {total / 1e9:.0f} | {total_ours / 1e9:.0f} | {total_ours / total:.2f} |')
    return '\n'.join(lines)


def format_calls(counted: Mapping[str, ConvolutionCounter]) -> str:
    """Write how often E's weights are read, and their gradients written, as a Markdown table.

    Args:
        counted (Mapping[str, ConvolutionCounter]): Of :func:`count_small_steps`.

    Returns:
        str: The table.
    """
    titles = {'naive': 'naive', 'separate': 'ours, a batch per domain', 'ours': 'ours, both domains in one batch'}
    lines = [
        "| step | E's weights read forward | read for gradients of inputs | gradients of weights written |",
        '|---|---:|---:|---:|',
    ]
    for order, title in titles.items():
        calls = [str(counted[order].calls('encoder', kind)) for kind in ('forward', 'inputs', 'weights')]
        lines.append(f'| {title} | {" | ".join(calls)} |')
    return '\n'.join(lines)


def project(players: Mapping[str, NetworkCount], gpu: str, precision: str) -> dict[str, float]:
    """Estimate the time of our step on a GPU that was not at hand.

    Args:
        players (Mapping[str, NetworkCount]): Of :func:`count_players`.
        gpu (str): One of ``GPUS``.
        precision (str): 'TF32' or 'bf16'.

    Returns:
        dict[str, float]: Milliseconds of the convolutions, of reading and writing activations, and of the optimizers.
    """
    peak, bandwidth = GPUS[gpu][precision], GPUS[gpu]['bandwidth'] * REACHED_BANDWIDTH
    passes = {name: DOMAINS * kinds['forward'] for name, kinds in PASSES['ours'].items()} | {'head': 1}
    kept = sum(passes[name] * player.kept for name, player in players.items()) / (2 if precision == 'bf16' else 1)
    return {
        'convolutions': 1e3 * sum(step_flop('ours', players).values()) / (1e12 * peak * REACHED_PEAK),
        'activations': 1e3 * VISITS_OF_ACTIVATIONS * kept / (1e12 * bandwidth),
        'optimizers': 1e3 * BYTES_OF_ADAM * sum(player.weights for player in players.values()) / (1e12 * bandwidth),
    }


def format_projection(players: Mapping[str, NetworkCount]) -> str:
    """Write the projections as a Markdown table.

    Args:
        players (Mapping[str, NetworkCount]): Of :func:`count_players`.

    Returns:
        str: The table.
    """
    lines = [
        '| GPU | precision | convolutions (ms) | activations (ms) | Adam (ms) | step (ms) | 100,000 steps (h) |',
        '|---|---|---:|---:|---:|---:|---:|',
    ]
    for gpu in GPUS:
        for precision in ('TF32', 'bf16'):
            parts = project(players, gpu, precision)
            total = sum(parts.values())
            figures = ' | '.join(f'{value:.1f}' for value in (*parts.values(), total))
            lines.append(f'| {gpu} | {precision} | {figures} | {total / 36:.1f} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description='Count passes, FLOP and bytes.')
    parser.add_argument('--config', type=Path, default=CONFIG, help='config of a network of convolutions')
    parser.add_argument('--fc-channels', type=int, default=4096, help="channels of VGG's fc6 and fc7")
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 512), metavar=('WIDTH', 'HEIGHT'))
    options = parser.parse_args()
    players = count_players(street_config(options.fc_channels, tuple(options.size), options.config))
    counted = count_small_steps()
    tables = [
        format_players(players),
        format_steps(players, counted),
        format_calls(counted),
        format_projection(players),
    ]
    print('\n\n'.join(tables))


if __name__ == '__main__':
    main()
