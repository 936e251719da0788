"""mmseg, imported without two misleading notices; packages in which mmseg is imported import this first."""

from cda_mmseg.environment import without_misleading_notices

with without_misleading_notices():
    import mmseg.datasets
    import mmseg.models  # noqa: F401
