"""What 5, 20 and 50 labelled pictures of the target are worth on AirSim to CamVid, with and without adaptation."""

seeds = [0, 1, 2]
arms = dict(
    source_only=dict(config='../airsim2camvid/source_only.py'),
    oracle=dict(config='../airsim2camvid/oracle.py'),
    self_training=dict(config='../airsim2camvid/self_training.py'),
    labels_only_5=dict(config='labels_only_5.py'),
    labels_only_20=dict(config='labels_only_20.py'),
    labels_only_50=dict(config='labels_only_50.py'),
    # Fine-tuning: the labels alone, from a third of source-only's run on, so that all arms have as many iterations.
    fine_tune_5=dict(config='labels_only_5.py', branch_from=('source_only', 220)),
    fine_tune_20=dict(config='labels_only_20.py', branch_from=('source_only', 220)),
    fine_tune_50=dict(config='labels_only_50.py', branch_from=('source_only', 220)),
    source_and_5=dict(config='source_and_5.py'),
    source_and_20=dict(config='source_and_20.py'),
    source_and_50=dict(config='source_and_50.py'),
    self_training_and_5=dict(config='self_training_and_5.py'),
    self_training_and_20=dict(config='self_training_and_20.py'),
    self_training_and_50=dict(config='self_training_and_50.py'),
)
