"""The methods on AirSim to CamVid; what adapts begins at 220 of 660 iterations, until which arms of a seed are one."""

seeds = [0, 1, 2, 3, 4]
arms = dict(
    source_only=dict(config='source_only.py'),
    oracle=dict(config='oracle.py'),
    self_training=dict(config='self_training.py'),
    self_training_rcs=dict(config='self_training_rcs.py'),
    gan_ce=dict(config='gan_ce.py'),
    gan_cl=dict(config='gan_cl.py'),
    source_jitter=dict(config='source_jitter.py'),
    pseudo_labels=dict(config='pseudo_labels.py'),
    masked=dict(config='masked.py'),
    cl=dict(config='cl.py'),
    cl_clamp3=dict(config='cl_clamp3.py'),
    focal=dict(config='focal.py'),
    st_cl_clamp3=dict(config='st_cl_clamp3.py'),
    gan_st=dict(config='gan_st.py'),
)
