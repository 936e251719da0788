"""What each method costs: time against its own naive step and against its floor, memory against the naive step.

    python -m benchmarks.methods [--methods NAME ...] [--rounds 10] [--size 256 128] [--memory-size 384 192]

A row per file of configs/_base_/methods, all on one network, DeepLabV2-R101 with its auxiliary head (without it for
the paper's method), one random image per domain, at nine tenths of the run: what a method ends before is not in it. The
naive steps (benchmarks/naive_methods.py, naive_step.py) run the same networks and optimizers, with a backward pass per
term. The floor is what no order of the passes can avoid: random tensors in the place of what one pass hands to the
next, no losses, no seeds, no checks, no log.

All sides run in one process, in turns, on one model whose weights stand still; a ratio is the median of those of the
rounds, with half its interquartile range behind it; where that is above 2 %, more rounds follow. Peak memory is what a
step allocates above weights and optimizer state. *More memory* is what lies there between steps beyond that of a step
on the source alone: teachers, players, their states.
"""

import argparse
import logging
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from torch import Tensor, nn

from benchmarks.measuring import machine, peak_memory, times_in_turns
from benchmarks.naive_methods import (
    PlainClassSizes,
    PlainConfusion,
    PlainCurriculum,
    PlainFeatureDistance,
    PlainOutputSpace,
    PlainReversal,
    PlainSelfTraining,
    PlainStep,
    PlainTargetLoss,
    entropy_maps,
    image_wise,
    minent,
    softmax,
)
from benchmarks.naive_step import NaiveStep
from benchmarks.street_step import CONFIG, adversary_passes, build_model, random_batch
from cda_mmseg.engine.composition import compose
from cda_mmseg.models.adaptations import Adaptation
from cda_mmseg.models.adaptations.class_sizes import constrained
from cda_mmseg.models.losses import SoftmaxCrossEntropyLoss
from cda_mmseg.utils.progress import TrainingProgress

FOLDER = CONFIG.parent / '_base_' / 'methods'
LEAF = CONFIG.parent / 'minent_gta2city_deeplabv2_r101.py'
METHODS = tuple(sorted(path.stem for path in FOLDER.glob('*.py')))
PROGRESS = TrainingProgress(90, 100, 0, 0)
MOST_ROUNDS = 4
"""How many times as many rounds there are at most where ratios spread."""
MIB = 2**20


def method_config(method: str, size: tuple[int, int]) -> Config:
    """Read a method with the network of all rows; ``size`` is width and height."""
    config, own = Config.fromfile(LEAF), Config.fromfile(FOLDER / f'{method}.py')
    config.adaptations, config.source_loss = own.adaptations, own.source_loss
    config.execution.batch_domains = 'image_adversary' in own.adaptations
    compose(config)
    if any(one.type == 'ImageAdversary' for one in config.model.get('adaptations', {}).values()):
        config.model.type = 'AdversarialUDASegmentor'  # shows its players to the naive step
        config.model.pop('auxiliary_head', None)
    return resized(config, size)


def resized(config: Config, size: tuple[int, int]) -> Config:
    """Set width and height of the images, without pretrained weights."""
    config.model.backbone.init_cfg = None
    config.model.data_preprocessor.size = (size[1], size[0])
    for adaptation in config.model.get('adaptations', {}).values():
        if adaptation and 'ignored_rows' in adaptation:  # given for 512 rows
            adaptation.ignored_rows = tuple(rows * size[1] // 512 for rows in adaptation.ignored_rows)
    return config


def region_batch(config: Config) -> dict:
    """Draw images of random colours and labels of whole regions; the target has superpixels."""
    batch = random_batch(config, 1, 'cpu')
    height, width = config.model.data_preprocessor.size
    number = config.model.decode_head.num_classes
    classes = torch.randint(0, number, (4, 8), generator=torch.Generator().manual_seed(0))
    for domain, grid in (('source', classes), ('target', torch.arange(32).view(4, 8))):
        regions = grid.repeat_interleave(height // 4, 0).repeat_interleave(width // 8, 1)[None]
        batch[domain]['data_samples'][0].gt_sem_seg.data = regions
    return batch


class Method:
    """A method with its network, ready for a step.

    Args:
        config (Config): Composed, with the size of the images.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.model = build_model(self.config, 'cpu')
        self.optimizers: OptimWrapperDict = build_optim_wrapper(self.model, self.config.optim_wrapper)
        self.batch = region_batch(self.config)
        self.model.set_progress(PROGRESS)
        self.active = list(self.model.active_adaptations().values())
        for adaptation in self.active:
            self._study(adaptation)

    def _study(self, adaptation: Adaptation) -> None:
        """Give what the training data would have told."""
        kind, random = type(adaptation).__name__, np.random.default_rng(0)
        if kind == 'FeatureDistance':
            adaptation.study({})
        elif kind == 'ClassSizes':
            adaptation.limits.copy_(torch.tensor([0.01, 0.05, 0.3])[:, None])
            adaptation._studied = True
        elif kind == 'Curriculum':
            classes = np.ones(self.config.model.decode_head.num_classes)
            adaptation.distributions = torch.from_numpy(random.dirichlet(classes, 1)).float()
            adaptation.landmarks = torch.from_numpy(random.choice([0, 5, 13, 255, 255], (1, 256)).astype(np.uint8))
            adaptation._rows = {'random': 0}

    def find(self, kind: str) -> list[Adaptation]:
        return [one for one in self.active if type(one).__name__ == kind]

    def step(self) -> None:
        """Take our step."""
        self.model.train_step(self.batch, self.optimizers)

    def resident(self) -> int:
        """Count the bytes that lie there between steps, after one."""
        initial = [one._initial[0] for one in self.find('FeatureDistance')]
        tensors = [tensor for module in (self.model, *initial) for tensor in (*module.parameters(), *module.buffers())]
        for wrapper in self.optimizers.values():
            states = wrapper.optimizer.state.values()
            tensors += [value for state in states for value in state.values() if isinstance(value, Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def naive_step(self) -> Callable[[], None]:
        """Make the naive step of the same networks and optimizers."""
        preprocessor, batch = self.model.data_preprocessor, self.batch
        step = self._plain_self_training() if self.find('SelfTraining') else self._plain_step()

        def naive() -> None:
            images = {
                domain: (torch.stack(data['inputs'])[:, [2, 1, 0]].float() - preprocessor.mean) / preprocessor.std
                for domain, data in batch.items()
                if domain == 'source' or self.active
            }
            step(PROGRESS.iteration, images, batch['source']['data_samples'][0].gt_sem_seg.data)

        return naive

    def _plain_step(self) -> PlainStep | NaiveStep:
        model = self.model
        if adversaries := self.find('ImageAdversary'):
            return NaiveStep(
                model,
                {name: wrapper.optimizer for name, wrapper in self.optimizers.items()},
                lambda scores, labels: self._pixel_loss(scores, labels).mean(),
                model.data_preprocessor.mean,
                model.data_preprocessor.std,
                encoder_weight=adversaries[0].encoder_adversarial_weight,
                generator_weight=adversaries[0].generator_adversarial_weight,
                reconstruction_weight=adversaries[0].reconstruction_weight,
                sequential=True,
            )
        step = PlainStep(model)
        if levels := self.find('OutputSpaceAdversary'):
            judges = {int(one.head != 'decode'): (getattr(one, one.player).network, one.weight) for one in levels}
            step = PlainOutputSpace(model, judges, softmax if levels[0].maps == 'softmax' else entropy_maps)
        elif reversals := self.find('GradientReversal'):
            judge = reversals[0].feature_discriminator.network
            step = PlainReversal(model, judge, reversals[0].weight, PROGRESS.max_iters)
        elif confusions := self.find('DomainConfusion'):
            judge, sizes = confusions[0].feature_discriminator.network, self.find('ClassSizes')
            step = PlainConfusion(model, judge, confusions[0].weight, self._plain_sizes(sizes[0]))
        elif curricula := self.find('Curriculum'):
            weights = curricula[0].distribution_weight, curricula[0].superpixel_weight
            regions = self.batch['target']['data_samples'][0].gt_sem_seg.data[0].numpy()
            estimates = ({PROGRESS.iteration: of[0]} for of in (curricula[0].distributions, curricula[0].landmarks))
            step = PlainCurriculum(model, *estimates, lambda _: regions, curricula[0].sharpness, weights)
        elif self.find('MinEnt') or self.find('MaxSquare'):
            losses = dict(MinEnt=minent, MaxSquare=image_wise)
            terms = [(int(one.head != 'decode'), one.weight, losses[type(one).__name__]) for one in self.active]
            step = PlainTargetLoss(model, terms)
        elif distances := self.find('FeatureDistance'):
            one = distances[0]
            step = PlainFeatureDistance(model, one._initial[0], one.classes, one.min_share, one.weight)
        elif unknown := [type(one).__name__ for one in self.active if type(one).__name__ != 'SelfTraining']:
            raise ValueError(f'{unknown} have no naive step here.')
        step.pixel_loss = self._pixel_loss
        return self._equip(step)

    def _plain_self_training(self) -> PlainStep:
        (one,) = self.find('SelfTraining')
        source = self._plain_step()
        step = PlainSelfTraining(
            self.model,
            one.jitter,
            one.threshold,
            one.momentum,
            masked=one.masked_weight,
            block=one.block_size,
            ignored_rows=one.ignored_rows,
            learn_source=source if isinstance(source, NaiveStep) else source.back_propagate,
        )
        return self._equip(step)

    def _equip(self, step: PlainStep) -> PlainStep:
        step.run_seed = PROGRESS.seed
        step.optimizers = [wrapper.optimizer for wrapper in self.optimizers.values()]
        return step

    def _pixel_loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """PyTorch's cross entropy, or the method's own loss of the source."""
        loss = self.model.decode_head.loss_decode
        if isinstance(loss, SoftmaxCrossEntropyLoss):
            return nn.functional.cross_entropy(scores, labels, ignore_index=255, reduction='none')
        return loss(scores, labels).expand_as(labels)

    def _plain_sizes(self, one: Adaptation) -> PlainClassSizes:
        def solve(log_shares: np.ndarray, *limits: np.ndarray) -> np.ndarray:
            tensors = (torch.from_numpy(values)[None].float() for values in (log_shares, *limits))
            return constrained(*tensors, one.slack, one.scaling_iterations)[0][0].numpy()

        limits = one.limits.numpy()
        return PlainClassSizes(self.model, limits, solve, one.presence, one.big_class_factor, one.weight, one.stride)

    def floor_step(self) -> Callable[[], None]:
        """Make the passes that cannot be avoided, and the optimizers' steps."""
        model, encoder = self.model, self.model.encoder
        size = tuple(self.config.model.data_preprocessor.size)
        levels = {name: level for name, level in model._levels(self.active).items() if level != 'images'}
        image = torch.randn(1, 3, *size)
        batches = [list(levels)] if model.execution.batch_domains and len(levels) > 1 else [[name] for name in levels]
        passes = [lambda domains=domains: embed(domains) for domains in batches]
        with torch.no_grad():
            features = [encoder.embed(image.expand(len(domains), -1, -1, -1)) for domains in batches]

        def embed(domains: Sequence[str]) -> None:
            maps = encoder.embed(torch.cat([image] * len(domains)))
            outputs = []
            for index, domain in enumerate(domains):
                own = [level[index : index + 1] for level in maps]
                outputs += encoder.score(own) if levels[domain] == 'scores' else own[-1:]
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])

        def judge(network: nn.Module, maps: Tensor, domains: Sequence[str]) -> None:
            """E's term of some domains, D's of both; an answer that both need is given once."""
            for domain in ('source', 'target'):
                seen = maps.detach().requires_grad_(domain in domains)
                answer = network(seen)
                if seen.requires_grad:
                    torch.autograd.grad(answer, seen, torch.ones_like(answer), retain_graph=True)
                parameters = list(network.parameters())
                gradients = torch.autograd.grad(answer, parameters, torch.ones_like(answer))
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

        @torch.no_grad()
        def ask(network: Callable[[Tensor], object]) -> None:
            network(image)

        for one in self.active:
            kind = type(one).__name__
            if kind == 'SelfTraining':
                teacher = one.teacher.network
                passes.append(lambda t=teacher: ask(lambda images: t.decode_head.forward(t.embed(images))))
                views = 1 + (one.masked_weight > 0)
                passes += [lambda: embed(['source'])] * views
            elif kind == 'FeatureDistance':
                passes.append(lambda one=one: ask(one._initial[0]))
            elif kind == 'ImageAdversary':
                passes.append(adversary_passes(model, [list(maps) for maps in features], 1, size))
            elif hasattr(one, 'loss_gan'):
                of_scores = kind == 'OutputSpaceAdversary'
                maps = torch.rand(1, 19, *size) if of_scores else torch.randn_like(features[0][one.in_index])
                network, domains = getattr(one, one.player).network, one.terms_of
                passes.append(lambda n=network, m=maps, d=domains: judge(n, m, d))
        optimizers = [wrapper.optimizer for wrapper in self.optimizers.values()]

        def step() -> None:
            for run in passes:
                run()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()

        return step


def time_ratios(sides: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Time all sides in turns until the ratios of the first to the others have settled; seconds per round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for part in range(MOST_ROUNDS):
        for name, values in times_in_turns(sides, rounds, warm_up=int(part == 0)).items():
            seconds[name] += values
        if all(ratio_of(seconds['ours'], seconds[name])[1] <= 0.02 for name in list(sides)[1:]):
            break
    return seconds


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Return the median of the rounds' ratios and half their interquartile range, relative to it."""
    low, middle, high = statistics.quantiles((a / b for a, b in zip(ours, theirs, strict=True)), n=4)
    return middle, (high - low) / 2 / middle


def format_row(name: str, rounds: int, size: tuple[int, int], memory_size: tuple[int, int], baseline: int) -> str:
    """Measure a method; a row of the table."""
    method = Method(method_config(name, size))
    for wrapper in method.optimizers.values():
        for group in wrapper.optimizer.param_groups:
            group['lr'] = 0.0  # the floor's gradients would drive the weights away
    sides = {'ours': method.step, 'naive': method.naive_step(), 'floor': method.floor_step()}
    seconds = time_ratios(sides, rounds)
    cells = [f'`{name}`', f'{1e3 * statistics.median(seconds["ours"]):.0f} ms']
    for other in ('naive', 'floor'):
        ratio, spread = ratio_of(seconds['ours'], seconds[other])
        verdict = '' if other == 'naive' else ' reached' if ratio <= 1.15 else ' **missed**'
        cells.append(f'{ratio:.2f} ± {100 * spread:.0f} %{verdict}')
    more = (method.resident() - baseline) / MIB
    del method, sides
    ours, naive = (peak_of(name, memory_size, is_naive) for is_naive in (False, True))
    verdict = 'reached' if round(ours / naive, 2) <= 1 else '**missed**'
    cells += [f'{ours / naive:.2f} {verdict}', f'{ours / MIB:.0f} MiB', f'{more:.0f} MiB', str(len(seconds['ours']))]
    return f'| {" | ".join(cells)} |'


def peak_of(name: str, size: tuple[int, int], is_naive: bool) -> int:
    """Measure the peak of one side, in bytes."""
    method = Method(method_config(name, size))
    return peak_memory(method.naive_step() if is_naive else method.step, 'cpu')


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description='Time and memory of a step of each method.')
    parser.add_argument('--methods', nargs='+', default=METHODS, choices=METHODS, metavar='NAME')
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128), metavar=('WIDTH', 'HEIGHT'))
    parser.add_argument('--memory-size', type=int, nargs=2, default=(384, 192), metavar=('WIDTH', 'HEIGHT'))
    options = parser.parse_args()
    MMLogger.get_instance('mmengine').setLevel(logging.ERROR)
    size, memory_size = tuple(options.size), tuple(options.memory_size)
    source_only = Method(method_config('source_only', size))
    source_only.step()
    baseline = source_only.resident()
    del source_only
    print(
        f'| method | step, {size[0]}×{size[1]} | against naive | against floor, ≤ 1.15 '
        f'| peak against naive, ≤ 1, {memory_size[0]}×{memory_size[1]} | peak | more memory | rounds |'
    )
    print('|---|---:|---:|---:|---:|---:|---:|---:|')
    for name in options.methods:
        print(format_row(name, options.rounds, size, memory_size, baseline), flush=True)
    print(f'\nMeasured on {machine("cpu", torch.get_num_threads())}.')


if __name__ == '__main__':
    main()
