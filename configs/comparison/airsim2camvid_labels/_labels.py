"""50 labelled pictures of the target by number, in the order of names: ``default_rng(0).permutation(266)[:50]``."""

labelled_target = dict(
    share=0.5,
    dataset=dict(
        data_root='data/airsim2camvid',
        data_prefix=dict(img_path='camvid/leftImg8bit/train', seg_map_path='oracle/gtFine/train'),
        indices=[
            *(90, 71, 192, 252, 262, 250, 41, 151, 238, 232, 94, 234, 261, 203, 75, 124, 132, 140, 162, 0),
            *(36, 18, 8, 99, 243, 117, 92, 249, 253, 97, 98, 72, 167, 25, 181, 142, 150, 144, 196, 106),
            *(126, 6, 102, 257, 197, 68, 17, 39, 83, 109),
        ],
    ),
)
