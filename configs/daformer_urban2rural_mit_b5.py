"""DAFormer's network and teacher on LoveDA, urban to rural, rare classes drawn more often."""

_base_ = [
    '_base_/models/daformer_mit_b5.py',  # network and its initial weights
    '_base_/datasets/loveda_urban_to_rural.py',  # source and target data
    '_base_/methods/daformer.py',  # teacher, mixed images, feature distance
    '_base_/schedules/adamw_warmup_40k.py',  # optimizers and length
    '_base_/default_runtime.py',  # hooks, logs, seed, distribution
]

# Seven classes, none of which is one of ImageNet's things; no sky and no bonnet.
model = dict(decode_head=dict(num_classes=7))
adaptations = dict(self_training=dict(ignored_rows=(0, 0)), feature_distance=None)
train_dataloader = dict(order=dict(type='RareClassOrder', temperature=0.1))
