"""The runs of `make demo` and of its table: what adapts goes on from source-only's iteration 200 of the same seed."""

seeds = [0, 1, 2, 3, 4]
arms = dict(
    source_only=dict(config='source_only.py'),
    self_training=dict(config='self_training.py', branch_from=('source_only', 200)),
    cl=dict(config='cl.py', branch_from=('source_only', 200)),
)
