"""What a published folder says of its network, for people and for other programs."""

import json
import os
import re
from collections.abc import Iterator, Mapping

from mmengine.config import Config

from cda_mmseg.datasets.listing import single_configs
from cda_mmseg.engine.hooks.teacher_hook import scores_teacher

SCORES = ('mIoU', 'mAcc', 'aAcc')
NOT_RECORDED = 'not recorded'
_BEST = re.compile(r'best_(.+)_iter_\d+\.pth')
_LABEL_FREE = re.compile(r'.+_(entropy|share_distance|images|share\..+)')

CARD = """# {name}

Semantic segmentation by unsupervised domain adaptation: {network}, {parameters:,} parameters, {number} classes.

| | |
|---|---|
| source, with labels | {source} |
| target, without labels | {target} |
| labelled pictures of the target | {labelled} |
| adaptations | {adaptations} |
| iterations | {iterations} |
| seed | {seed} |
| how this snapshot was chosen | {choice} |

## Scores

{scores}

## Use

Needs {needs}. `config.py` is an ordinary MMSegmentation config:

```python
from mmseg.apis import MMSegInferencer

inferencer = MMSegInferencer('config.py', '{weights}')
classes = inferencer('picture.png')['predictions']
```

With cda_mmseg, whole folders and videos: `python tools/predict.py PICTURES --model THIS_FOLDER --out DIR`.

`model.safetensors` holds the same weights. `config.json` names classes, colours and normalisation for other programs.
"""


def machine_readable(meta: Mapping, preprocessor: Mapping) -> str:
    """Write classes, palette and normalisation as JSON; mean and standard deviation are of values 0..255."""
    flipped = preprocessor.get('bgr_to_rgb') or preprocessor.get('rgb_to_bgr')
    return json.dumps(
        dict(
            id2label={str(index): name for index, name in enumerate(meta['classes'])},
            palette=[list(color) for color in meta['palette']],
            mean=preprocessor.get('mean'),
            std=preprocessor.get('std'),
            channel_order='RGB' if flipped else 'BGR',
        ),
        indent=1,
    )


def model_card(checkpoint: Mapping, path: str, config: Config, plain: Config, parameters: int, weights: str) -> str:
    """Write the model card.

    Args:
        checkpoint: What the run's checkpoint holds.
        path: The checkpoint.
        config: The run's config.
        plain: The published one.
        parameters: How many the network has.
        weights: Name of the published file of weights.
    """
    meta = checkpoint.get('meta') or {}
    model = plain.model
    own = (plain.get('custom_imports') or {}).get('imports', ())
    needs = ['onedl-mmsegmentation or mmsegmentation', *sorted({module.split('.')[0] for module in own})]
    labelled = config.get('labelled_target')
    return CARD.format(
        name=os.path.splitext(os.path.basename(path))[0] if not meta else _run_name(meta),
        network=f'{model.backbone.type} with {model.decode_head.type}',
        parameters=parameters,
        number=len(plain.test_dataloader.dataset.metainfo.classes),
        source=_data_sets(config, 'train_dataloader'),
        target=_data_sets(config, 'target_dataloader'),
        labelled=f'yes, {labelled.share:.0%} of all labelled ones drawn' if labelled else 'none',
        adaptations=', '.join((meta.get('adaptations') or {}).values()) or 'none (source-only)',
        iterations=meta.get('iter', NOT_RECORDED),
        seed=meta.get('seed', NOT_RECORDED),
        choice=_choice(os.path.basename(path), meta.get('iter'), (config.get('train_cfg') or {}).get('max_iters')),
        scores='\n'.join(_scores(checkpoint, scores_teacher(config))),
        needs=' and '.join(f'`{name}`' if ' ' not in name else name for name in needs),
        weights=weights,
    )


def _run_name(meta: Mapping) -> str:
    """Name the run without the time at which it began."""
    return re.sub(r'_\d{8}_\d{6}(_\d+)?$', '', str(meta.get('experiment_name', 'network')))


def _data_sets(config: Config, loader: str) -> str:
    if not config.get(loader):
        return 'none'
    kinds = (single['type'] for _, single in single_configs(config[loader].dataset, loader))
    return ', '.join(dict.fromkeys(kinds))


def _choice(name: str, iteration: int | None, length: int | None) -> str:
    if best := _BEST.fullmatch(name):
        by_labels = best[1].startswith('target') and not _LABEL_FREE.fullmatch(best[1])
        return f'the best {best[1]} of its run' + (', **by target labels: an oracle**' if by_labels else '')
    if iteration is not None and iteration == length:
        return 'the last one of its run; target labels had no part in it'
    return f'{NOT_RECORDED}: it is not the last one of its run, and target labels may have had a part in it'


def _scores(checkpoint: Mapping, of_teacher: bool) -> Iterator[str]:
    """Yield the lines of the table of both domains' scores."""
    hub = checkpoint.get('message_hub') or {}
    meta = checkpoint.get('meta') or {}
    values = {
        name.removeprefix('val/'): buffer.current()
        for name, buffer in (hub.get('log_scalars') or {}).items()
        if name.startswith('val/') and name.endswith((*SCORES, '/images'))
    }
    if not values or (hub.get('runtime_info') or {}).get('last_validation') != meta.get('iter'):
        yield f'{NOT_RECORDED.capitalize()}: the run was not validated at this iteration.'
        return
    if of_teacher:
        yield "The scores are the averaged teacher's, which the run scored in the place of this network, its student.\n"
    part = (meta.get('dataset_meta') or {}).get('source_part') or {}
    domains = sorted({name.rpartition('/')[0] for name in values}, reverse=True)
    yield f'| domain | images | {" | ".join(SCORES)} |'
    yield f'|---|---:|{"---:|" * len(SCORES)}'
    for domain in domains:
        seen = ' (seen in training)' if domain == 'source' and part.get('seen_in_training') else ''
        numbers = (f'{values[f"{domain}/{score}"]:.2f}' if f'{domain}/{score}' in values else '' for score in SCORES)
        yield f'| {domain}{seen} | {values.get(f"{domain}/images", 0):.0f} | {" | ".join(numbers)} |'
