"""The source and 50 labelled target pictures."""

_base_ = ['../airsim2camvid/source_only.py', '_labels.py']
