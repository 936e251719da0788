"""What the source's loss changes from 220 of 660 iterations on; until then all arms of a seed are source-only's run."""

seeds = [0, 1, 2]
arms = dict(
    source_only=dict(config='../airsim2camvid/source_only.py'),
    cl=dict(config='../airsim2camvid/cl.py', branch_from=('source_only', 220)),
    cl_clamp3=dict(config='../airsim2camvid/cl_clamp3.py', branch_from=('source_only', 220)),
    below_ce=dict(config='below_ce.py', branch_from=('source_only', 220)),
    gan_ce=dict(config='../airsim2camvid/gan_ce.py', branch_from=('source_only', 220)),
    gan_cl=dict(config='../airsim2camvid/gan_cl.py', branch_from=('source_only', 220)),
    gan_clamp3=dict(config='gan_clamp3.py', branch_from=('source_only', 220)),
    gan_below_ce=dict(config='gan_below_ce.py', branch_from=('source_only', 220)),
    clamp1p4=dict(config='clamp1p4.py', branch_from=('source_only', 220)),
    clamp10=dict(config='clamp10.py', branch_from=('source_only', 220)),
    below_ce_weight1=dict(config='below_ce_weight1.py', branch_from=('source_only', 220)),
    mean_literal=dict(config='mean_literal.py', branch_from=('source_only', 220)),
    mean_reversed=dict(config='mean_reversed.py', branch_from=('source_only', 220)),
    flooding=dict(config='flooding.py', branch_from=('source_only', 220)),
    focal=dict(config='../airsim2camvid/focal.py', branch_from=('source_only', 220)),
    smoothing=dict(config='smoothing.py', branch_from=('source_only', 220)),
    ce_times5=dict(config='ce_times5.py', branch_from=('source_only', 220)),
    clamp4p4=dict(config='clamp4p4.py', branch_from=('source_only', 220)),
    # The mean held at .3 nats instead of 1.
    mean_literal_p3=dict(
        config='mean_literal.py', options=['source_loss.main.base=1.35'], branch_from=('source_only', 220)
    ),
    mean_reversed_p3=dict(
        config='mean_reversed.py', options=['source_loss.main.base=1.35'], branch_from=('source_only', 220)
    ),
    flooding_p3=dict(config='flooding.py', options=['source_loss.main.flood=0.3'], branch_from=('source_only', 220)),
    # A late switch, at 440.
    late_cl=dict(
        config='../airsim2camvid/cl.py',
        options=['source_loss.warm_fraction=0.6666666666666666'],
        branch_from=('source_only', 440),
    ),
    late_cl_clamp3=dict(
        config='../airsim2camvid/cl_clamp3.py',
        options=['source_loss.warm_fraction=0.6666666666666666'],
        branch_from=('source_only', 440),
    ),
)
