"""Everything that is the same for all runs: registration, hooks, logs, seed, distribution."""

default_scope = 'mmseg'
custom_imports = dict(imports=['cda_mmseg'], allow_failed_imports=False)

# The seed is fixed: sample order, augmentation, dropout and noise follow from it.
randomness = dict(seed=0)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
# With its scope: mmengine looks wrappers up in its own registry.
model_wrapper_cfg = dict(type='mmseg.PlayerDistributedDataParallel')

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
    dict(type='StopHook'),  # SIGTERM and SIGINT save, then exit with code 75
]
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(type='DomainLogProcessor', by_epoch=False)
log_level = 'INFO'

load_from = None
resume = False

tta_model = dict(type='SegTTAModel')
