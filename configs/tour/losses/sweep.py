"""What of the paper's method does harm on the demo's streets: players and loss apart, after the common warm start."""

__cl = dict(config='../cl.py', branch_from=('source_only', 200))
__without_players = 'adaptations.image_adversary=None'

seeds = [0, 1, 2]
arms = dict(
    source_only=dict(config='../source_only.py'),
    cl_alone=dict(**__cl, options=[__without_players]),
    cl_clamp3_alone=dict(**__cl, options=[__without_players, 'source_loss.main.clamp=3.0']),
    below_ce_alone=dict(**__cl, options=[__without_players, 'source_loss.main.below=ce']),
    mean_literal_alone=dict(**__cl, options=[__without_players, 'source_loss.main.level=batch']),
    gan_ce=dict(**__cl, options=['source_loss.warm_fraction=1.0']),
    gan_clamp3=dict(**__cl, options=['source_loss.main.clamp=3.0']),
    gan_cl=dict(**__cl),
)
