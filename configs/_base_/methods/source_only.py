"""No adaptation: cross entropy on the source alone (paper: NoAdapt, FCN8s+CE)."""

method = dict(
    model=dict(
        type='SourceOnlySegmentor',
        execution=dict(memory='default', channels_last=False, compile=False),
        decode_head=dict(loss_decode=dict(type='SoftmaxCrossEntropyLoss')),
    ),
    optim_wrapper=dict(),
)
