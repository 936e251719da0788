"""Everything that is the same for all runs: registration, hooks, logs, seed, distribution."""

default_scope = 'mmseg'
runner_type = 'mmseg.UDARunner'  # lays method and execution over the network
custom_imports = dict(imports=['cda_mmseg.registration'], allow_failed_imports=False)

# The seed is fixed: sample order, augmentation, dropout and noise follow from it.
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# With its scope: mmengine looks wrappers up in its own registry.
model_wrapper_cfg = dict(type='mmseg.PlayerDistributedDataParallel')

# How a training step is computed, not what.
execution = dict(batch_domains=True, memory='default', channels_last=False, compile=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # No save_best: the last snapshot is the headline, the best one by target labels is an oracle.
    checkpoint=dict(type='AtomicCheckpointHook', interval=5000, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [
    dict(type='BoundedHistoryHook'),  # logging costs the same at every iteration
    dict(type='DomainPanelHook'),  # a few pictures of both domains at each validation: docs/watching.md
    dict(type='AlarmHook'),  # warns without target labels: docs/when_it_helps.md
    dict(type='StopHook'),  # SIGTERM and SIGINT save, then exit with code 75
]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='DomainLogProcessor', by_epoch=False)
log_level = 'INFO'

load_from = None
resume = False

# --tta: three scales of what is scored otherwise, flipped and not. Each data set keeps its own loaders and labels.
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=factor, keep_ratio=True) for factor in (0.75, 1.0, 1.25)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
